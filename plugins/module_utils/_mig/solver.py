# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where instances go: exact, with the fewest changes to what is there.

PRIVATE: this module util is for this collection only and may change without notice.

A layout is a multiset of items (a GPU instance with its compute instances). `place` searches all placements by dynamic
programming over (next item, occupied slots): at most some hundred states on a board of 8 slots, so the search is complete
and takes a millisecond. Among the feasible placements it takes the one that saves most create and destroy operations
against the present instances; ties go to the high slots, as NVIDIA's own tools place.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from .._plan import PlanError
from .layout import ENGINES, Board, Instance, InstanceProfile


class Infeasible(PlanError):
    """The wished instances cannot be on this board together. Says which and why."""


class Pinned(Infeasible):
    """They could, but not beside the instances that are in use."""


@dataclass(frozen=True)
class Item:
    """A wished GPU instance: its kind, the slices of its compute instances (descending), and its start where that is fixed."""

    kind: InstanceProfile
    computes: tuple[int, ...]
    start: int | None = None

    def __str__(self) -> str:
        return self.kind.name if self.start is None else f"{self.kind.name}:{self.start}"


#: More than all operations that a layout can cost, so that keeping one more busy instance outweighs everything else.
_BUSY = 1000


def place(board: Board, items: t.Sequence[Item], present: t.Sequence[Instance] = (), pinned: bool = True) -> list[int]:
    """The start of each item, in the order of `items`.

    With `pinned`, instances with busy compute instances stay where they are, with those compute instances.
    Raises Infeasible (what does not fit together) or Pinned (which busy instances are in the way).
    """
    _check_counts(board, items)
    busy = [instance for instance in present if instance.busy] if pinned else []
    best = _search(items, present, busy)
    if best is None or best[0] // _BUSY < len(busy):
        if _search(items, (), ()) is None:
            raise Infeasible(_why(board, items))
        names = ", ".join(f"{i.kind.name} at slot {i.start}" for i in busy)
        raise Pinned(f"{_list(items)} does not fit around what is in use: {names}")
    return best[1]


def _search(items: t.Sequence[Item], present: t.Sequence[Instance], busy: t.Sequence[Instance]) -> tuple[int, list[int]] | None:
    """(saving, starts) of the best placement, None if there is none."""
    order = sorted(range(len(items)), key=lambda n: _rank(items[n]), reverse=True)
    ordered = [items[n] for n in order]
    at = {(instance.kind.name, instance.start): instance for instance in present}
    gains = [{start: _gain(item, start, at, busy) for start in _starts(item)} for item in ordered]
    memo: dict[tuple[int, int, int], tuple[int, tuple[int, ...]] | None] = {}

    def best(n: int, taken: int, ceiling: int) -> tuple[int, tuple[int, ...]] | None:
        """For items n.. with these slots taken. Equal items go downwards (`ceiling`), or each order would be tried."""
        if n == len(ordered):
            return 0, ()
        key = (n, taken, ceiling)
        if key not in memo:
            item, found = ordered[n], None
            for start, gain in gains[n].items():
                if gain is None or start >= ceiling or taken & item.kind.mask(start):
                    continue
                twin = n + 1 < len(ordered) and ordered[n + 1] == item
                rest = best(n + 1, taken | item.kind.mask(start), start if twin else 99)
                if rest is not None and (found is None or gain + rest[0] > found[0]):
                    found = (gain + rest[0], (start, *rest[1]))
            memo[key] = found
        return memo[key]

    found = best(0, 0, 99)
    if found is None:
        return None
    starts = dict(zip(order, found[1]))
    return found[0], [starts[n] for n in range(len(items))]


def _rank(item: Item) -> tuple[t.Any, ...]:
    return (item.kind.size, item.kind.profile, item.computes, -1 if item.start is None else item.start)


def _starts(item: Item) -> list[int]:
    """Allowed starts, high first."""
    if item.start is None:
        return sorted(item.kind.starts, reverse=True)
    if item.start not in item.kind.starts:
        starts = ", ".join(map(str, item.kind.starts))
        raise Infeasible(f"{item.kind.name} cannot start at slot {item.start}; it can start at {starts}")
    return [item.start]


