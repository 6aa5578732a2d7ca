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
