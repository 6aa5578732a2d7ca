# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Kubelet settings of a MachineConfigPool, by a KubeletConfig resource: OpenShift's machine config operator does the rest.

PRIVATE: this module util is for this collection only and may change without notice.

The operator renders the settings into a MachineConfig, the pool's rendered MachineConfig into kubelet.conf on each machine, and
drains and reboots the machines, some at a time. The proof is that kubelet.conf in the configuration that all machines of the pool
run: https://github.com/openshift/machine-config-operator, pkg/controller/{kubelet-config,render,node}, and the API reference of
machineconfiguration.openshift.io/v1.
"""

from __future__ import annotations

import base64
import copy
import json
import tempfile
import time
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from .._kube.client import KubeError, configured, missing_permission
from .._plan import ApplyError, Difference, Plan, PlanError, Resource, Step, Undo, VerifyError, run
from . import merge, rules
from .planner import check_types, minor
from .schema import LAST, schema
from .topology import Machine

PACKAGE = "openshift>=0.13"
GROUP = "machineconfiguration.openshift.io/v1"
LABEL = "pools.operator.machineconfiguration.openshift.io/"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
#: The operator sets these itself (gates: the FeatureGate resource) and refuses a KubeletConfig that has them.
OPERATORS = ("cgroupDriver", "clusterDNS", "clusterDomain", "failSwapOn", "featureGates", "memorySwap", "staticPodPath")
#: The operator moves parts of these to the kubelet's command line, so kubelet.conf does not show them.
NOT_SHOWN = ("systemReserved",)
PER_MACHINE = 900  # seconds that a machine may take to drain, reboot and come back
PAUSE = 5.0  # seconds between looks at a pool


@dataclass(frozen=True)
class Pool:
    """A MachineConfigPool, the KubeletConfig of ours for it, and what its machines run.

    `spec` is that KubeletConfig's, None when there is none; `failure` is why the operator refused it. `running` is the
    kubelet.conf of the configuration that the machines have. `degraded` is what the pool complains about. `state` is for people.
    """

    labels: t.Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    updated: bool = True
    degraded: str = ""
    machines: int = 0
    state: str = ""
    versions: tuple[str, ...] = ()
    running: t.Mapping[str, t.Any] = field(default_factory=dict)
    spec: t.Mapping[str, t.Any] | None = None
    failure: str = ""
    leaving: bool = False


def plan(pool: Pool, name: str, target: str, settings: t.Mapping[str, t.Any] | None) -> Plan:
    """What brings `pool` (called `name`) to these settings by a KubeletConfig called `target`; None: by its absence. Pure.

    Raises PlanError when the operator or the kubelets would refuse the settings, or the pool cannot change now.
    """
    version = min(pool.versions, key=minor, default=f"1.{LAST}.0")
    known = schema(minor(version))
    selector = {"matchLabels": {LABEL + name: ""}}
    facts: dict[str, t.Any] = {"drop_in": f"KubeletConfig {target}", "kubelet_version": version}
    wanted = None if settings is None else {"machineConfigPoolSelector": selector, "kubeletConfig": dict(settings)}
    if settings is not None:
        _check(pool, name, settings, version)
        facts["effective"] = settings
    found = None if pool.spec is None else {key: pool.spec.get(key) for key in ("machineConfigPoolSelector", "kubeletConfig")}

    steps = []
    if wanted is None and found is not None and not pool.leaving:
        steps.append(Step("delete KubeletConfig", target, {"spec": None}))
    elif wanted is not None and wanted != found:
        steps.append(Step("write KubeletConfig", target, {"spec": wanted}))
    if steps and pool.paused:
        raise PlanError(f"MachineConfigPool {name} is paused and would never change; unpause it first. Nothing was changed.")
    # A pool may be ill because of the very settings that this run corrects.
    if pool.degraded and not (steps and found):
        raise PlanError(f"MachineConfigPool {name} is degraded: {pool.degraded}; repair it first. Nothing was changed.")
    proved = wanted is None or not missing(known.differences, settings or {}, pool.running)
    if steps or not pool.updated or not proved or pool.leaving:
        steps.append(Step("wait for MachineConfigPool", name, {"settings": settings}))
    differences = [Difference(f"KubeletConfig {target}", found, wanted)] if found != wanted else []
    return Plan(tuple(differences), tuple(steps), facts=facts)


def missing(
    differences: t.Callable[..., t.Iterable[str]], settings: t.Mapping[str, t.Any], running: t.Mapping[str, t.Any]
) -> list[str]:
    """The settings that kubelet.conf does not have, though it would."""
    return list(differences({key: value for key, value in settings.items() if key not in NOT_SHOWN}, running))


def _check(pool: Pool, name: str, settings: t.Mapping[str, t.Any], version: str) -> None:
    if LABEL + name not in pool.labels:
        raise PlanError(
            f"MachineConfigPool {name} has no label by which a KubeletConfig could select it alone; give it one: "
            f"oc label machineconfigpool {name} {LABEL}{name}=. Nothing was changed."
        )
    found = [
        f"settings.{key} is the machine config operator's own; it refuses a KubeletConfig with it"
        + (" (feature gates are set by the FeatureGate resource)" if key == "featureGates" else "")
        for key in OPERATORS
        if key in settings
    ]
    found += [
        f"settings.{key} is null, which a KubeletConfig cannot say; leave it out" for key, its in settings.items() if its is None
    ]
    if found:
        raise PlanError("; ".join(found) + ". Nothing was changed.", problems=found)
    known = schema(minor(version))
    check_types(known, settings)
    before = merge.with_defaults(known, pool.running)
    after = merge.with_defaults(known, merge.merge_patch(before, settings))
    accepted = rules.of_values(rules.Case(before, known, Machine()))
    found = [problem for problem in rules.of_values(rules.Case(after, known, Machine())) if problem not in accepted]
    if found:
        raise PlanError(
            f"kubelet {version} would not work with these settings: {'; '.join(found)}. Nothing was changed.", problems=found
        )


class PoolConfig(Resource[Pool]):
    """The KubeletConfig of one MachineConfigPool. `resources` are the dynamic client's."""

    def __init__(self, params: t.Mapping[str, t.Any], resources: t.Any, server: str) -> None:
        self.params = params
        self.name: str = params["pool"]
        self.target = f"{self.name}-{params['name']}"
        self.settings = dict(params["settings"] or {}) if params["state"] == "present" else None
        self.resources = resources
        self.server = server
        self.found = Pool()

    def observe(self) -> Pool:
        pool = self.get("MachineConfigPool", self.name)
        if pool is None:
            raise PlanError(
                f"{self.server} has no MachineConfigPool {self.name}; `oc get machineconfigpool` lists them. Nothing was changed."
            )
        ours = self.get("KubeletConfig", self.target)
        conditions = {its["type"]: its for its in pool.get("status", {}).get("conditions") or ()}
        status, spec, metadata = pool.get("status", {}), pool["spec"], pool["metadata"]
        running = status.get("configuration") or {}
        current = running.get("name", "")
        counts = {key: int(status.get(f"{key}MachineCount") or 0) for key in ("updated", "degraded", "unavailable")}
        machines = int(status.get("machineCount") or 0)
        updated = (
            _holds(conditions, "Updated")
            and status.get("observedGeneration", 0) >= metadata.get("generation", 0)
            and current == (spec.get("configuration") or {}).get("name", "")
            and counts["updated"] == machines
            and not any(self.get("MachineConfig", name) is None for name in _generated(running))  # the pool has yet to notice
        )
        ill = [kind for kind in sorted(conditions) if kind.endswith("Degraded") and _holds(conditions, kind)]
        # Degraded sums up the others
        said = [
            f"{kind}: {conditions[kind].get('message') or 'no message'}" for kind in ill if kind != "Degraded" or len(ill) == 1
        ]
        selector = ",".join(f"{key}={value}" for key, value in (spec.get("nodeSelector", {}).get("matchLabels") or {}).items())
        self.found = Pool(
            labels=metadata.get("labels") or {},
            paused=bool(spec.get("paused")),
            updated=updated,
            degraded="; ".join(said),
            machines=machines,
            state=f"{counts['updated']} of {machines} machines updated, "
            f"{counts['unavailable']} unavailable, {counts['degraded']} degraded",
            versions=tuple(node["status"]["nodeInfo"]["kubeletVersion"] for node in self.list("Node", selector)),
            running=self._kubelet_conf(current),
            spec=ours and ours["spec"],
            failure=_refused(ours),
            leaving=bool(ours and ours["metadata"].get("deletionTimestamp")),
        )
        return self.found

    def plan(self, observed: Pool) -> Plan:
        return plan(observed, self.name, self.target, self.settings)

    def apply(self, step: Step) -> Undo | None:
        if step.action.startswith("wait"):
            self._wait(step.args["settings"])
            return None
        old = copy.deepcopy(self.found.spec)
        self._put(step.args["spec"])
        if not self.params["rollback"]:
            return None

        def undo() -> None:
            self._put(old)
            self._wait((old or {}).get("kubeletConfig") if old else None)

        return undo

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        left = self.plan(self.observe())
        if left.changed:
            raise VerifyError("after all steps there is still to do: " + ", ".join(map(str, left.steps)))
        return left.facts

    def _wait(self, settings: t.Mapping[str, t.Any] | None) -> None:
        """Until all machines of the pool run with `settings` (None: without ours). Raises ApplyError with what was seen last."""
        ill = self.found.degraded  # an illness from before is no verdict on this change
        limit = self.params["verify_timeout"] or PER_MACHINE * max(1, self.found.machines)
        deadline = time.monotonic() + limit
        differences = schema(minor(min(self.found.versions, key=minor, default=f"1.{LAST}.0"))).differences
        while True:
            pool = self.observe()
            if settings is not None and pool.failure:
                raise ApplyError(f"the machine config operator refuses KubeletConfig {self.target}: {pool.failure}")
            lacking = missing(differences, settings, pool.running) if settings is not None else []
            gone = pool.spec is None or settings is not None
            if pool.updated and not lacking and gone:
                return
            if pool.degraded not in ("", ill):
                raise ApplyError(f"MachineConfigPool {self.name} is degraded: {pool.degraded} ({pool.state})")
            if time.monotonic() > deadline:
                what = f"{pool.state}; their kubelet.conf lacks {', '.join(lacking)}" if lacking else pool.state
                raise ApplyError(
                    f"MachineConfigPool {self.name} is not updated after {limit} s: {what}. "
                    "Raise verify_timeout, or look at its machines"
                )
            time.sleep(PAUSE)

    def _put(self, spec: t.Mapping[str, t.Any] | None) -> None:
        """Makes the KubeletConfig have this `spec`, or go. What somebody else wrote into the other fields of its spec stays."""
        api = self._api("KubeletConfig")
        now = self.get("KubeletConfig", self.target)
        if spec is None:
            if now is not None:
                self._call(f"delete KubeletConfig {self.target}", api.delete, name=self.target)
        elif now is None:
            body: t.Any = {"apiVersion": GROUP, "kind": "KubeletConfig", "metadata": {"name": self.target}, "spec": spec}
            self._call(f"create KubeletConfig {self.target}", api.create, body=body)
        else:
            body = [{"op": "add", "path": f"/spec/{key}", "value": value} for key, value in spec.items()]
            self._call(
                f"change KubeletConfig {self.target}",
                api.patch,
                body=body,
                name=self.target,
                content_type="application/json-patch+json",
            )

    def _kubelet_conf(self, config: str) -> dict[str, t.Any]:
        """kubelet.conf as the MachineConfig of that name has it; empty where it has none."""
        import yaml  # noqa: PLC0415  comes with the kubernetes package

        found = self.get("MachineConfig", config) if config else None
        files = ((found or {}).get("spec", {}).get("config", {}).get("storage") or {}).get("files") or ()
        source = next((file["contents"]["source"] for file in files if file["path"] == KUBELET_CONF), "data:,")
        head, _comma, text = source.partition(",")
        content = base64.b64decode(text).decode() if head.endswith(";base64") else unquote(text)
        return {key: value for key, value in (yaml.safe_load(content) or {}).items() if key not in ("apiVersion", "kind")}

    def get(self, kind: str, name: str) -> dict[str, t.Any] | None:
        try:
            found: dict[str, t.Any] = self._call(f"get {kind} {name}", self._api(kind).get, name=name).to_dict()
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found

    def list(self, kind: str, selector: str) -> t.Sequence[t.Mapping[str, t.Any]]:
        found = self._call(f"list {kind}", self._api(kind).get, label_selector=selector)
        return t.cast("t.Sequence[t.Mapping[str, t.Any]]", found.to_dict()["items"])

    def _api(self, kind: str) -> t.Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError  # noqa: PLC0415

        try:
            return self._call(f"discover {kind}", self.resources.get, api_version="v1" if kind == "Node" else GROUP, kind=kind)
        except ResourceNotFoundError:
            raise PlanError(
                f"{self.server} does not know the kind {kind} of {GROUP}: is it an OpenShift cluster? Nothing was changed."
            ) from None

    def _call(self, what: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> t.Any:
        return _asked(self.server, what, call, **arguments)


def _asked(server: str, what: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> t.Any:
    """Raises KubeError as a sentence."""
    import urllib3  # noqa: PLC0415
    from kubernetes.client import ApiException  # noqa: PLC0415

    try:
        return call(**arguments)
    except ApiException as error:
        message = _message(error)
        hint = missing_permission(message) if error.status == 403 else ""
        raise KubeError(
            f"{server} refused to {what} with {error.status}: {message}{hint}", error.status, str(error.reason)
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KubeError(f"{server} gave no answer when asked to {what}: {error}") from error


def _generated(configuration: t.Mapping[str, t.Any]) -> list[str]:
    """The MachineConfigs of KubeletConfigs that a pool's configuration was rendered from."""
    return [its["name"] for its in configuration.get("source") or () if "-generated-kubelet" in its["name"]]


def _holds(conditions: t.Mapping[str, t.Mapping[str, t.Any]], kind: str) -> bool:
    return conditions.get(kind, {}).get("status") == "True"


def _refused(ours: t.Mapping[str, t.Any] | None) -> str:
    """Why the operator refused this KubeletConfig; its last condition counts, once it has seen the object as it is now."""
    status = (ours or {}).get("status") or {}
    conditions = status.get("conditions") or ()
    if not ours or not conditions or status.get("observedGeneration", 0) < ours["metadata"].get("generation", 0):
        return ""
    last = conditions[-1]
    return str(last.get("message") or "no message") if last.get("type") == "Failure" else ""


def _message(error: t.Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)


@contextmanager
def _resources(params: t.Mapping[str, t.Any]) -> t.Iterator[tuple[t.Any, str]]:
    """(the dynamic client's resources, the server's URL)."""
    with configured(params, "openshift.dynamic", package=PACKAGE) as (configuration, _source):
        from kubernetes.client import ApiClient  # noqa: PLC0415
        from openshift.dynamic import DynamicClient  # noqa: PLC0415

        # Python 3.13 is stricter than Go about CAs of running clusters.
        configuration.disable_strict_ssl_verification = True
        # The client's cache of what the server knows is by default a file of a guessable name in /tmp.
        with ApiClient(configuration) as client, tempfile.TemporaryDirectory() as folder:
            host, cache_file = configuration.host, f"{folder}/discovery.json"
            dynamic = _asked(host, "tell its version", DynamicClient, client=client, cache_file=cache_file)
            yield dynamic.resources, host


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """`kubelet_config` with provider openshift."""
    with _resources(params) as (resources, server):
        return run(PoolConfig(params, resources, server), check_mode)
