# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Would the pods of a job find nodes, all at once? And if not, why? Pure: no I/O.

The rules are the scheduler's filters for what a job here can ask: node readiness and cordon, taints, node selector, required node
affinity, the requests of the pods that are there, and one worker a node; and the namespace's quotas, which a dry run of one pod
does not add up. Preemption and the cluster autoscaler are not foreseen.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from .._kube.taints import describe, tolerates
from .._kubelet.quantity import quantity
from .._plan import PlanError

Object = t.Mapping[str, t.Any]
Amounts = t.Mapping[str, Fraction]
ONE = Fraction(1)
_PLAIN = ("cpu", "memory", "ephemeral-storage")  # what quotas count without `requests.` too
NAMED = 6  # nodes that are named one by one in a message


@dataclass(frozen=True)
class Want:
    """`count` pods that are alike. `apart`: at most one on a node."""

    what: str
    count: int
    requests: Amounts
    selector: t.Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Object, ...] = ()
    apart: bool = False
    limits: Amounts = field(default_factory=dict)
    terms: tuple[Object, ...] | None = None  # nodeSelectorTerms of a required node affinity, one of which must hold


@dataclass(frozen=True)
class Node:
    """What a node has in all and what is free of it."""

    name: str
    allocatable: Amounts
    free: Amounts
    labels: t.Mapping[str, str]
    taints: tuple[t.Mapping[str, t.Any], ...]
    closed: str = ""  # why nothing is scheduled there

    def refusal(self, want: Want) -> str | None:
        """Why none of these pods could be there, however empty the node was."""
        if self.closed:
            return self.closed
        for key, value in want.selector.items():
            if self.labels.get(key) != value:
                return f"has not the label {key}={value}"
        if want.terms is not None and not any(self._meets(term) for term in want.terms):
            return f"meets no term of the required nodeAffinity ({' or '.join(map(_term, want.terms)) or 'there is none'})"
        for taint in self.taints:
            if taint["effect"] != "PreferNoSchedule" and not any(tolerates(x, taint) for x in want.tolerations):
                return f"has the taint {describe(taint)}, which is not tolerated"
        return None

    def _meets(self, term: Object) -> bool:
        """All that a nodeSelectorTerm says; an empty one holds for no node."""
        labels, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
        named = {"metadata.name": self.name}
        holds = all(_holds(each, self.labels) for each in labels) and all(_holds(each, named) for each in fields)
        return bool(labels or fields) and holds

    def room(self, want: Want, there: Amounts) -> tuple[int, str]:
        """How many of these pods fit into `there`, and what they lack when it is none."""
        refusal = self.refusal(want)
        if refusal:
            return 0, refusal
        count, lacks = want.count, []
        for name, amount in want.requests.items():
            if amount > 0:
                fits = int(there.get(name, Fraction(0)) // amount)
                if fits < 1:
                    lacks.append(
                        f"{name} {written(name, max(there.get(name, Fraction(0)), Fraction(0)))} of "
                        f"{written(name, self.allocatable.get(name, Fraction(0)))} free, asked {written(name, amount)}"
                    )
                count = min(count, fits)
        return (min(count, 1) if want.apart else count), " and ".join(lacks)


def _holds(expression: Object, labels: t.Mapping[str, str]) -> bool:
    """A NodeSelectorRequirement, as apimachinery's labels.Requirement.Matches."""
    operator, values = expression["operator"], list(expression.get("values") or ())
    found = labels.get(expression["key"])
    if operator in ("NotIn", "DoesNotExist"):
        return found is None or (operator == "NotIn" and found not in values)
    if found is None:
        return False
    if operator in ("Gt", "Lt"):
        try:
            have, bound = int(found), int(values[0])
        except (IndexError, ValueError):
            return False
        return have > bound if operator == "Gt" else have < bound
    return operator == "Exists" or found in values


def _term(term: Object) -> str:
    """For people: `gpu In a100,h100 and zone Exists`."""
    listed = [*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ())]
    return " and ".join(f"{e['key']} {e['operator']} {','.join(e.get('values') or ())}".strip() for e in listed) or "an empty one"


