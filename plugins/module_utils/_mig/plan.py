# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Observed GPUs and a wish -> what each GPU shall be, and the steps to it. Pure.

PRIVATE: this module util is for this collection only and may change without notice.

Order: the Node is cordoned and drained of the pods that hold what goes, if that is wished; listed services that hold a GPU
are stopped; then, over all GPUs, everything that goes is destroyed, modes are set, the GPUs that need it are reset, and what is
new is created at its start slot; then CDI is refreshed, the services are started and the Node is uncordoned. Whatever is created
never overlaps what stays, so each creation fits.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, replace

from .._plan import Difference, Plan, PlanError, Step
from . import picture
from .config import Wish
from .layout import Compute, Gpu, Holder, Instance, InstanceProfile, describe
from .solver import Firm, Group, Infeasible, Item, Pinned, arrange, held, nothing, pack, place, weigh


@dataclass(frozen=True)
class Options:
    """`stop`: systemd units that may be stopped; `restart`: units that a killed run left stopped; `cdi`: refresh afterwards.

    `stale`: a killed run changed GPUs and did not refresh. `node`: the Node to cordon and drain, if that is wished; `cordoned`: a
    killed run left it so. `refused`: bus ids of GPUs that this machine was found unable to reset.
    """

    allow_busy: bool = False
    reset: bool = True
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    cdi: bool = False
    stale: bool = False
    node: str = ""
    cordoned: bool = False
    refused: frozenset[str] = frozenset()

    def can_reset(self, gpu: Gpu) -> bool:
        """Else a mode change that needs a reset waits for a reboot."""
        return self.reset and gpu.bus_id not in self.refused


#: Who may not be asked to leave: nobody where busy instances may go, else everyone, or all but pods where a drain comes first.
Stays = t.Callable[[Holder], bool]


@dataclass(frozen=True)
class Slot:
    """A wished GPU instance where it goes, and its compute instances: their slices (descending), and where each starts inside."""

    kind: InstanceProfile
    start: int
    computes: tuple[int, ...]
    inside: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.start}"


@dataclass(frozen=True)
class Target:
    """What a GPU shall be."""

    mig: bool
    slots: tuple[Slot, ...] = ()

    def reached_by(self, gpu: Gpu) -> bool:
        wanted = tuple(sorted((slot.start, slot.kind.name, tuple(sorted(slot.computes))) for slot in self.slots))
        return gpu.shape() == (self.mig, self.mig, wanted)


def checkpoint(gpu: Gpu) -> Target:
    """The target that brings a GPU back to what it is now."""
    slots = []
    for instance in gpu.instances:
        computes = sorted(((c.slices, c.start) for c in instance.computes), reverse=True)
        slots.append(Slot(instance.kind, instance.start, tuple(c for c, _at in computes), tuple(at for _c, at in computes)))
    return Target(bool(gpu.mig), tuple(slots))


def target(gpu: Gpu, wish: Wish, options: Options, stays: Stays | None = None) -> Target:
    """Where everything goes on one GPU. Raises PlanError: profiles unknown, not fitting together, or something in use."""
    if not wish.enabled:
        return Target(False)
    if gpu.mig is None:
        raise PlanError(f"{wish.where}: {gpu.label} ({gpu.name}) cannot do MIG; leave it out with `devices` or a device-filter")
    for profile, _count in wish.demands:
        try:
            gpu.board.find(profile)
        except PlanError as error:
            raise PlanError(f"{wish.places.get(profile, wish.where)}: {gpu.label}: {error.message}") from None
    try:
        return _target(gpu, wish, _nobody if options.allow_busy else stays or _everybody)
    except PlanError as error:
        raise PlanError(f"{wish.where}: {gpu.label}: {error.message}", **error.facts) from None


def _nobody(_holder: Holder) -> bool:
    return False


def _everybody(_holder: Holder) -> bool:
    return True


