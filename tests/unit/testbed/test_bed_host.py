# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What builds may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bedlib import cli, host
from bedlib.work import BedError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "cpus", "limit"),
    [(24 * GIB, 2, "6144MiB"), (64 * GIB, 16, "2048MiB"), (4 * GIB, 2, "1024MiB"), (4 * GIB, 4, None), (2 * GIB, 2, None)],
)
def test_compilers_together_take_at_most_half_of_the_memory(total: int, cpus: int, limit: str | None) -> None:
    assert host.go_memory(total, cpus) == ({"GOGC": "off", "GOMEMLIMIT": limit} if limit else {})


def test_the_memory_is_no_more_than_the_machine_has() -> None:
    assert GIB // 4 < host.memory() <= 1 << 50


def test_a_machine_whose_own_apt_is_at_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new machine's: the lists are held for a moment, the packages for minutes."""
    asked: list[list[str]] = []
    there: list[bool] = []

    def run_long(_what: str, command: list[str], **_more: object) -> None:
        asked.append(command)
        if len(asked) == 1:
            raise BedError("E: Could not get lock /var/lib/apt/lists/lock")
        there.extend([True] * (command[1] == "install"))

    monkeypatch.setattr(host, "run_long", run_long)
    monkeypatch.setattr(host.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(host, "_command", lambda _name: True)
    host.ensure({"skopeo": (lambda: bool(there), "skopeo")})
    assert [command[1] for command in asked] == ["update", "update", "install"]
    assert "DPkg::Lock::Timeout=600" in asked[2]


def test_what_is_made_does_not_depend_on_who_makes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program of an image is run by somebody else than root there."""
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bed", "prepare"])
    monkeypatch.setattr(cli, "need_root", lambda: None)
    monkeypatch.setattr(cli, "end_on_signals", lambda: None)
    monkeypatch.setattr(cli, "prepare", lambda *_, **__: (tmp_path / "made").mkdir())
    before = os.umask(0o077)
    try:
        assert cli.main() == 0
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755
