# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changing a MIG layout costs, beside NVIDIA's mig-parted: `make bench WHAT=mig`.

Pairs of equal hosts with a stand-in GPU (tests/testbed/nvml) walk through the same random feasible layouts, one changed by
mig_parted, the other by the unmodified nvidia-mig-parted. Counted are the NVML calls that create or destroy an instance: each
destroyed one is a workload that had to go, each call some tens of milliseconds on a real GPU. After every step mig-parted's own
`assert` judges both hosts. Then layouts that do not fit are asked of both, and what is left of the old layout is counted.

One GPU a host, because mig-parted resolves a profile's name against the first kind of GPU that has it: beside an A100-40GB it
cannot make a 1g.10gb on an H100-80GB. Then the solver alone, on every layout of these GPUs. The last line is the ratio of calls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
import typing as t
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "testbed" / "nvml"))
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import Board, Compute, Instance, Profile
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.solver import Infeasible, Item, place
from fakegpu import Host, build
from onhost import counts, document, judge, parted, uuids

GOAL = 0.5
SOLVER_GOAL_MS = 10
BOARDS = {"A100-40": "A100-40GB", "A30": "A30", "H100-80": "H100-80GB"}


@dataclass
class Tally:
    """One contender's hosts by board, and what it cost so far."""

    name: str
    hosts: dict[str, Host]
    created: int = 0
    destroyed: int = 0
    kept: int = 0
    seconds: float = 0.0
    each: list[int] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.created + self.destroyed


def fits(board: Board, names: t.Sequence[str]) -> bool:
    try:
        place(board, [Item(board.find(Profile.parse(name)), (Profile.parse(name).g,)) for name in names])
    except Infeasible:
        return False
    return True


def feasible(board: Board) -> list[dict[str, int]]:
    """Every multiset of profiles that fits on a board, the empty one too."""
    found: list[dict[str, int]] = []

    def extend(start: int, chosen: list[str]) -> None:
        if not fits(board, chosen):
            return
        found.append(dict(Counter(chosen)))
        for number in range(start, len(board.profiles)):
            extend(number, [*chosen, board.profiles[number].name])

    extend(0, [])
    return found


def solver_ms(board: Board, layouts: t.Sequence[dict[str, int]]) -> list[float]:
    """Milliseconds of the search for each layout, feasible or not, on a GPU full of its smallest instances; the best of three."""
    smallest = board.profiles[0]
    full = [
        Instance(start, smallest, start, (Compute(0, smallest.profile.g, "", ()),)) for start in smallest.starts[: smallest.limit]
    ]
    taken = []
    for layout in layouts:
        profiles = [Profile.parse(name) for name in Counter(layout).elements()]
        wished = [Item(board.find(profile), (profile.c,)) for profile in profiles]
        best = float("inf")
        for _attempt in range(3):
            begun = time.perf_counter()
            with contextlib.suppress(Infeasible):
                place(board, wished, full)
            best = min(best, time.perf_counter() - begun)
        taken.append(best * 1000)
    return taken


def one_too_many(board: Board, layout: dict[str, int], chance: random.Random) -> dict[str, int]:
    """Adds profiles to a layout until it does not fit."""
    names = list(Counter(layout).elements())
    while fits(board, names):
        names.append(chance.choice(board.profiles).name)
    return dict(Counter(names))


