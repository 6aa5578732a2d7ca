# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that a cluster could not tell apart."""

from __future__ import annotations

import re
import typing as t

_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_KINDS = ("machine id", "hardware address", "host name")
_ADVICE = {
    "machine id": "empty /etc/machine-id on the clone and run systemd-machine-id-setup, then restart it",
    "hardware address": "give the clone's network interface an address of its own",
    "host name": "rename one with hostnamectl set-hostname",
}


def identity_problems(hostvars: t.Mapping[str, t.Any], hosts: t.Sequence[str], inventory_names: bool = False) -> list[str]:
    """A sentence for each clash and each bad name, naming the hosts and the value."""
    known: dict[tuple[str, str], str] = {}
    problems = []
    for host in hosts:
        facts = hostvars[host].get("ansible_facts") or {}
        name = str(facts.get("nodename") or "").lower()
        if not name:
            continue
        values = (facts.get("machine_id"), _address(facts), name)
        for kind, value in zip(_KINDS, values):
            first = known.setdefault((kind, str(value).lower()), host) if value else host
            if first != host:
                problems.append(f"{first} and {host} have the same {kind} {value}; {_ADVICE[kind]}")
        if len(name) > 253 or not _NODE_NAME.fullmatch(name):
            problems.append(f"{host} has the host name {name!r}, which cannot be a node name (RFC 1123); {_ADVICE['host name']}")
        elif inventory_names and host != name and host != name.split(".", maxsplit=1)[0]:
            problems.append(f"{host} of the inventory calls itself {name!r}; {_ADVICE['host name']}, or correct the inventory")
    return problems


def _address(facts: t.Mapping[str, t.Any]) -> str | None:
    for family in ("default_ipv4", "default_ipv6"):
        address = (facts.get(family) or {}).get("macaddress")
        if address:
            return str(address)
    return None