def _no_pod(holder: Holder) -> bool:
    return not holder.namespace


def _target(gpu: Gpu, wish: Wish, stays: Stays) -> Target:
    present = gpu.instances if gpu.mig else ()

    def firm(compute: Compute) -> bool:
        return any(map(stays, compute.holders))

    def slot(item: Item, start: int) -> Slot:
        here = next((i for i in present if (i.kind, i.start) == (item.kind, start)), None)
        inside = arrange(item.kind, item.computes, here, firm) or (0, [])  # never: `weigh` has asked before
        return Slot(item.kind, start, item.computes, tuple(inside[1]))

    best: tuple[int, Target] | None = None
    pinned: list[Item] | None = None
    errors: list[Infeasible] = []
    for items in _ways(gpu, wish, present, firm):
        try:
            worth, where = weigh(gpu.board, items, present, firm)
        except Pinned:
            pinned = pinned or items
        except Infeasible as error:
            errors.append(error)
        else:
            if best is None or worth > best[0]:
                best = worth, Target(True, tuple(map(slot, items, where)))
    if best is not None:
        return best[1]
    if pinned is None:
        raise errors[-1]
    using = [instance for instance in present if any(map(firm, instance.computes))]
    wanted = Target(True, tuple(map(slot, pinned, place(gpu.board, pinned, present, nothing))))
    going = {step.args["instance"] for step in instance_steps(gpu, wanted, firm)[0]}
    used = "; ".join(_in_use(i, stays) for i in [i for i in using if i.id in going] or using)
    raise PlanError(
        f"{used}; the wished layout needs that room. Drain the node, end the workload, choose a layout that keeps it, or say "
        "allow_busy: true"
    )


def _ways(gpu: Gpu, wish: Wish, present: t.Sequence[Instance], firm: Firm) -> t.Iterator[list[Item]]:
    """Compute instances can share GPU instances in several ways: first the one that takes least from whoever uses them."""
    demands: dict[InstanceProfile, list[int]] = {}
    for profile, count in wish.demands:
        demands.setdefault(gpu.board.find(profile), []).extend([profile.c] * count)
    starts = {gpu.board.find(profile): list(slots) for profile, slots in wish.starts}
    seen: list[list[Item]] = []
    for those, keep in ((present, held), (present, firm), (present, nothing), ((), nothing)):
        groups = {kind: pack(kind, sizes, those, keep) for kind, sizes in demands.items()}
        short = next((kind for kind in groups if len(starts.get(kind, ())) > len(groups[kind])), None)
        if short is not None and not seen and not those:
            names = f"placement names {len(starts[short])} slots for {short.name}"
            raise PlanError(f"{names}, of which there will be {len(groups[short])}")
        if short is not None:
            continue
        items = [item for kind, found in groups.items() for item in _items(kind, found, starts.get(kind, []))]
        if items not in seen:
            seen.append(items)
            yield items


def _items(kind: InstanceProfile, groups: t.Sequence[Group], starts: t.Sequence[int]) -> t.Iterator[Item]:
    """With fixed starts: those that have an instance there first, then those that have none, then whoever is left."""
    free, given = list(starts), dict.fromkeys(range(len(groups)), t.cast("int | None", None))
    for n, group in enumerate(groups):
        if group.here is not None and group.here.start in free:
            free.remove(group.here.start)
            given[n] = group.here.start
    left = sorted((n for n in given if given[n] is None), key=lambda n: groups[n].here is not None)
    given.update(zip(left, free))
    yield from (Item(kind, group.computes, given[n]) for n, group in enumerate(groups))


def _in_use(instance: Instance, stays: Stays) -> str:
    holders = dict.fromkeys(str(holder) for compute in instance.computes for holder in compute.holders if stays(holder))
    return f"{instance.kind.name} at slot {instance.start} is in use by {', '.join(holders)}"


# ---- steps ----