def apply(tally: Tally, board: str, program: str, layout: dict[str, int], folder: Path) -> bool:
    """Changes that board's host to the layout, counting; False where the contender says that it failed."""
    host, wanted = tally.hosts[board], document(layout)
    host.trace.unlink(missing_ok=True)
    before = uuids(host)
    path = folder / "wanted.json"
    path.write_text(json.dumps(wanted))
    begun = time.monotonic()
    if tally.name == "ours":
        ok = parted(host, config=wanted, trace=host.trace).ok
    else:
        done = host.run(program, "apply", "-f", str(path), "-c", "x", FAKE_NVML_TRACE=str(host.trace))
        ok = done.returncode == 0
    tally.seconds += time.monotonic() - begun
    calls = host.calls()
    created = sum(count for name, count in calls.items() if "Create" in name)
    destroyed = sum(count for name, count in calls.items() if "Destroy" in name)
    tally.created += created
    tally.destroyed += destroyed
    tally.each.append(created + destroyed)
    tally.kept += len(before & uuids(host))
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transitions", type=int, default=500)
    parser.add_argument("--infeasible", type=int, default=30)
    parser.add_argument("--seed", type=int, default=20261123)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311
    program = str(judge())
    layouts = {board: feasible(known.KNOWN[name][0]) for board, name in BOARDS.items()}
    with tempfile.TemporaryDirectory(prefix="gpufleet-mig-") as temporary:
        folder = Path(temporary)
        programs = build(folder / "programs")
        pair = [
            Tally(name, {board: Host.make(folder / name / board, [board], programs) for board in BOARDS})
            for name in ("ours", "mig-parted")
        ]
        for step in range(options.transitions):
            board = list(BOARDS)[step % len(BOARDS)]
            layout = chance.choice(layouts[board])
            for tally in pair:
                assert apply(tally, board, program, layout, folder), f"step {step}: {tally.name} failed on {board} {layout}"
                judged = tally.hosts[board].run(program, "assert", "-f", str(folder / "wanted.json"), "-c", "x")
                assert judged.returncode == 0, f"step {step}: assert does not accept {tally.name}: {judged.stderr}"
            if step % 50 == 49:
                print(f"  {step + 1} transitions", file=sys.stderr, flush=True)
        walked = {tally.name: (tally.created, tally.destroyed, tally.kept, tally.seconds) for tally in pair}
        more = sum(a > b for a, b in zip(pair[0].each, pair[1].each))
        fewer = sum(a < b for a, b in zip(pair[0].each, pair[1].each))
        lost = dict.fromkeys(walked, 0)
        for step in range(options.infeasible):
            board = list(BOARDS)[step % len(BOARDS)]
            old = chance.choice([layout for layout in layouts[board] if layout])
            wish = one_too_many(known.KNOWN[BOARDS[board]][0], old, chance)
            for tally in pair:
                apply(tally, board, program, old, folder)
                apply(tally, board, program, wish, folder)
                lost[tally.name] += counts(tally.hosts[board]) != [old]
        report(options, walked, lost, more, fewer)
        slowest = solved(layouts, chance)
        ratio = sum(walked["ours"][:2]) / sum(walked["mig-parted"][:2])
        print(f"\nmig ratio {ratio:.3f} (goal at most {GOAL})")
        return 0 if ratio <= GOAL and not more and not lost["ours"] and slowest <= SOLVER_GOAL_MS else 1


def report(
    options: argparse.Namespace, walked: dict[str, tuple[int, int, int, float]], lost: dict[str, int], more: int, fewer: int
) -> None:
    print(f"{options.transitions} transitions between random layouts on {', '.join(BOARDS)}\n")
    print(f"{'':34}{'ours':>12}{'mig-parted':>12}")
    for number, row in enumerate(("instances created (calls)", "instances destroyed (calls)", "slices that kept their UUID")):
        print(f"{row:34}{walked['ours'][number]:>12}{walked['mig-parted'][number]:>12}")
    print(f"{'seconds, processes included':34}{walked['ours'][3]:>12.1f}{walked['mig-parted'][3]:>12.1f}")
    print(f"{f'layouts lost to {options.infeasible} infeasible wishes':34}{lost['ours']:>12}{lost['mig-parted']:>12}")
    as_many = options.transitions - fewer - more
    print(f"\nsteps with fewer calls than mig-parted: {fewer}, with as many: {as_many}, with more: {more}")


def solved(layouts: t.Mapping[str, list[dict[str, int]]], chance: random.Random) -> float:
    """Prints how long the solver takes a GPU; the milliseconds of the slowest."""
    print(f"\n{'the solver, ms a GPU':34}{'layouts':>12}{'median':>12}{'slowest':>12}")
    slowest = 0.0
    for board, found in layouts.items():
        kind = known.KNOWN[BOARDS[board]][0]
        for what, asked in (("feasible", found), ("infeasible", [one_too_many(kind, layout, chance) for layout in found])):
            taken = solver_ms(kind, asked)
            print(f"{f'{board}, all {what}':34}{len(taken):>12}{statistics.median(taken):>12.2f}{max(taken):>12.2f}")
            slowest = max(slowest, *taken)
    print(f"slowest {slowest:.2f} (goal at most {SOLVER_GOAL_MS})")
    return slowest


if __name__ == "__main__":
    sys.exit(main())
