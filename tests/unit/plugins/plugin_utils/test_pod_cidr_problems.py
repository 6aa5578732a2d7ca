# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pod_cidr_problems: the controller manager's arithmetic, and sentences that name variable, value and remedy."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.pod_cidr_problems import pod_cidr_problems
from hypothesis import given
from hypothesis import strategies as st


def configuration(pods, services="10.96.0.0/12", **arguments):
    return {
        "networking": {"podSubnet": pods, "serviceSubnet": services},
        "controllerManager": {
            "extraArgs": [{"name": name.replace("_", "-"), "value": value} for name, value in arguments.items()]
        },
    }


@pytest.mark.parametrize(
    ("pods", "arguments", "nodes"),
    [
        ("10.244.0.0/16", {}, 256),
        ("10.244.0.0/14", {}, 1024),
        ("10.244.0.0/22", {}, 4),
        ("10.244.0.0/24", {}, 1),
        ("10.244.0.0/16", {"node_cidr_mask_size": "25"}, 512),
        ("fd00:10::/56", {}, 256),
        ("10.244.0.0/16,fd00:10::/58", {}, 64),  # the smaller of both
        ("10.244.0.0/16,fd00:10::/56", {"node_cidr_mask_size_ipv4": "25", "node_cidr_mask_size_ipv6": "66"}, 512),
    ],
)
def test_the_last_node_that_fits_and_the_first_that_does_not(pods, arguments, nodes):
    services = "10.96.0.0/12" if "." in pods else "fd00:96::/112"
    wish = configuration(pods, services, **arguments)
    assert pod_cidr_problems(wish, max_nodes=nodes) == []
    (problem,) = pod_cidr_problems(wish, max_nodes=nodes + 1)
    assert f"has room for {nodes} nodes" in problem
    assert f"kubeadm_max_nodes is {nodes + 1}" in problem


@pytest.mark.parametrize(
    ("planned", "inventory", "says"), [(2, 3, "the inventory has 3 (kubeadm_max_nodes is 2)"), (0, "3", "the inventory has 3 (")]
)
def test_what_the_inventory_has_counts_too(planned, inventory, says):
    (problem,) = pod_cidr_problems(configuration("10.244.0.0/23"), max_nodes=planned, inventory=inventory)
    assert says in problem
    assert pod_cidr_problems(configuration("10.244.0.0/22"), max_nodes=planned, inventory=inventory) == []


def test_the_range_in_the_message_has_room():
    (problem,) = pod_cidr_problems(configuration("10.244.0.0/16"), max_nodes=300)
    assert "a range of /15 has room for 512" in problem
    assert pod_cidr_problems(configuration("10.244.0.0/15"), max_nodes=300) == []


@given(prefix=st.integers(8, 24), mask=st.integers(8, 28), nodes=st.integers(1, 70000))
def test_it_agrees_with_counting_subnets(prefix, mask, nodes):
    """The judge splits the range with the standard library, as far as that is quick."""
    network = ipaddress.ip_network(f"172.0.0.0/{prefix}", strict=False)
    wish = configuration(str(network), "192.168.0.0/24", node_cidr_mask_size=str(mask))
    problems = pod_cidr_problems(wish, max_nodes=nodes, max_pods=1)
    if mask < prefix or mask - prefix > 16:
        assert problems
        return
    fits = sum(1 for _subnet in network.subnets(new_prefix=mask)) >= nodes
    assert (problems == []) == fits


@pytest.mark.parametrize(("mask", "pods", "fine"), [(24, 253, True), (24, 254, False), (25, 110, True), (26, 110, False)])
def test_pods_of_a_node(mask, pods, fine):
    problems = pod_cidr_problems(configuration("10.244.0.0/16", node_cidr_mask_size=str(mask)), max_nodes=2, max_pods=pods)
    assert (problems == []) == fine
    assert all("maxPods of kubeadm_kubelet_configuration is" in problem for problem in problems)


