# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The planner of `kube_apply`. Pure: no I/O."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._plan import Difference, Plan, Step
from .objects import CRD, Object, Ref, defined_kinds, masked, narrowed, ref_of, shown, wished_part

#: Namespaces that the API server makes itself; they are never deleted.
ETERNAL = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass(frozen=True)
class Observed:
    """`before`: what is there; `after`: the same objects as the API server says they would be after an apply.

    An object in neither is not there. One in `before` only is right as it is or not wished (`state: absent`).
    `stale`: what the inventory remembers, is there, and is no longer wished, in the order in which it was applied.
    """

    wished: tuple[Object, ...] = ()
    before: t.Mapping[Ref, Object] = field(default_factory=dict)
    after: t.Mapping[Ref, Object] = field(default_factory=dict)
    stale: tuple[Ref, ...] = ()
    own: Ref | None = None  # for `state: absent`: the inventory, if there is one
    warnings: tuple[str, ...] = ()


def plan_present(observed: Observed, prune: bool) -> Plan:
    """Apply everything when anything differs (so that every field is owned), then delete what is stale."""
    differences: list[Difference] = []
    objects: list[dict[str, t.Any]] = []
    for obj in observed.wished:
        ref = ref_of(obj)
        before = observed.before.get(ref)
        if before is None:
            action = "created"
            _hidden, after = masked(None, observed.after.get(ref) or obj)
            differences.append(Difference(str(ref), None, shown(after and wished_part(after))))
        else:
            left, right = wished_part(before), wished_part(observed.after.get(ref) or before)
            action = "unchanged" if left == right else "changed"
            if left != right:
                small_left, small_right = narrowed(*masked(left, right))
                differences.append(Difference(str(ref), shown(small_left), shown(small_right)))
        objects.append(_fact(ref, action))
    stale = [ref for ref in observed.stale if not _eternal(ref)] if prune else []
    for ref in stale:
        differences.append(Difference(str(ref), shown({"name": ref.name}), None))
        objects.append(_fact(ref, "deleted"))

    steps = []
    acted = [o for o in objects if o["action"] in ("created", "changed")]
    if acted or stale:
        subject = ", ".join(f"{o['kind']} {o['name']}" for o in acted[:10]) + (
            f" and {len(acted) - 10} more" if len(acted) > 10 else ""
        )
        if acted:
            steps.append(Step("apply", subject, {"keep": tuple(stale)}))
        if stale:
            steps.append(Step("delete", ", ".join(map(str, stale)), {"groups": deletion_groups(stale, observed.wished)}))
    return Plan(tuple(differences), tuple(steps), observed.warnings, facts={"objects": objects})


def plan_absent(observed: Observed) -> Plan:
    """Delete what was applied, in reverse order."""
    warnings = list(observed.warnings)
    refs = []
    for ref in observed.stale:
        if _eternal(ref):
            warnings.append(f"{ref} belongs to the API server and stays")
        else:
            refs.append(ref)
    groups = deletion_groups(refs, observed.wished)
    if observed.own:  # last, so that a killed run still knows the rest
        refs.append(observed.own)
        groups += ((observed.own,),)
    steps = [Step("delete", ", ".join(map(str, refs)), {"groups": groups})] if refs else []
    return Plan(
        tuple(Difference(str(ref), shown({"name": ref.name}), None) for ref in refs),
        tuple(steps),
        tuple(warnings),
        facts={"objects": [_fact(ref, "deleted") for ref in refs]},
    )


def deletion_groups(refs: t.Sequence[Ref], wished: t.Sequence[Object]) -> tuple[tuple[Ref, ...], ...]:
    """What is deleted together, group by group, each in reverse order of application.

    Custom resources go while their controller still runs (it removes their finalizers), then their definitions, then the
    controllers and the rest, then namespaces.
    """
    kinds = defined_kinds(wished)
    crds = {ref.name for ref in refs if ref.kind == CRD}

    def rank(ref: Ref) -> int:
        if (ref.group, ref.kind) in kinds or (ref.group and any(name.endswith("." + ref.group) for name in crds)):
            return 0
        return {CRD: 1, "Namespace": 3}.get(ref.kind, 2)

    groups: dict[int, list[Ref]] = {}
    for ref in reversed(refs):
        groups.setdefault(rank(ref), []).append(ref)
    return tuple(tuple(groups[number]) for number in sorted(groups))


def _eternal(ref: Ref) -> bool:
    return ref.kind == "Namespace" and ref.name in ETERNAL


def _fact(ref: Ref, action: str) -> dict[str, t.Any]:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "action": action}