def instance_steps(gpu: Gpu, wanted: Target, which: Firm = lambda _compute: True) -> tuple[list[Step], list[Step]]:
    """(destroy, create) steps between a GPU whose mode is right and its target; empty when it is there.

    `which`: compute instances to name, of those that go.
    """
    destroy: list[Step] = []
    create: list[Step] = []
    slots = {(slot.kind.name, slot.start): slot for slot in wanted.slots}
    for instance in gpu.instances:
        slot = slots.pop((instance.kind.name, instance.start), None)
        name = f"{gpu.label} {instance.kind.name}:{instance.start}"
        stay, coming = _inside(instance, slot)
        args = {"gpu": gpu.index, "instance": instance.id}
        going = [c for c in instance.computes if c not in stay and which(c)]
        destroy += [Step("destroy compute instance", f"{name} {c.slices}c", {**args, "compute": c.id}) for c in going]
        if slot is None:
            destroy.append(Step("destroy GPU instance", name, args))
        create += [_create_compute(gpu, instance.kind, instance.start, size, at) for size, at in coming]
    for slot in sorted(slots.values(), key=lambda slot: slot.start):
        place_args: dict[str, t.Any] = {"gpu": gpu.index, "kind": slot.kind, "start": slot.start}
        create.append(Step("create GPU instance", f"{gpu.label} {slot}", place_args))
        create += [_create_compute(gpu, slot.kind, slot.start, size, at) for size, at in zip(slot.computes, slot.inside)]
    return destroy, create


def _inside(instance: Instance, slot: Slot | None) -> tuple[tuple[Compute, ...], list[tuple[int, int]]]:
    """Compute instances that stay, and (slices, start) of those to create, largest first."""
    wanted = list(zip(slot.computes, slot.inside)) if slot else []
    stay = tuple(compute for compute in instance.computes if (compute.slices, compute.start) in wanted)
    there = {(compute.slices, compute.start) for compute in stay}
    return stay, [one for one in wanted if one not in there]


def _create_compute(gpu: Gpu, kind: InstanceProfile, start: int, size: int, inside: int) -> Step:
    args = {"gpu": gpu.index, "kind": kind, "start": start, "slices": size, "inside": inside}
    return Step("create compute instance", f"{gpu.label} {kind.name}:{start} {size}c", args)


def work(gpus: t.Sequence[Gpu], targets: t.Mapping[int, Target], waiting: t.Collection[int] = ()) -> list[Step]:
    """Steps that bring the GPUs to their targets; those that wait for a reboot (see `waits`) only get the mode it will bring."""
    destroy: list[Step] = []
    modes: list[Step] = []
    resets: list[Gpu] = []
    create: list[Step] = []
    for gpu in gpus:
        wanted = targets[gpu.index]
        if gpu.mig is None:
            continue
        if gpu.pending != wanted.mig:
            word = "on" if wanted.mig else "off"
            modes.append(Step("set MIG mode", f"{gpu.label} {word}", {"gpu": gpu.index, "mode": wanted.mig}))
        if gpu.index in waiting:
            continue
        if gpu.mig != wanted.mig and gpu.board.reset:
            resets.append(gpu)
        going, coming = instance_steps(gpu, wanted)
        destroy += going
        create += coming
    if resets:
        ids = {"gpus": {gpu.index: gpu.bus_id for gpu in resets}}
        modes.append(Step("reset", ", ".join(gpu.label for gpu in resets), ids))
    return [*destroy, *modes, *create]


def waits(gpu: Gpu, wanted: Target, options: Options) -> bool:
    """Can its mode change only at a reboot? Until then it is left as it is, and nobody must make room."""
    return gpu.mig is not None and gpu.mig != wanted.mig and gpu.board.reset and not options.can_reset(gpu)


