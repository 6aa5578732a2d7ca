# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.nvidia_version_problems import nvidia_version_problems

DEFAULTS = yaml.safe_load((Path(__file__).parents[4] / "roles/nvidia_driver_check/defaults/main.yml").read_text())
MINIMUMS = DEFAULTS["nvidia_driver_check_minimums"]
BY_GPU = DEFAULTS["nvidia_driver_check_gpu_minimums"]


@pytest.mark.parametrize(
    ("driver", "gpu", "needed"),
    [
        ("450.51.06", "NVIDIA A100-PCIE-40GB", "450.80.02"),
        ("450.51.06", "NVIDIA A800-SXM4-80GB", "450.80.02"),
        ("450.80.02", "NVIDIA A30", "460.73.01"),
        ("515.105.01", "NVIDIA GH200 480GB", "525.85.12"),
        ("515.105.01", "NVIDIA H100 80GB HBM3", "525.85.12"),
        ("535.54.03", "NVIDIA H200", "550.90.07"),
        ("550.54.15", "NVIDIA GB200", "570.133.20"),
        ("575.57.08", "NVIDIA B300 SXM6 AC", "580.82.07"),
        ("535.129.03", "NVIDIA H20", "535.161.07"),
        ("580.95.05", "NVIDIA GB300", "595.58.03"),
        ("570.133.20", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "575.51.03"),
        ("575.51.03", "NVIDIA RTX PRO 5000 Blackwell", "575.57.08"),
        ("575.57.08", "NVIDIA RTX PRO 4500 Blackwell", "575.64"),
    ],
)
def test_each_gpu_has_its_oldest_driver(driver: str, gpu: str, needed: str) -> None:
    told = nvidia_version_problems({"driver": driver}, MINIMUMS, [gpu], BY_GPU)
    assert any(f"is older than {needed}, which {gpu} needs" in problem for problem in told)
    assert nvidia_version_problems({"driver": needed}, MINIMUMS, [gpu], BY_GPU) == []


def test_every_part_that_is_too_old_is_named_and_numbers_are_no_text() -> None:
    found = {"driver": "450.80.02", "toolkit": "1.3.2", "device_plugin": "v0.6.0", "feature_discovery": "0.10.0"}
    assert nvidia_version_problems(found, MINIMUMS) == [
        "toolkit 1.3.2 is older than 1.3.3",
        "device_plugin v0.6.0 is older than 0.7.0",
    ]
    assert nvidia_version_problems({"toolkit": ""}, MINIMUMS) == []


def test_what_is_no_version_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="'latest' is not a version"):
        nvidia_version_problems({"toolkit": "latest"}, MINIMUMS)
