# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`kubeadm_node` as a Resource: observe, plan, apply, verify.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import typing as t
from contextlib import contextmanager, suppress
from pathlib import Path

from .._plan import HIDDEN, ApplyError, Plan, PlanError, Resource, Step, Undo, VerifyError, run
from . import planner
from .host import TRACES, Host, Observed, leftover_chains

LOCK = "/run/gpufleet-kubeadm.lock"
KINDS = ("InitConfiguration", "ClusterConfiguration", "JoinConfiguration", "KubeletConfiguration", "KubeProxyConfiguration")
ADDRESS_FAMILIES = ("iptables", "ip6tables")
BOOTSTRAP_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")  # k8s.io/cluster-bootstrap, token/api


class KubeadmNode(Resource[Observed]):
    """One host as a Node of a kubeadm cluster. Times in seconds."""

    def __init__(self, params: t.Mapping[str, t.Any], host: Host | None = None) -> None:
        self.params = params
        self.host = host or Host(params["bin_dir"])
        config = _by_kind(params.get("config") or [])
        if params.get("state") == "present" and not config.keys() & set(KINDS[:3]):
            raise PlanError(
                f"config: it needs one of {', '.join(KINDS[:3])}, or nobody knows whether {params['name']} shall join"
            )
        self.wish = planner.Wish(params["name"], config, params.get("labels") or {})
        self.deadline = time.monotonic() + params["timeout"]

    def observe(self) -> Observed:
        with self._lock(exclusive=False):
            while True:
                observed = self.host.observe(self.params["name"], leftovers=self.params["state"] == "absent")
                api = observed.api
                silent = observed.kubeconfig and observed.kubeconfig.finalised and api.error and not api.unasked
                # After a reboot the static pods need their time; a refusal by the API is an answer.
                if not silent or api.forbidden or time.monotonic() > self.deadline - self.params["timeout"] * 0.8:
                    return observed
                time.sleep(1)

    def plan(self, observed: Observed) -> Plan:
        if self.params["state"] == "absent":
            return planner.plan_absent(observed, self.params["name"])
        plan = planner.plan(observed, self.wish)
        if any(step.action.partition(" ")[0] in ("init", "resume", "join") for step in plan.steps):
            self._refuse_unknown_fields()
        return plan

    def _refuse_unknown_fields(self) -> None:
        """kubeadm only warns of them, and goes on without. Where it is not installed yet, this waits until it is."""
        documents = "\n---\n".join(json.dumps(dict(document)) for document in self.params["config"])
        kubeadm = str(self.host.bin / "kubeadm")
        _status, _out, error = self.host.command(kubeadm, "config", "validate", "--config=/dev/stdin", stdin=documents)
        # It complains about what is still missing, too; that comes before the step.
        wrong = re.search(r"error unmarshaling.*?Kind:\"(\w+)\"\}: (.+)", error)
        if wrong:
            raise PlanError(
                f"kubeadm does not understand the {wrong[1]} for {self.params['name']}: {wrong[2]}. Correct the variable that it "
                "comes from; kubeadm was not run"
            )

    def apply(self, step: Step) -> Undo | None:
        with self._lock(exclusive=True) as lock:
            if step.action == "init":
                self._kubeadm(lock, "init", "--config=/dev/stdin", stdin=self._documents())
            elif step.action == "resume init of":
                # Every phase keeps what is right and makes what is missing; only the preflight wants an empty host.
                self._kubeadm(lock, "init", "--config=/dev/stdin", "--skip-phases=preflight", stdin=self._documents())
            elif step.action == "install the add-ons of":
                self._kubeadm(lock, "init", "phase", "addon", "all", "--config=/dev/stdin", stdin=self._documents())
            elif step.action == "join":
                self._kubeadm(lock, "join", "--config=/dev/stdin", stdin=self._documents())
            elif step.action in ("reset", "reset the unfinished kubeadm on"):
                self._reset(lock)
            elif step.action == "restart the kubelet of":
                self._run(["systemctl", "restart", "kubelet"])
            elif step.action == planner.LOOK_AGAIN:
                raise ApplyError(
                    f"there is no kubectl in {self.host.bin} to ask {step.subject}'s API with: install it there, "
                    "or correct bin_dir"
                )
            elif step.action == "forget the bootstrap token of":
                Path("/etc/kubernetes/bootstrap-kubelet.conf").unlink()
            elif step.action == "sweep":
                for leftover in self.host.observe(self.params["name"], leftovers=True).leftovers:
                    self._remove(leftover)
            else:
                self._remove(step.subject)
        return None  # a run that fails half-way is finished, or cleaned, by the next one: that is what observe is for

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        """The Node is registered (the kubelet does that a moment after kubeadm has ended) and nothing is left to do."""
        while True:
            try:
                left = self.plan(self.observe())
                last = ", ".join(str(step) for step in left.steps)
                if not left.changed:
                    return left.facts
            except PlanError as error:
                last = error.message
            if time.monotonic() > self.deadline:
                raise VerifyError(
                    f"{self.params['name']} is not what was asked within {self.params['timeout']} s, still to do: {last}; "
                    "`journalctl -u kubelet` there tells more"
                )
            time.sleep(0.5)

    @contextmanager
    def _lock(self, exclusive: bool) -> t.Iterator[int]:
        """kubeadm inherits the lock, so a kubeadm that outlived its Ansible run is waited for, not raced."""
        if not exclusive and not Path(LOCK).exists():
            yield -1  # nobody has ever taken it since the host's start
            return
        with Path(LOCK).open("a", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > self.deadline:
                        raise ApplyError(
                            f"a kubeadm of an earlier run is still at work on {self.params['name']} after "
                            f"{self.params['timeout']} s; `fuser -v {LOCK}` there shows it"
                        ) from None
                    time.sleep(0.2)
            yield lock.fileno()

    def _documents(self) -> str:
        """The configuration with its secrets, as JSON documents: every JSON document is a YAML document."""
        documents = json.loads(json.dumps([dict(document) for document in self.params["config"]]))
        for document in documents:
            if document["kind"] == "JoinConfiguration":
                discovery = document["discovery"] = document.get("discovery") or {}
                if discovery.get("file") is None:  # kubeadm takes one of both
                    bootstrap = discovery["bootstrapToken"] = discovery.get("bootstrapToken") or {}
                    bootstrap["token"] = self.params.get("token") or bootstrap.get("token")
                    if not bootstrap["token"]:
                        raise PlanError(f"there is no token to join {self.params['name']} with: give `token`")
                if self.params.get("certificate_key") and document.get("controlPlane") is not None:
                    document["controlPlane"]["certificateKey"] = self.params["certificate_key"]
        return "\n---\n".join(json.dumps(document) for document in documents)

    def _kubeadm(self, lock: int, *argv: str, stdin: str = "") -> None:
        self._run([str(self.host.bin / "kubeadm"), *argv], stdin=stdin, pass_fds=(lock,))

    def _run(self, argv: list[str], stdin: str = "", **options: t.Any) -> str:
        left = max(10.0, self.deadline - time.monotonic())
        try:
            # run_command has no time limit
            # pylint: disable-next=ansible-bad-function
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=left, check=False, **options)
        except FileNotFoundError as error:
            raise ApplyError(f"{argv[0]} is not installed: {error}") from error
        except subprocess.TimeoutExpired as error:
            output = error.stderr if isinstance(error.stderr, str) else (error.stderr or b"").decode("utf-8", "replace")
            last = self._tail(output)
            raise ApplyError(f"`{' '.join(argv)}` was not done within {left:.0f} s; it said last: {last}") from error
        if done.returncode:
            raise ApplyError(
                f"`{' '.join(argv)}` ended with {done.returncode}: {self._tail(done.stderr)}",
                stdout=self._tail(done.stdout, lines=40),
                stderr=self._tail(done.stderr, lines=40),
            )
        return done.stdout

    def _tail(self, text: str, lines: int = 8) -> str:
        for secret in (self.params.get("token"), self.params.get("certificate_key"), *(self.params.get("secrets") or [])):
            text = text.replace(secret, HIDDEN) if secret else text
        text = BOOTSTRAP_TOKEN.sub(HIDDEN, text)  # `kubeadm init` prints those of its configuration, or the one that it made
        return "\n".join(text.strip().splitlines()[-lines:])

    def _reset(self, lock: int) -> None:
        if (self.host.bin / "kubeadm").exists():
            self._kubeadm(lock, "reset", "--force")
        for trace in TRACES:
            Path("/", trace).unlink(missing_ok=True)

    def _remove(self, leftover: str) -> None:
        kind, _blank, what = leftover.partition(" ")
        if kind == "path":
            path = Path(what)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if path.is_relative_to("/var/lib/cni"):
                with suppress(OSError):  # others have something there
                    os.removedirs(path.parent)
        elif kind == "link":
            self._run(["ip", "link", "delete", what])
        elif kind == "nft":
            self._run(["nft", "delete", "table", *what.split()])
        elif kind in ADDRESS_FAMILIES:
            rules = self._run([f"{kind}-save"]).splitlines()
            chains = leftover_chains("\n".join(rules))
            kept = [rule for rule in rules if not chains.intersection(rule.lstrip(":").split())]
            self._run([f"{kind}-restore"], stdin="\n".join(kept) + "\n")


def _by_kind(documents: list[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    for document in documents:
        if "kind" not in document or "apiVersion" not in document:
            raise PlanError(
                f"a document of `config` has no apiVersion or no kind: it has {', '.join(map(str, document)) or 'nothing'}"
            )
        if document["kind"] not in KINDS:  # kubeadm ignores it: a misspelled JoinConfiguration is an init
            raise PlanError(f"config: the kind {document['kind']!r} is none of {', '.join(KINDS)}. Nothing was changed.")
    return {document["kind"]: document for document in documents}


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's Entry."""
    return run(KubeadmNode(params), check_mode)
