# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of tools/demo.py run; that they work is the gate `demo`. And `make clean` where there never was a site."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="ran")
def ran_fixture(tmp_path, monkeypatch):
    """(the module, the commands that it ran)."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    (tmp_path / "inventory").mkdir()
    commands = []
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    monkeypatch.setattr(demo.environments, "variables", lambda _name: {})
    monkeypatch.setattr(demo.Phases, "run", lambda _self, _title, command, _variables: commands.append(command))
    return demo, commands


def test_removing_needs_nothing_prepared(ran):
    demo, commands = ran
    demo.untrain()
    assert [command[0] for command in commands] == ["ansible-playbook", "ansible-playbook"]


def test_training_prepares_what_it_needs(ran):
    demo, commands = ran
    demo.train()
    assert [Path(command[0]).name for command in commands] == ["bed", "ansible-playbook", "ansible-playbook"]
    assert commands[0][1:] == ["prepare", "--with", "jobs"]


@pytest.mark.parametrize("used", [True, False])
def test_clean_without_podman(tmp_path: Path, used: bool) -> None:
    programs, cache = tmp_path / "bin", tmp_path / "cache"
    programs.mkdir()
    for name in ("sh", "chmod", "env", "mkdir"):
        (programs / name).symlink_to(shutil.which(name) or "")
    (programs / "python3").symlink_to(sys.executable)
    if used:
        (cache / "venv").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "demo.py", "clean"],
        env={**os.environ, "PATH": str(programs), "GPUFLEET_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not cache.exists()
