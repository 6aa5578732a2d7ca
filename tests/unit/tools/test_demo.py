# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of tools/demo.py run; that they work is the gate `demo`. And what runs where little is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BED = ROOT / "tests" / "testbed" / "bed"
OLD = "#!/bin/sh\nexit 1\n"  # a Python that says no to every question about its version


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
    cache = tmp_path / "cache"
    if used:
        (cache / "venv").mkdir(parents=True)
    command = [sys.executable, ROOT / "tools" / "demo.py", "clean"]
    status, said = with_programs(tmp_path, command, {"python3": sys.executable}, GPUFLEET_CACHE=str(cache))
    assert status == 0, said
    assert not cache.exists()


@pytest.mark.parametrize("fitting", ["python3", "python3.12", ".pyenv/versions/3.11.9/bin/python3", ""])
def test_bed_looks_for_a_python_that_fits(tmp_path: Path, fitting: str) -> None:
    """Ubuntu 22.04's python3 is too old; a user calls the bed without this project's environment."""
    pythons = {"python3": OLD}
    if fitting.startswith(".pyenv"):
        (tmp_path / fitting).parent.mkdir(parents=True)
        (tmp_path / fitting).symlink_to(sys.executable)
    elif fitting:
        pythons[fitting] = sys.executable
    status, said = with_programs(tmp_path, [BED, "list"], pythons, GPUFLEET_CACHE=str(tmp_path / "cache"), HOME=str(tmp_path))
    assert (status, said) == (0, "") if fitting else (status == 1 and "bed needs Python 3.11, 3.12 or 3.13" in said), said


def test_removing_where_python3_is_too_old(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "venv").mkdir(parents=True)
    command = [sys.executable, ROOT / "tools" / "demo.py", "clean"]
    pythons = {"python3": OLD, "python3.11": sys.executable}
    status, said = with_programs(tmp_path, command, pythons, GPUFLEET_CACHE=str(cache), HOME=str(tmp_path))
    assert status == 0, said
    assert not cache.exists()


@pytest.mark.parametrize(
    ("candidate", "status", "says", "installs"),
    [
        ("3.10.6-1~22.04", 1, "there is still no Python 3.11", "python3.11 python3.11-venv"),
        ("3.12.3-0ubuntu2", 1, "there is still no Python 3.11", "python3-venv"),
        ("3.14.0-1", 1, "this system's python3 is 3.14", ""),
    ],
)
def test_bootstrap(tmp_path: Path, candidate: str, status: int, says: str, installs: str) -> None:
    """On a German machine without a Python that fits, whose apt-get brings none either, and whose own apt has just begun."""
    log = tmp_path / "log"
    busy = f"[ $2 != update ] || [ $(grep -c update {log}) = 2 ]"
    programs = {
        "python3": OLD,
        "git": OLD,
        "id": "#!/bin/sh\necho 0\n",
        "grep": shutil.which("grep") or "",
        "sleep": f"#!/bin/sh\n{shutil.which('sleep')} 0.1\n",
        "apt-get": f'#!/bin/sh\necho "$*" >>{log}\n{busy}\n',
        "apt-cache": "#!/bin/sh\nword=Installationskandidat\n[ $LC_ALL != C ] || word=Candidate\n"
        f"printf 'python3:\\n  '$word': {candidate}\\n'\n",
    }
    ended, said = with_programs(tmp_path, [ROOT / "tools" / "bootstrap"], programs, LC_ALL="de_DE.UTF-8")
    assert (ended, says in said) == (status, True), said
    updates, installed = log.read_text().splitlines()[:2], log.read_text().splitlines()[2:]
    assert updates == ["-qq update"] * 2
    assert len(installed) == bool(installs)
    assert all(line.endswith(installs) and "-o DPkg::Lock::Timeout=600" in line for line in installed)


def test_bootstrap_is_silent_where_all_is_there(tmp_path: Path) -> None:
    programs = {"python3.12": sys.executable, "python3": OLD, "git": OLD}
    assert with_programs(tmp_path, [ROOT / "tools" / "bootstrap"], programs) == (0, "")


def with_programs(folder: Path, command: list[str | Path], programs: dict[str, str], **environment: str) -> tuple[int, str]:
    """Runs `command` where PATH has few programs: the path of one, or the text of a script. (exit status, output)."""
    place = folder / "bin"
    place.mkdir()
    for name in {"sh", "chmod", "env", "mkdir", "sed", "sleep"} - programs.keys():
        (place / name).symlink_to(shutil.which(name) or "")
    for name, program in programs.items():
        if program.startswith("#!"):
            (place / name).write_text(program)
            (place / name).chmod(0o755)
        else:
            (place / name).symlink_to(program)
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": str(place), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
