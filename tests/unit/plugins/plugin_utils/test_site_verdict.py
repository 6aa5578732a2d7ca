# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict: nothing wrong is ok, and each thing that can be wrong is named with its subject."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.site_verdict import site_verdict

HOST = {
    "host": "h1",
    "node": "ip-10-0-0-1",
    "version": "1.36.3",
    "address": "10.0.0.1",
    "data_root": "/data/containerd",
    "labels": {"node.kubernetes.io/instance-type": "p5.48xlarge"},
    "provider_id": "aws:///z/i-1",
    "certificates": {"/etc/kubernetes/pki/ca.crt": "2036-11-20T00:00:00+00:00", "/k.pem": "2027-11-23T00:00:00+00:00"},
    "failures": {"kubeadm": "", "containerd": ""},
}
NODE = {
    "kind": "Node",
    "metadata": {"name": "ip-10-0-0-1", "labels": {"node.kubernetes.io/instance-type": "p5.48xlarge", "x": "y"}},
    "spec": {"podCIDR": "10.244.0.0/24", "providerID": "aws:///z/i-1"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "nodeInfo": {"kubeletVersion": "v1.36.3"},
    },
}
DNS = {
    "kind": "Deployment",
    "metadata": {"name": "coredns", "namespace": "kube-system"},
    "spec": {"replicas": 2},
    "status": {"availableReplicas": 2},
}


def judge(host=None, node=None, **more):
    arguments = {"expected": ["h1"], "cluster": [node or NODE, DNS], "now": "2026-11-23T00:00:00+00:00", **more}
    return site_verdict([host or HOST], **arguments)


def change(thing, *path, to):
    thing = copy.deepcopy(thing)
    inner = thing
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return thing


def test_a_site_that_is_as_it_should_be():
    verdict = judge(join={"reason": "none", "secret_name": "s", "token_id": "abcdef", "expires": "later", "token": "x"})
    assert verdict["ok"]
    assert verdict["failures"] == []
    assert verdict["facts"]["first_certificate_to_expire"] == {"expires": "2027-11-23T00:00:00+00:00", "certificate": "h1:/k.pem"}
    assert verdict["facts"]["join_secret"] == {"secret_name": "s", "token_id": "abcdef", "expires": "later"}
    assert verdict["facts"]["nodes"][0]["labels"] == {"node.kubernetes.io/instance-type": "p5.48xlarge"}


NOT_READY = [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "cni plugin not initialized"}]
STRANGER = change(change(NODE, "metadata", "name", to="gone"), "status", "conditions", to=NOT_READY)


@pytest.mark.parametrize(
    ("input_", "check", "says"),
    [
        ({"expected": ["h1", "h2"]}, "hosts", "h2: it did not answer"),
        ({"expected": ["h1", "h2"], "lost": {"h1": "", "h2": "there is no file"}}, "hosts", "h2: there is no file"),
        ({"expected": ["h1", "h2"], "lost": {"h2": ""}}, "hosts", "h2: it did not answer"),
        ({"cluster": [], "failures": {"api": "connection refused"}}, "api", "cluster: connection refused"),
        ({"failures": {"network": "no answer", "api": ""}}, "network", "cluster: no answer"),
        ({"host": change(HOST, "failures", "containerd", to="it is dead")}, "containerd", "h1: it is dead"),
        ({"cluster": []}, "nodes", "ip-10-0-0-1: there is no such Node, wished for h1"),
        ({"node": change(NODE, "status", "conditions", to=NOT_READY)}, "nodes", "not ready (KubeletNotReady: cni plugin"),
        ({"node": change(NODE, "status", "conditions", to=[])}, "nodes", "not ready (no condition yet"),
        ({"host": change(HOST, "version", to="1.36.4")}, "nodes", "its kubelet is v1.36.3, wished is v1.36.4"),
        ({"host": change(HOST, "labels", to={"zone": "a"})}, "nodes", "its label zone is None, wished is a"),
        (
            {
                "host": change(HOST, "provider_id", to="aws:///usw2-az1/sagemaker/cluster/hyperpod-c-i-1"),
                "node": change(NODE, "spec", "providerID", to="aws:////sagemaker/cluster/hyperpod-c-i-1"),
            },
            "nodes",
            "the zone in it is hyperpod_zone_id, and cannot change while the Node exists",
        ),
        (
            {
                "host": change(HOST, "provider_id", to="aws:///usw2-az1/sagemaker/cluster/hyperpod-c-i-1"),
                "node": change(NODE, "spec", "providerID", to="aws:////sagemaker/cluster/hyperpod-c-i-2"),
            },
            "nodes",
            "replaced by another of the same name",
        ),
        ({"host": change(HOST, "provider_id", to="aws:///z/i-2")}, "nodes", "replaced by another of the same name"),
        ({"host": change(HOST, "address", to="10.0.0.2")}, "nodes", "its addresses are 10.0.0.1, without 10.0.0.2"),
        ({"node": change(NODE, "spec", to={"providerID": "aws:///z/i-1"})}, "nodes", "it has no pod CIDR"),
        ({"cluster": [NODE, STRANGER]}, "nodes", "gone: it is a Node of no host in the inventory, and not ready"),
        ({"cluster": [NODE, change(DNS, "status", to={})]}, "workloads", "Deployment kube-system/coredns: 0 of 2 pods"),
        ({"now": "2027-11-01T00:00:00+00:00"}, "certificates", "h1:/k.pem: it expires at 2027-11-23"),
        ({"join": {"reason": "renew", "secret_name": "s"}}, "join", "it needs: renew"),
    ],
)
def test_what_is_wrong_is_named(input_, check, says):
    verdict = judge(**input_)
    assert not verdict["ok"]
    (failure,) = verdict["failures"]
    assert failure["check"] == check
    assert says in failure["message"]
