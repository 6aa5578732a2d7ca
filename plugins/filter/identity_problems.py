# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that a cluster could not tell apart."""

from __future__ import annotations

import re
import typing as t

DOCUMENTATION = r"""
name: identity_problems
short_description: Finds hosts that a cluster cannot tell apart, or whose names cannot be node names
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Compares machine id, hardware address and host name of all hosts. Clones of a virtual machine often share them, and then
    nodes overwrite each other in the cluster or cannot reach each other, with no error anywhere.
  - Checks that a host's name can be a node's name (RFC 1123), and if wished that it is the name in the inventory.
positional: _input, hosts
options:
  _input:
    description: The variables of all hosts (C(hostvars)). Hosts without facts are left out.
    type: dict
    required: true
  hosts:
    description: The hosts to compare.
    type: list
    elements: str
    required: true
  inventory_names:
    description: Whether a host must have the name that it has in the inventory.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse clones
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('. ') }}"
  vars:
    problems: "{{ hostvars | gpufleet.k8s.identity_problems(ansible_play_hosts_all) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One sentence for each problem.
  type: list
  elements: str
"""

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


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"identity_problems": identity_problems}
