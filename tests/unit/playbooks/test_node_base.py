# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of node_base is of what is so now, and of what will be so after a reboot."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("content", "swap_target", "says"),
    [
        ("* - memlock unlimited\n", "masked", ""),
        ("* - memlock 64\n", "masked", "files with other content: ['{file}']; swap.target is masked"),
        (None, "masked", "files with other content: ['{file}']; swap.target is masked"),
        ("* - memlock unlimited\n", "static", "files with other content: []; swap.target is static"),
    ],
)
def test_files_and_swap_after_a_reboot(play: t.Any, tmp_path: Path, content: str | None, swap_target: str, says: str) -> None:
    file = tmp_path / "limits.conf"
    if content is not None:
        file.write_text(content)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho {swap_target}\nexit 1\n")
    systemctl.chmod(0o755)
    role = {
        "name": "Verify",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.node_base", "tasks_from": "verify"},
        "environment": {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        "vars": {
            "node_base__files": {str(file): "* - memlock unlimited\n"},
            "node_base__read": ["grep", "-sH", "", "/proc/modules"],  # without this machine's swap
        },
    }
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        node_base_kernel_modules=[],
        node_base_sysctls={},
        node_base_time_sync="ignore",
    )
    assert said.status == (2 if says else 0), said.text
    assert says.format(file=file) in said.text


@pytest.mark.parametrize(
    ("memlock", "sysctls", "says"),
    [
        (67108864, {"kernel.ostype": "Linux"}, []),
        ("64 GiB", {}, ["node_base_memlock is 64 GiB; write unlimited, or a number of KiB"]),
        (
            "unlimited",
            {"net.ipv4.ip_forward": True, "vm.swappiness": None, "kernel.ostype": "Linux", "kernel.pid_max": 4194304},
            ["'net.ipv4.ip_forward': True", "'vm.swappiness': None", "}; a value is a number or text"],
        ),
    ],
)
def test_values_that_no_file_can_have(play: t.Any, memlock: t.Any, sysctls: dict[str, t.Any], says: list[str]) -> None:
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.node_base", "tasks_from": "preflight"}}
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        groups={"kube_control_plane": ["head"]},
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        node_base_kernel_modules=[],
        node_base_sysctls=sysctls,
        node_base_memlock=memlock,
    )
    assert said.status == (2 if says else 0), said.text
    assert [part for part in says if part not in said.text] == [], said.text
    assert "kernel.ostype'" not in said.text
