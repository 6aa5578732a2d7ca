# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the role cpu_pinning runs its sample pods: after a change, and as long as the proof of the last one is owed."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import pinning, planner
from role_vars import ROLES, evaluated

HERE = {"cpu_pinning_node_name": "n1"}
PROVED = (
    "# proved by the sample of gpufleet.k8s.cpu_pinning: kubelet 1.36.3 with "
    '{"cpuManagerPolicy": "static", "kubeReserved": {"cpu": "1"}, "topologyManagerPolicy": "single-numa-node", '
    '"topologyManagerScope": "pod"}'
)


def found(restart: bool, proved: str | None = None, kubelet: str = "1.36.3", **more: t.Any) -> dict[str, t.Any]:
    """What configure.yml has registered by then; a file that is not there has no content."""
    record = {} if proved is None else {"content": base64.b64encode(f"{proved}\n".encode()).decode()}
    return {**HERE, "cpu_pinning__plan": {"restart": restart, "kubelet_version": kubelet}, "cpu_pinning__proved": record, **more}


def test_the_proof_is_owed_until_it_held(tmp_path: Path) -> None:
    hosts = {
        "changes": found(True, PROVED),
        "killed_before_the_proof": found(False),
        "proved": found(False, PROVED),
        "proved_with_other_settings": found(False, PROVED, cpu_pinning_settings={"kubeReserved": {"cpu": "2"}}),
        "upgraded": found(False, PROVED, "1.37.0"),
        "without_sample": found(True, cpu_pinning_sample=False),
        "only_verify": HERE,
        "dry_run_without_access": {**HERE, "cpu_pinning__plan": {"skipped": True}, "cpu_pinning__proved": {}},
    }
    owed = evaluated(tmp_path, "cpu_pinning", {"owed": "cpu_pinning__owed | bool"}, hosts)
    assert {host for host, its in owed.items() if its["owed"]} == {
        "changes",
        "killed_before_the_proof",
        "proved_with_other_settings",
        "upgraded",
    }
    text = evaluated(tmp_path, "cpu_pinning", {"text": "cpu_pinning__proof_text"}, {"proved": hosts["proved"]})
    assert text["proved"]["text"] == PROVED


def test_each_policy_gives_settings_that_a_kubelet_takes(tmp_path: Path) -> None:
    spec = yaml.safe_load((ROLES / "cpu_pinning/meta/argument_specs.yml").read_text())
    policies = spec["argument_specs"]["main"]["options"]["cpu_pinning_policy"]["choices"]
    assert set(policies) == set(pinning.TOPOLOGY_POLICIES)
    hosts = {policy: {**HERE, "cpu_pinning_policy": policy} for policy in policies}
    for policy, values in evaluated(tmp_path, "cpu_pinning", {"settings": "cpu_pinning__settings"}, hosts).items():
        settings = values["settings"]
        assert settings["topologyManagerPolicy"] == policy and settings["cpuManagerPolicy"] == "static"
        planner.check_part("1.36.3", settings)  # it would raise
