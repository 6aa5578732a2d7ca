# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`kubelet_config` as a Resource: observe, plan, apply, verify.

PRIVATE: this module util is for this collection only and may change without notice.

The steps run in the planner's order and are undone in the opposite one: what undoes "start" stops the new kubelet first, and
what undoes "stop" (start the kubelet and wait until its Node is Ready) happens after all files are back.
"""

from __future__ import annotations

import json
import re
import time
import typing as t
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

from .._alone import alone
from .._kube import drain, lease, nodes
from .._kube.client import KubeError
from .._plan import ApplyError, GpufleetError, Plan, PlanError, Resource, Step, Undo, VerifyError, run
from . import openshift, planner
from .api import NodeClient
from .files import NoPyYAML
from .host import Host
from .planner import ANNOTATION, Kubelet
from .schema import schema

LOCAL_LOCK = "/run/gpufleet-kubelet_config.lock"
READY = 120  # seconds for a kubelet that was started, unless verify_timeout says otherwise


class KubeletConfig(Resource[Kubelet]):
    """One drop-in of one node's kubelet. Times in seconds."""

    def __init__(self, params: t.Mapping[str, t.Any], host: Host | None = None) -> None:
        self.params = params
        self.host = host or Host(params)
        self.wish = planner.Wish(
            settings=params["settings"] or {} if params["state"] == "present" else None,
            name=params["name"],
            priority=params["priority"],
            drain=params["drain"]["mode"],
        )
        self.drain = drain.Options.of(params["drain"])
        self.found: Kubelet = Kubelet("", active=False)
        self.evicted: list[str] = []
        self.seconds: dict[str, float] = {}
        self.limit: int = params["verify_timeout"] or READY
        self.check_lock: t.Callable[[], None] = lambda: None  # raises ApplyError when another run has the cluster's lock

    def observe(self) -> Kubelet:
        try:
            self.found = self.host.observe()
        except NoPyYAML:
            # Wrong settings are told first, so that nobody installs it for them.
            planner.check_part(self.host.version(self.host.unit()), self.wish.settings or {})
            raise
        return self.found

    def plan(self, observed: Kubelet) -> Plan:
        return planner.plan(observed, self.wish)

    def apply(self, step: Step) -> Undo | None:
        begin = time.monotonic()
        self.check_lock()
        try:
            undo = self._apply(step)
        except KubeError as error:
            raise ApplyError(error.message, **error.facts) from error
        finally:
            self.seconds[step.action] = round(time.monotonic() - begin, 2)
        return undo if self.params["rollback"] else None

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        """The default, and what was measured; `restart` and `drain` stay what the plan said."""
        left = self.plan(self.observe())
        if left.changed:
            raise VerifyError(
                "after all steps there is still to do: " + ", ".join(str(step) for step in left.steps),
                remaining_actions=[str(step) for step in left.steps],
            )
        return {"evicted": self.evicted, "seconds": self.seconds}

    def client(self, token: bool = False, patient: bool = True) -> NodeClient:
        return NodeClient(self.host.identity(self.found), self.params["api_key"] if token else None, patient)

    def _apply(self, step: Step) -> Undo | None:
        undo: Undo | None = None
        if step.action == "cordon":
            self._mark(schedulable=False, mark=step.args["mark"])
            undo = partial(self._mark, schedulable=True, mark=None)
        elif step.action == "drain":
            self._drain(step.args["mark"])
        elif step.action == "stop":
            undo = self._stop([*step.args["paths"], str(self.host.unit_file)])
        elif step.action in ("add --config-dir to", "take --config-dir from"):
            path = str(self.host.unit_file)
            undo = partial(self.host.put_unit_file, self._aside().get(path, _text(path)))
            if step.action.startswith("add"):
                self.host.add_config_dir(step.args["folder"], self.found.minor)
            else:
                self.host.put_unit_file(None)
        elif step.action in ("write", "remove"):
            text = self._aside().get(step.subject, self.found.texts.get(step.subject))
            self.host.put(step.subject, step.args["text"])
            undo = partial(self.host.put, step.subject, text)
        elif step.action == "start":
            self._start(step)
            self.host.forget()
            undo = self.host.stop
        elif step.action == "uncordon":
            self._mark(schedulable=True, mark=None)
        else:
            self.host.forget()
        return undo

    def _mark(self, schedulable: bool, mark: str | None) -> None:
        nodes.set_schedulable(self.client(), self.host.node_name(self.found), schedulable, ANNOTATION, mark)

    def _drain(self, mark: bool) -> None:
        outcome = drain.drain(self.client(patient=False), self.host.node_name(self.found), self.drain)
        self.evicted = outcome.evicted
        if mark:
            self._mark(schedulable=False, mark="drained")

    def _stop(self, paths: t.Sequence[str]) -> Undo:
        self.host.stop()
        try:  # now that nobody writes the state files any more
            self._set_aside(paths)
        except BaseException:
            self._back()
            raise
        return self._back

    def _set_aside(self, paths: t.Sequence[str]) -> None:
        """Keeps what is about to change, for this run's undo and a next one's. What an unfinished run kept is older and stays."""
        if not self.host.aside.exists():
            self.host.put(str(self.host.aside), json.dumps({path: _text(path) for path in paths}))

    def _aside(self) -> dict[str, str | None]:
        return json.loads(_text(str(self.host.aside)) or "{}")

    def _start(self, step: Step) -> None:
        """Raises ApplyError, with the kubelet stopped again, unless it runs as wished."""
        deadline = time.monotonic() + self.limit
        began = time.time()
        try:
            since = self.host.start(step.args["healthz"], deadline)
            self._wait_ready(since, deadline)
            observed = self.host.observe()
            if observed.configz is None:
                raise ApplyError(f"the kubelet's effective configuration cannot be read: {observed.configz_error}")
            different = list(schema(observed.minor).differences(step.args["expected"], observed.configz))
            if different:
                raise ApplyError(f"the kubelet runs, but {', '.join(different)} did not take effect")
            # A kubelet can be Ready before this file is there, or whole.
            while (policy := (observed.cpu_state or {}).get("policyName")) != step.args["policy"]:
                if time.monotonic() > deadline:
                    raise ApplyError(f"{observed.root_dir}/cpu_manager_state names policy {policy}, not {step.args['policy']}")
                time.sleep(0.1)
                observed = self.host.observe()
        except BaseException as error:
            if isinstance(error, GpufleetError) and "kubelet_log" not in error.facts:
                with suppress(GpufleetError):  # what failed first is the news
                    error.facts["kubelet_log"] = self.host.log(began)
            self.host.stop()
            raise

    def _back(self) -> None:
        """Starts the kubelet as it was. What this run did not change itself may be the work of one that was killed."""
        begin = time.monotonic()
        deadline = begin + self.limit
        for path, text in self._aside().items():
            now = _text(path)
            # A state file of the right policy may know pods that came since then.
            if now == text or (path.endswith(planner.STATES) and _policy(now) == _policy(text)):
                continue
            (self.host.put_unit_file if path == str(self.host.unit_file) else partial(self.host.put, path))(text)
        self._wait_ready(self.host.start(planner.healthz(self.found.configz or {}), deadline), deadline)
        self.host.forget()
        self.seconds["roll back"] = round(time.monotonic() - begin, 2)

    def _wait_ready(self, since: float, deadline: float) -> None:
        name = self.host.node_name(self.found)
        client = self.client(patient=False)
        nodes.wait_ready(client, name, since=since, deadline=deadline, alive=lambda: self.host.alive(since))


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's Entry."""
    if not 0 <= params["priority"] <= 99:
        raise PlanError(f"priority is {params['priority']}; choose 0 to 99")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", params["name"]):
        raise PlanError(f"name is {params['name']!r}; it becomes a part of a file's name: use letters, digits, '.', '_' and '-'")
    if params["provider"] == "openshift":
        return openshift.entry(params, check_mode)
    if params["pool"]:
        raise PlanError(f"pool is {params['pool']!r}, but only provider openshift has pools; set that, or drop it")
    lock = params["lock"]
    with alone(LOCAL_LOCK):
        resource = KubeletConfig(params)
        plan = resource.plan(resource.observe())
        holder = resource.host.node_name(resource.found)
        if plan.facts["drain"]:
            drain.candidates(drain.pods_of(resource.client(), holder), resource.drain)  # says now who would lose something
        if check_mode:
            return plan.result()
        if plan.changed and lock["enabled"] and not params["api_key"]:
            raise PlanError(
                "the lock that keeps two runs from taking two nodes at once needs a token in api_key (a kubelet may not hold "
                "such a lock); give one, or set lock.enabled: false where runs are serial anyway. Nothing was changed."
            )
        where = (resource.client(token=True), lock["namespace"], lock["name"])
        locked = lock["enabled"] and bool(params["api_key"])
        if not plan.changed:
            if locked:
                lease.forget(*where, holder)
            return plan.result()
        try:
            with (
                lease.held(*where, holder=holder, timeout=lock["timeout"])
                if locked
                else nullcontext(resource.check_lock) as check
            ):
                resource.check_lock = check
                return run(resource, check_mode=False)
        except GpufleetError as error:
            error.facts["seconds"] = resource.seconds
            raise


def _policy(state: str | None) -> t.Any:
    try:
        return json.loads(state or "{}").get("policyName")
    except ValueError:
        return None  # cut off


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
