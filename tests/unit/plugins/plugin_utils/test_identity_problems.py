# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""identity_problems: clones are named in pairs, with what they share."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.identity_problems import identity_problems


def host(number, **facts):
    return {
        "ansible_facts": {
            "nodename": f"node{number}",
            "machine_id": f"{number:032x}",
            "default_ipv4": {"macaddress": f"02:00:00:00:00:0{number}"},
            **facts,
        }
    }


def test_different_hosts_are_fine():
    hosts = {f"node{number}": host(number) for number in range(3)}
    assert identity_problems(hosts, list(hosts), inventory_names=True) == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"machine_id": f"{1:032x}"}, f"node1 and node2 have the same machine id {1:032x}; empty /etc/machine-id"),
        (
            {"default_ipv4": {"macaddress": "02:00:00:00:00:01"}},
            "node1 and node2 have the same hardware address 02:00:00:00:00:01",
        ),
        (
            {"default_ipv4": {}, "default_ipv6": {"macaddress": "02:00:00:00:00:01"}},
            "the same hardware address 02:00:00:00:00:01",
        ),
        ({"nodename": "NODE1"}, "node1 and node2 have the same host name node1; rename one"),
        ({"nodename": "node_2"}, "node2 has the host name 'node_2', which cannot be a node name (RFC 1123)"),
        ({"nodename": "a." * 126 + "a"}, ""),
        ({"nodename": "a." * 126 + "ab"}, "which cannot be a node name (RFC 1123)"),
    ],
)
def test_clones_and_bad_names_are_named(facts, message):
    problems = identity_problems({"node1": host(1), "node2": host(2, **facts)}, ["node1", "node2"])
    assert len(problems) == (1 if message else 0)
    assert message in "".join(problems)


def test_three_clones_are_compared_with_the_first():
    hosts = {f"node{number}": host(number, machine_id="same") for number in range(3)}
    assert [problem.split(" have")[0] for problem in identity_problems(hosts, list(hosts))] == [
        "node0 and node1",
        "node0 and node2",
    ]


def test_a_host_without_facts_is_left_out_and_a_missing_value_is_no_value():
    hosts = {"down": {}, "node1": host(1, machine_id=None, default_ipv4={}), "node2": host(2, machine_id=None, default_ipv4={})}
    assert identity_problems(hosts, list(hosts)) == []


def test_the_inventory_name_matters_only_when_asked():
    hosts = {"alias": host(1), "node2": host(2, nodename="node2.example.com")}
    assert identity_problems(hosts, list(hosts)) == []
    (problem,) = identity_problems(hosts, list(hosts), inventory_names=True)
    assert problem.startswith("alias of the inventory calls itself 'node1'")
