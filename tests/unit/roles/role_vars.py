# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of a role are on hosts of which something was observed: evaluated by Ansible, without a task of the role."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

ROLES = Path(__file__).resolve().parents[3] / "roles"


def evaluated(
    folder: Path,
    role: str,
    expressions: t.Mapping[str, str],
    hosts: t.Mapping[str, t.Mapping[str, t.Any]],
    *,
    limit: str = "all",
) -> t.Any:
    """name -> value of each Jinja expression on the first host of the play. `hosts`: what was observed or set, by host."""
    files = [ROLES / role / "defaults/main.yml", *sorted((ROLES / role / "vars").rglob("*.yml"))]
    values = {name: "{{ " + expression + " }}" for name, expression in expressions.items()}
    write = {"content": "{{ values | to_json }}", "dest": str(folder / "out.json"), "mode": "0644"}
    task = {"ansible.builtin.copy": write, "run_once": True}
    play = {"hosts": limit, "connection": "local", "gather_facts": False, "vars_files": list(map(str, files)), "tasks": [task]}
    (folder / "play.yml").write_text(json.dumps([{**play, "vars": {"values": values}}]))
    inventory = {"gpu": {"hosts": hosts, "vars": {"ansible_python_interpreter": sys.executable}}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    command = ["ansible-playbook", "-i", str(folder / "hosts.json"), str(folder / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text())
