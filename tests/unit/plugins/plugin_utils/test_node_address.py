# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_address: an address, an interface or a network, and what the host has instead."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.node_address import node_address

FACTS = {
    "default_ipv4": {"address": "10.1.2.3"},
    "all_ipv4_addresses": ["10.1.2.3", "172.16.0.9"],
    "all_ipv6_addresses": ["fd00::3"],
    "ens6": {"device": "ens6", "ipv4": {"address": "172.16.0.9"}},
    "br_lan": {"device": "br-lan", "ipv4": {"address": "10.1.2.3"}},
    "empty0": {"device": "empty0"},
    "architecture": "x86_64",
}


@pytest.mark.parametrize(
    ("wish", "address"),
    [
        ("", "10.1.2.3"),
        ("172.16.0.9", "172.16.0.9"),
        ("10.1.2.3,fd00::3", "10.1.2.3,fd00::3"),
        ("ens6", "172.16.0.9"),
        ("br-lan", "10.1.2.3"),
        ("172.16.0.0/12", "172.16.0.9"),
        ("fd00::/8", "fd00::3"),
    ],
)
def test_what_is_chosen(wish, address):
    assert node_address(FACTS, wish) == address


@pytest.mark.parametrize("wish", ["192.0.2.7", "192.0.2.0/24", "eth9", "architecture"])
def test_what_the_host_does_not_have(wish):
    with pytest.raises(AnsibleFilterError) as error:
        node_address(FACTS, wish)
    assert f"kubeadm_node_ip '{wish}' is no address, interface or network of this host" in str(error.value)
    assert "10.1.2.3, 172.16.0.9, fd00::3" in str(error.value)


def test_an_interface_without_an_address_and_a_host_without_a_route():
    with pytest.raises(AnsibleFilterError, match="interface 'empty0', which has no address"):
        node_address(FACTS, "empty0")
    with pytest.raises(AnsibleFilterError, match=r"no default route.*set kubeadm_node_ip"):
        node_address({}, "")
