# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which set-up all Nodes get, from what the hosts in the play have."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from role_vars import ROLES, evaluated


def observed(pins: bool, told: str) -> dict[str, object]:
    lines = [
        "CustomResourceDefinition clusterpolicies.nvidia.com ",
        f"DaemonSet nvidia-device-plugin {told}",
        "DaemonSet nfd-worker ",
    ]
    return {
        "nvidia_device_plugin__pinning": {"rc": 0 if pins else 1},
        "nvidia_device_plugin__cluster": {"stdout_lines": lines[0 if told == "operator" else 1 :]},
    }


@pytest.mark.parametrize(
    ("limit", "pins", "now", "wanted"),
    [
        ("all", (False, True), "false", True),
        ("all", (False, False), "true", False),
        ("first", (False, True), "true", True),  # the second host needs it
        ("first", (False, False), "false", False),
    ],
)
def test_whether_containers_are_told_their_devices(
    tmp_path: Path, limit: str, pins: tuple[bool, bool], now: str, wanted: bool
) -> None:
    hosts = {"first": observed(pins[0], now), "second": observed(pins[1], now)}
    found = evaluated(tmp_path, "nvidia_device_plugin", {"specs": "nvidia_device_plugin__specs | bool"}, hosts, limit=limit)
    assert found["first"]["specs"] is wanted


def test_the_operator_is_seen(tmp_path: Path) -> None:
    asked = {"seen": "nvidia_device_plugin__operator | length > 0"}
    hosts = {told: observed(False, told) for told in ("operator", "true")}
    found = evaluated(tmp_path, "nvidia_device_plugin", asked, hosts)
    assert (found["operator"]["seen"], found["true"]["seen"]) == (True, False)


def promised(strategy: str, resource: str) -> dict[str, object]:
    return {"nvidia_device_plugin__promise": {"node": "n", "resources": {resource: 7}, "strategy": strategy}}


def test_hosts_with_different_strategies_are_told_apart(tmp_path: Path) -> None:
    hosts = {"first": promised("single", "a"), "second": promised("mixed", "b"), "third": promised("single", "c")}
    tasks = yaml.safe_load((ROLES / "nvidia_device_plugin/tasks/preflight.yml").read_text())
    (refusal,) = (task["ansible.builtin.assert"] for task in tasks if task["name"] == "Refuse hosts that contradict each other")
    asked = {"fits": refusal["that"], "says": refusal["fail_msg"].partition("{{")[2].partition("}}")[0]}
    found = evaluated(tmp_path, "nvidia_device_plugin", asked, hosts)["first"]
    assert found["fits"] is False and found["says"] == "first: single, second: mixed, third: single"
    assert evaluated(tmp_path, "nvidia_device_plugin", asked, hosts, limit="first:third")["first"]["fits"] is True


def test_the_trial_asks_for_what_a_host_in_the_run_offers(tmp_path: Path) -> None:
    """The others promise nothing: with --limit they were not asked."""
    plays = yaml.safe_load((ROLES.parent / "playbooks/a100_mig.yml").read_text())
    (wanted,) = (play["vars"]["gpu_smoke_resource"] for play in plays if "gpu_smoke_resource" in play.get("vars", {}))
    asked = {"resource": wanted.strip().removeprefix("{{").removesuffix("}}")}
    hosts = {"first": {}, "second": promised("mixed", "nvidia.com/mig-1g.5gb")}
    assert evaluated(tmp_path, "nvidia_device_plugin", asked, hosts)["first"]["resource"] == "nvidia.com/mig-1g.5gb"
    assert evaluated(tmp_path, "nvidia_device_plugin", asked, {"first": {}})["first"]["resource"] == "nvidia.com/gpu"
