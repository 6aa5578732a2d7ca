# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner, its steps executed on a model GPU that refuses what hardware refuses."""

from __future__ import annotations

import itertools
import typing as t
from collections import Counter
from dataclasses import replace

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.config import Wish
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import (
    COMPUTE_SIZES,
    Board,
    Compute,
    Gpu,
    Holder,
    Instance,
    InstanceProfile,
    Profile,
    compute_starts,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, checkpoint, plan, target, work
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.solver import Infeasible, Item, place
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError, Step
from hypothesis import given
from hypothesis import strategies as st

A100 = known.KNOWN["A100-40GB"][0]
H100 = known.KNOWN["H100-80GB"][0]
POD = Holder(pid=77, process="python3", pod="train-0", namespace="ml")


def gpu(*instances: Instance, board: Board = A100, mig: bool | None = True, pending: bool | None = None, **more: t.Any) -> Gpu:
    return Gpu(
        index=more.pop("index", 0), uuid="GPU-0", bus_id="0000:07:00.0", pci_id=0x20B010DE, name="A100", board=board, mig=mig,
        pending=mig if pending is None else pending, instances=instances, **more,
    )  # fmt: skip


def instance(name: str, start: int, *computes: int, busy: bool = False, board: Board = A100) -> Instance:
    kind = board.find(Profile.parse(name))
    holders = (POD,) if busy else ()
    sizes = computes or (kind.profile.g,)
    return Instance(
        start, kind, start, tuple(Compute(n, c, f"MIG-{start}-{n}", holders, sum(sizes[:n])) for n, c in enumerate(sizes))
    )


def wish(**counts: int) -> Wish:
    """`wish(**{"1g.5gb": 2})`: MIG on with these."""
    return Wish(True, tuple(sorted((Profile.parse(name), count) for name, count in counts.items())), (), "layout[0]")


IDS = itertools.count(100)


class Model:
    """One GPU that does steps and refuses what hardware refuses."""

    def __init__(self, before: Gpu) -> None:
        self.gpu = before
        self.destroyed: list[Instance | Compute] = []

    def do(self, step: Step) -> None:
        args = step.args
        if step.action == "set MIG mode":
            self.gpu = replace(self.gpu, pending=args["mode"])
            if not self.gpu.board.reset:
                assert not self.gpu.instances
                self.gpu = replace(self.gpu, mig=args["mode"])
        elif step.action == "reset":
            assert not any(i.busy for i in self.gpu.instances)
            self.gpu = replace(self.gpu, mig=self.gpu.pending, instances=())
        elif step.action == "destroy compute instance":
            self._change(args["instance"], lambda old: tuple(c for c in old if not self._gone(c, args["compute"])))
        elif step.action == "destroy GPU instance":
            (going,) = (i for i in self.gpu.instances if i.id == args["instance"])
            assert not going.computes
            self.destroyed.append(going)
            self._set(tuple(i for i in self.gpu.instances if i is not going))
        elif step.action == "create GPU instance":
            assert self.gpu.mig and args["start"] in args["kind"].starts
            self._set((*self.gpu.instances, Instance(next(IDS), args["kind"], args["start"])))
        elif step.action == "create compute instance":
            (home,) = (i for i in self.gpu.instances if (i.kind, i.start) == (args["kind"], args["start"]))
            assert args["slices"] in COMPUTE_SIZES[home.kind.profile.g]
            assert args["inside"] in compute_starts(home.kind.profile.g, args["slices"])
            self._change(home.id, lambda old: (*old, Compute(next(IDS), args["slices"], start=args["inside"])))

    def _gone(self, compute: Compute, number: int) -> bool:
        if compute.id == number:
            self.destroyed.append(compute)
        return compute.id == number

    def _change(self, number: int, change: t.Callable[[tuple[Compute, ...]], tuple[Compute, ...]]) -> None:
        found = [i for i in self.gpu.instances if i.id == number]
        assert len(found) == 1
        changed = replace(found[0], computes=change(found[0].computes))
        taken = [at for c in changed.computes for at in range(c.start, c.start + c.slices)]
        assert len(taken) == len(set(taken)) and max(taken, default=0) < changed.kind.profile.g, "compute instances overlap"
        self._set(tuple(changed if i is found[0] else i for i in self.gpu.instances))

    def _set(self, instances: tuple[Instance, ...]) -> None:
        masks = [i.kind.mask(i.start) for i in instances]
        assert all(not a & b for a, b in itertools.combinations(masks, 2)), "instances overlap"
        assert sum(i.kind.profile.g for i in instances) <= self.gpu.board.slices
        for number, total in enumerate(self.gpu.board.engines):
            assert sum(i.kind.engines[number] for i in instances) <= total
        self.gpu = replace(self.gpu, instances=instances)


def run(before: Gpu, wanted: Wish, options: Options = Options()) -> Model:  # noqa: B008 frozen
    model = Model(before)
    for step in plan([before], {0: wanted}, options).steps:
        model.do(step)
    return model


BOARDS = [known.KNOWN[name][0] for name in ("A30", "A100-40GB", "H100-80GB", "RTX-PRO-6000")]


@st.composite
def layouts(draw: st.DrawFn, board: Board) -> list[tuple[InstanceProfile, tuple[int, ...]]]:
    """Instances that fit together, with compute instances that fit into them."""
    chosen: list[tuple[InstanceProfile, tuple[int, ...]]] = []
    for kind in draw(st.lists(st.sampled_from(board.profiles), max_size=7)):
        try:
            place(board, [Item(k, c) for k, c in [*chosen, (kind, (kind.profile.g,))]])
        except Infeasible:
            continue
        g = kind.profile.g
        sizes: list[int] = [g]
        if draw(st.booleans()):
            sizes = draw(st.lists(st.sampled_from(COMPUTE_SIZES[g]), min_size=1, max_size=g))
            while sum(sizes) > g:
                sizes.pop()
        chosen.append((kind, tuple(sizes or [1])))
    return chosen


@st.composite
def cases(draw: st.DrawFn) -> tuple[Gpu, Wish]:
    board = draw(st.sampled_from(BOARDS))
    mig = draw(st.booleans())
    before = draw(layouts(board)) if mig else []
    starts = place(board, [Item(kind, sizes) for kind, sizes in before])
    instances = []
    for n, ((kind, sizes), start) in enumerate(zip(before, starts)):
        computes: list[Compute] = []
        for c, size in enumerate(sizes):
            room = [at for at in compute_starts(kind.profile.g, size) if not slices(computes) & set(range(at, at + size))]
            if room:
                users = (POD,) if draw(st.integers(0, 5)) == 0 else ()
                computes.append(Compute(c, size, f"u{n}{c}", users, draw(st.sampled_from(room))))
        instances.append(Instance(n, kind, start, tuple(computes)))
    demands: Counter[Profile] = Counter()
    for kind, sizes in draw(layouts(board)):
        demands.update(replace(kind.profile, c=size) for size in sizes)
    wanted = Wish(draw(st.integers(0, 6)) > 0, (), (), "layout[0]")
    if wanted.enabled:
        wanted = replace(wanted, demands=tuple(sorted(demands.items())))
    return gpu(*instances, board=board, mig=mig), wanted


def slices(computes: t.Iterable[Compute]) -> set[int]:
    """Of the GPU instance, that they take."""
    return {at for c in computes for at in range(c.start, c.start + c.slices)}


def possible(gpu: Gpu, wanted: Wish) -> bool:
    """Can the GPU be as wished with all that is in use where it is? An oracle that tries every way."""
    busy = {(i.kind, i.start): [c for c in i.computes if c.holders] for i in gpu.instances if i.busy}
    if not gpu.mig or not wanted.enabled:
        return gpu.mig == wanted.enabled or not busy
    sizes: dict[InstanceProfile, list[int]] = {}
    for profile, count in wanted.demands:
        sizes.setdefault(gpu.board.find(profile), []).extend([profile.c] * count)
    places = [(kind, start) for kind in gpu.board.profiles if kind in sizes for start in kind.starts]

    def holds(kind: InstanceProfile, left: list[int], homes: list[set[int]]) -> bool:
        """`homes`: slices that are taken in each GPU instance."""
        return not left or any(
            holds(kind, left[1:], [home | set(range(at, at + left[0])) if n == m else home for m, home in enumerate(homes)])
            for n, home in enumerate(homes)
            for at in compute_starts(kind.profile.g, left[0])
            if not home & set(range(at, at + left[0]))
        )

    def served(chosen: list[tuple[InstanceProfile, int]]) -> bool:
        for kind, wished in sizes.items():
            left = Counter(wished)
            here = [busy.get(place, []) for place in chosen if place[0] == kind]
            for c in itertools.chain(*here):
                left[c.slices] -= 1
            if min(left.values()) < 0 or not holds(kind, sorted(left.elements(), reverse=True), [slices(home) for home in here]):
                return False
        return True

    def extend(n: int, chosen: list[tuple[InstanceProfile, int]], taken: int) -> bool:
        kinds = [kind for kind, _start in chosen]
        if any(kinds.count(kind) > kind.limit for kind in kinds) or sum(kind.profile.g for kind in kinds) > gpu.board.slices:
            return False
        if any(sum(kind.engines[e] for kind in kinds) > total for e, total in enumerate(gpu.board.engines)):
            return False
        if n == len(places):
            return busy.keys() <= set(chosen) and served(chosen)
        kind, start = places[n]
        with_it = not taken & kind.mask(start) and extend(n + 1, [*chosen, places[n]], taken | kind.mask(start))
        return with_it or (places[n] not in busy and extend(n + 1, chosen, taken))

    return extend(0, [], 0)


@given(cases())
def test_the_plan_reaches_the_wish_and_touches_nothing_in_use(case: tuple[Gpu, Wish]) -> None:
    before, wanted = case
    try:
        model = run(before, wanted)
    except PlanError as error:
        assert "process python3 (pid 77) of pod ml/train-0" in error.message
        assert not possible(before, wanted), error.message
        return
    assert possible(before, wanted)
    assert model.gpu.mig == model.gpu.pending == wanted.enabled
    assert model.gpu.counts() == {str(profile): count for profile, count in wanted.demands}
    assert not any(gone.busy for gone in model.destroyed if isinstance(gone, Instance))
    assert not any(gone.holders for gone in model.destroyed if isinstance(gone, Compute))


@given(cases())
def test_a_second_run_has_nothing_to_do(case: tuple[Gpu, Wish]) -> None:
    before, wanted = case
    try:
        after = run(before, wanted).gpu
    except PlanError:
        return
    again = plan([after], {0: wanted}, Options())
    assert not again.steps and not again.differences


@given(cases())
def test_what_stays_is_exactly_what_the_plan_says(case: tuple[Gpu, Wish]) -> None:
    before, wanted = case
    try:
        planned = plan([before], {0: wanted}, Options())
    except PlanError:
        return
    model = run(before, wanted)
    uuids = {c.uuid for i in model.gpu.instances for c in i.computes if c.uuid}
    told = {d["uuid"] for i in planned.facts["after"][0]["instances"] for d in i["devices"]} - {""}
    assert uuids == told
    numbers = planned.facts["operations"]
    assert numbers["destroyed"] == sum(isinstance(gone, Instance) for gone in model.destroyed)
    assert numbers["kept"] == len(before.instances) - numbers["destroyed"]


@given(cases(), st.integers(0, 40))
def test_the_checkpoint_is_reached_from_any_state_in_between(case: tuple[Gpu, Wish], stop: int) -> None:
    before, wanted = case
    try:
        steps = plan([before], {0: wanted}, Options()).steps
    except PlanError:
        return
    model = Model(before)
    for step in steps[:stop]:
        model.do(step)
    for step in work([model.gpu], {0: checkpoint(before)}):
        model.do(step)
    assert model.gpu.shape() == before.shape()


@given(cases(), st.integers(0, 40))
def test_a_run_that_was_killed_anywhere_converges(case: tuple[Gpu, Wish], stop: int) -> None:
    before, wanted = case
    freed = (replace(i, computes=tuple(replace(c, holders=()) for c in i.computes)) for i in before.instances)
    idle = replace(before, instances=tuple(freed))
    model = Model(idle)
    for step in plan([idle], {0: wanted}, Options()).steps[:stop]:
        model.do(step)
    assert run(model.gpu, wanted).gpu.counts() == {str(profile): count for profile, count in wanted.demands}


def actions(before: Gpu, wanted: Wish, options: Options = Options()) -> list[str]:  # noqa: B008 frozen
    return plan([before], {0: wanted}, options).result()["actions"]


def test_from_nothing() -> None:
    assert actions(gpu(mig=False), wish(**{"7g.40gb": 1})) == [
        "checkpoint GPU 0",
        "set MIG mode GPU 0 on",
        "reset GPU 0",
        "create GPU instance GPU 0 7g.40gb:0",
        "create compute instance GPU 0 7g.40gb:0 7c",
    ]


def test_hopper_needs_no_reset() -> None:
    assert "reset GPU 0" not in actions(gpu(mig=False, board=H100), wish(**{"7g.80gb": 1}))


def test_off_again() -> None:
    before = gpu(instance("3g.20gb", 4))
    assert actions(before, Wish(False)) == [
        "checkpoint GPU 0",
        "destroy compute instance GPU 0 3g.20gb:4 3c",
        "destroy GPU instance GPU 0 3g.20gb:4",
        "set MIG mode GPU 0 off",
        "reset GPU 0",
    ]


def test_a_pending_mode_only_needs_its_reset() -> None:
    assert actions(gpu(mig=False, pending=True), Wish(True)) == ["checkpoint GPU 0", "reset GPU 0"]


def test_a_pending_mode_that_is_not_wished_is_taken_back_without_a_reset() -> None:
    before = gpu(instance("7g.40gb", 0), pending=False)
    assert actions(before, wish(**{"7g.40gb": 1})) == ["checkpoint GPU 0", "set MIG mode GPU 0 on"]


def test_without_permission_to_reset_the_change_waits_for_a_reboot() -> None:
    options = Options(reset=False)
    planned = plan([gpu(mig=False)], {0: wish(**{"7g.40gb": 1})}, options)
    assert planned.result()["actions"] == ["checkpoint GPU 0", "set MIG mode GPU 0 on"]
    assert planned.facts["reboot_required"] and "next reboot" in planned.warnings[0]
    waiting = plan([gpu(mig=False, pending=True)], {0: wish(**{"7g.40gb": 1})}, options)
    assert not waiting.changed and not waiting.differences and waiting.facts["reboot_required"]


def test_only_gpus_that_are_named_are_compared() -> None:
    other = gpu(instance("1g.5gb", 0), index=1)
    planned = plan([gpu(instance("7g.40gb", 0)), other], {0: wish(**{"7g.40gb": 1})}, Options())
    assert not planned.changed


def test_a_gpu_without_mig_may_be_told_to_have_it_off() -> None:
    assert not plan([gpu(mig=None)], {0: Wish(False)}, Options()).changed
    with pytest.raises(PlanError, match=r"GPU 0 .* cannot do MIG"):
        plan([gpu(mig=None)], {0: Wish(True)}, Options())


def test_a_busy_instance_in_the_way_is_named_with_its_pod_and_only_it() -> None:
    before = gpu(instance("3g.20gb", 0, busy=True), instance("3g.20gb", 4, busy=True))
    with pytest.raises(PlanError) as error:
        plan([before], {0: wish(**{"4g.20gb": 1, "3g.20gb": 1})}, Options())
    assert "layout[0]: GPU 0: 3g.20gb at slot 0 is in use by process python3 (pid 77) of pod ml/train-0" in error.value.message
    assert "slot 4" not in error.value.message
    assert "allow_busy: true" in error.value.message
    assert plan([before], {0: wish(**{"4g.20gb": 1, "3g.20gb": 1})}, Options(allow_busy=True)).changed


def test_a_mode_change_refuses_while_the_gpu_is_held() -> None:
    dcgm = Holder(pid=5, process="nv-hostengine", unit="nvidia-dcgm.service")
    before = gpu(mig=False, holders=(dcgm,))
    with pytest.raises(PlanError, match=r"held by process nv-hostengine .*stop_services"):
        plan([before], {0: Wish(True)}, Options())
    steps = actions(before, Wish(True), Options(stop=("nvidia-dcgm.service", "nvsm.service"), cdi=True))
    assert steps == [
        "stop nvidia-dcgm.service",
        "checkpoint GPU 0",
        "set MIG mode GPU 0 on",
        "reset GPU 0",
        "refresh CDI specification",
        "start nvidia-dcgm.service",
    ]


def test_a_service_that_may_stop_makes_no_slice_busy() -> None:
    exporter = Holder(pid=6, process="dcgm-exporter", unit="dcgm-exporter.service")
    one = instance("7g.40gb", 0)
    before = gpu(replace(one, computes=(replace(one.computes[0], holders=(exporter,)),)))
    with pytest.raises(PlanError, match="dcgm-exporter"):
        plan([before], {0: wish(**{"1g.5gb": 7})}, Options())
    assert actions(before, wish(**{"1g.5gb": 7}), Options(stop=("dcgm-exporter.service",)))[0] == "stop dcgm-exporter.service"


def test_nothing_is_stopped_when_nothing_changes() -> None:
    before = gpu(instance("7g.40gb", 0), holders=(Holder(pid=5, process="x", unit="nvsm.service"),))
    assert actions(before, wish(**{"7g.40gb": 1}), Options(stop=("nvsm.service",), cdi=True)) == []


def test_services_that_a_killed_run_left_stopped_are_started_even_if_nothing_else_is_to_do() -> None:
    before = gpu(instance("7g.40gb", 0))
    assert actions(before, wish(**{"7g.40gb": 1}), Options(restart=("nvsm.service",))) == ["start nvsm.service"]


NODE = Options(node="n1")


def test_draining_asks_exactly_the_pods_to_leave_whose_slices_go() -> None:
    before = gpu(instance("3g.20gb", 4, busy=True), instance("1g.5gb", 0, busy=True))
    other = replace(POD, pod="train-1")
    computes = tuple(replace(compute, holders=(other,)) for compute in before.instances[1].computes)
    before = replace(before, instances=(before.instances[0], replace(before.instances[1], computes=computes)))
    found = plan([before], {0: wish(**{"3g.20gb": 2})}, NODE)
    assert found.facts["evicted"] == ["ml/train-1"]
    steps = [str(step) for step in found.steps]
    assert steps[:2] == ["cordon n1", "drain n1 of ml/train-1"] and steps[-1] == "uncordon n1"
    assert not any("3g.20gb:4" in step for step in steps)


def test_draining_for_a_mode_change_asks_all_pods_but_no_foreign_process() -> None:
    held = gpu(instance("1g.5gb", 0, busy=True), holders=(replace(POD, pod="exporter"),))
    assert plan([held], {0: Wish(False, (), (), "layout[0]")}, NODE).facts["evicted"] == ["ml/train-0", "ml/exporter"]
    with pytest.raises(PlanError, match="process top"):
        plan([replace(held, holders=(Holder(pid=5, process="top"),))], {0: Wish(False, (), (), "layout[0]")}, NODE)


def test_pods_that_can_stay_stay_and_without_changes_nobody_is_cordoned() -> None:
    busy = gpu(instance("1g.5gb", 0, busy=True))
    assert plan([busy], {0: wish(**{"1g.5gb": 2})}, NODE).facts["evicted"] == []
    assert plan([busy], {0: wish(**{"1g.5gb": 1})}, NODE).steps == ()


def test_a_killed_run_leaves_no_node_cordoned() -> None:
    (step,) = plan([gpu(instance("1g.5gb", 0))], {0: wish(**{"1g.5gb": 1})}, replace(NODE, cordoned=True)).steps
    assert str(step) == "uncordon n1"


def test_compute_instances_change_inside_an_instance_that_stays() -> None:
    before = gpu(instance("3g.20gb", 4, 1, 1, 1))
    assert actions(before, wish(**{"1c.3g.20gb": 1, "2c.3g.20gb": 1})) == [
        "checkpoint GPU 0",
        "destroy compute instance GPU 0 3g.20gb:4 1c",
        "destroy compute instance GPU 0 3g.20gb:4 1c",
        "create compute instance GPU 0 3g.20gb:4 2c",
    ]


def test_compute_instances_make_room_for_each_other() -> None:
    """Seven of one slice: which one stays decides whether two of three slices fit beside it."""
    before = gpu(instance("7g.40gb", 0, *[1] * 7))
    model = run(before, wish(**{"3c.7g.40gb": 2, "1c.7g.40gb": 1}))
    assert sorted((c.slices, c.start) for c in model.gpu.instances[0].computes) == [(1, 3), (3, 0), (3, 4)]
    assert len(model.destroyed) == 6


def busy_at(one: Instance, *numbers: int, holder: Holder = POD) -> Instance:
    return replace(one, computes=tuple(replace(c, holders=(holder,) if c.id in numbers else ()) for c in one.computes))


def test_a_compute_instance_that_is_in_the_way_is_named() -> None:
    before = gpu(busy_at(instance("3g.20gb", 0, 1, 1, 1), 1))
    wanted = wish(**{"1c.3g.20gb": 1, "2c.3g.20gb": 1})
    assert "create GPU instance GPU 0 3g.20gb:4" in actions(before, wanted)  # it can stay where there is room elsewhere
    full = wish(**{"1c.3g.20gb": 1, "2c.3g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1})
    with pytest.raises(
        PlanError, match=r"3g\.20gb at slot 0 is in use by process python3 \(pid 77\) of pod ml/train-0; the wished"
    ):
        plan([before], {0: full}, Options())
    assert plan([before], {0: full}, NODE).facts["evicted"] == ["ml/train-0"]
    at_the_end = gpu(busy_at(instance("3g.20gb", 0, 1, 1, 1), 2))
    assert not any(isinstance(gone, Compute) and gone.holders for gone in run(at_the_end, full).destroyed)


def test_busy_instances_may_go_but_only_where_they_must() -> None:
    for number in range(7):
        before = gpu(*(instance("1g.5gb", start, busy=start == number) for start in range(7)))
        model = run(before, wish(**{"1g.5gb": 6}), Options(allow_busy=True))
        assert len(model.destroyed) == 2 and not any(isinstance(gone, Instance) and gone.busy for gone in model.destroyed)


def test_a_drain_asks_nobody_who_could_stay() -> None:
    ones = [instance("1g.5gb", start) for start in range(7)]
    for start, name in ((0, "first"), (5, "second")):
        ones[start] = busy_at(ones[start], 0, holder=replace(POD, pod=name))
    planned = plan([gpu(*ones)], {0: wish(**{"3g.20gb": 1, "1g.5gb": 2})}, NODE)
    assert len(planned.facts["evicted"]) == 1
    layout = replace(wish(**{"3g.20gb": 1, "1g.5gb": 2}), starts=((Profile.parse("3g.20gb"), (4,)),))
    assert plan([gpu(*ones)], {0: layout}, NODE).facts["evicted"] == ["ml/second"]


def test_a_drain_does_not_take_what_a_foreign_process_has() -> None:
    ones = [instance("3g.20gb", start) for start in (0, 4)]
    ones[0] = busy_at(ones[0], 0, holder=Holder(pid=5, process="top"))
    ones[1] = busy_at(ones[1], 0)
    planned = plan([gpu(*ones)], {0: wish(**{"3g.20gb": 1, "2g.10gb": 1})}, NODE)
    assert planned.facts["evicted"] == ["ml/train-0"]
    with pytest.raises(PlanError, match=r"^layout\[0\]: GPU 0: 3g.20gb at slot 0 is in use by process top \(pid 5\); the wished"):
        plan([gpu(*ones)], {0: wish(**{"4g.20gb": 1, "3g.20gb": 1})}, NODE)


def test_each_busy_compute_instance_keeps_its_own_instance() -> None:
    before = gpu(busy_at(instance("3g.20gb", 0, 1, 1), 0), busy_at(instance("3g.20gb", 4, 1), 0))
    model = run(before, wish(**{"1c.3g.20gb": 2}))
    assert [gone.holders for gone in model.destroyed if isinstance(gone, Compute)] == [()] and len(model.gpu.instances) == 2


def test_a_mode_that_waits_for_a_reboot_takes_nothing_from_anybody() -> None:
    held = gpu(instance("1g.5gb", 0, busy=True), holders=(replace(POD, pod="exporter"), Holder(unit="nvsm.service", pid=9)))
    options = replace(NODE, stop=("nvsm.service",), cdi=True)
    off = Wish(False, (), (), "layout[0]")
    for waiting in (replace(options, reset=False), replace(options, refused=frozenset([held.bus_id]))):
        planned = plan([held], {0: off}, waiting)
        assert planned.result()["actions"] == ["checkpoint GPU 0", "set MIG mode GPU 0 off"]
        assert planned.facts["evicted"] == [] and planned.facts["reboot_required"]
        again = plan([replace(held, pending=False)], {0: off}, waiting)
        assert not again.changed and again.facts["evicted"] == [] and again.facts["reboot_required"]
    assert "cordon n1" in actions(held, off, replace(options, refused=frozenset(["another"])))


def test_an_instance_without_compute_instances_is_completed() -> None:
    three = replace(instance("3g.20gb", 0), computes=())
    assert actions(gpu(three), wish(**{"3g.20gb": 1})) == ["checkpoint GPU 0", "create compute instance GPU 0 3g.20gb:0 3c"]


def test_explicit_starts_move_what_stands_elsewhere() -> None:
    wanted = replace(wish(**{"3g.20gb": 1}), starts=((Profile.parse("3g.20gb"), (0,)),))
    assert target(gpu(instance("3g.20gb", 4)), wanted, Options()).slots[0].start == 0
    too_many = replace(wanted, starts=((Profile.parse("3g.20gb"), (0, 4)),))
    with pytest.raises(PlanError, match=r"placement names 2 slots for 3g.20gb, of which there will be 1"):
        target(gpu(), too_many, Options())


def test_errors_say_where_the_wish_stands() -> None:
    nine = Profile.parse("9g.999gb")
    wanted = Wish(True, ((nine, 1),), (), "mig.yaml line 4", {nine: "mig.yaml line 5"})
    with pytest.raises(PlanError, match=r"^mig.yaml line 5: GPU 0: A100-40GB has no profile 9g.999gb"):
        plan([gpu()], {0: wanted}, Options())
    with pytest.raises(PlanError, match=r"^layout\[0\]: GPU 0: 1g.5gb, 7g.40gb take 8"):
        plan([gpu()], {0: wish(**{"1g.5gb": 1, "7g.40gb": 1})}, Options())


def test_the_diff_shows_only_the_lines_that_change() -> None:
    before = gpu(instance("3g.20gb", 4), instance("1g.5gb", 0), instance("1g.5gb", 1))
    (difference,) = plan([before], {0: wish(**{"3g.20gb": 1, "2g.10gb": 2})}, Options()).differences
    old, new = difference.before.splitlines(), difference.after.splitlines()
    assert [line for line in new if line not in old] == ["  slots 0-1  2g.10gb", "  slots 2-3  2g.10gb"]
    assert "  slots 4-7  3g.20gb" in old and "  slots 4-7  3g.20gb" in new
