# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_files through ansible, and killed before every file operation."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

CHILD = Path(__file__).parents[2] / "child.py"
FILES = {"new/folder/a.conf": ("a: {{ '{{' }} 1 }}\n", "0644"), "b.conf": ("secret\n", "0600"), "c.conf": ("c\n", "0755")}


def wish(root: Path) -> dict[str, t.Any]:
    files = [{"path": str(root / name), "content": content, "mode": mode} for name, (content, mode) in FILES.items()]
    return {"files": files, "folders": [str(root / "empty")]}


def before(root: Path) -> None:
    root.mkdir()
    (root / "b.conf").write_text("old\n")
    (root / "c.conf").write_text("c\n")


def test_ladder_through_ansible(tmp_path: Path) -> None:
    root = tmp_path / "root"
    before(root)
    task = {"name": "Write", "gpufleet.k8s.host_files": wish(root)}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    environment = {**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    for flags, changed in (["--check"], 1), ([], 1), (["--check"], 0), ([], 0):
        command = ["ansible-playbook", "-i", "localhost,", "--diff", *flags, str(tmp_path / "play.yml")]
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"changed={changed} ", done.stdout), done.stdout
        assert ("-old" in done.stdout and "+secret" in done.stdout) == bool(changed)
        assert (root / "empty").exists() == ((flags, changed) != (["--check"], 1))
    for name, (content, mode) in FILES.items():
        text = content.replace("{{ '{{' }}", "{{")
        assert ((root / name).read_text(), f"{(root / name).stat().st_mode & 0o7777:04o}") == (text, mode)


def run(root: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), "_files"]
    environment = {**os.environ, **more}
    return subprocess.run(command, input=json.dumps(wish(root)), env=environment, text=True, capture_output=True, check=False)


def test_killed_anywhere_the_next_run_ends_it(tmp_path: Path) -> None:
    at, killed = 0, True
    while killed:
        at += 1
        root = tmp_path / str(at)
        before(root)
        killed = run(root, KILL_AT=str(at)).returncode == -signal.SIGKILL
        assert (root / "b.conf").read_text() in ("old\n", "secret\n"), "neither old nor new"
        for expected in (killed, False):
            done = json.loads(run(root).stdout)
            assert "failed" not in done and done["changed"] == expected, done
        left = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
        assert left == {name: content for name, (content, _mode) in FILES.items()}
    assert at > 5, "the sweep did not reach the last file"
