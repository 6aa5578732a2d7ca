# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver against an oracle that tries every placement, and its promise to keep what it can."""

from __future__ import annotations

import itertools
import random
import typing as t
from collections import Counter
from functools import cache

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import (
    COMPUTE_SIZES,
    Board,
    Compute,
    Holder,
    Instance,
    Profile,
    compute_starts,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.solver import (
    Infeasible,
    Item,
    Pinned,
    arrange,
    nothing,
    pack,
    place,
)
from hypothesis import given
from hypothesis import strategies as st

A100 = known.KNOWN["A100-40GB"][0]
BOARDS = [known.KNOWN[name][0] for name in ("A30", "A100-40GB", "H100-80GB", "RTX-PRO-6000")]


def items(board: Board, *names: str) -> list[Item]:
    profiles = [Profile.parse(name) for name in names]
    return [Item(board.find(profile), (profile.c,)) for profile in profiles]


def instance(board: Board, name: str, start: int, busy: bool = False, computes: tuple[int, ...] = ()) -> Instance:
    kind = board.find(Profile.parse(name))
    holders = (Holder(pid=1, process="train"),) if busy else ()
    sizes = computes or (kind.profile.g,)
    return Instance(start, kind, start, tuple(Compute(n, c, "", holders, sum(sizes[:n])) for n, c in enumerate(sizes)))


@cache
def reachable(board_name: str) -> frozenset[tuple[str, ...]]:
    """Every multiset of profiles that some sequence of creations reaches on a board, found by trying all of them.

    Independent of the solver: a walk over sets of occupied slots, as the hardware would allow creation after creation.
    """
    board = known.KNOWN[board_name][0]
    engines = board.engines
    found: set[tuple[str, ...]] = set()
    seen: set[frozenset[tuple[str, int]]] = set()
    pending: list[frozenset[tuple[str, int]]] = [frozenset()]
    kinds = {kind.name: kind for kind in board.profiles}
    while pending:
        placed = pending.pop()
        if placed in seen:
            continue
        seen.add(placed)
        found.add(tuple(sorted(name for name, _start in placed)))
        taken = {slot for name, start in placed for slot in range(start, start + kinds[name].size)}
        for kind in board.profiles:
            using = [kinds[name] for name, _start in placed] + [kind]
            if sum(k.profile.g for k in using) > board.slices or sum(k == kind for k in using) > kind.limit:
                continue
            if any(sum(k.engines[n] for k in using) > engines[n] for n in range(4)):
                continue
            for start in kind.starts:
                if not taken & set(range(start, start + kind.size)):
                    pending.append(placed | {(kind.name, start)})
    return frozenset(found)


@pytest.mark.parametrize("board_name", ["A30", "A100-40GB"])
def test_every_feasible_multiset_is_found_and_no_other(board_name: str) -> None:
    board = known.KNOWN[board_name][0]
    names = [kind.name for kind in board.profiles]
    feasible = reachable(board_name)
    accepted = set()
    for count in range(board.slices + 2):
        for combination in itertools.combinations_with_replacement(names, count):
            try:
                starts = place(board, items(board, *combination))
            except Infeasible:
                continue
            masks = [item.kind.mask(start) for item, start in zip(items(board, *combination), starts)]
            assert sum(masks) == sum(masks) | 0 and bin(sum(masks)).count("1") == sum(bin(mask).count("1") for mask in masks)
            accepted.add(tuple(sorted(combination)))
    assert accepted == feasible


def test_the_published_number_of_layouts_of_an_a100() -> None:
    """77 without the media extension; the maximal ones of the classic five are the table of NVIDIA's user guide."""
    plain = {layout for layout in reachable("A100-40GB") if layout and not any("+" in name for name in layout)}
    assert len(plain) == 77
    classic = {layout for layout in plain if "1g.10gb" not in layout}
    counters = [Counter(layout) for layout in classic]
    maximal = [one for one in counters if not any(one != other and not one - other for other in counters)]
    assert len(maximal) == 12


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["3g.20gb", "3g.20gb", "1g.5gb"], "3g.20gb x2, 1g.5gb do not fit together on A100-40GB: they take 9 of 8 memory slots"),
        (["4g.20gb", "3g.20gb", "1g.5gb"], "take 8 compute slices; A100-40GB has 7"),
        (["1g.5gb+me", "1g.5gb+me"], r"1g.5gb\+me x2: A100-40GB has room for 1"),
        (["1g.5gb", "4g.20gb", "1g.10gb", "1g.10gb"], "1g.5gb.*they take 9 of 8"),
    ],
)
def test_says_what_does_not_fit_together(names: list[str], message: str) -> None:
    with pytest.raises(Infeasible, match=message):
        place(A100, items(A100, *names))


