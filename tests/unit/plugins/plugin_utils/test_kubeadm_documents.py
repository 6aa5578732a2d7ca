# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's kubeadm documents win; what makes a host a node is added."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kubeadm_documents import kubeadm_documents

HOST = {"name": "head", "address": "10.1.2.3", "version": "1.36.3"}


def by_kind(documents):
    return {document["kind"]: document for document in documents}


def test_a_cluster_begins_with_what_the_host_is():
    documents = by_kind(
        kubeadm_documents(
            {"cluster": {"networking": {"podSubnet": "10.244.0.0/14"}}, "kubelet": {"maxPods": 200}},
            join=False,
            labels={"a/b": "c", "d": 1},
            provider_id="aws:///z/i-1",
            endpoint="api:6443",
            ignore_preflight_errors=["Swap"],
            **HOST,
        )
    )
    assert list(documents) == ["InitConfiguration", "ClusterConfiguration", "KubeletConfiguration"]
    init, cluster = documents["InitConfiguration"], documents["ClusterConfiguration"]
    assert init["apiVersion"] == cluster["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.1.2.3"}
    assert init["nodeRegistration"] == {
        "name": "head",
        "ignorePreflightErrors": ["Swap"],
        "kubeletExtraArgs": [
            {"name": "node-ip", "value": "10.1.2.3"},
            {"name": "node-labels", "value": "a/b=c,d=1"},
            {"name": "provider-id", "value": "aws:///z/i-1"},
        ],
    }
    assert cluster["kubernetesVersion"] == "v1.36.3"
    assert cluster["controlPlaneEndpoint"] == "api:6443"
    assert cluster["networking"] == {"podSubnet": "10.244.0.0/14"}
    assert documents["KubeletConfiguration"]["maxPods"] == 200


def test_what_the_user_wrote_wins():
    user = {
        "join": {
            "nodeRegistration": {
                "name": "mine",
                "taints": [],
                "kubeletExtraArgs": [
                    {"name": "node-labels", "value": "a/b=mine"},
                    {"name": "node-ip", "value": "10.9.9.9"},
                    {"name": "v", "value": "4"},
                ],
            },
            "timeouts": {"discovery": "1m0s"},
        }
    }
    (join,) = kubeadm_documents(
        user, join=True, labels={"a/b": "c", "d": "e"}, endpoint="h:6443", ca_cert_hashes=["sha256:0"], **HOST
    )
    assert join["nodeRegistration"] == {
        "name": "mine",
        "taints": [],
        "kubeletExtraArgs": [
            {"name": "node-labels", "value": "a/b=mine,d=e"},
            {"name": "node-ip", "value": "10.9.9.9"},
            {"name": "v", "value": "4"},
        ],
    }
    assert join["timeouts"] == {"discovery": "1m0s"}
    assert join["discovery"] == {"bootstrapToken": {"apiServerEndpoint": "h:6443", "caCertHashes": ["sha256:0"]}}
    assert "controlPlane" not in join
    assert user["join"]["nodeRegistration"]["kubeletExtraArgs"][0]["value"] == "a/b=mine"  # the input stays as it was


def test_other_ways_to_join():
    (file,) = kubeadm_documents({"join": {"discovery": {"file": {"kubeConfigPath": "/x"}}}}, join=True, **HOST)
    assert file["discovery"] == {"file": {"kubeConfigPath": "/x"}}
    (control_plane,) = kubeadm_documents(
        {}, join=True, control_plane=True, endpoint="h:6443", **{**HOST, "address": "10.1.2.3,fd00::3"}
    )
    assert control_plane["controlPlane"] == {"localAPIEndpoint": {"advertiseAddress": "10.1.2.3"}}


@pytest.mark.parametrize(
    ("label", "may"),
    [
        ("rack", True),
        ("example.com/rack", True),
        ("notkubernetes.io/rack", True),
        ("node.kubernetes.io/instance-type", True),
        ("sub.node.kubernetes.io/x", True),
        ("topology.kubernetes.io/zone", True),
        ("kubernetes.io/hostname", True),
        ("node-role.kubernetes.io/worker", False),
        ("kubernetes.io/role", False),
        ("topology.k8s.io/zone", False),
    ],
)
def test_labels_that_a_kubelet_may_set(label, may):
    (document,) = kubeadm_documents({}, join=True, labels={label: "x"}, endpoint="h:6443", ca_cert_hashes=["sha256:0"], **HOST)
    flags = {flag["name"]: flag["value"] for flag in document["nodeRegistration"]["kubeletExtraArgs"]}
    assert flags.get("node-labels") == (f"{label}=x" if may else None)


@pytest.mark.parametrize("join", [None, {"nodeRegistration": None, "discovery": None}, {"discovery": {"file": None}}])
def test_null_is_as_if_absent(join):
    (document,) = kubeadm_documents({"join": join}, join=True, endpoint="h:6443", ca_cert_hashes=["sha256:0"], **HOST)
    assert document["nodeRegistration"]["name"] == "head"
    assert document["discovery"]["bootstrapToken"] == {"apiServerEndpoint": "h:6443", "caCertHashes": ["sha256:0"]}


@pytest.mark.parametrize(
    "registration",
    [
        "head",
        ["head"],
        {"kubeletExtraArgs": {"v": "4"}},
        {"kubeletExtraArgs": ["v"]},
        {"kubeletExtraArgs": [{"value": "4"}]},
        {"kubeletExtraArgs": [{"name": "node-labels", "value": None}]},
    ],
)
def test_wrong_types_are_left_for_who_refuses_them(registration):
    documents = kubeadm_documents({"init": {"nodeRegistration": registration}}, join=False, labels={"a": "b"}, **HOST)
    registered = documents[0]["nodeRegistration"]
    assert registered == registration or "kubeletExtraArgs" in registered
