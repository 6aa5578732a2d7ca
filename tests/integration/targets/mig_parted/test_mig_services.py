# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that hold a GPU: a real process in a real control group named like a unit; only systemctl is a stand-in.

It writes down what it is told, and `stop` ends the process, as the real one would. (Our child stays a zombie then, which still
counts as alive, so `stop` also empties the stand-in driver's list of users.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakegpu import Host
from onhost import KILLED, parted, shapes

SYSTEMCTL = """\
#!/bin/sh
echo "$1 $2" >>"{log}"
[ "$1" = stop ] && [ {code} = 0 ] && kill "$(cat "{pid}")" && : >"{busy}"
exit {code}
"""


@dataclass
class Unit:
    name: str
    host: Host
    process: subprocess.Popen[bytes]

    def told(self) -> list[str]:
        log = self.host.directory / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []

    def systemctl(self, code: int = 0) -> None:
        folder = self.host.directory
        script = folder / "bin" / "systemctl"
        script.parent.mkdir(exist_ok=True)
        paths = {"log": folder / "systemctl.log", "pid": folder / "unit.pid", "busy": folder / "busy"}
        script.write_text(SYSTEMCTL.format(**paths, code=code))
        script.chmod(0o755)


@pytest.fixture
def unit(make: t.Callable[..., Host], monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Unit]:
    """A unit that holds GPU 0 of a host with MIG off."""
    host = make("A100-40")
    name = f"gpufleet-test-{os.getpid()}.service"
    hierarchy = Path("/sys/fs/cgroup/pids")
    group = (hierarchy if hierarchy.is_dir() else hierarchy.parent) / name
    group.mkdir()
    child = subprocess.Popen(["sleep", "600"])
    (group / "cgroup.procs").write_text(str(child.pid))
    (host.directory / "unit.pid").write_text(str(child.pid))
    host.busy(f"0 -1 -1 {child.pid}")
    held = Unit(name, host, child)
    held.systemctl()
    monkeypatch.setenv("PATH", f"{host.directory / 'bin'}:{os.environ['PATH']}")
    yield held
    child.kill()
    child.wait()
    with contextlib.suppress(OSError):
        group.rmdir()


def test_a_unit_that_is_not_listed_is_named_and_left_alone(unit: Unit) -> None:
    outcome = parted(unit.host, layout={"all": "all-1g.5gb"})
    assert not outcome.ok and f"unit {unit.name}" in outcome.msg and "stop_services" in outcome.msg
    assert unit.told() == [] and unit.process.poll() is None


def test_a_listed_unit_that_holds_the_gpu_is_stopped_and_started_others_are_not(unit: Unit) -> None:
    services = ["other.service", unit.name]
    foreseen = parted(unit.host, check_mode=True, layout={"all": "all-1g.5gb"}, stop_services=services)
    assert foreseen.result["actions"][0] == f"stop {unit.name}" and unit.told() == []
    outcome = parted(unit.host, layout={"all": "all-1g.5gb"}, stop_services=services)
    assert outcome.ok, outcome.msg
    assert unit.told() == [f"stop {unit.name}", f"start {unit.name}"]


def test_it_is_started_after_a_failure_too(unit: Unit) -> None:
    faults = "smi refuse GPU is on fire"
    outcome = parted(unit.host, layout={"all": "all-1g.5gb"}, stop_services=[unit.name], faults=faults)
    assert not outcome.ok and outcome.result["restored"] and "on fire" in outcome.msg
    assert unit.told() == [f"stop {unit.name}", f"start {unit.name}"]
    assert shapes(unit.host) == [(False, False, [])]


def test_after_a_killed_run_the_next_one_starts_it(unit: Unit) -> None:
    trace = unit.host.directory / "calls"
    parted(unit.host, check_mode=True, layout={"all": "all-1g.5gb"}, stop_services=[unit.name], trace=trace)
    after_observing = len(trace.read_text().splitlines())  # the last of them is the shutdown
    faults = f"call {after_observing + 3} kill"
    killed = parted(unit.host, layout={"all": "all-1g.5gb"}, stop_services=[unit.name], faults=faults)
    assert killed.signal == KILLED and unit.told() == [f"stop {unit.name}"]
    again = parted(unit.host, layout={"all": "all-1g.5gb"})
    assert again.ok and again.result["actions"][-1] == f"start {unit.name}"
    assert unit.told()[-1] == f"start {unit.name}"
    assert not parted(unit.host, layout={"all": "all-1g.5gb"}).result["changed"]


def test_a_unit_that_does_not_stop_changes_nothing(unit: Unit) -> None:
    unit.systemctl(code=1)
    outcome = parted(unit.host, layout={"all": "all-1g.5gb"}, stop_services=[unit.name])
    assert not outcome.ok and f"systemctl stop {unit.name} failed" in outcome.msg and "journalctl -u" in outcome.msg
    assert shapes(unit.host) == [(False, False, [])]


def test_a_second_run_waits_for_the_first(make: t.Callable[..., Host]) -> None:
    host = make("A100-40")
    with (host.directory / "lock").open("a") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert parted(host, check_mode=True, layout={"all": "all-1g.5gb"}).result["changed"]  # a look needs no lock
        second = pool.submit(parted, host, layout={"all": "all-1g.5gb"})
        with pytest.raises(TimeoutError):
            second.result(timeout=1)
        assert shapes(host) == [(False, False, [])]
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert second.result(timeout=60).ok
