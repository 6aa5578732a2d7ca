# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Evicts the pods of one node, as their disruption budgets allow, and waits until they are gone.

PRIVATE: this module util is for this collection only and may change without notice.

Needs only what a kubelet may do for its own node: list its pods and create evictions for them.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from .._plan import ApplyError, PlanError
from .client import KubeClient, KubeError, passing

MIRROR = "kubernetes.io/config.mirror"
FIRST_PAUSE = 0.5  # seconds between attempts, doubled up to the longest
LONGEST_PAUSE = 5.0
NAMED = 10  # pods in an error message
PASSING = (429, 500, 502, 503, 504, None)

#: Suboptions that `drain` has in every module, for `Options.of`. Each documents them itself: fragments do not merge that deep.
SPEC: dict[str, dict[str, t.Any]] = {
    "timeout": {"type": "int", "default": 300},
    "grace_period": {"type": "int", "default": -1},
    "delete_emptydir_data": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
}

Pod = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Options:
    """As kubectl drain's; `timeout` in seconds for the whole drain, `grace_period` in seconds, -1: the pod's own.

    `only`: names (`namespace/name`) of the pods that have to go, where the others may stay.
    """

    timeout: int = 300
    grace_period: int = -1
    delete_emptydir_data: bool = False
    force: bool = False
    only: t.Collection[str] | None = None

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> Options:
        """From what SPEC validated."""
        return cls(**{name: params[name] for name in SPEC})


@dataclass
class Outcome:
    """Names are `namespace/name`."""

    evicted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def pods_of(client: KubeClient, node: str) -> list[Pod]:
    """The pods bound to a node. Raises KubeError."""
    return list(client.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}"))


def candidates(pods: t.Iterable[Pod], options: Options) -> tuple[list[Pod], list[Pod]]:
    """(pods to evict, pods that stay: DaemonSets' and static ones, and those that may). Finished pods are neither.

    Raises PlanError naming the pods that would lose data or would not come back, unless the options allow that.
    """
    evicted, kept, problems = [], [], []
    for pod in pods:
        owner = next((owner for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")), None)
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        if options.only is not None and name(pod) not in options.only:
            kept.append(pod)
            continue
        if MIRROR in (pod["metadata"].get("annotations") or {}) or (owner and owner["kind"] == "DaemonSet"):
            kept.append(pod)
            continue
        evicted.append(pod)
        if pod["metadata"].get("deletionTimestamp"):
            continue  # it is going anyway
        if owner is None and not options.force:
            problems.append(f"{name(pod)} has no controller that would make it again (drain.force accepts that)")
        if not options.delete_emptydir_data and any("emptyDir" in volume for volume in pod["spec"].get("volumes") or ()):
            problems.append(f"{name(pod)} keeps data in an emptyDir (drain.delete_emptydir_data accepts losing it)")
    if problems:
        raise PlanError("the node cannot be drained: " + "; ".join(problems[:NAMED]) + _more(problems))
    return evicted, kept


def drain(client: KubeClient, node: str, options: Options, sleep: t.Callable[[float], None] = time.sleep) -> Outcome:
    """Evicts until nothing is left to evict. Raises ApplyError when that takes longer than the limit, naming who blocks it.

    `client` should not retry by itself (429 is a budget's answer, and each pod has its own pause here): what may pass is tried
    again here. Raises KubeError for what does not pass.
    """
    deadline = time.monotonic() + options.timeout
    outcome = Outcome()
    asked: set[str] = set()
    pause = FIRST_PAUSE
    while True:
        try:
            pods = pods_of(client, node)
        except KubeError as error:
            if error.status not in PASSING or not passing(error):
                raise
            if time.monotonic() >= deadline:
                raise ApplyError(
                    f"node {node} could not be drained within {options.timeout} s: its pods cannot be listed: {error.message}"
                ) from None
            pause = min(pause * 2, LONGEST_PAUSE)
            sleep(min(pause, max(0.05, deadline - time.monotonic())))
            continue
        waiting, kept = candidates(pods, options)
        outcome.kept = sorted(map(name, kept))
        if not waiting:
            return outcome
        refused: dict[str, str] = {}
        before = len(asked)
        for pod in waiting:
            uid = pod["metadata"]["uid"]
            if uid in asked or pod["metadata"].get("deletionTimestamp"):
                continue
            try:
                _evict(client, pod, options)
            except KubeError as error:
                if error.status == 404:
                    continue
                # 409: another pod has that name by now; the next list has it.
                if error.status not in (*PASSING, 409) and "NamespaceTerminating" not in _causes(error):
                    raise
                refused[name(pod)] = _why(error)
                continue
            asked.add(uid)
            outcome.evicted.append(name(pod))
        if time.monotonic() >= deadline:
            raise ApplyError(_too_long(node, options, waiting, refused))
        pause = FIRST_PAUSE if len(asked) > before else min(pause * 2, LONGEST_PAUSE)
        sleep(min(pause, max(0.05, deadline - time.monotonic())))


def name(pod: Pod) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _evict(client: KubeClient, pod: Pod, options: Options) -> None:
    metadata = pod["metadata"]
    how: dict[str, t.Any] = {"preconditions": {"uid": metadata["uid"]}}
    if options.grace_period >= 0:
        how["gracePeriodSeconds"] = options.grace_period
    client.request(
        "POST",
        f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction",
        body={
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "deleteOptions": how,
        },
    )


def _causes(error: KubeError) -> dict[str, str]:
    """Message by reason. A namespace that terminates (403) takes no evictions, and deletes its pods soon by itself."""
    causes = (error.body.get("details") or {}).get("causes") or ()
    return {str(cause.get("reason")): str(cause.get("message") or "") for cause in causes}


def _why(error: KubeError) -> str:
    """The budget that says no; the API server names it in the causes of its answer."""
    return _causes(error).get("DisruptionBudget") or str(error.body.get("message") or error.message)


def _too_long(node: str, options: Options, waiting: t.Sequence[Pod], refused: t.Mapping[str, str]) -> str:
    blocked = [f"{pod}: {why}" for pod, why in sorted(refused.items())]
    slow = sorted(name(pod) for pod in waiting if name(pod) not in refused)
    parts = []
    if blocked:
        parts.append("not allowed to be evicted: " + "; ".join(blocked[:NAMED]) + _more(blocked))
    if slow:
        parts.append("still terminating: " + ", ".join(slow[:NAMED]) + _more(slow))
    limit = f"{options.timeout} s ({'; '.join(parts)})"
    return f"node {node} could not be drained within {limit}; raise drain.timeout or help these pods"


def _more(shown: t.Sequence[str]) -> str:
    return f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
