# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of a role are on hosts of which something was observed: evaluated by Ansible, without a task of the role."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


def evaluated(
    folder: Path,
    role: str,
    expressions: t.Mapping[str, str],
    hosts: t.Mapping[str, t.Mapping[str, t.Any]],
    *,
    limit: str = "all",
) -> dict[str, dict[str, t.Any]]:
    """Host -> name -> value of each Jinja expression there. `hosts`, all in the group gpu: what was observed or set, by host."""
    files = sorted((ROLES / role / "vars").rglob("*.yml"))
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    values = {name: "{{ " + expression + " }}" for name, expression in expressions.items()}
    task = {"ansible.builtin.debug": {"msg": "{{ values | to_json | b64encode }}"}}  # no module: those take a second a host
    play = {"hosts": limit, "connection": "local", "gather_facts": False, "vars_files": list(map(str, files)), "tasks": [task]}
    (folder / "play.yml").write_text(json.dumps([{**play, "vars": {"values": values}}]))
    inventory = {"gpu": {"hosts": hosts, "vars": {**defaults, "ansible_python_interpreter": sys.executable}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.findall(r'^ok: \[(.+)\] => \{\s+"msg": "(.*)"', done.stdout, re.MULTILINE)
    assert said, done.stdout + done.stderr
    return {host: json.loads(base64.b64decode(text)) for host, text in said}