def node(obj: Object, pods: t.Iterable[Object]) -> Node:
    """A node of the API with the pods that are on it."""
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    allocatable = {name: quantity(str(value)) for name, value in (status.get("allocatable") or {}).items()}
    free = dict(allocatable)
    for pod in pods:
        for name, amount in {**requests(pod["spec"]), "pods": ONE}.items():
            if name in free:
                free[name] -= amount
    ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "Unknown")
    return Node(
        obj["metadata"]["name"],
        allocatable,
        free,
        obj["metadata"].get("labels") or {},
        tuple(spec.get("taints") or ()),
        "is cordoned" if spec.get("unschedulable") else "" if ready == "True" else "is not ready",
    )


def nodes(objects: t.Iterable[Object]) -> tuple[Node, ...]:
    """From the Nodes and Pods of a cluster."""
    listed = list(objects)
    on: dict[str, list[Object]] = {}
    for pod in listed:
        if pod["kind"] == "Pod" and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            on.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
    return tuple(node(obj, on.get(obj["metadata"]["name"], ())) for obj in listed if obj["kind"] == "Node")


def requests(pod_spec: Object) -> dict[str, Fraction]:
    """What a pod counts for: containers and sidecars together, or the largest init container, and the overhead.

    Raises ValueError for a quantity that is none.
    """
    return _amounts(pod_spec, ("limits", "requests"))


def limits(pod_spec: Object) -> dict[str, Fraction]:
    """The same of what a pod may use at most. Raises ValueError."""
    return _amounts(pod_spec, ("limits",))


def _amounts(pod_spec: Object, kinds: t.Sequence[str]) -> dict[str, Fraction]:
    def of(container: Object) -> dict[str, Fraction]:
        resources = container.get("resources") or {}
        return {name: quantity(str(value)) for kind in kinds for name, value in (resources.get(kind) or {}).items()}

    total: dict[str, Fraction] = {}
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in pod_spec.get("initContainers") or ():
        for name, amount in of(container).items():
            if container.get("restartPolicy") == "Always":
                sidecars[name] = sidecars.get(name, Fraction(0)) + amount
                total[name] = total.get(name, Fraction(0)) + amount
            else:
                peak[name] = max(peak.get(name, Fraction(0)), sidecars.get(name, Fraction(0)) + amount)
    for container in pod_spec.get("containers") or ():
        for name, amount in of(container).items():
            total[name] = total.get(name, Fraction(0)) + amount
    whole = of(pod_spec)  # resources of the pod as such count instead of its containers'
    result = {name: max(total.get(name, Fraction(0)), peak.get(name, Fraction(0))) for name in {**total, **peak}}
    result.update(whole)
    for name, value in (pod_spec.get("overhead") or {}).items():
        result[name] = result.get(name, Fraction(0)) + quantity(str(value))
    return result


def place(workers: Want, launcher: Want | None, nodes: t.Sequence[Node]) -> dict[str, int]:
    """Workers by node, all of them and the launcher at once. Raises PlanError saying why they would stay Pending.

    Exact: workers are alike, so a node's room for them is a number, and the one launcher is tried on each node.
    """
    if launcher and not any(each.room(launcher, each.free)[0] for each in nodes):
        raise PlanError(_refusal(launcher, nodes))
    best: dict[str, int] = {}
    for home in nodes if launcher else (None,):
        if home and launcher and not home.room(launcher, home.free)[0]:
            continue
        rooms = {}
        for each in nodes:
            there = _without(each.free, launcher.requests) if launcher and each is home else each.free
            rooms[each.name] = each.room(workers, there)[0]
        if sum(rooms.values()) >= workers.count:
            return _spread(rooms, workers.count)
        if sum(rooms.values()) > sum(best.values()) or not best:
            best = rooms
    raise PlanError(_refusal(workers, nodes, sum(best.values())))


