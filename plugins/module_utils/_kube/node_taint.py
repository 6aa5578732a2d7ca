# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The module node_taint: many nodes, one LIST (few nodes by name: one small one each), one guarded PATCH for each that differs.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .._plan import ApplyError, Difference, Plan, PlanError, Resource, Step, run
from . import taints
from .client import AUTH_SPEC, KubeClient, KubeError, connect

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
FEW = 10  # up to so many objects one call each is cheaper than listing all of the cluster
CONFLICTS = 5  # re-plans of one node before it is left to whoever else writes it
NAMED = 5  # of many, the ones that a message names

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        **AUTH_SPEC,
        "nodes": {"type": "list", "elements": "str"},
        "selector": {"type": "str"},
        "taints": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "key": {"type": "str", "required": True, "no_log": False},
                "value": {"type": "raw"},  # as text, `true` would silently become True
                "effect": {"type": "str", "choices": list(taints.EFFECTS)},
            },
        },
        "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        "exclusive": {"type": "bool", "default": False},
        "owned_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "owned_prefixes": {"type": "list", "elements": "str", "default": []},
        "eviction_preview": {"type": "bool", "default": False},
        "refuse_if_evicts": {"type": "bool", "default": False},
        "parallel": {"type": "int", "default": 16},
    },
    "required_one_of": [["nodes", "selector"]],
}


class Node(t.NamedTuple):
    """A node's taints, and its resourceVersion."""

    taints: taints.Taints
    version: str


@dataclass(frozen=True)
class Observed:
    """Each node by its name, the named nodes that do not exist, and pods where they matter."""

    nodes: t.Mapping[str, Node]
    missing: tuple[str, ...]
    pods: tuple[t.Mapping[str, t.Any], ...] = ()


@dataclass
class Outcome:
    """What became of the nodes that differ; filled by many threads, each its own keys."""

    changed: dict[str, tuple[taints.Taints, taints.Taints]] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


