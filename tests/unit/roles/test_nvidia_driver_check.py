# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks a host for."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from role_vars import evaluated

ROLE = Path(__file__).resolve().parents[3] / "roles/nvidia_driver_check"
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())
BINDINGS, YAML = (f"{name}=={version(name)}" for name in ("nvidia-ml-py", "PyYAML"))


@pytest.mark.parametrize(
    ("packages", "there"),
    [
        ([BINDINGS, YAML], True),
        (["/srv/nvidia_ml_py.whl", f"{YAML}; python_version > '3'"], True),
        (["nvidia-ml-py==12.535.77", YAML], False),
        ([BINDINGS, YAML, "of-a-name-that-nobody-has==1.0"], False),
    ],
)
def test_changed_pins_are_seen(packages: list[str], there: bool) -> None:
    command = [sys.executable, "-c", VARS["nvidia_driver_check__look"], *packages]
    assert (subprocess.run(command, capture_output=True, check=False).returncode == 0) is there


#: What a host's programs say -> the versions found: of the toolkit, of nvidia-docker2.
SERVING = [
    ({}, ("", "")),
    ({"nvidia-ctk": "echo 'NVIDIA Container Toolkit CLI version 1.20.0'; echo commit: abc"}, ("1.20.0", "")),
    ({"nvidia-container-cli": "echo cli-version: 1.17.8; echo lib-version: 1.17.8"}, ("1.17.8", "")),
    ({"nvidia-container-cli": "echo version: 1.3.0"}, ("1.3.0", "")),
    (
        {"dpkg-query": 'case $3 in nvidia-docker2) echo "$3 installed 2.4.0-1";; *) echo "version 1.3.1-1";; esac'},
        ("1.3.1-1", "2.4.0-1"),
    ),
    ({"dpkg-query": 'case $3 in nvidia-docker2) echo "$3 config-files 2.4.0-1";; *) exit 1;; esac'}, ("", "")),
    (
        {"rpm": 'case $4 in nvidia-docker2) echo "$4 installed 2.5.0";; *) echo "no such package"; exit 1;; esac'},
        ("", "2.5.0"),
    ),
]


def test_what_serves_containers_is_found(tmp_path: Path) -> None:
    """A host for each case, in one run of Ansible."""
    hosts = {}
    for number, (programs, _found) in enumerate(SERVING):
        folder = tmp_path / f"bin{number}"
        folder.mkdir()
        for name, script in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        asked = subprocess.run(
            ["/bin/sh", "-c", VARS["nvidia_driver_check__ask"]],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        hosts[f"host{number}"] = {"nvidia_driver_check__toolkit": {"stdout": asked.stdout}}
    names = {name: f"nvidia_driver_check__found.{name}" for name in ("toolkit", "nvidia_docker2")}
    answers = evaluated(tmp_path, "nvidia_driver_check", names, hosts)
    found = {name: (answer["toolkit"], answer["nvidia_docker2"]) for name, answer in answers.items()}
    assert found == {f"host{number}": versions for number, (_programs, versions) in enumerate(SERVING)}