def _spread(rooms: t.Mapping[str, int], count: int) -> dict[str, int]:
    placed: Counter[str] = Counter()
    while count:
        for name, room in rooms.items():
            if count and placed[name] < room:
                placed[name] += 1
                count -= 1
    return dict(placed)


def over_quota(wants: t.Iterable[Want], quotas: t.Iterable[Object], leaving: t.Iterable[Object] = ()) -> str | None:
    """What a ResourceQuota has not left for all these pods. `leaving`: pods that are removed before.

    Quotas with scopes are left out: they are for some pods only.
    """
    total = _charged((want.count, want.requests, want.limits) for want in wants)
    back = _charged(
        (1, requests(pod["spec"]), limits(pod["spec"]))
        for pod in leaving
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    )
    for quota in quotas:
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        for name, value in (status.get("hard") or spec.get("hard") or {}).items():
            hard, asked = quantity(str(value)), total.get(name, Fraction(0))
            left = hard - quantity(str((status.get("used") or {}).get(name, "0"))) + back.get(name, Fraction(0))
            if asked > max(left, Fraction(0)):
                what = name.partition(".")[2] if name.startswith(("requests.", "limits.")) else name
                free, whole, all_ = (written(what, max(amount, Fraction(0))) for amount in (left, hard, asked))
                ever = "for ever" if asked > hard else "until other pods end"
                return (
                    f"the ResourceQuota {quota['metadata']['name']} of the namespace leaves {name} {free} of {whole}, and the "
                    f"job's pods ask {all_} in all; the job would stay Pending {ever}"
                )
    return None


def _charged(pods: t.Iterable[tuple[int, Amounts, Amounts]]) -> dict[str, Fraction]:
    """What quotas count, under each name that they have for it."""
    total: dict[str, Fraction] = {}
    for count, asked, most in pods:
        names = [("pods", ONE), ("count/pods", ONE)]
        names += [(f"requests.{name}", amount) for name, amount in asked.items() if name != "pods"]
        names += [(name, amount) for name, amount in asked.items() if name in _PLAIN or name.startswith("hugepages-")]
        names += [(f"limits.{name}", amount) for name, amount in most.items()]
        for name, amount in names:
            total[name] = total.get(name, Fraction(0)) + count * amount
    return total


def _without(free: Amounts, taken: Amounts) -> dict[str, Fraction]:
    return {name: amount - taken.get(name, Fraction(0)) for name, amount in free.items()}


def _refusal(want: Want, nodes: t.Sequence[Node], fit: int = 0) -> str:
    empty = sum(each.room(want, each.allocatable)[0] for each in nodes)
    ever = "until other pods end" if empty >= want.count else "for ever: not even on empty nodes would there be room"
    reasons: dict[str, list[str]] = {}
    for each in nodes:
        room, lacks = each.room(want, each.free)
        reason = f"has room for {room}" + (" (one worker a node)" if want.apart else "") if room else lacks
        reasons.setdefault(reason, []).append(each.name)
    told = [
        f"{', '.join(names) if len(names) <= NAMED else f'{len(names)} nodes'}: {reason}" for reason, names in reasons.items()
    ]
    return (
        f"{want.count} {want.what} {'is' if want.count == 1 else 'are'} asked for and the cluster has room for {fit} now; "
        f"the job would stay Pending {ever}. {'; '.join(told) or 'There are no nodes'}"
    )


def written(name: str, amount: Fraction) -> str:
    """An amount as people write it: `1500m` CPUs, `512Mi` of memory, a number of anything else."""
    if name == "cpu":
        return str(int(amount)) if amount.denominator == 1 else f"{int(amount * 1000)}m"
    if name == "memory" or name.startswith("hugepages-") or name.endswith("storage"):
        return f"{int(amount) >> 20}Mi"
    return str(int(amount))
