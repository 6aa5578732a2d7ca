# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nodes_to_label: what was found last counts, and hosts that are no nodes are left alone."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.filter.nodes_to_label import nodes_to_label

WISH = {"gpufleet_node": {"labels": {"zone": "a"}}}


def found(**labels):
    return {"node": {"name": "n", "labels": labels}}


@pytest.mark.parametrize(
    ("host", "labels"),
    [
        ({**WISH, "kubeadm__found": found(zone="a", other="x")}, None),
        ({**WISH, "kubeadm__found": found(zone="b")}, {"zone": "a"}),
        ({**WISH, "kubeadm__found": found()}, {"zone": "a"}),
        ({**WISH, "kubeadm__found": found(), "kubeadm__joined": found(zone="a")}, None),  # registered with it in this run
        ({**WISH, "kubeadm__found": found(zone="a"), "kubeadm__joined": {"skipped": True}}, None),
        ({**WISH, "kubeadm_node_labels": {"size": 8}, "kubeadm__found": found(zone="a")}, {"zone": "a", "size": "8"}),
        ({**WISH, "kubeadm__found": {"node": {}}}, None),  # not joined
        (WISH, None),
        ({"kubeadm__found": found(zone="a")}, None),
    ],
)
def test_what_is_relabelled(host, labels):
    expected = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}] if labels else []
    assert nodes_to_label([host]) == expected
