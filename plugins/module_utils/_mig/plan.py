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
from .solver import Infeasible, Item, Pinned, pack, place


@dataclass(frozen=True)
class Options:
    """`stop`: systemd units that may be stopped; `restart`: units that a killed run left stopped; `cdi`: refresh afterwards.

    `stale`: a killed run changed GPUs and did not refresh. `node`: the Node to cordon and drain, if that is wished; `cordoned`: a
    killed run left it so.
    """

    allow_busy: bool = False
    reset: bool = True
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    cdi: bool = False
    stale: bool = False
    node: str = ""
    cordoned: bool = False


@dataclass(frozen=True)
class Slot:
    """A wished GPU instance where it goes, with the slices of its compute instances (descending)."""

    kind: InstanceProfile
    start: int
    computes: tuple[int, ...]

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
    slots = (Slot(i.kind, i.start, tuple(sorted((c.slices for c in i.computes), reverse=True))) for i in gpu.instances)
    return Target(bool(gpu.mig), tuple(slots))


def target(gpu: Gpu, wish: Wish, options: Options) -> Target:
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
        return _target(gpu, wish, options)
    except PlanError as error:
        raise PlanError(f"{wish.where}: {gpu.label}: {error.message}", **error.facts) from None


def _target(gpu: Gpu, wish: Wish, options: Options) -> Target:
    present = gpu.instances if gpu.mig else ()
    demands: dict[InstanceProfile, list[int]] = {}
    for profile, count in wish.demands:
        demands.setdefault(gpu.board.find(profile), []).extend([profile.c] * count)
    starts = {gpu.board.find(profile): list(slots) for profile, slots in wish.starts}
    kept, fresh = (_items(demands, starts, those) for those in (present, ()))
    pinned = not options.allow_busy
    try:
        try:
            items = kept
            where = place(gpu.board, items, present, pinned)
        except Infeasible:
            if fresh == kept:
                raise
            items = fresh
            where = place(gpu.board, items, present, pinned)
    except Pinned:
        where = place(gpu.board, fresh, present, pinned=False)
        going = [i for i in present if i.busy and not _stays(i, fresh, where)]
        used = "; ".join(_in_use(i) for i in going or present if i.busy)
        raise PlanError(
            f"{used}; the wished layout needs that room. Drain the node, end the workload, choose a layout that keeps it, or say "
            "allow_busy: true"
        ) from None
    return Target(True, tuple(Slot(item.kind, start, item.computes) for item, start in zip(items, where)))


def _items(
    demands: t.Mapping[InstanceProfile, list[int]], starts: t.Mapping[InstanceProfile, list[int]], present: t.Sequence[Instance]
) -> list[Item]:
    items: list[Item] = []
    for kind, sizes in demands.items():
        groups = pack(kind, sizes, present)
        fixed = starts.get(kind, [])
        if len(fixed) > len(groups):
            raise PlanError(f"placement names {len(fixed)} slots for {kind.name}, of which there will be {len(groups)}")
        items.extend(Item(kind, group, fixed[n] if n < len(fixed) else None) for n, group in enumerate(groups))
    return items


def _stays(instance: Instance, items: t.Sequence[Item], where: t.Sequence[int]) -> bool:
    for item, start in zip(items, where):
        if (item.kind.name, start) == (instance.kind.name, instance.start):
            return not Counter(c.slices for c in instance.computes if c.holders) - Counter(item.computes)
    return False


def _in_use(instance: Instance) -> str:
    holders = dict.fromkeys(str(holder) for compute in instance.computes for holder in compute.holders)
    return f"{instance.kind.name} at slot {instance.start} is in use by {', '.join(holders)}"


# ---- steps ----


