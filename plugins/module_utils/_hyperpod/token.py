# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""hyperpod_token: observe, apply and verify around the planner.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import random
import secrets
import string
import time
import typing as t
from dataclasses import replace

from .._kube.client import KubeClient, KubeError, NoKubeconfig, connect
from .._plan import GpufleetError, Plan, PlanError, Resource, Step, Undo, VerifyError, run
from . import cluster as k8s
from .args import which
from .aws import Client
from .duration import now, parse_duration
from .join import JoinData, parse_endpoint
from .planner import BootstrapToken, Observed, StoredSecret, Wanted, make_plan
from .store import Conflict, SecretStore

ATTEMPTS = 6  # of a whole run, when other writers keep changing the same thing
READ_BACK = 10.0  # seconds; Secrets Manager and cluster-info are eventually consistent
DESCRIPTION = "How workers join the Kubernetes cluster; kept by gpufleet.k8s.hyperpod_token"
_ALPHABET = string.ascii_lowercase + string.digits


class Unsettled(VerifyError):
    """Read back, it is not (or no longer) what this run wrote."""


class TokenResource(Resource[Observed]):
    """`connect` is called when the cluster is first needed: to remove the secret of a cluster that is gone, it may fail."""

    def __init__(
        self, connect: t.Callable[[], KubeClient], store: SecretStore, wanted: Wanted, kms_key_id: str | None = None
    ) -> None:
        self._connect = connect
        self._kube: KubeClient | None = None
        self.store = store
        self.wanted = wanted
        self.kms_key_id = kms_key_id
        self.released: str | None = None  # Observed.released
        self.wrote = False  # something that stays was written, even if this run has to start again

    @property
    def kube(self) -> KubeClient:
        if self._kube is None:
            self._kube = self._connect()
        return self._kube

    def observe(self) -> Observed:
        cluster, unreachable = None, ""
        try:
            if self.wanted.present:
                cluster = k8s.read_cluster(self.kube, with_certificates=self.wanted.certificate_key is not None)
            else:
                cluster = k8s.read_tokens(self.kube)
        except (KubeError, NoKubeconfig) as error:
            # Taking down a site whose API, or whose kubeconfig, is gone already must not leave the secret behind.
            if self.wanted.present or (isinstance(error, KubeError) and error.status is not None):
                raise
            unreachable = error.message
        secret = self.store.read()
        if secret.state == "scheduled":
            self.released = secret.version
        taken = {token.id for token in cluster.tokens} if cluster else set()
        token_id = next(text for text in iter(lambda: _random(6), None) if text not in taken)
        return Observed(now(), secret, cluster, (token_id, _random(16)), unreachable, self.released)

    def plan(self, observed: Observed) -> Plan:
        plan = make_plan(observed, self.wanted)
        return replace(plan, facts={**plan.facts, "region": self.store.client.region})

    def apply(self, step: Step) -> Undo | None:
        action, args = step.action, step.args
        if action == "create":
            token: BootstrapToken = args["token"]
            k8s.create_token(self.kube, token)
            return lambda: self._withdraw(token)
        if action == "restore":
            self.store.restore()
            return lambda: self._schedule_again(args["secret"])
        if action == "publish":
            self._publish(args["join"], args["secret"])
        elif action == "retire":
            k8s.retire_token(self.kube, args["token"], args["expires"])
        elif action == "delete":
            self.store.delete(self.wanted.force_delete)
        else:
            raise AssertionError(action)
        self.wrote = True
        return None  # from here on going back would break workers that read the secret: a next run goes on instead

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        deadline = time.monotonic() + READ_BACK
        while True:
            observed = self.observe()
            left = self.plan(observed)
            signed = not self.wanted.present or not observed.cluster or left.facts.get("token_id") in observed.cluster.signed
            # A forced deletion takes AWS a while, during which the secret counts as scheduled.
            done = not left.changed or (not self.wanted.present and observed.secret.state == "scheduled" and len(left.steps) == 1)
            if (done and signed) or time.monotonic() > deadline:
                break
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
        if not done:
            raise Unsettled("read back, this is not as written: " + ", ".join(d.subject for d in left.differences))
        facts = dict(left.facts)
        if "reason" in plan.facts:
            facts["reason"] = plan.facts["reason"]
        return {**facts, "warnings": list(dict.fromkeys([*plan.warnings, *left.warnings]))}

    def _publish(self, join: JoinData, base: StoredSecret) -> None:
        if base.state == "absent":
            self.store.create(join.text(), DESCRIPTION, self.kms_key_id)
        else:
            self.store.publish(join.text(), base.version)

    def _withdraw(self, token: BootstrapToken) -> None:
        """Undoes the creation of a token, unless the secret names it, so that somebody may be using it, or it will be needed."""
        current = self.store.read()
        if current.join and current.join.token_id == token.id:
            raise GpufleetError(f"token {token.id} is published by now, so it stays")
        if current.state == "present" and current.version == self.released:  # deleting that again failed
            raise GpufleetError(f"token {token.id} stays: by it the next run knows that it may replace the restored secret")
        k8s.retire_token(self.kube, token, None)

    def _schedule_again(self, seen: StoredSecret) -> None:
        """Undoes a restore, which brought back the value that was to be deleted; unless somebody has replaced that by now."""
        current = self.store.read()
        if current.state == "present" and current.version == seen.version:
            self.store.delete(force=False)
            current = self.store.read()
            if current.state == "scheduled" and current.version != seen.version:  # replaced between the two calls
                self.store.restore()
        if current.state != "absent" and current.version != seen.version:
            self.wrote = True
            raise GpufleetError(f"the secret {self.wanted.secret_name} has another value by now, so it stays")


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's result. Raises GpufleetError."""
    secret_name, cluster_id, region = which(params)
    wanted = Wanted(
        present=params["state"] == "present",
        secret_name=secret_name,
        cluster_id=cluster_id,
        endpoint=_endpoint(params["endpoint"]),
        ttl=parse_duration("ttl", params["ttl"]),
        renew_before=parse_duration("renew_before", params["renew_before"]),
        grace=parse_duration("grace", params["grace"]),
        certificate_key=params["certificate_key"],
        force_delete=params["force_delete"],
    )
    client = Client("secretsmanager", params, region, params["retry_budget"])
    resource = TokenResource(lambda: connect(params), SecretStore(client, secret_name), wanted, params["kms_key_id"])
    done: list[str] = []
    for attempt in range(1, ATTEMPTS + 1):
        try:
            result = run(resource, check_mode)
        except (Conflict, Unsettled) as error:
            if attempt == ATTEMPTS:
                raise
            done += [step for step in error.facts["done"] if step not in error.facts["undone"]]
            time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311  so that writers do not meet again
        else:
            return {**result, "changed": result["changed"] or resource.wrote, "actions": done + result["actions"]}
    raise AssertionError("the last attempt returns or raises")


def _endpoint(text: str | None) -> str | None:
    try:
        return parse_endpoint(text) if text else None
    except ValueError as error:
        raise PlanError(f"endpoint: {error}") from error


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _index in range(length))
