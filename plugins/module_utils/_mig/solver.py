# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where instances go: exact, with the fewest changes to what is there.

PRIVATE: this module util is for this collection only and may change without notice.

A layout is a multiset of items (a GPU instance with its compute instances). `place` searches all placements by dynamic
programming over (next item, occupied slots): at most some hundred states on a board of 8 slots, so the search is complete
and takes a millisecond. `arrange` does the same with the compute instances inside one GPU instance. Among the feasible
placements it takes the one that takes least from those who use something, and then saves most create and destroy operations;
ties go to the high slots, as NVIDIA's own tools place.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from .._plan import PlanError
from .layout import ENGINES, Board, Compute, Instance, InstanceProfile, compute_starts


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


#: Which compute instances must stay where they are.
Firm = t.Callable[[Compute], bool]


def held(compute: Compute) -> bool:
    """Somebody uses it."""
    return bool(compute.holders)


def nothing(_compute: Compute) -> bool:
    """Everything may go."""
    return False


#: What keeping a compute instance is worth: more than all operations that a layout can cost if somebody uses it, and more than
#: all such if it must stay.
_HELD, _FIRM = 1000, 1_000_000


def place(board: Board, items: t.Sequence[Item], present: t.Sequence[Instance] = (), firm: Firm = held) -> list[int]:
    """The start of each item, in the order of `items`.

    Compute instances that are `firm` stay, so their instances stay where they are; of the others those go last that are in use.
    Raises Infeasible (what does not fit together) or Pinned (which instances are in the way).
    """
    return weigh(board, items, present, firm)[1]


def weigh(board: Board, items: t.Sequence[Item], present: t.Sequence[Instance], firm: Firm) -> tuple[int, list[int]]:
    """`place`, with the number of compute instances that stay for those who use them."""
    _check_counts(board, items)
    best = _search(items, present, firm)
    staying = sum(firm(compute) for instance in present for compute in instance.computes)
    if best is None or best[0] // _FIRM < staying:
        if _search(items, (), nothing) is None:
            raise Infeasible(_why(board, items))
        names = ", ".join(f"{i.kind.name} at slot {i.start}" for i in present if any(map(firm, i.computes)))
        raise Pinned(f"{_list(items)} does not fit around what is in use: {names}")
    return best[0] // _HELD, best[1]


#: One thing to place: start -> (bits it takes, what that is worth), best liked first.
_Choices = t.Mapping[int, tuple[int, int]]


def _best(choices: t.Sequence[_Choices], twins: t.Sequence[bool]) -> tuple[int, list[int]] | None:
    """(worth, starts) of the best way to place all without overlap, None if there is none.

    `twins[n]`: n and n + 1 are alike. Such go downwards (`ceiling`), or each order would be tried.
    """
    memo: dict[tuple[int, int, int], tuple[int, tuple[int, ...]] | None] = {}

    def best(n: int, taken: int, ceiling: int) -> tuple[int, tuple[int, ...]] | None:
        """For n.. with these bits taken."""
        if n == len(choices):
            return 0, ()
        key = (n, taken, ceiling)
        if key not in memo:
            found = None
            for start, (mask, worth) in choices[n].items():
                if start >= ceiling or taken & mask:
                    continue
                rest = best(n + 1, taken | mask, start if twins[n] else 99)
                if rest is not None and (found is None or worth + rest[0] > found[0]):
                    found = (worth + rest[0], (start, *rest[1]))
            memo[key] = found
        return memo[key]

    found = best(0, 0, 99)
    return None if found is None else (found[0], list(found[1]))


def _search(items: t.Sequence[Item], present: t.Sequence[Instance], firm: Firm) -> tuple[int, list[int]] | None:
    """(saving, starts) of the best placement, None if there is none."""
    order = sorted(range(len(items)), key=lambda n: _rank(items[n]), reverse=True)
    ordered = [items[n] for n in order]
    at = {(instance.kind.name, instance.start): instance for instance in present}
    choices = []
    for item in ordered:
        gains = {start: _gain(item, at.get((item.kind.name, start)), firm) for start in _starts(item)}
        choices.append({start: (item.kind.mask(start), gain) for start, gain in gains.items() if gain is not None})
    found = _best(choices, [*(one == other for one, other in zip(ordered, ordered[1:])), False])
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