def instance_steps(gpu: Gpu, wanted: Target) -> tuple[list[Step], list[Step]]:
    """(destroy, create) steps between a GPU whose mode is right and its target; empty when it is there."""
    destroy: list[Step] = []
    create: list[Step] = []
    slots = {(slot.kind.name, slot.start): slot for slot in wanted.slots}
    for instance in gpu.instances:
        slot = slots.pop((instance.kind.name, instance.start), None)
        name = f"{gpu.label} {instance.kind.name}:{instance.start}"
        going, coming = _compute_changes(instance, slot.computes if slot else ())
        args = {"gpu": gpu.index, "instance": instance.id}
        destroy += [Step("destroy compute instance", f"{name} {c.slices}c", {**args, "compute": c.id}) for c in going]
        if slot is None:
            destroy.append(Step("destroy GPU instance", name, args))
        create += [_create_compute(gpu, instance.kind, instance.start, size) for size in coming]
    for slot in sorted(slots.values(), key=lambda slot: slot.start):
        place_args: dict[str, t.Any] = {"gpu": gpu.index, "kind": slot.kind, "start": slot.start}
        create.append(Step("create GPU instance", f"{gpu.label} {slot}", place_args))
        create += [_create_compute(gpu, slot.kind, slot.start, size) for size in slot.computes]
    return destroy, create


def _compute_changes(instance: Instance, wanted: t.Sequence[int]) -> tuple[list[Compute], list[int]]:
    """Compute instances to destroy (idle ones first) and sizes to create (largest first)."""
    left, going = Counter(wanted), []
    for compute in sorted(instance.computes, key=lambda compute: not compute.holders):
        if left[compute.slices]:
            left[compute.slices] -= 1
        else:
            going.append(compute)
    return going, sorted(left.elements(), reverse=True)


def _create_compute(gpu: Gpu, kind: InstanceProfile, start: int, size: int) -> Step:
    args = {"gpu": gpu.index, "kind": kind, "start": start, "slices": size}
    return Step("create compute instance", f"{gpu.label} {kind.name}:{start} {size}c", args)


def work(gpus: t.Sequence[Gpu], targets: t.Mapping[int, Target], reset: bool = True) -> tuple[list[Step], list[int]]:
    """Steps that bring the GPUs to their targets, and the GPUs whose mode can only change at a reboot (no reset allowed)."""
    destroy: list[Step] = []
    modes: list[Step] = []
    resets: list[Gpu] = []
    create: list[Step] = []
    waiting: list[int] = []
    for gpu in gpus:
        wanted = targets[gpu.index]
        if gpu.mig is None:
            continue
        if gpu.pending != wanted.mig:
            word = "on" if wanted.mig else "off"
            modes.append(Step("set MIG mode", f"{gpu.label} {word}", {"gpu": gpu.index, "mode": wanted.mig}))
        if gpu.mig != wanted.mig and gpu.board.reset:
            if not reset:
                waiting.append(gpu.index)
                continue
            resets.append(gpu)
        going, coming = instance_steps(gpu, wanted)
        destroy += going
        create += coming
    if resets:
        ids = {"gpus": {gpu.index: gpu.bus_id for gpu in resets}}
        modes.append(Step("reset", ", ".join(gpu.label for gpu in resets), ids))
    return [*destroy, *modes, *create], waiting