class NodeTaints(Resource[Observed]):
    """The taints of a set of nodes. `client` and everything in `params` was validated."""

    def __init__(self, client: KubeClient, params: t.Mapping[str, t.Any], wish: taints.Wish) -> None:
        self.client = client
        self.wish = wish
        self.names: list[str] = list(dict.fromkeys(params["nodes"] or ()))
        self.selector: str | None = params["selector"]
        self.preview: bool = params["eviction_preview"] or params["refuse_if_evicts"]
        self.refuse: bool = params["refuse_if_evicts"]
        self.parallel: int = params["parallel"]
        self.outcome = Outcome()
        self._lost = threading.Event()

    def observe(self) -> Observed:
        found: dict[str, Node] = {}
        if self.selector is not None:
            found.update(_nodes(self.client.list(NODES, labelSelector=self.selector)))
        unseen = [name for name in self.names if name not in found]
        if len(unseen) > FEW:
            wanted = set(unseen)
            found.update(item for item in _nodes(self.client.list(NODES)) if item[0] in wanted)
        else:
            for nodes in self._each(lambda name: list(self.client.list(NODES, fieldSelector=f"metadata.name={name}")), unseen):
                found.update(_nodes(nodes))
        return Observed(found, tuple(name for name in self.names if name not in found), self._pods(found))

    def _pods(self, nodes: t.Mapping[str, Node]) -> tuple[t.Mapping[str, t.Any], ...]:
        """The pods on nodes whose NoExecute taints would grow; none are asked for when there are no such nodes."""
        if not self.preview:
            return ()
        exposed = {name for name, node in nodes.items() if taints.exposes(node.taints, self.wish.applied(node.taints))}
        if len(exposed) > FEW:
            pods: Iterable[t.Mapping[str, t.Any]] = self.client.list(PODS, fieldSelector="spec.nodeName!=")
            return tuple(pod for pod in pods if pod["spec"]["nodeName"] in exposed)
        lists = self._each(lambda name: list(self.client.list(PODS, fieldSelector=f"spec.nodeName={name}")), sorted(exposed))
        return tuple(pod for pods in lists for pod in pods)

    def plan(self, observed: Observed) -> Plan:
        changes = {name: (node.taints, self.wish.applied(node.taints)) for name, node in sorted(observed.nodes.items())}
        differing = {name: change for name, change in changes.items() if change[0] != change[1]}
        evictions = [
            {"node": node, "namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"], "after_seconds": after}
            for pod in observed.pods
            for node in (pod["spec"]["nodeName"],)
            for after in (taints.eviction(pod, *changes[node]),)
            if after is not None
        ]
        facts: dict[str, t.Any] = {
            "nodes": {name: {"before": before, "after": after} for name, (before, after) in differing.items()},
            "unchanged": [name for name in changes if name not in differing],
            "vanished": [],
            "failures": {},
        }
        if self.preview:
            facts["evictions"] = evictions
        if evictions and self.refuse:
            raise PlanError(
                f"refused because of refuse_if_evicts: {_evictions(evictions)}; nothing was changed", evictions=evictions
            )

        warnings = []
        if self.selector is not None and not observed.nodes:
            warnings.append(f"no node matches selector {self.selector!r} on {self.client.server}")
        if self.wish.absent:  # where there is no node, there is no taint
            facts["vanished"] = list(observed.missing)
        else:
            facts["failures"] = {name: f"there is no node {name} on {self.client.server}" for name in observed.missing}
        subject = f"of {len(differing)} nodes" if len(differing) > 1 else f"of node {next(iter(differing), '')}"
        return Plan(
            differences=tuple(
                Difference(f"taints of node {name}", taints.as_text(before), taints.as_text(after))
                for name, (before, after) in differing.items()
            ),
            steps=(Step("set taints", subject, {name: observed.nodes[name] for name in differing}),) if differing else (),
            warnings=tuple(warnings),
            facts=facts,
        )

    def apply(self, step: Step) -> None:
        """Patches all nodes; one that cannot be patched holds up no other. There is no undo: each node stands alone."""
        for _done in self._each(lambda name: self._patch(name, step.args[name]), step.args):
            pass

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        """The server's answer to each patch was the check (see `_patch`); here it becomes the result.

        It can differ from the plan where somebody else wrote in between.
        """
        outcome = self.outcome
        planned = plan.facts["nodes"]
        return {
            "changed": bool(outcome.changed),
            "nodes": {name: dict(zip(("before", "after"), outcome.changed[name])) for name in sorted(outcome.changed)},
            "unchanged": sorted({*plan.facts["unchanged"], *planned} - {*outcome.changed, *outcome.vanished, *outcome.failures}),
            "vanished": sorted({*plan.facts["vanished"], *outcome.vanished}),
            "failures": {**plan.facts["failures"], **outcome.failures},
        }

    def _patch(self, name: str, node: Node) -> None:
        """One node: a patch that only applies while the taints are still the ones it was made from."""
        if self._lost.is_set():
            self.outcome.failures[name] = f"not tried: {self.client.server} no longer answers"
            return
        first, path = node.taints, f"{NODES}/{name}"
        unsure = False
        asked = taints.exposes(first, self.wish.applied(first))  # of these the plan knows that they evict nobody
        try:
            for attempt in range(CONFLICTS):
                after = self.wish.applied(node.taints)
                if after == node.taints:
                    if unsure:  # it was this run, whose answer was lost; otherwise somebody else did it
                        self.outcome.changed[name] = (first, node.taints)
                    return
                content_type, body = _guarded(node, after, by_version=attempt == 0)
                try:
                    stored = _node(self.client.request("PATCH", path, body=body, content_type=content_type)).taints
                except KubeError as error:
                    # A guard that failed is 409 or 422, and so is a content that is refused; only the latter has details.
                    if error.status != 409 and (error.status != 422 or error.body.get("details")):
                        raise
                    unsure = unsure or error.unsure
                    node = self._read_again(name, asked)
                    continue
                if self.wish.applied(stored) != stored:
                    self.outcome.failures[name] = (
                        f"{self.client.server} accepted the taints of node {name} but stored others "
                        f"({', '.join(map(taints.describe, stored)) or 'none'}): look for an admission webhook or policy that "
                        "changes nodes"
                    )
                else:
                    self.outcome.changed[name] = (node.taints, stored)
                return
            self.outcome.failures[name] = (
                f"the taints of node {name} changed {CONFLICTS} times while they were being set, from "
                f"{[taints.describe(taint) for taint in first]} to {[taints.describe(taint) for taint in node.taints]}; "
                "something else keeps writing them"
            )
        except KubeError as error:
            if error.status == 404:
                self.outcome.vanished.append(name)
                if name in self.names and not self.wish.absent:
                    self.outcome.failures[name] = f"node {name} was deleted meanwhile"
                return
            if error.status is None:
                self._lost.set()
            self.outcome.failures[name] = error.message

    def _read_again(self, name: str, asked: taints.Taints) -> Node:
        """A node that somebody else has changed. Raises KubeError, also where refuse_if_evicts forbids to go on."""
        node = _node(self.client.request("GET", f"{NODES}/{name}"))
        new = taints.exposes(node.taints, self.wish.applied(node.taints))
        if self.refuse and any(taint not in asked for taint in new):
            raise KubeError(
                f"refused because of refuse_if_evicts: the taints of node {name} changed meanwhile, to "
                f"{[taints.describe(taint) for taint in node.taints]}, and setting them could now evict pods; run again",
                status=409,
                reason="Conflict",
            )
        return node

    def _each(self, work: t.Callable[[str], t.Any], names: t.Collection[str]) -> t.Iterable[t.Any]:
        if len(names) < 2:
            return [work(name) for name in names]
        pool = ThreadPoolExecutor(min(self.parallel, len(names)))
        try:
            return list(pool.map(work, names))
        finally:  # after an error or an interrupt the calls under way end, no new one starts
            pool.shutdown(cancel_futures=True)


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's entry (see `_module.Entry`). Raises GpufleetError; ApplyError when some nodes failed, others not."""
    for name in params["nodes"] or ():
        if problem := taints.node_name_problem(name):
            raise PlanError(f"nodes: {name!r} {problem}")
    if not 1 <= params["parallel"] <= 100:
        raise PlanError(f"parallel is {params['parallel']}; choose 1 to 100 calls at a time")
    wish = taints.wish(params)
    result = run(NodeTaints(connect(params, connections=params["parallel"]), params, wish), check_mode)
    if failures := result["failures"]:
        shown = list(failures.values())[:NAMED]
        more = f"; and {len(failures) - len(shown)} more, see `failures`" if len(failures) > len(shown) else ""
        done = f"{len(result['nodes'])} nodes {'would change' if check_mode else 'were changed'}"
        done += f", {len(result['unchanged'])} are as wished"
        raise ApplyError(f"{len(failures)} nodes could not be set: {'; '.join(shown)}{more} ({done})", **result)
    return result


