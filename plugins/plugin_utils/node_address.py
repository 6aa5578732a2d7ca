# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address under which a host is a node."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.errors import AnsibleFilterError


def node_address(facts: t.Mapping[str, t.Any], wish: str = "", variable: str = "kubeadm_node_ip") -> str:
    """Raises AnsibleFilterError that says what the host has instead."""
    wish = str(wish or "").strip()
    if not wish:
        for family in ("default_ipv4", "default_ipv6"):
            if facts.get(family, {}).get("address"):
                return str(facts[family]["address"])
        raise AnsibleFilterError(f"the host has no default route, so its address is not known: set {variable}")
    addresses = [str(address) for address in [*facts.get("all_ipv4_addresses", []), *facts.get("all_ipv6_addresses", [])]]
    interface = facts.get(wish.replace("-", "_").replace(".", "_").replace(":", "_"))
    if isinstance(interface, dict) and interface.get("device") == wish:
        found = interface.get("ipv4", {}).get("address") or next((a["address"] for a in interface.get("ipv6", [])), None)
        if not found:
            raise AnsibleFilterError(f"{variable} is the interface {wish!r}, which has no address")
        return str(found)
    try:
        if "/" in wish:
            network = ipaddress.ip_network(wish, strict=False)
            chosen = [address for address in addresses if ipaddress.ip_address(address) in network]
        else:
            # Each of several (one for each family) has to be an address of this host.
            wanted = [str(ipaddress.ip_address(part.strip())) for part in wish.split(",")]
            return ",".join(wanted) if set(wanted) <= set(addresses) else _refuse(variable, wish, addresses)
    except ValueError:
        return _refuse(variable, wish, addresses)
    return chosen[0] if chosen else _refuse(variable, wish, addresses)


def _refuse(variable: str, wish: str, addresses: list[str]) -> str:
    raise AnsibleFilterError(
        f"{variable} {wish!r} is no address, interface or network of this host; "
        f"its addresses are {', '.join(addresses) or 'none'}"
    )