def _gain(item: Item, start: int, at: t.Mapping[tuple[str, int], Instance], busy: t.Sequence[Instance]) -> int | None:
    """Create and destroy operations saved by putting the item here; None if that would take a busy instance's place."""
    here = at.get((item.kind.name, start))
    gain = 0
    for instance in busy:
        if item.kind.mask(start) & instance.kind.mask(instance.start):
            needed = Counter(compute.slices for compute in instance.computes if compute.holders)
            if here is not instance or needed - Counter(item.computes):
                return None
            gain += _BUSY
    if here is not None:
        common = Counter(item.computes) & Counter(compute.slices for compute in here.computes)
        gain += 2 + 2 * sum(common.values())
    return gain


def _check_counts(board: Board, items: t.Sequence[Item]) -> None:
    for item in items:
        _starts(item)
    for kind, count in Counter(item.kind for item in items).items():
        if count > kind.limit:
            raise Infeasible(f"{kind.name} x{count}: {board.name} has room for {kind.limit}")
    for number, total in enumerate(board.engines):
        users = [item for item in items if item.kind.engines[number]]
        taken = sum(item.kind.engines[number] for item in users)
        if taken > total:
            raise Infeasible(f"{_list(users)} need {taken} {ENGINES[number]}s together; {board.name} has {total}")
    slices = sum(item.kind.profile.g for item in items)
    if slices > board.slices:
        raise Infeasible(f"{_list(items)} take {slices} compute slices; {board.name} has {board.slices}")


def _why(board: Board, items: t.Sequence[Item]) -> str:
    """The smallest part of the layout that already does not fit (dropping any one of it would)."""
    core = list(items)
    for item in items:
        without = list(core)
        without.remove(item)
        if _search(without, (), ()) is None:
            core = without
    slots = sum(item.kind.size for item in core)
    need = f"they take {slots} of {board.slots} memory slots"
    if slots <= board.slots:
        starts = (f"{item.kind.name} starts at {', '.join(map(str, _starts(item)))}" for item in dict.fromkeys(core))
        need = f"they take {slots} of {board.slots} memory slots, but {'; '.join(starts)}"
    return f"{_list(core)} do not fit together on {board.name}: {need}"


def _list(items: t.Iterable[Item]) -> str:
    counts = Counter(str(item) for item in items)
    return ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts.items())


def most(board: Board, kind: InstanceProfile) -> int:
    """How many of one kind fit on an empty board."""
    count = 0
    while count < kind.limit:
        try:
            place(board, [Item(kind, (kind.profile.g,))] * (count + 1))
        except Infeasible:
            break
        count += 1
    return count


def pack(kind: InstanceProfile, sizes: t.Sequence[int], present: t.Sequence[Instance] = ()) -> list[tuple[int, ...]]:
    """Compute instances of these sizes, grouped into as few GPU instances as hold them.

    Groups that exist are kept when that takes no more GPU instances: a slice in use keeps its neighbours.
    """
    left, bins = Counter(sizes), []
    for instance in sorted(present, key=lambda i: (not i.busy, -len(i.computes), i.start)):
        here = Counter(compute.slices for compute in instance.computes)
        if instance.kind == kind and here and not here - left:
            left -= here
            bins.append(list(here.elements()))
    kept, fresh = _fill(kind, left.elements(), bins), _fill(kind, sizes, [])
    exact = not left
    return kept if exact or len(kept) <= len(fresh) or any(i.busy for i in present) else fresh


def _fill(kind: InstanceProfile, sizes: t.Iterable[int], bins: list[list[int]]) -> list[tuple[int, ...]]:
    filled = [list(group) for group in bins]
    for size in sorted(sizes, reverse=True):
        room = next((group for group in filled if sum(group) + size <= kind.profile.g), None)
        if room is None:
            filled.append([size])
        else:
            room.append(size)
    return [tuple(sorted(group, reverse=True)) for group in filled]
