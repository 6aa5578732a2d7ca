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
HOPPER = {"0": ["3g.40gb:4", "2g.20gb", "1g.10gb", "1g.10gb"]}


@pytest.fixture
def card() -> str:
    return "A100-40"


@pytest.fixture
def host(make: t.Callable[..., Host], monkeypatch: pytest.MonkeyPatch, card: str) -> Host:
    made = make(card, card)
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


def reboot(host: Host, mode_stays: bool) -> None:
    """No instance outlives one; the mode does where the GPU itself keeps it, which is up to Ampere (NVIDIA's MIG guide)."""
    if mode_stays:
        assert host.run(str(host.programs / "nvidia-smi"), "-r", "-i", "0,1").returncode == 0
    else:
        (host.directory / "state").unlink()


@pytest.mark.parametrize(
    ("card", "layout", "mode_stays"), [("A100-40", LAYOUT, True), ("A100-40", LAYOUT, False), ("H100-80", HOPPER, False)]
)
def test_at_boot_the_same_layout_comes_back_and_only_on_the_gpus_that_were_named(
    host: Host, layout: dict[str, list[str]], mode_stays: bool
) -> None:
    first = parted(host, layout=layout, boot=True)
    assert first.ok, first.msg
    assert boot.ENABLED.resolve() == boot.UNIT
    assert not parted(host, layout=layout, boot=True).result["changed"]
    before = shapes(host)

    reboot(host, mode_stays)
    assert [(mode, devices) for mode, _pending, devices in shapes(host)] == [(mode_stays, []), (False, [])]
    told = subprocess.run(command(boot.UNIT), env={**host.env(), "PYTHONPATH": ""}, text=True, capture_output=True, check=True)
    assert f"create GPU instance GPU 0 {layout['0'][0]}" in told.stdout
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