def plan(gpus: t.Sequence[Gpu], wishes: t.Mapping[int, Wish], options: Options) -> Plan:
    """The whole plan. `facts`: before, after (UUIDs of what is not there yet are empty), operations, reboot_required.

    `facts["targets"]` is for verify; the caller takes it out of what it reports.
    """
    chosen = [_without(gpu, lambda holder: holder.unit in options.stop) for gpu in gpus if gpu.index in wishes]
    targets: dict[int, Target] = {}
    leaving: dict[str, None] = {}
    for gpu in chosen:
        try:
            wanted = _allowed(gpu, wishes[gpu.index], options, _everybody)
        except PlanError:  # only where the pods cannot stay are they asked to leave
            if not options.node:
                raise
            wanted = _allowed(gpu, wishes[gpu.index], options, _no_pod)
        targets[gpu.index] = wanted
        if options.node and not waits(gpu, wanted, options):
            leaving.update(dict.fromkeys(leaving_for(gpu, wanted)))
    waiting = [gpu.index for gpu in chosen if waits(gpu, targets[gpu.index], options)]
    steps = work(chosen, targets, waiting)
    differing = [gpu for gpu in chosen if gpu.mig is not None and not targets[gpu.index].reached_by(gpu)]
    taken = [gpu for gpu in differing if gpu.index not in waiting]
    units = _units(gpus, {gpu.index for gpu in taken}, options)
    told = [(describe(gpu), describe(_after(gpu, targets.get(gpu.index), gpu.index in waiting))) for gpu in gpus]
    before, after = ([pair[n] for pair in told] for n in (0, 1))
    facts = {
        "before": before,
        "after": after,
        "operations": operations(steps, chosen),
        "reboot_required": bool(waiting),
        "evicted": list(leaving),
        "targets": targets,
    }
    label = ", ".join(gpu.label for gpu in differing)
    steps = [Step("checkpoint", label, {"targets": {gpu.index: checkpoint(gpu) for gpu in differing}}), *steps] if steps else []
    framed = _frame(steps, units, options, leaving) if taken and steps else [*steps, *_left_over(options)]
    return Plan(differences(before, after), tuple(framed), tuple(reboot_warning(waiting)), facts)


def differences(before: t.Sequence[dict[str, t.Any]], after: t.Sequence[dict[str, t.Any]]) -> tuple[Difference, ...]:
    """Pictures of the GPUs (as `describe` tells of them) that look otherwise afterwards."""
    pictures = ((f"GPU {old['index']}", picture.text(old), picture.text(new)) for old, new in zip(before, after))
    return tuple(Difference(label, old, new) for label, old, new in pictures if old != new)


def _frame(steps: list[Step], units: list[str], options: Options, leaving: t.Collection[str]) -> list[Step]:
    """The Node and services around the work, CDI after it."""
    pods = f" of {', '.join(leaving)}" if leaving else ""
    drain = [Step("cordon", options.node), Step("drain", options.node + pods, {"pods": list(leaving)})] if options.node else []
    stop = [Step("stop", unit, {"unit": unit}) for unit in units]
    return [*drain, *stop, *steps, *_left_over(replace(options, stale=True, cordoned=True), units)]


def _left_over(options: Options, units: t.Sequence[str] = ()) -> list[Step]:
    """What a run must not leave: this one with `units` stopped, or an earlier one that was killed."""
    cdi = [Step("refresh", "CDI specification")] if options.cdi and options.stale else []
    start = [Step("start", unit, {"unit": unit}) for unit in dict.fromkeys([*units, *options.restart])]
    return [*cdi, *start, *([Step("uncordon", options.node)] if options.node and options.cordoned else [])]


def _without(gpu: Gpu, out: t.Callable[[Holder], bool]) -> Gpu:
    """The GPU without holders that will be gone: they make nothing busy."""
    instances = tuple(
        replace(i, computes=tuple(replace(c, holders=tuple(h for h in c.holders if not out(h))) for c in i.computes))
        for i in gpu.instances
    )
    return replace(gpu, instances=instances, holders=tuple(h for h in gpu.holders if not out(h)))