def plan(gpus: t.Sequence[Gpu], wishes: t.Mapping[int, Wish], options: Options) -> Plan:
    """The whole plan. `facts`: before, after (UUIDs of what is not there yet are empty), operations, reboot_required.

    `facts["targets"]` is for verify; the caller takes it out of what it reports.
    """
    chosen = [_without(gpu, lambda holder: holder.unit in options.stop) for gpu in gpus if gpu.index in wishes]
    targets: dict[int, Target] = {}
    leaving: dict[str, None] = {}
    for gpu in chosen:
        try:
            targets[gpu.index] = _allowed(gpu, wishes[gpu.index], options)
        except PlanError:  # only where the pods cannot stay are they asked to leave
            if not options.node:
                raise
            targets[gpu.index] = _allowed(_without(gpu, lambda holder: bool(holder.namespace)), wishes[gpu.index], options)
            leaving.update(dict.fromkeys(leaving_for(gpu, targets[gpu.index])))
    steps, waiting = work(chosen, targets, options.reset)
    differing = [gpu for gpu in chosen if gpu.mig is not None and not targets[gpu.index].reached_by(gpu)]
    units = _units(gpus, {gpu.index for gpu in differing}, options)
    told = [(describe(gpu), describe(_after(gpu, targets.get(gpu.index), gpu.index in waiting))) for gpu in gpus]
    facts = {
        "before": [pair[0] for pair in told],
        "after": [pair[1] for pair in told],
        "operations": _count(steps, chosen),
        "reboot_required": bool(waiting),
        "evicted": list(leaving),
        "targets": targets,
    }
    pictures = ((gpu.label, *map(picture.text, pair)) for gpu, pair in zip(gpus, told))
    differences = tuple(Difference(label, before, after) for label, before, after in pictures if before != after)
    return Plan(differences, tuple(_frame(steps, units, differing, options, leaving)), tuple(reboot_warning(waiting)), facts)


def _frame(
    steps: list[Step], units: list[str], differing: t.Sequence[Gpu], options: Options, leaving: t.Collection[str]
) -> list[Step]:
    """The Node and services around the work, the checkpoint before it, CDI after it."""
    uncordon = [Step("uncordon", options.node)] if options.node else []
    start = [Step("start", unit, {"unit": unit}) for unit in dict.fromkeys([*units, *options.restart])]
    cdi = [Step("refresh", "CDI specification")] if options.cdi else []
    if not steps:
        return [*(cdi if options.stale else ()), *(start if options.restart else ()), *(uncordon if options.cordoned else ())]
    pods = f" of {', '.join(leaving)}" if leaving else ""
    drain = [Step("cordon", options.node), Step("drain", options.node + pods, {"pods": list(leaving)})] if options.node else []
    stop = [Step("stop", unit, {"unit": unit}) for unit in units]
    label = ", ".join(gpu.label for gpu in differing)
    before = Step("checkpoint", label, {"targets": {gpu.index: checkpoint(gpu) for gpu in differing}})
    return [*drain, *stop, before, *steps, *cdi, *start, *uncordon]


def _without(gpu: Gpu, out: t.Callable[[Holder], bool]) -> Gpu:
    """The GPU without holders that will be gone: they make nothing busy."""
    instances = tuple(
        replace(i, computes=tuple(replace(c, holders=tuple(h for h in c.holders if not out(h))) for c in i.computes))
        for i in gpu.instances
    )
    return replace(gpu, instances=instances, holders=tuple(h for h in gpu.holders if not out(h)))


def _allowed(gpu: Gpu, wish: Wish, options: Options) -> Target:
    """The target, if those who hold the GPU allow it."""
    wanted = target(gpu, wish, options)
    if gpu.mig is not None and gpu.mig != wanted.mig:
        _refuse_held(gpu, wish, options)
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


def _refuse_held(gpu: Gpu, wish: Wish, options: Options) -> None:
    """A mode change takes the whole GPU from everyone."""
    if options.allow_busy:
        return
    used = [_in_use(instance) for instance in gpu.instances if instance.busy]
    used += [f"it is held by {', '.join(dict.fromkeys(map(str, gpu.holders)))}"] if gpu.holders else []
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
        going, coming = _compute_changes(here, slot.computes) if here else ([], list(slot.computes))
        stay = tuple(compute for compute in here.computes if compute not in going) if here else ()
        computes = (*stay, *(Compute(-1, size) for size in coming))
        instances.append(Instance(here.id if here else -1, slot.kind, slot.start, computes))
    return replace(gpu, mig=wanted.mig, pending=wanted.mig, instances=tuple(instances))


def _count(steps: t.Iterable[Step], gpus: t.Sequence[Gpu]) -> dict[str, int]:
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