def test_names_the_engine_that_runs_out() -> None:
    a30 = known.KNOWN["A30"][0]
    with pytest.raises(Infeasible, match=r"1g.6gb\+me, 2g.12gb\+me need 2 JPEG engines together; A30 has 1"):
        place(a30, items(a30, "1g.6gb+me", "2g.12gb+me"))


def test_only_the_conflicting_part_is_named() -> None:
    with pytest.raises(Infeasible, match=r"^3g.20gb:0, 4g.20gb do not fit"):
        place(A100, [Item(items(A100, "3g.20gb")[0].kind, (3,), 0), *items(A100, "4g.20gb")])


def test_explicit_starts_are_kept_and_checked() -> None:
    kind = A100.find(Profile.parse("3g.20gb"))
    assert place(A100, [Item(kind, (3,), 0), *items(A100, "2g.10gb")]) == [0, 4]
    with pytest.raises(Infeasible, match=r"3g.20gb cannot start at slot 2; it can start at 0, 4"):
        place(A100, [Item(kind, (3,), 2)])


def test_fresh_layouts_go_where_nvidia_smi_puts_them() -> None:
    """The user guide's listing of `-cgi 9,19,14,19`: 3g at 4, 2g at 2, 1g at 0 and 1."""
    assert place(A100, items(A100, "3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb")) == [4, 2, 1, 0]


def test_what_can_stay_stays() -> None:
    present = [instance(A100, "1g.5gb", start) for start in range(7)]
    starts = place(A100, items(A100, "3g.20gb", "1g.5gb", "1g.5gb", "1g.5gb"), present)
    assert len({0, 1, 2, 3, 4, 5, 6} & set(starts[1:])) == 3 and starts[0] in (0, 4)


def test_busy_instances_force_the_others_around_them() -> None:
    present = [instance(A100, "3g.20gb", 0, busy=True), instance(A100, "3g.20gb", 4)]
    assert place(A100, items(A100, "3g.20gb", "2g.10gb", "1g.5gb"), present)[0] == 0
    with pytest.raises(Pinned, match=r"4g.20gb, 3g.20gb does not fit around what is in use: 3g.20gb at slot 0"):
        place(A100, items(A100, "4g.20gb", "3g.20gb"), present)
    assert place(A100, items(A100, "4g.20gb", "3g.20gb"), present, nothing) == [0, 4]


def test_a_busy_compute_instance_keeps_its_instance() -> None:
    present = [instance(A100, "3g.20gb", 4, busy=True, computes=(2, 1))]
    with pytest.raises(Pinned):
        place(A100, items(A100, "3g.20gb"), present)
    kind = present[0].kind
    assert place(A100, [Item(kind, (2, 1))], present) == [4]


@st.composite
def boards_with_layouts(draw: st.DrawFn) -> tuple[Board, list[Instance], list[Item]]:
    board = draw(st.sampled_from(BOARDS))

    def some() -> list[Item]:
        chosen: list[Item] = []
        for kind in draw(st.lists(st.sampled_from(board.profiles), max_size=7)):
            candidate = Item(kind, (kind.profile.g,))
            try:
                place(board, [*chosen, candidate])
            except Infeasible:
                continue
            chosen.append(candidate)
        return chosen

    before = some()
    busy = draw(st.sets(st.integers(0, 6)))
    starts = place(board, before)
    present = [instance(board, i.kind.name, start, busy=n in busy) for n, (i, start) in enumerate(zip(before, starts))]
    return board, present, some()


@given(boards_with_layouts())
def test_no_placement_saves_more_than_the_chosen_one(case: tuple[Board, list[Instance], list[Item]]) -> None:
    """Against the oracle of all placements: minimal change is a minimum, and Pinned is raised only when it must be."""
    board, present, wished = case
    at = {(i.kind.name, i.start): i for i in present}
    busy = {key for key, i in at.items() if i.busy}

    def placements(n: int, taken: int) -> list[tuple[int, ...]]:
        if n == len(wished):
            return [()]
        kind = wished[n].kind
        return [
            (start, *rest)
            for start in kind.starts
            if not taken & kind.mask(start)
            for rest in placements(n + 1, taken | kind.mask(start))
        ]

    keys = [{(item.kind.name, start) for item, start in zip(wished, starts)} for starts in placements(0, 0)]
    allowed = [kept for kept in keys if busy <= kept]
    if not allowed:
        with pytest.raises(Pinned):
            place(board, wished, present)
        return
    chosen = place(board, wished, present)
    kept = {(item.kind.name, start) for item, start in zip(wished, chosen)}
    assert busy <= kept
    assert len(kept & at.keys()) == max(len(one & at.keys()) for one in allowed)