def _allowed(gpu: Gpu, wish: Wish, options: Options, stays: Stays) -> Target:
    """The target, if those who hold the GPU allow it."""
    wanted = target(gpu, wish, options, stays)
    if gpu.mig is not None and gpu.mig != wanted.mig and not waits(gpu, wanted, options):
        _refuse_held(gpu, wish, options, stays)
    return wanted


def leaving_for(gpu: Gpu, wanted: Target) -> t.Iterator[str]:
    """The pods (`namespace/name`) that hold what goes."""
    whole = gpu.mig != wanted.mig
    going = {(step.args["instance"], step.args.get("compute")) for step in instance_steps(gpu, wanted)[0]}
    holders = [h for i in gpu.instances for c in i.computes if whole or (i.id, c.id) in going for h in c.holders]
    yield from (f"{h.namespace}/{h.pod}" for h in (*holders, *(gpu.holders if whole else ())) if h.namespace)


def _units(gpus: t.Sequence[Gpu], indexes: t.Container[int], options: Options) -> list[str]:
    holding = {
        holder.unit
        for gpu in gpus
        if gpu.index in indexes
        for holder in (*gpu.holders, *(h for i in gpu.instances for c in i.computes for h in c.holders))
    }
    return [unit for unit in options.stop if unit in holding]


def _refuse_held(gpu: Gpu, wish: Wish, options: Options, stays: Stays) -> None:
    """A mode change takes the whole GPU from everyone."""
    if options.allow_busy:
        return
    busy = (i for i in gpu.instances if any(stays(holder) for compute in i.computes for holder in compute.holders))
    used = [_in_use(instance, stays) for instance in busy]
    holders = dict.fromkeys(str(holder) for holder in gpu.holders if stays(holder))
    used += [f"it is held by {', '.join(holders)}"] if holders else []
    if used:
        raise PlanError(
            f"{wish.where}: {gpu.label} must change its MIG mode, but {'; '.join(used)}. Drain the node or end the holder, list "
            "its systemd unit in stop_services, or say allow_busy: true"
        )


def _after(gpu: Gpu, wanted: Target | None, waiting: bool) -> Gpu:
    """The GPU as the plan will leave it; new instances have id -1 and no UUID."""
    if wanted is None or gpu.mig is None:
        return gpu
    if waiting:
        return replace(gpu, pending=wanted.mig)
    present = {(instance.kind.name, instance.start): instance for instance in gpu.instances if gpu.mig == wanted.mig}
    instances = []
    for slot in sorted(wanted.slots, key=lambda slot: slot.start):
        here = present.get((slot.kind.name, slot.start))
        whole = here or Instance(-1, slot.kind, slot.start)
        stay, coming = _inside(whole, slot)
        instances.append(replace(whole, computes=(*stay, *(Compute(-1, size, start=at) for size, at in coming))))
    return replace(gpu, mig=wanted.mig, pending=wanted.mig, instances=tuple(instances))


def operations(steps: t.Iterable[Step], gpus: t.Sequence[Gpu]) -> dict[str, int]:
    """How many of each sort the steps are; `gpus`: those before them that are compared."""
    verbs = Counter(step.action for step in steps)
    destroyed = verbs["destroy GPU instance"]
    return {
        "destroyed": destroyed,
        "created": verbs["create GPU instance"],
        "kept": sum(len(gpu.instances) for gpu in gpus) - destroyed,
        "compute_destroyed": verbs["destroy compute instance"],
        "compute_created": verbs["create compute instance"],
        "mode_changes": verbs["set MIG mode"],
        "resets": verbs["reset"],
    }


def reboot_warning(waiting: t.Iterable[int]) -> list[str]:
    """What to tell about GPUs whose mode changes only at a reboot."""
    numbers = ", ".join(map(str, sorted(waiting)))
    return [f"GPU {numbers}: the MIG mode changes at the next reboot; run again after it"] if numbers else []
