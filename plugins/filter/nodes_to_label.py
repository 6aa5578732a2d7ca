# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes whose labels are not as wished."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: nodes_to_label
short_description: Finds nodes whose labels are not as wished
version_added: 0.1.0
author:
  - The gpufleet.k8s authors
description:
  - Collects from hosts which labels M(gpufleet.k8s.kubeadm_node) found missing or different at last.
positional: _input
options:
  _input:
    description:
      - Variables of hosts. C(kubeadm__joined), C(kubeadm__init) and C(kubeadm__found) are what was found, the latest first.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Nodes to label
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | map('extract', hostvars) | gpufleet.k8s.nodes_to_label }}"
"""

RETURN = r"""
_value:
  description: Manifests of the nodes that need a change, with all labels that are wished of them.
  type: list
  elements: dict
"""


def nodes_to_label(hosts: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Hosts that are no nodes are left alone. Pure."""
    manifests = []
    for host in hosts:
        results = (host.get(name, {}) for name in ("kubeadm__joined", "kubeadm__init", "kubeadm__found"))
        last: t.Mapping[str, t.Any] = next((result for result in results if result.get("node")), {})
        if last.get("relabel"):
            metadata = {"name": last["node"]["name"], "labels": last["relabel"]}
            manifests.append({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    return manifests


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nodes_to_label": nodes_to_label}
