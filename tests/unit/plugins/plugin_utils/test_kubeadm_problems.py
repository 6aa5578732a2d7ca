# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kubeadm refuses: sentences that name variable, value and remedy, and never a token."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kubeadm_live_problems import kubeadm_live_problems
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kubeadm_problems import kubeadm_problems

FINE = {"version": "1.36.3", "minors": ["1.35", "1.36"], "control_planes": ["head"]}
PIN, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
JOIN = {"endpoint": "10.0.0.1:6443", "token": "abcdef.0123456789abcdef", "ca_cert_hashes": [PIN]}


def test_nulls_are_as_if_absent():
    assert kubeadm_problems(dict.fromkeys(["kubernetesVersion", "networking", "dns", "controlPlaneEndpoint"]), **FINE) == []


# As kubeadm 1.36.3 said (`kubeadm config validate`), except for "lb:", which it took
@pytest.mark.parametrize(
    ("endpoint", "fine"),
    [
        ("lb", True),
        ("lb.example.com:6443", True),
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("[fd00::1]:6443", True),
        ("[FD00::1]:6443", True),
        ("[fd00::1]", False),
        ("https://lb", False),
        ("lb:0", False),
        ("lb:", False),
        ("LB", False),
        ("lb.", False),
        ("lb_x", False),
        ("-h", False),
        ("a b", False),
    ],
)
def test_endpoints_that_kubeadm_takes(endpoint, fine):
    assert (kubeadm_problems({}, endpoint=endpoint, **FINE) == []) == fine