@pytest.mark.parametrize(
    ("pods", "services", "hosts", "networks", "says"),
    [
        ("10.96.0.0/16", "10.96.0.0/12", {}, [], ["podSubnet 10.96.0.0/16 overlaps networking.serviceSubnet 10.96.0.0/12"]),
        ("10.0.0.0/14", "10.96.0.0/16", {"a": "10.1.2.3"}, [], ["podSubnet 10.0.0.0/14 contains 10.1.2.3, the address of a"]),
        ("10.244.0.0/16", "10.96.0.0/12", {"a": "10.111.1.2,fd00::1"}, [], ["serviceSubnet 10.96.0.0/12 contains 10.111.1.2"]),
        ("10.244.0.0/16", "10.96.0.0/16", {}, ["10.244.3.0/24"], ["overlaps kubeadm_host_networks 10.244.3.0/24"]),
        ("10.244.0.0/16", "10.96.0.0/16", {}, ["10.1.0.0"], []),
        ("10.244.0.0/16", "10.96.0.0/16", {}, ["vpc"], ["kubeadm_host_networks 'vpc' is not a network"]),
        ("10.244.1.0/16", "10.96.0.0/16", {}, [], ["podSubnet '10.244.1.0/16' is not a network", "has host bits set"]),
        ("", "10.96.0.0/16", {}, [], ["podSubnet '' is not a network"]),
        ("10.244.0.0/16,10.245.0.0/16", "10.96.0.0/16", {}, [], ["several ranges of one family"]),
        ("10.244.0.0/16", "10.0.0.0/11", {}, [], ["serviceSubnet 10.0.0.0/11 is too large", "from /12 to /28"]),
        ("10.244.0.0/16", "10.96.0.0/29", {}, [], ["serviceSubnet 10.96.0.0/29 is too small"]),
        ("2001:db8::/32", "fd00:96::/112", {}, [], ["32 bits for nodes", "at most 16", "from /48 on"]),
    ],
)
def test_what_is_refused(pods, services, hosts, networks, says):
    problems = pod_cidr_problems(configuration(pods, services), max_nodes=1, hosts=hosts, host_networks=networks)
    assert len(problems) == (1 if says else 0)
    assert all(part in problems[0] for part in says)


def test_a_mask_that_is_no_number():
    (problem,) = pod_cidr_problems(configuration("10.244.0.0/16", node_cidr_mask_size="big"), max_nodes=1)
    assert "node-cidr-mask-size 'big'" in problem


@given(st.text(max_size=30), st.text(max_size=30), st.lists(st.text(max_size=20), max_size=3))
def test_nothing_that_a_user_can_write_is_a_crash(pods, services, networks):
    assert isinstance(pod_cidr_problems(configuration(pods, services), max_nodes=3, host_networks=networks), list)


@pytest.mark.parametrize(
    "wish",
    [
        {"networking": ["10.244.0.0/16"]},
        {"networking": "10.244.0.0/16"},
        {**configuration("10.244.0.0/16"), "controllerManager": {"extraArgs": {"node-cidr-mask-size": "25"}}},  # as in v1beta3
        {**configuration("10.244.0.0/16"), "controllerManager": ["node-cidr-mask-size"]},
        {**configuration("10.244.0.0/16"), "controllerManager": {"extraArgs": ["node-cidr-mask-size"]}},
    ],
)
def test_wrong_types_are_left_for_who_refuses_them(wish):
    assert pod_cidr_problems(wish, max_nodes=200) == []


@pytest.mark.parametrize("max_pods", [None, "many", [110]])
def test_pods_that_are_no_number_count_as_the_default(max_pods):
    assert pod_cidr_problems(configuration("10.244.0.0/16"), max_nodes=2, max_pods=max_pods) == []
    (problem,) = pod_cidr_problems(configuration("10.244.0.0/16", node_cidr_mask_size="26"), max_nodes=2, max_pods=max_pods)
    assert "is 110" in problem
