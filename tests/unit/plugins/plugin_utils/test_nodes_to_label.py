# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nodes_to_label: what was found last counts, and hosts that are no nodes are left alone."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.nodes_to_label import nodes_to_label


def found(**relabel):
    return {"node": {"name": "n"}, "relabel": relabel}


@pytest.mark.parametrize(
    ("host", "labels"),
    [
        ({"kubeadm__found": found()}, None),
        ({"kubeadm__found": found(zone="a")}, {"zone": "a"}),
        ({"kubeadm__found": found(zone="a"), "kubeadm__joined": found()}, None),  # registered with it in this run
        ({"kubeadm__found": {"node": {}}, "kubeadm__joined": found(zone="a")}, {"zone": "a"}),  # the kubelet may not set it
        ({"kubeadm__found": found(zone="a"), "kubeadm__joined": {"skipped": True}}, {"zone": "a"}),
        ({"kubeadm__found": {"node": {}, "relabel": {}}}, None),  # not joined
        ({}, None),
        ({"kubeadm__found": {"node": {"name": "n"}, "relabel": {}, "unlabel": ["team"]}}, {}),  # no label is wished any more
        ({"kubeadm__found": {"node": {"name": "n"}, "relabel": {"zone": "a"}, "unlabel": ["team"]}}, {"zone": "a"}),
    ],
)
def test_what_is_relabelled(host, labels):
    expected = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}] if labels is not None else []
    assert nodes_to_label([host]) == expected