@pytest.mark.parametrize(
    "input_",
    [
        {},
        {"version": "v1.35.0"},
        {"control_planes": [], "join": JOIN},
        {"control_planes": ["a", "b"], "endpoint": "api:6443"},
        {"labels": {"node-role.kubernetes.io/worker": "", "rack": 7}},
        {"kubelet": {"kubeReserved": None, "maxPods": None}},
        {"init": {"bootstrapTokens": [{"ttl": "5m0s"}], "nodeRegistration": {"taints": []}}},
        {
            "join_configuration": {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "discovery": {"bootstrapToken": {"token": JOIN["token"]}},
            }
        },
        {"init": {"bootstrapTokens": [{"expires": datetime.datetime(2026, 12, 1, tzinfo=datetime.timezone.utc)}]}},
        {"kube_proxy": {"mode": "nftables", "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "24h"}}},
        {"kubelet": {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "maxPods": 250}},
    ],
)
def test_what_is_fine(input_):
    assert kubeadm_problems({}, **{**FINE, **input_}) == []


@pytest.mark.parametrize(
    ("configuration", "input_", "says"),
    [
        ({}, {"version": "1.99.0"}, ["kubeadm_version '1.99.0' is of a release unknown", "1.35.x, 1.36.x"]),
        ({}, {"version": "latest"}, ["kubeadm_version 'latest' is not a version"]),
        ({}, {"version": "1.36"}, ["kubeadm_version '1.36' is not a version"]),
        ({"kubernetesVersion": "v1.36.2"}, {}, ["kubernetesVersion is '1.36.2'", "say it once"]),
        (
            {"networkin": {"podSubnet": "10.0.0.0/16"}},
            {},
            [
                "kubeadm_cluster_configuration.networkin is no field of ClusterConfiguration in kubeadm 1.36",
                "did you mean networking?",
            ],
        ),
        (
            {"networking": {"podSubnets": "10.0.0.0/16"}},
            {},
            ["kubeadm_cluster_configuration.networking.podSubnets", "podSubnet?"],
        ),
        (
            {"apiServer": {"extraArgs": [{"name": "v", "value": 4}]}},
            {},
            ["kubeadm_cluster_configuration.apiServer.extraArgs[0].value must be a string, not 4", "put it in quotes"],
        ),
        ({"apiServer": {"extraArgs": {"v": "4"}}}, {}, ["extraArgs must be a list, not a dictionary"]),
        ({}, {"init": {"nodeRegistration": {"taint": []}}}, ["kubeadm_init_configuration.nodeRegistration.taint", "taints?"]),
        (
            {},
            {"join_configuration": {"discoveri": {}}},
            ["kubeadm_join_configuration.discoveri", "JoinConfiguration in kubeadm 1.36"],
        ),
        (
            {},
            {"kube_proxy": {"Mode": "ipvs"}},
            ["kubeadm_kube_proxy_configuration.Mode is no field of", "in kube-proxy 1.36", "mode?"],
        ),
        (
            {},
            {"init": {"bootstrapTokens": [{"expires": datetime.date(2026, 12, 1)}]}},
            ["kubeadm_init_configuration.bootstrapTokens[0].expires must be a time such as", 'not "2026-12-01" (a date)'],
        ),
        (
            {},
            {"join_configuration": {"discovery": {"bootstrapToken": {"token": 123456.25}}}},
            ["kubeadm_join_configuration.discovery.bootstrapToken.token must be a string", "not shown", "put it in quotes"],
        ),
        (
            {},
            {"init": {"bootstrapTokens": ["s3cret"]}},
            ["kubeadm_init_configuration.bootstrapTokens[0] must be a dictionary", "not shown"],
        ),
        (
            {},
            {"join_configuration": {"discovery": {"bootstrapToken": "s3cret"}}},
            ["bootstrapToken must be a dictionary", "not shown"],
        ),
        ({"networking": ["x"]}, {}, ["kubeadm_cluster_configuration.networking must be a dictionary, not a list"]),
        ({}, {"init": {"nodeRegistration": {"kubeletExtraArgs": {"v": "4"}}}}, ["kubeletExtraArgs must be a list"]),
        (
            {},
            {"endpoint": "https://lb.example.com:6443"},
            ["kubeadm_control_plane_endpoint is 'https://lb.example.com:6443', which kubeadm does not take", "without https://"],
        ),
        (
            {"controlPlaneEndpoint": "lb_x"},
            {"endpoint": "lb"},
            ["kubeadm_cluster_configuration.controlPlaneEndpoint is 'lb_x', which kubeadm"],
        ),
        ({"controlPlaneEndpoint": None}, {"control_planes": ["a", "b"]}, ["kubeadm_control_plane_endpoint is empty"]),
        ({}, {"control_planes": []}, ["kube_control_plane has no host"]),
        ({}, {"control_planes": ["a", "b"]}, ["2 hosts (a, b)", "kubeadm_control_plane_endpoint is empty"]),
        ({}, {"join": {**JOIN, "token": "s3cret"}}, ["kubeadm_join.token is not of the form"]),
        ({}, {"join": {**JOIN, "hash": "x"}}, ["kubeadm_join has the unknown key(s) hash"]),
        ({}, {"join": {**JOIN, "ca_cert_hashes": ["a" * 64]}}, [f"kubeadm_join.ca_cert_hashes has {'a' * 64}"]),
        ({}, {"join": {**JOIN, "ca_cert_hashes": []}}, ["cannot tell a false control plane"]),
        ({}, {"labels": {"bad label!": ""}}, ["kubeadm_node_labels: 'bad label!' must have a name"]),
        ({}, {"labels": {"rack": "one two"}}, ["kubeadm_node_labels.rack: 'one two' must be"]),
        ({}, {"kubelet": {"maxPod": 250}}, ["kubeadm_kubelet_configuration.maxPod", "maxPods"]),
        ({}, {"kubelet": {"maxPods": "many"}}, ["kubeadm_kubelet_configuration.maxPods must be a whole number"]),
        ({}, {"kubelet": {"cpuManagerPolicy": "static-ish"}}, ["kubeadm_kubelet_configuration.cpuManagerPolicy", "static-ish"]),
        # A null in a map is no patch here: the kubelet takes it for an empty text or false.
        ({}, {"kubelet": {"kubeReserved": {"cpu": None}}}, ["kubeadm_kubelet_configuration.kubeReserved.cpu: '' is no quantity"]),
        ({}, {"kubelet": {"featureGates": {"CPUManager": None}}}, ["featureGates.CPUManager: kubelet 1.36 does not know it"]),
        (
            {},
            {"kubelet": {"featureGates": {"CPUManager": True}}},
            ["kubeadm_kubelet_configuration.featureGates.CPUManager: kubelet 1.36 does not know it"],
        ),
        (
            {},
            {"kubelet": {"evictionSoft": {"memory.available": "1Gi"}}},
            ["kubeadm_kubelet_configuration.evictionSoft.memory.available needs an evictionSoftGracePeriod"],
        ),
        ({}, {"join": {"token": JOIN["token"], "ca_cert_hashes": [PIN]}}, ["kubeadm_join has no endpoint"]),
    ],
)
def test_what_is_refused(configuration, input_, says):
    (problem,) = kubeadm_problems(configuration, **{**FINE, **input_})
    assert all(part in problem for part in says)
    assert "s3cret" not in problem and "123456.25" not in problem


WANTED = {"networking": {"podSubnet": "10.244.0.0/16"}}
LIVE = {"cluster_configuration": "networking:\n  podSubnet: 10.244.0.0/16\n  dnsDomain: cluster.local\n"}
WITH_ENDPOINT = {"cluster_configuration": "controlPlaneEndpoint: lb:6443\nnetworking: {}\n"}
DOCUMENTS = {
    "cluster_configuration": "kind: ClusterConfiguration\nclusterName: kubernetes\n",
    "kubelet_configuration": "kind: KubeletConfiguration\nmaxPods: 64\n",
    "kube_proxy_configuration": "kind: KubeProxyConfiguration\nmode: nftables\n",
}
NODE = {"ca_cert_hash": PIN, "server": "https://10.0.0.1:6443", "version": "1.36.3"}


@pytest.mark.parametrize(
    ("wanted", "input_", "says"),
    [
        (WANTED, {}, []),
        (WANTED, {"found": {}, "expected": [PIN]}, []),  # a bare host
        (WANTED, {"bootstrap": "", "expected": [], "host": "w"}, []),  # a worker that runs this alone
        (WANTED, {"expected": [OTHER]}, ["head is a node of another cluster", "10.0.0.1", PIN, OTHER, "Reset the host first"]),
        (WANTED, {"expected": [], "host": "w"}, ["w is a node of the cluster at https://10.0.0.1:6443, but head", "has none"]),
        (
            WANTED,
            {"version": "1.36.4"},
            ["head runs Kubernetes 1.36.3 and kubeadm_version is 1.36.4", "Set kubeadm_version to 1.36.3"],
        ),
        (
            {"networking": {"podSubnet": "10.244.0.0/14"}},
            {},
            ["networking.podSubnet is 10.244.0.0/14, the running cluster has 10.244.0.0/16"],
        ),
        ({"networking": {"dnsDomain": "corp"}}, {}, ["networking.dnsDomain is corp, the running cluster has cluster.local"]),
        ({"networking": None}, {}, []),
        ({"networking": ["x"]}, {}, []),  # kubeadm_problems says it
        (
            WANTED,
            {"endpoint": "lb:6443"},
            ["kubeadm_control_plane_endpoint is lb:6443, the running cluster has none: it cannot be changed", "Leave it empty"],
        ),
        (
            {"controlPlaneEndpoint": "lb2"},
            {"endpoint": "lb", "live": WITH_ENDPOINT},
            ["kubeadm_cluster_configuration.controlPlaneEndpoint is lb2, the running cluster has lb:6443", "Set it back"],
        ),
        ({}, {"endpoint": "lb:443", "live": WITH_ENDPOINT}, ["kubeadm_control_plane_endpoint is lb:443"]),
        ({}, {"endpoint": "lb", "live": WITH_ENDPOINT}, []),  # kubeadm adds the port
        ({"controlPlaneEndpoint": "lb:6443"}, {"live": WITH_ENDPOINT}, []),
        ({}, {"endpoint": "fd00::1", "live": {"cluster_configuration": "controlPlaneEndpoint: '[fd00::1]:7443'"}}, []),
        (
            {},
            {"endpoint": "[fd00::1]:6443", "live": {"cluster_configuration": "controlPlaneEndpoint: '[fd00::1]:7443'"}},
            ["7443"],
        ),
        ({}, {"live": WITH_ENDPOINT}, []),  # no wish
        ({}, {"provider_id": "", "found": {**NODE, "node": {"provider_id": "aws:///z/i-1"}}}, []),
        ({}, {"provider_id": "aws:///z/i-1", "found": {**NODE, "node": {"provider_id": "aws:///z/i-1"}}}, []),
        ({}, {"provider_id": "aws:///z/i-1", "found": {**NODE, "node": {"provider_id": ""}}}, []),
        (
            {},
            {"provider_id": "other://i-1", "host": "w", "found": {**NODE, "node": {"provider_id": "aws:///z/i-1"}}},
            [
                "w is registered with the provider ID aws:///z/i-1 and kubeadm_provider_id is other://i-1: it cannot change",
                "If the instance was replaced, reset the host (kubeadm_state: absent), delete its Node (`kubectl delete node n`)",
            ],
        ),
        (
            {},
            {"provider_id": "aws:///z/i-2", "host": "w", "found": {}, "registered": "n aws:///z/i-1\nother aws:///z/i-3\n"},
            [
                "w is to join as n",
                "a Node of that name with aws:///z/i-1: the instance was replaced. Delete the Node with `kubectl d",
            ],
        ),
        ({}, {"provider_id": "aws:///z/i-2", "host": "w", "found": {}, "registered": "n aws:///z/i-2\n"}, []),
        ({}, {"provider_id": "aws:///z/i-2", "host": "w", "found": {}, "registered": "n <none>\n"}, []),
        ({}, {"provider_id": "", "host": "w", "found": {}, "registered": "n aws:///z/i-1\n"}, []),
        (
            {"clusterName": "other", "kubernetesVersion": "v1.36.3", "controlPlaneEndpoint": None},
            {"live": DOCUMENTS},
            ["kubeadm_cluster_configuration.clusterName is other (there: kubernetes). Write what is there", "kubeadm-config"],
        ),
        ({}, {"live": DOCUMENTS, "kubelet": {"maxPods": 64}, "kube_proxy": {"mode": ""}}, []),
        (
            {},
            {"live": DOCUMENTS, "kubelet": {"maxPods": 110, "podPidsLimit": 9}},
            [
                "tion.maxPods is 110 (there: 64), kubeadm_kubelet_configuration.podPidsLimit is 9 (there: nothing)",
                "kubelet-conf",
            ],
        ),
        (
            {},
            {"live": DOCUMENTS, "kube_proxy": {"mode": "ipvs"}},
            ["mode is ipvs (there: nftables)", "-n kube-system kube-proxy`"],
        ),
        ({}, {"live": DOCUMENTS, "kubelet": {"maxPods": 1}, "host": "w"}, []),  # said once
        ({}, {"live": {**DOCUMENTS, "actions": ["resume init of head"]}, "kubelet": {"maxPods": 1}}, []),  # which writes it
        ({}, {"live": {**DOCUMENTS, "actions": ["install the add-ons of head"]}, "kube_proxy": {"mode": "ipvs"}}, []),
        ({}, {"live": {"kube_proxy_configuration": ""}, "kube_proxy": {"mode": "ipvs"}}, []),  # it has none
        (
            {},
            {
                "live": {"kube_proxy_configuration": "a: [", "kubelet_configuration": "kind: Other"},
                "kube_proxy": {"mode": "ipvs"},
            },
            [],
        ),
        (
            {},
            {
                "provider_id": "aws:///usw2-az1/sagemaker/cluster/hyperpod-c-i-1",
                "found": {**NODE, "node": {"provider_id": "aws:////sagemaker/cluster/hyperpod-c-i-1"}},
            },
            ["cluster/hyperpod-c-i-1 (hyperpod_zone_id is the zone in it): it cannot change", "Set it back"],
        ),
        (
            {},
            {"provider_id": "aws:///z/i-2", "found": {**NODE, "control_plane": True, "node": {"provider_id": "aws:///z/i-1"}}},
            ["it cannot change while the Node exists. Set it back, or reset the cluster and begin anew"],
        ),
        ({}, {"endpoint": "lb2", "live": WITH_ENDPOINT, "host": "w"}, []),
        ({"networking": {"podSubnet": "10.244.0.0/14"}}, {"host": "w"}, []),  # said once, for the bootstrap control plane
    ],
)
def test_a_running_cluster(wanted, input_, says):
    arguments = {
        "host": "head",
        "found": NODE,
        "version": "1.36.3",
        "live": LIVE,
        "bootstrap": "head",
        "expected": [PIN],
        "name": "n",
        **input_,
    }
    problems = kubeadm_live_problems(wanted, **arguments)
    assert len(problems) == (1 if says else 0)
    assert all(part in problems[0] for part in says)
