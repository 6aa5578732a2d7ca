# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner on a model cluster: any history of sets ends with exactly the last one, whatever was done by others."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.objects import Ref, inventory, prepare, ref_of, remembered
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.planner import (
    Observed,
    deletion_groups,
    plan_absent,
    plan_present,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan
from hypothesis import given
from hypothesis import strategies as st

Object = dict[str, t.Any]
Cluster = dict[Ref, Object]

NAMES = ["a", "b", "c", "d"]
SETS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2"]))
OWN = ref_of(inventory("s", "kube-system", ()))


def objects(wish: dict[str, str]) -> list[Object]:
    wanted = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n}, "data": {"v": v}} for n, v in wish.items()]
    return prepare(wanted, "default")


def observe(cluster: Cluster, wish: dict[str, str]) -> Observed:
    wished = objects(wish)
    refs = [ref_of(o) for o in wished]
    stale = tuple(ref for ref in remembered(cluster.get(OWN)) if ref not in refs and ref in cluster)
    wished.append(inventory("s", "kube-system", refs))
    before = {ref_of(o): cluster[ref_of(o)] for o in wished if ref_of(o) in cluster}
    return Observed(tuple(wished), before, {ref_of(o): o for o in wished}, stale)


def do(cluster: Cluster, plan: Plan, wished: t.Sequence[Object], steps: int | None = None) -> None:
    """Does the plan; killed after so many small steps, the inventory being written first as the module does."""
    small: list[tuple[str, t.Any]] = []
    for step in plan.steps:
        if step.action == "apply":
            own = next((o for o in wished if ref_of(o) == OWN), None)
            union = inventory("s", "kube-system", [*remembered(own), *step.args["keep"]])
            small += [("put", union), *(("put", o) for o in wished if ref_of(o) != OWN)]
        else:
            small += [("delete", ref) for group in step.args["groups"] for ref in group]
            if any(s.action == "apply" for s in plan.steps):
                small.append(("put", next(o for o in wished if ref_of(o) == OWN)))
    for verb, what in small[:steps]:
        if verb == "put":
            cluster[ref_of(what)] = what
        else:
            cluster.pop(what, None)


@given(
    history=st.lists(st.tuples(SETS, st.none() | st.integers(0, 12)), min_size=1),
    last=SETS,
    theirs=st.sets(st.sampled_from(["x", "y"])),
)
def test_any_history_ends_with_the_last_set(
    history: list[tuple[dict[str, str], int | None]], last: dict[str, str], theirs: set[str]
) -> None:
    foreign = {ref_of(o): o for o in objects(dict.fromkeys(theirs, "theirs"))}
    cluster: Cluster = dict(foreign)
    for wish, killed_after in [*history, (last, None)]:
        observed = observe(cluster, wish)
        do(cluster, plan_present(observed, prune=True), observed.wished, killed_after)
    observed = observe(cluster, last)
    again = plan_present(observed, prune=True)
    assert not again.steps
    assert not again.differences
    assert {ref: o for ref, o in cluster.items() if ref != OWN} == {**foreign, **{ref_of(o): o for o in objects(last)}}


@given(wish=SETS, gone=st.sets(st.sampled_from(NAMES)), killed_after=st.integers(0, 6))
def test_absent_takes_everything_also_when_killed(wish: dict[str, str], gone: set[str], killed_after: int) -> None:
    cluster: Cluster = {}
    observed = observe(cluster, wish)
    do(cluster, plan_present(observed, prune=True), observed.wished)
    for name in gone:  # by somebody else
        cluster.pop(Ref("v1", "ConfigMap", "default", name), None)
    for steps in (killed_after, None):
        stale = tuple(ref for ref in remembered(cluster.get(OWN)) if ref in cluster)
        do(cluster, plan_absent(Observed(stale=stale, own=OWN if OWN in cluster else None)), (), steps)
    assert not cluster
    assert not plan_absent(Observed()).changed


@given(wish=SETS, live=SETS)
def test_a_plan_changes_something_exactly_when_something_differs(wish: dict[str, str], live: dict[str, str]) -> None:
    cluster: Cluster = {ref_of(o): o for o in objects(live)}
    plan = plan_present(observe(cluster, wish), prune=True)
    actions = {fact["name"]: fact["action"] for fact in plan.facts["objects"] if fact["name"] in NAMES}
    assert actions == {
        name: "unchanged" if live.get(name) == value else "changed" if name in live else "created" for name, value in wish.items()
    }
    assert {d.subject for d in plan.differences} == {
        *(f"ConfigMap {name}" for name, action in actions.items() if action != "unchanged"),
        "ConfigMap kube-system/gpufleet-set-s",
    }


def test_deletion_order() -> None:
    refs = [
        Ref("v1", "Namespace", "default", "n"),
        Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", "default", "widgets.x.example"),
        Ref("v1", "ServiceAccount", "n", "s"),
        Ref("apps/v1", "Deployment", "n", "controller"),
        Ref("x.example/v1", "Widget", "n", "w"),
        Ref("y.example/v1", "Gadget", "n", "g"),
    ]
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.y.example"},
        "spec": {"group": "y.example", "names": {"kind": "Gadget"}},
    }
    groups = deletion_groups(refs, [definition])
    assert [[ref.name for ref in group] for group in groups] == [["g", "w"], ["widgets.x.example"], ["controller", "s"], ["n"]]
    assert deletion_groups([], []) == ()
