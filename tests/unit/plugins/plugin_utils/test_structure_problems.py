# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text where a list or a dictionary should be, and numbers below what can be; only that."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.structure_problems import NEVER_NULL, SECRET, structure_problems

ROLES = Path(__file__).resolve().parents[4] / "roles"

OPTIONS = {
    "disks": {"type": "list"},
    "config": {"type": "dict"},
    "keys": {"type": "dict", "no_log": True},
    "hyperpod_aws": {"type": "dict"},
    "name": {"type": "str"},
    "net_wait_timeout": {"type": "int", "default": 300},
    "nodes": {"type": "int", "default": 16},
    "ttl": {"type": "int", "default": -1},
}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, []),
        ({"disks": ["/a"], "config": {}, "name": "a,b", "other": "x"}, []),
        ({"disks": "/a"}, ["disks is the text '/a' and must be a list; on the command line write -e '{\"disks\": [...]}'"]),
        (
            {"config": "a=b"},
            ["config is the text 'a=b' and must be a dictionary; on the command line write -e '{\"config\": {...}}'"],
        ),
        ({"net_wait_timeout": 0, "nodes": "7", "ttl": -1}, []),
        (
            {"net_wait_timeout": -5, "nodes": "-1"},
            ["net_wait_timeout is -5; choose 0 or more seconds", "nodes is -1; choose 0 or more"],
        ),
        ({"nodes": "many"}, []),  # validate_argument_spec says it
        ({"keys": "s3cret"}, ["keys is text and must be a dictionary; on the command line write -e '{\"keys\": {...}}'"]),
        (
            {"hyperpod_aws": "secret_key=s3cret"},
            ["hyperpod_aws is text and must be a dictionary; on the command line write -e '{\"hyperpod_aws\": {...}}'"],
        ),
    ],
)
def test_structure_problems(variables, says):
    assert structure_problems(variables, OPTIONS) == says


def test_what_is_named_is_an_option_of_a_role() -> None:
    specs = [
        yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"] for path in ROLES.glob("*/meta/argument_specs.yml")
    ]
    assert {name for options in specs for name in options} >= SECRET | NEVER_NULL


@pytest.mark.parametrize("path", sorted(ROLES.glob("*/meta/argument_specs.yml")), ids=lambda path: path.parts[-3])
def test_no_role_refuses_values_from_a_vault(path: Path) -> None:
    """ansible-core 2.17 takes neither these nor times where its specs say `no_log`."""
    assert "no_log:" not in path.read_text()


def test_null_where_a_role_cannot_do_with_it() -> None:
    options = {"node_base_sysctls": {"type": "dict"}, "containerd_data_disks": {"type": "list"}, "kubeadm_join": {"type": "dict"}}
    assert structure_problems({}, options) == []
    assert structure_problems(dict.fromkeys(options), options) == [
        "node_base_sysctls is null, as is what has nothing behind its colon in YAML; write {} for none",
        "containerd_data_disks is null, as is what has nothing behind its colon in YAML; write [] for none",
    ]
