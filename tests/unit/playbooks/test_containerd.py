# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd is restarted for what was replaced, by the role or by the play that fetches all files before it."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

OLD, NEW = {"artifacts": [{"changed": False}, {"changed": True}]}, {"artifacts": [{"changed": True}, {"changed": False}]}


CASES: list[tuple[dict[str, t.Any], bool]] = [
    ({}, False),
    ({"containerd__installed": OLD}, False),
    ({"containerd__installed": NEW}, True),
    ({"containerd__installed": {"skipped": True}}, False),
    ({"containerd__installed": {"msg": "it failed"}}, False),
]


def test_restart(play: t.Any) -> None:
    """All in one run, which takes as long as one of them."""
    tasks: list[dict[str, t.Any]] = [
        {
            "name": "Tell",
            "ansible.builtin.debug": {"msg": f"case {number} restart: {{{{ containerd__restart }}}}"},
            "vars": {"containerd__outdated": False, "containerd__to_write": [], **given},
        }
        for number, (given, _restart) in enumerate(CASES)
    ]
    role = {"name": "gpufleet.k8s.containerd", "tasks_from": "install"}
    tasks.append({"name": "Role", "ansible.builtin.import_role": role, "when": False})
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": tasks}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )
    wrong = [given for number, (given, restart) in enumerate(CASES) if f"case {number} restart: {restart}" not in said.text]
    assert wrong == [], said.text


@pytest.mark.parametrize(
    ("services", "says"), [(["x.service", "y.mount"], ""), (["x.service", "dlami-nvme"], "dlami-nvme is no name of a")]
)
def test_services_have_names_of_units(play: t.Any, tmp_path: Path, services: list[str], says: str) -> None:
    systemctl = tmp_path / "systemctl"
    shown = "".join(
        f"Id={unit}\nActiveState=inactive\nFragmentPath=\n\n" for unit in ("containerd.service", "var-lib-kubelet.mount")
    )
    systemctl.write_text(f"#!/bin/sh\ncat <<END\n{shown}END\n")
    systemctl.chmod(0o755)
    role = {
        "name": "Preflight",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.containerd", "tasks_from": "preflight"},
        "vars": {"containerd__utc": {"PATH": f"{tmp_path}:/usr/bin:/bin"}, "containerd__kubelet_moves": False},
    }
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        containerd_data_disk_services=services,
    )
    assert said.status == (2 if says else 0), said.text
    assert says in said.text