def _guarded(node: Node, after: taints.Taints, by_version: bool) -> tuple[str, t.Any]:
    """(media type, patch). The one by version is the cheapest for the server, but any other change of the node defeats it.

    So the other one follows (RFC 6902). A node without taints has no such member, which `test` sees as null; `add` replaces.
    """
    if by_version:
        body = {"metadata": {"resourceVersion": node.version}, "spec": {"taints": list(after)}}
        return "application/strategic-merge-patch+json", body
    test = {"op": "test", "path": "/spec/taints", "value": list(node.taints) or None}
    return "application/json-patch+json", [test, {"op": "add", "path": "/spec/taints", "value": list(after)}]


def _node(item: t.Mapping[str, t.Any]) -> Node:
    return Node(item["spec"].get("taints") or [], item["metadata"]["resourceVersion"])


def _nodes(items: t.Iterable[t.Mapping[str, t.Any]]) -> t.Iterator[tuple[str, Node]]:
    return ((item["metadata"]["name"], _node(item)) for item in items)


def _evictions(evictions: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    shown = ", ".join(
        f"{one['namespace']}/{one['pod']} on {one['node']} "
        + (f"after {one['after_seconds']} s" if one["after_seconds"] else "at once")
        for one in evictions[:NAMED]
    )
    return f"{len(evictions)} pods would be evicted: {shown}{', ...' if len(evictions) > NAMED else ''}"
