# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when an apply breaks: at every single NVML call, in every way the stand-in knows.

Afterwards a GPU has the old layout or the new one, the result says which, and after a kill the next run converges.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from fakegpu import Host
from onhost import KILLED, document, info, parted, shapes, shapes_of

MUTATING = ("SetMigMode", "Create", "Destroy")

#: Old and new layout of the host's GPUs: slices that stay, move, go and come; mode changes with and without a reset.
SCENARIOS: dict[str, tuple[str, dict[str, int] | None, dict[str, int] | None]] = {
    "mixed": ("A100-40", {"1g.5gb": 7}, {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}),
    "compute": ("A100-40", {"1c.3g.20gb": 3, "2g.10gb": 1}, {"1c.3g.20gb": 1, "2c.3g.20gb": 1, "1g.5gb": 2}),
    "on": ("A100-40", None, {"3g.20gb": 2}),
    "off": ("A30", {"2g.12gb": 2}, None),
    "hopper on": ("H100-80", None, {"4g.40gb": 1, "3g.40gb": 1}),
    "hopper off": ("H100-80", {"7g.80gb": 1}, None),
    "blackwell": ("RTX-PRO-6000", {"1g.24gb+me.all": 1, "1g.24gb-me": 3}, {"2g.48gb+gfx": 1, "1g.24gb+gfx": 1, "1g.24gb-me": 1}),
}