def _gain(item: Item, here: Instance | None, firm: Firm) -> int | None:
    """What is saved by putting the item where an instance of its kind is; None if its compute instances do not fit in there."""
    if here is None:
        return 0
    found = arrange(item.kind, item.computes, here, firm)
    return None if found is None else 2 + found[0]


def arrange(
    kind: InstanceProfile, sizes: t.Sequence[int], here: Instance | None = None, firm: Firm = held
) -> tuple[int, list[int]] | None:
    """(saving, start of each compute instance in the order of `sizes`) in a GPU instance, new or `here`; None: no room."""
    computes = here.computes if here else ()
    worth = {(c.slices, c.start): 2 + (_FIRM if firm(c) else _HELD if held(c) else 0) for c in computes}
    order = sorted(range(len(sizes)), key=lambda n: -sizes[n])
    if worth and sorted(size for size, _start in worth) == sorted(sizes):  # nothing changes
        there = sorted(worth, reverse=True)
        return sum(worth.values()), _in_order(order, [start for _size, start in there])
    offers = dict(reversed(here.offers)) if here else {}  # creation, too, takes the first profile of a size
    choices = []
    for n in order:
        size = sizes[n]
        starts = sorted(offers.get(size) or compute_starts(kind.profile.g, size), reverse=True)
        choices.append({start: (((1 << size) - 1) << start, worth.get((size, start), 0)) for start in starts})
    found = _best(choices, [*(sizes[n] == sizes[m] for n, m in zip(order, order[1:])), False])
    return None if found is None else (found[0], _in_order(order, found[1]))


def _in_order(order: t.Sequence[int], starts: t.Sequence[int]) -> list[int]:
    by_number = dict(zip(order, starts))
    return [by_number[n] for n in range(len(order))]


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
        if _search(without, (), nothing) is None:
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


@dataclass(frozen=True)
class Group:
    """Compute instances (descending) that shall share a GPU instance; `here`: the one that is there for them."""

    computes: tuple[int, ...]
    here: Instance | None = None


def pack(kind: InstanceProfile, sizes: t.Sequence[int], present: t.Sequence[Instance] = (), keep: Firm = held) -> list[Group]:
    """Compute instances of these sizes, grouped into as few GPU instances as hold them.

    What is to be kept is kept where it is, even if that takes more GPU instances. Groups that exist are kept when it does not.
    """
    left = Counter(sizes)
    seeds: list[tuple[Instance, Counter[int]]] = []
    others: list[tuple[Instance, Counter[int]]] = []
    for instance in sorted(present, key=lambda i: (-len(i.computes), i.start)):
        staying = Counter(compute.slices for compute in instance.computes if keep(compute))
        if instance.kind != kind or staying - left:
            continue
        left -= staying
        (seeds if staying else others).append((instance, staying))
    bins: list[tuple[list[int], Instance | None]] = []
    for instance, staying in (*seeds, *others):
        rest = Counter(compute.slices for compute in instance.computes) - staying
        whole = not rest - left
        left -= rest if whole else Counter()
        group = list((staying + rest if whole else staying).elements())
        if group:
            bins.append((group, instance))
    exact = not left
    kept, fresh = _fill(kind, left.elements(), bins, keep), _fill(kind, sizes, [], nothing)
    return kept if exact or seeds or len(kept) <= len(fresh) else fresh


def _fill(
    kind: InstanceProfile, sizes: t.Iterable[int], bins: t.Sequence[tuple[list[int], Instance | None]], keep: Firm
) -> list[Group]:
    filled = [(list(group), here) for group, here in bins]
    for size in sorted(sizes, reverse=True):
        room = next((group for group, here in filled if _has_room(kind, [*group, size], here, keep)), None)
        if room is None:
            filled.append(([size], None))
        else:
            room.append(size)
    return [Group(tuple(sorted(group, reverse=True)), here) for group, here in filled]


def _has_room(kind: InstanceProfile, group: t.Sequence[int], here: Instance | None, keep: Firm) -> bool:
    """Do they fit together, with everything that is to be kept where it is?"""
    if sum(group) > kind.profile.g:
        return False
    if here is None:
        return True
    found = arrange(kind, group, here, keep)
    return found is not None and found[0] // _FIRM == sum(map(keep, here.computes))