@given(boards_with_layouts(), st.sets(st.integers(0, 6)))
def test_what_may_go_goes_only_where_it_must(case: tuple[Board, list[Instance], list[Item]], staying: set[int]) -> None:
    """Against all placements: what must stay does, and as many as can of what else is in use; only then fewest steps."""
    board, present, wished = case
    must = {(i.kind.name, i.start) for n, i in enumerate(present) if i.busy and n in staying}
    busy = {(i.kind.name, i.start) for i in present if i.busy}
    at = {(i.kind.name, i.start) for i in present}
    firm = {id(c) for i in present if (i.kind.name, i.start) in must for c in i.computes}

    def placements(n: int, taken: int) -> t.Iterator[tuple[tuple[str, int], ...]]:
        if n == len(wished):
            yield ()
            return
        kind = wished[n].kind
        for start in kind.starts:
            if not taken & kind.mask(start):
                yield from (((kind.name, start), *rest) for rest in placements(n + 1, taken | kind.mask(start)))

    worth = [(len(busy & set(where)), len(at & set(where))) for where in placements(0, 0) if must <= set(where)]
    if not worth:
        with pytest.raises(Pinned):
            place(board, wished, present, lambda compute: id(compute) in firm)
        return
    chosen = place(board, wished, present, lambda compute: id(compute) in firm)
    kept = {(item.kind.name, start) for item, start in zip(wished, chosen)}
    assert must <= kept and (len(busy & kept), len(at & kept)) == max(worth)


@given(st.sampled_from(["2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"]), st.randoms(use_true_random=False))
def test_no_arrangement_of_compute_instances_saves_more(name: str, chance: random.Random) -> None:
    kind = A100.find(Profile.parse(name))
    g = kind.profile.g
    computes: list[Compute] = []
    for _try in range(chance.randrange(8)):
        size = chance.choice(COMPUTE_SIZES[g])
        start = chance.choice(compute_starts(g, size))
        if all(start >= c.start + c.slices or c.start >= start + size for c in computes):
            users = (Holder(pid=1),) if chance.random() < 0.4 else ()
            computes.append(Compute(len(computes), size, "", users, start))
    wished: list[int] = []
    while sum(wished) < g and chance.random() < 0.9:
        wished.append(chance.choice([size for size in COMPUTE_SIZES[g] if size <= g - sum(wished)]))
    here = Instance(0, kind, 0, tuple(computes))
    there = {(c.slices, c.start): bool(c.holders) for c in computes}

    def ways(n: int, taken: frozenset[int]) -> t.Iterator[tuple[tuple[int, int], ...]]:
        if n == len(wished):
            yield ()
            return
        for start in compute_starts(g, wished[n]):
            span = frozenset(range(start, start + wished[n]))
            if not taken & span:
                yield from (((wished[n], start), *rest) for rest in ways(n + 1, taken | span))

    def worth(way: t.Iterable[tuple[int, int]]) -> tuple[int, int]:
        kept = there.keys() & set(way)
        return sum(there[one] for one in kept), len(kept)

    found = arrange(kind, wished, here)
    assert found is not None  # by these places, what sums up to the instance always fits
    chosen = tuple(zip(wished, found[1]))
    assert chosen in set(ways(0, frozenset())) and worth(chosen) == max(map(worth, ways(0, frozenset())))


def test_the_driver_says_where_compute_instances_may_start() -> None:
    kind = A100.find(Profile.parse("3g.20gb"))
    assert arrange(kind, [2], Instance(0, kind, 0, (), ((1, (0, 1, 2)), (2, (1,)), (1, (0,))))) == (0, [1])
    assert arrange(kind, [2, 1, 1], Instance(0, kind, 0)) is None


def groups(*arguments: t.Any) -> list[tuple[int, ...]]:
    return [group.computes for group in pack(*arguments)]


def test_pack_uses_as_few_instances_as_hold_the_wish() -> None:
    three = A100.find(Profile.parse("3g.20gb"))
    assert groups(three, [1, 1, 1]) == [(1, 1, 1)]
    assert groups(three, [1, 1, 2]) == [(2, 1), (1,)]
    assert groups(three, [3, 1]) == [(3,), (1,)]


def test_pack_keeps_groups_that_exist() -> None:
    three = A100.find(Profile.parse("3g.20gb"))
    apart = [instance(A100, "3g.20gb", 0, computes=(1,)), instance(A100, "3g.20gb", 4, computes=(1,))]
    assert groups(three, [1, 1], apart) == [(1,), (1,)]
    assert groups(three, [1, 1, 1], apart) == [(1, 1, 1)]
    busy = [instance(A100, "3g.20gb", 0, computes=(1,)), instance(A100, "3g.20gb", 4, computes=(1,), busy=True)]
    assert sorted(groups(three, [1, 1, 1], busy)) == [(1,), (1, 1)]