class Prepared:
    """A host at the old layout that can be put back there by copying its state."""

    def __init__(self, host: Host, old: dict[str, int] | None, new: dict[str, int] | None) -> None:
        self.host, self.new = host, document(new)
        assert parted(host, config=document(old)).ok
        self.state = (host.directory / "state").read_bytes()
        self.old_shape = shapes(host)
        trace = host.directory / "calls"
        assert parted(host, config=self.new, trace=trace).result["changed"]
        self.calls = [line.split()[2] for line in trace.read_text().splitlines()]
        self.new_shape = shapes(host)
        assert self.old_shape != self.new_shape
        self.back()
        assert shapes(self.host) == self.old_shape

    def back(self) -> None:
        # In place: other processes may still have it mapped.
        with (self.host.directory / "state").open("r+b") as file:
            file.write(self.state)

    def mutating(self) -> list[int]:
        return [number for number, name in enumerate(self.calls, 1) if any(word in name for word in MUTATING)]

    def readings(self, every: bool) -> list[int]:
        """Calls that only read: every one, or of each name the first, the last and the one in the middle."""
        numbers = [number for number in range(1, len(self.calls) + 1) if number not in self.mutating()]
        if every:
            return numbers
        by_name: dict[str, list[int]] = {}
        for number in numbers:
            by_name.setdefault(self.calls[number - 1], []).append(number)
        return sorted({found[n] for found in by_name.values() for n in (0, len(found) // 2, -1)})


@pytest.fixture(params=SCENARIOS)
def prepared(request: pytest.FixtureRequest, make: t.Callable[..., Host]) -> Prepared:
    board, old, new = SCENARIOS[request.param]
    return Prepared(make(board), old, new)


def broken_at(prepared: Prepared, numbers: t.Sequence[int], verb: str) -> None:
    failures = 0
    for number in numbers:
        outcome = parted(prepared.host, config=prepared.new, faults=f"call {number} {verb}")
        where = f"call {number} {prepared.calls[number - 1]} {verb}: {outcome.msg}"
        now = shapes(prepared.host)
        if outcome.ok:
            assert now == prepared.new_shape, where
        else:
            failures += 1
            assert now == prepared.old_shape, where
            assert re.sub(r"WithFlags|_v\d|V$", "", prepared.calls[number - 1]) in outcome.msg, where
            # Before the first change nothing is said of putting back.
            if number >= prepared.mutating()[0]:
                assert outcome.result["restored"] and "the GPUs have their old layout" in outcome.msg, where
        if now != prepared.old_shape:
            prepared.back()
    assert failures > 0


@pytest.mark.parametrize("verb", ["return 999", "late 999", "return 15", "return 19", "return 23"])
def test_an_error_at_any_changing_call_leaves_the_old_layout_or_the_new(prepared: Prepared, verb: str) -> None:
    broken_at(prepared, prepared.mutating(), verb)


def test_an_error_at_a_reading_call_leaves_the_old_layout_or_the_new(prepared: Prepared) -> None:
    broken_at(prepared, prepared.readings(every=False), "return 999")


def test_an_error_at_every_call_leaves_the_old_layout_or_the_new(make: t.Callable[..., Host]) -> None:
    prepared = Prepared(make("A100-40"), *SCENARIOS["mixed"][1:])
    broken_at(prepared, prepared.readings(every=True), "return 999")


@pytest.mark.parametrize("verb", ["kill", "latekill"])
def test_after_a_kill_at_any_changing_call_the_next_run_converges(prepared: Prepared, verb: str) -> None:
    killed_at(prepared, prepared.mutating(), verb)


def test_after_a_kill_at_every_call_the_next_run_converges(make: t.Callable[..., Host]) -> None:
    prepared = Prepared(make("A100-40"), *SCENARIOS["mixed"][1:])
    killed_at(prepared, range(1, len(prepared.calls) + 1), "kill")


def killed_at(prepared: Prepared, numbers: t.Sequence[int], verb: str) -> None:
    assert numbers
    for number in numbers:
        outcome = parted(prepared.host, config=prepared.new, faults=f"call {number} {verb}")
        assert outcome.signal == KILLED
        again = parted(prepared.host, config=prepared.new)
        where = f"call {number} {prepared.calls[number - 1]} {verb}: {again.msg}"
        assert again.ok, where
        found = parted(prepared.host, config=prepared.new)
        assert not found.result["changed"], where
        # It may have taken another way, so the slices may lie elsewhere; what they are may not differ.
        assert devices(shapes_of(found.result["before"])) == devices(prepared.new_shape), where
        prepared.back()


def devices(shape: list[t.Any]) -> list[t.Any]:
    return [(mig, pending, sorted(name for _start, _kind, names in slices for name in names)) for mig, pending, slices in shape]


def test_two_faults_in_a_row_are_told_as_they_are(make: t.Callable[..., Host]) -> None:
    """When putting back fails, too, the result must not claim that it worked."""
    case = Prepared(make("A100-40"), {"1g.5gb": 7}, {"3g.20gb": 2})
    create = case.calls.index("nvmlDeviceCreateGpuInstanceWithPlacement") + 1
    faults = f"call {create} return 999; nvmlGpuInstanceCreateComputeInstance return 999"
    outcome = parted(case.host, config=case.new, faults=faults)
    assert not outcome.ok and not outcome.result["restored"]
    assert "rolling back failed too" in outcome.msg and "do NOT have their old layout" in outcome.msg
    assert parted(case.host, config=case.new).ok
    assert shapes(case.host) == case.new_shape


def test_a_lost_gpu(make: t.Callable[..., Host]) -> None:
    host = make("A100-40", "A100-40")
    outcome = parted(host, layout={"all": "all-1g.5gb"}, faults="gpu 1 lost")
    assert not outcome.ok and "GPU 1" in outcome.msg and "Xid" in outcome.msg
    assert shapes(host) == [(False, False, []), (False, False, [])]


def test_a_driver_that_hangs(make: t.Callable[..., Host]) -> None:
    host = make("A100-40")
    outcome = parted(host, layout={"all": "all-1g.5gb"}, timeout=1, faults="call 40 hang")
    assert outcome.result["failed"] and "did not answer nvml" in outcome.msg and "within 1 s" in outcome.msg
    assert parted(host, layout={"all": "all-1g.5gb"}).ok


def test_a_reset_that_this_machine_cannot_do(make: t.Callable[..., Host]) -> None:
    host = make("A100-40")
    faults = "smi refuse Resetting GPU is not supported"
    first = parted(host, layout={"all": "all-1g.5gb"}, faults=faults)
    assert first.ok and first.result["changed"] and first.result["reboot_required"], first.msg
    assert "next reboot" in first.result["warnings"][0]
    assert shapes(host) == [(False, True, [])]
    assert first.result["operations"]["created"] == 0 and not [a for a in first.result["actions"] if a.startswith("create")]
    for more in ({"reset": False}, {}):
        second = parted(host, layout={"all": "all-1g.5gb"}, faults=faults, **more)
        assert second.ok and not second.result["changed"] and second.result["reboot_required"]
    reboot(host)
    third = parted(host, layout={"all": "all-1g.5gb"}, faults=faults)
    assert third.ok and third.result["operations"]["created"] == 7 and not third.result["reboot_required"]


def test_a_machine_that_can_reset_again(make: t.Callable[..., Host]) -> None:
    """What it could not do is asked of it again once /run is empty."""
    host = make("A100-40")
    assert parted(host, layout={"all": "all-1g.5gb"}).ok
    first = parted(host, layout={"all": "all-disabled"}, faults="smi refuse Resetting GPU is not supported")
    assert first.ok and first.result["reboot_required"], first.msg
    (host.directory / "refused.json").unlink()
    second = parted(host, layout={"all": "all-disabled"})
    assert second.ok and second.result["changed"] and not second.result["reboot_required"], second.msg
    assert shapes(host) == [(False, False, [])]


def reboot(host: Host) -> None:
    """A reset of everything is what the driver sees of one."""
    assert host.run(str(host.programs / "nvidia-smi"), "-r", "-i", "0").returncode == 0
    (host.directory / "refused.json").unlink()


def test_a_reset_that_fails_puts_the_mode_back(make: t.Callable[..., Host]) -> None:
    host = make("A100-40")
    outcome = parted(host, layout={"all": "all-1g.5gb"}, faults="smi refuse GPU is on fire")
    assert not outcome.ok and "GPU is on fire" in outcome.msg and outcome.result["restored"]
    assert shapes(host) == [(False, False, [])]


def test_two_runs_at_once_end_with_one_of_both_layouts(make: t.Callable[..., Host], tmp_path: Path) -> None:
    """Each sees the other's changes as failures of its own or not at all; nothing third remains after one more run."""
    host = make("A100-40")
    assert parted(host, layout={"all": "all-1g.5gb"}).ok
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    wishes = [{"all": ["3g.20gb", "3g.20gb"]}, {"all": ["7g.40gb"]}]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda layout: parted(host, layout=layout), wishes))
    assert all(outcome.ok or outcome.msg for outcome in outcomes)
    assert parted(host, layout=wishes[0]).ok
    assert devices(shapes(host)) == [(True, True, ["3g.20gb", "3g.20gb"])]
    assert info(host).ok
