# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed serves the very versions that the roles pin: a bump of one without the other would test something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib
import yaml

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = tomllib.loads((ROOT / "tests" / "testbed" / "artifacts.toml").read_text())["versions"]


@pytest.mark.parametrize(
    ("role", "variable", "served"),
    [
        ("containerd", "containerd_version", "containerd"),
        ("containerd", "containerd_runc_version", "runc"),
        ("containerd", "containerd_cni_plugins_version", "cni"),
        ("containerd", "containerd_crictl_version", "crictl"),
        ("containerd", "containerd_sandbox_image", "pause"),
        ("kubeadm", "kubeadm_version", "kubernetes"),
        ("flannel", "flannel_version", "flannel"),
        ("verdict", "verdict_probe_image", "busybox"),
        ("nvidia_container_toolkit", "nvidia_container_toolkit_version", "nvidia_container_toolkit"),
        ("nvidia_device_plugin", "nvidia_device_plugin_version", "nvidia_device_plugin"),
        ("nvidia_device_plugin", "nvidia_device_plugin_nfd_version", "node_feature_discovery"),
    ],
)
def test_roles_and_test_bed_agree(role: str, variable: str, served: str) -> None:
    pinned = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())[variable]
    assert str(pinned).rpartition(":")[2].lstrip("v") == VERSIONS[served].lstrip("v")
