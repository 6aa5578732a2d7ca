# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit for the next boot: the engine it runs is the real file, run without Ansible; only systemctl is a stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import boot
from fakegpu import Host
from onhost import parted, shapes

LAYOUT = {"0": ["3g.20gb:4", "2g.10gb", "1g.5gb", "1g.5gb"]}


@pytest.fixture
def host(make: t.Callable[..., Host], monkeypatch: pytest.MonkeyPatch) -> Host:
    made = make("A100-40", "A100-40")
    for name in ("ENGINE", "WISH", "UNIT", "ENABLED"):
        monkeypatch.setattr(boot, name, made.directory / "root" / getattr(boot, name).relative_to("/"))
    script = made.directory / "bin" / "systemctl"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >>"{made.directory}/systemctl.log"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return made


def command(unit: Path) -> list[str]:
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return line.partition("=")[2].split()


def test_at_boot_the_same_layout_comes_back_and_only_on_the_gpus_that_were_named(host: Host) -> None:
    first = parted(host, layout=LAYOUT, boot=True)
    assert first.ok, first.msg
    assert boot.ENABLED.resolve() == boot.UNIT
    assert not parted(host, layout=LAYOUT, boot=True).result["changed"]
    before = shapes(host)

    (host.directory / "state").unlink()
    told = subprocess.run(command(boot.UNIT), env={**host.env(), "PYTHONPATH": ""}, text=True, capture_output=True, check=True)
    assert "create GPU instance GPU 0 3g.20gb:4" in told.stdout
    assert command(boot.UNIT)[0] == sys.executable
    assert shapes(host) == before and before[1][0] is False


def test_what_fails_at_boot_says_so_and_changes_nothing(host: Host) -> None:
    assert parted(host, layout=LAYOUT, boot=True).ok
    (host.directory / "gpus").write_text("T4\n")
    (host.directory / "state").unlink()
    told = subprocess.run(command(boot.UNIT), env=host.env(), text=True, capture_output=True, check=False)
    assert told.returncode == 1 and "cannot do MIG" in told.stderr


def test_another_wish_is_written_and_without_one_all_of_it_goes(host: Host) -> None:
    assert parted(host, layout=LAYOUT, boot=True).ok
    changed = parted(host, layout={"0": "all-1g.5gb"}, boot=True)
    assert f"write {boot.WISH}" in changed.result["actions"] and f"write {boot.ENGINE}" not in changed.result["actions"]
    assert not parted(host, layout={"0": "all-1g.5gb"}).result["changed"] and boot.UNIT.exists()
    assert parted(host, check_mode=True, layout={"0": "all-1g.5gb"}, boot=False).result["changed"] and boot.UNIT.exists()
    assert parted(host, layout={"0": "all-1g.5gb"}, boot=False).ok
    assert not any(path.is_symlink() or path.exists() for path in (boot.ENABLED, boot.UNIT, boot.WISH, boot.ENGINE))
