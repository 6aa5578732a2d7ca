# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes whose labels are not as wished."""

from __future__ import annotations

import typing as t


def nodes_to_label(hosts: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Hosts that are no nodes are left alone. Pure."""
    manifests = []
    for host in hosts:
        results = (host.get(name, {}) for name in ("kubeadm__joined", "kubeadm__init", "kubeadm__found"))
        last: t.Mapping[str, t.Any] = next((result for result in results if result.get("node")), {})
        if last.get("relabel") or last.get("unlabel"):
            metadata = {"name": last["node"]["name"], "labels": last["relabel"]}
            manifests.append({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    return manifests
