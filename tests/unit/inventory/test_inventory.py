# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories that are ready to copy: every variable is known to a role, and the values can work."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kubeadm_problems import kubeadm_problems
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.pod_cidr_problems import pod_cidr_problems
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.structure_problems import structure_problems

ROOT = Path(__file__).resolve().parents[3]
#: The variables that CONTRIBUTING.md has for all roles.
SHARED = set(re.findall(r"`(gpufleet_[a-z_]+)`", (ROOT / "CONTRIBUTING.md").read_text()))
#: A variable that is left out, with the value that it could have: `# name: value`, and not a sentence.
LEFT_OUT = re.compile(r"^# ([a-z_]+): ", re.MULTILINE)
SITES = ["hyperpod", "a100_mig"]


def read(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text())


def options() -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        found.update(read(path)["argument_specs"]["main"]["options"])
    return found


def files(site: str) -> list[Path]:
    return sorted((ROOT / "inventory" / site / "group_vars").rglob("*.yml"))


def of_groups(groups: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """All variables in hosts.yml, of groups and of hosts."""
    found: dict[str, t.Any] = {}
    for group in groups.values():
        found.update((group or {}).get("vars") or {})
        for host in ((group or {}).get("hosts") or {}).values():
            found.update(host or {})
        found.update(of_groups((group or {}).get("children") or {}))
    return found


def variables(site: str) -> dict[str, t.Any]:
    found = of_groups(read(ROOT / "inventory" / site / "hosts.yml"))
    for path in files(site):
        found.update(read(path) or {})
    return found


@pytest.mark.parametrize("site", SITES)
def test_every_variable_is_known(site: str) -> None:
    left_out = {name for path in files(site) for name in LEFT_OUT.findall(path.read_text())}
    named = {name for name in {*variables(site), *left_out} if not name.startswith("ansible_")}
    assert len(named) > 5
    assert named - set(options()) - SHARED == set()


@pytest.mark.parametrize("site", SITES)
def test_lists_and_dictionaries_are_such(site: str) -> None:
    assert structure_problems(variables(site), options()) == []


@pytest.mark.parametrize("site", SITES)
def test_how_hosts_are_reached_is_not_said_of_the_controller(site: str) -> None:
    """`all` has it too, though no inventory names it: it would get its tasks through sudo."""
    of_all = dict((read(ROOT / "inventory" / site / "hosts.yml").get("all") or {}).get("vars") or {})
    for path in (ROOT / "inventory" / site / "group_vars" / "all").glob("*.yml"):
        of_all.update(read(path) or {})
    assert [name for name in of_all if name.startswith("ansible_")] == []


def test_the_hyperpod_values_can_work() -> None:
    site = variables("hyperpod")
    groups = read(ROOT / "inventory" / "hyperpod" / "hosts.yml")
    version = read(ROOT / "roles" / "kubeadm" / "defaults" / "main.yml")["kubeadm_version"]
    minors = read(ROOT / "roles" / "kubeadm" / "vars" / "main" / "main.yml")["kubeadm__minors"]
    hosts = {
        name: host["ansible_host"]
        for group in ("kube_control_plane", "kube_node")
        for name, host in groups[group]["hosts"].items()
    }
    wish = site["kubeadm_cluster_configuration"]
    control_planes = list(groups["kube_control_plane"]["hosts"])
    assert len(control_planes) == 1
    assert kubeadm_problems(wish, version=version, minors=minors, control_planes=control_planes) == []
    assert (
        pod_cidr_problems(
            wish,
            max_nodes=site["kubeadm_max_nodes"],
            hosts=hosts,
            host_networks=site["kubeadm_host_networks"],
            inventory=len(hosts),
        )
        == []
    )
