# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Is an object ready? The rules of `kubectl rollout status` and `kubectl wait` on one JSON object. Pure: no I/O."""

from __future__ import annotations

import typing as t

from .objects import CRD, Object

#: Kinds whose readiness is waited for without being asked.
AUTOMATIC = ("Deployment", "DaemonSet", "StatefulSet", "Job", CRD, "APIService", "Namespace", "Pod")
ROLLOUTS = ("Deployment", "DaemonSet", "StatefulSet")
#: Kinds that can be waited for on some Nodes only, by the names that kubectl accepts.
ON_NODES = {
    **dict.fromkeys(("node", "nodes", "no"), "Node"),
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
    **dict.fromkeys(("daemonset", "daemonsets", "ds", "daemonset.apps", "daemonsets.apps", "ds.apps"), "DaemonSet"),
}
REVISION = "controller-revision-hash"  # the label of a DaemonSet's pods that says of which template they are


def waiting_for(obj: Object) -> str | None:  # noqa: PLR0911 - one rule for each kind
    """None when the object is ready, else what it still lacks, for people."""
    status = obj.get("status") or {}
    kind = obj.get("kind", "")
    if kind in ROLLOUTS:
        if unseen(obj):
            return "its controller has not seen the change yet"
        return _rollout(kind, obj.get("spec") or {}, status)
    if kind == "Job":
        return hopeless(obj) or wanted_condition(obj, "Complete")
    if kind == "MPIJob":
        return hopeless(obj) or wanted_condition(obj, "Succeeded")
    if kind == "Workflow":
        return hopeless(obj) or wanted_field(obj, "status.phase", "Succeeded")
    if kind == CRD:
        return hopeless(obj) or wanted_condition(obj, "Established")
    if kind == "APIService":
        return wanted_condition(obj, "Available")
    if kind == "Namespace":
        phase = status.get("phase", "unknown")
        return None if phase == "Active" else f"its phase is {phase}"
    if kind == "Pod":
        return None if status.get("phase") == "Succeeded" else wanted_condition(obj, "Ready")
    if kind == "Node":
        return wanted_condition(obj, "Ready")
    return None


def unseen(obj: Object) -> bool:
    """Its controller has not seen the last change of it."""
    return bool((obj.get("status") or {}).get("observedGeneration", 0) < obj["metadata"].get("generation", 0))


def node_of(obj: Object) -> str:
    """The Node that it is, or on which it runs."""
    return str(obj["metadata"]["name"] if obj["kind"] == "Node" else (obj.get("spec") or {}).get("nodeName") or "")


def lacking_on(
    nodes: t.Iterable[str], daemon_set: Object, found: t.Iterable[Object]
) -> t.Iterator[tuple[str, str, Object | None]]:
    """(Node, what is lacking there, the pod) where `daemon_set` has no ready pod of its newest template.

    `found` are pods and ControllerRevisions, also of others.
    """
    uid = daemon_set["metadata"]["uid"]
    own = [o for o in found if any(owner.get("uid") == uid for owner in o["metadata"].get("ownerReferences") or ())]
    revisions = [o for o in own if o["kind"] == "ControllerRevision"]
    newest = max(revisions, key=lambda o: int(o["revision"]))["metadata"]["labels"][REVISION] if revisions else None
    pods: dict[str, list[Object]] = {}
    for obj in own:
        if obj["kind"] == "Pod" and node_of(obj):
            pods.setdefault(node_of(obj), []).append(obj)
    # Which Nodes it is meant for is known to its controller only; but not how many they are
    all_there = len(pods) >= (daemon_set.get("status") or {}).get("desiredNumberScheduled", 0)
    for node in nodes:
        if node not in pods:
            if not all_there:
                yield node, f"there is none on {node}", None
            continue
        lacks = [(pod, _daemon_lacks(pod, newest)) for pod in pods[node]]
        if all(lack for _pod, lack in lacks):
            yield node, str(lacks[-1][1]), lacks[-1][0]


def _daemon_lacks(pod: Object, newest: str | None) -> str | None:
    if newest and (pod["metadata"].get("labels") or {}).get(REVISION) != newest:
        return "it is of an older template, and not replaced yet"
    if pod["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    return wanted_condition(pod, "Ready")


def hopeless(obj: Object) -> str | None:
    """Why waiting cannot help: a job has failed for good, or a definition's names are taken."""
    kind, name, status = obj.get("kind"), "", ""
    if kind == "Workflow":  # Argo's
        result = obj.get("status") or {}
        failed = result.get("phase") in ("Failed", "Error")
        return f"its phase is {result['phase']} ({result.get('message')})" if failed else None
    if kind in ("Job", "MPIJob"):
        name, status = "Failed", "True"
    elif kind == CRD:
        name, status = "NamesAccepted", "False"
    found = condition(obj, name)
    if not found or found.get("status") != status:
        return None
    return f"{name} is {status} ({found.get('reason')}: {found.get('message')})"


def _rollout(kind: str, spec: Object, status: Object) -> str | None:
    if kind == "DaemonSet":
        if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            return None
        wanted = status.get("desiredNumberScheduled", 0)
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted = spec.get("replicas", 1)
        updated = status.get("updatedReplicas", 0)
        available = status.get("availableReplicas", 0)
        if kind == "StatefulSet" and (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            return None
        if updated >= wanted and status.get("replicas", 0) > updated:
            return f"{status['replicas'] - updated} old replicas have not ended yet"
    if updated < wanted:
        return f"{updated} of {wanted} pods are updated"
    if available < wanted:
        return f"{available} of {wanted} pods are available"
    return None


def condition(obj: Object, name: str) -> Object:
    """The condition of that type (any case), or {}."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if str(c.get("type", "")).lower() == name.lower()), {})


def wanted_condition(obj: Object, wish: str) -> str | None:
    """`Ready` or `Ready=False`: None when the condition is so, else what it is."""
    name, _equals, value = wish.partition("=")
    found = condition(obj, name)
    if str(found.get("status", "")).lower() == (value or "True").lower():
        return None
    if not found:
        return f"it has no condition {name} yet"
    reason = ": ".join(str(found[key]) for key in ("reason", "message") if found.get(key))
    return f"{name} is {found.get('status')}" + (f" ({reason})" if reason else "")


def wanted_field(obj: Object, path: str, value: str) -> str | None:
    """`status.phase` is `Bound`: None when so, else what it is. Numbers select list items; booleans are true and false."""
    node: t.Any = obj
    for part in path.strip("{}").lstrip(".").split("."):
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return f"it has no {path} yet"
    text = str(node).lower() if isinstance(node, bool) else str(node)
    return None if text == value else f"{path} is {text}"


def pod_trouble(pod: Object) -> str | None:
    """Why a pod is not ready: the reason of its containers or of the scheduler; None when it is."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded" or condition(pod, "Ready").get("status") == "True":
        return None
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        detail = state.get("waiting") or (
            state.get("terminated") if container.get("restartCount") or not container.get("ready") else None
        )
        if detail and detail.get("reason") not in (None, "PodInitializing", "Completed"):
            text = f"container {container.get('name')} ({container.get('image')}): {detail['reason']}"
            return text + (f": {detail['message']}" if detail.get("message") else "")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"not scheduled: {scheduled.get('message') or scheduled.get('reason')}"
    containers = status.get("containerStatuses") or []
    unready = [c.get("name") for c in containers if not c.get("ready")]
    phase = status.get("phase", "unknown phase")
    why = "its node, or a readiness gate" if containers else "no container has started"
    return f"{phase}, not ready: {', '.join(map(str, unready)) or why}"
