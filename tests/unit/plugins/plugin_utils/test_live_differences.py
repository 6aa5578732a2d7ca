# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs from a live document, and what is only written in another way; live ones as kubeadm 1.36.3 wrote them."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._live_differences import live_differences

CLUSTER = """
apiServer:
  certSANs: [z.example.com, a.example.com]
  extraArgs:
    - {name: profiling, value: "false"}
    - {name: twice, value: "1"}
    - {name: twice, value: "2"}
  extraEnvs:
    - {name: HTTP_PROXY, value: "http://me:hunter2@proxy"}
    - {name: IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}
  extraVolumes: [{hostPath: /a, mountPath: /b, name: v}]
caCertificateValidityPeriod: 240000h30m0s
certificatesDir: /etc/kubernetes/pki
clusterName: c1
controllerManager: {}
dns: {}
encryptionAlgorithm: RSA-2048
etcd: {local: {dataDir: /var/lib/etcd, serverCertSANs: [s]}}
imageRepository: registry.k8s.io
kind: ClusterConfiguration
proxy: {}
"""
V1BETA3 = """
apiServer: {extraArgs: {profiling: "false"}, timeoutForControlPlane: 4m0s}
"""
KUBELET = """
authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 2m0s, enabled: true}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerLogMaxSize: 50Mi
cpuManagerReconcilePeriod: 0s
enforceNodeAllocatable: [pods, system-reserved]
evictionHard: {memory.available: 100Mi, nodefs.available: 0%}
failSwapOn: false
featureGates: {A: true}
healthzPort: 0
imageMaximumGCAge: 48h0m0s
logging: {flushFrequency: 5s, options: {json: {infoBufferSize: 1Ki}}, verbosity: 2}
maxPods: 64
registerWithTaints: [{effect: NoSchedule, key: a}, {effect: NoExecute, key: b}]
rotateCertificates: true
staticPodURLHeader: {Authorization: [Basic hunter2]}
streamingConnectionIdleTimeout: 4h0m0s
"""
PROXY = """
bindAddress: 0.0.0.0
clientConnection: {kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 5}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: null, tcpEstablishedTimeout: 24h0m0s}
iptables: {localhostNodePorts: null, masqueradeAll: false}
mode: nftables
nodePortAddresses: null
"""


def found(kind, live, wanted):
    return [tuple(it) for it in live_differences(yaml.safe_load(wanted), yaml.safe_load(live), kind, schema(36))]


@pytest.mark.parametrize(
    ("kind", "live", "wanted"),
    [
        ("ClusterConfiguration", CLUSTER, CLUSTER),
        ("ClusterConfiguration", CLUSTER, "{clusterName: '', imageRepository: '', encryptionAlgorithm: '', featureGates: {}}"),
        ("ClusterConfiguration", CLUSTER, "{dns: null, scheduler: {extraArgs: []}, proxy: {disabled: false}}"),
        ("ClusterConfiguration", CLUSTER, "apiServer: {certSANs: [a.example.com]}"),  # more names are no harm
        ("ClusterConfiguration", CLUSTER, "apiServer: {extraArgs: [{name: twice, value: '2'}, {name: twice, value: '1'}]}"),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {extraEnvs: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}",
        ),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {extraVolumes: [{hostPath: /a, mountPath: /b, name: v, readOnly: false, pathType: ''}]}",
        ),
        ("ClusterConfiguration", CLUSTER, "caCertificateValidityPeriod: 240000.5h"),
        ("ClusterConfiguration", V1BETA3, "apiServer: {extraArgs: [{name: profiling, value: 'false'}]}"),
        ("KubeletConfiguration", KUBELET, KUBELET),
        ("KubeletConfiguration", KUBELET, "{streamingConnectionIdleTimeout: 240m, containerLogMaxSize: 51200Ki, maxPods: 64.0}"),
        ("KubeletConfiguration", KUBELET, "{rotateCertificates: false, clusterDomain: '', cgroupDriver: '', syncFrequency: 0s}"),
        ("KubeletConfiguration", KUBELET, "{enforceNodeAllocatable: [system-reserved, pods], evictionSoft: {}, maxPods: null}"),
        (
            "KubeletConfiguration",
            KUBELET,
            "registerWithTaints: [{key: b, effect: NoExecute}, {key: a, value: '', effect: NoSchedule}]",
        ),
        ("KubeletConfiguration", KUBELET, "evictionHard: {memory.available: 102400Ki}"),
        ("KubeletConfiguration", KUBELET, "logging: {options: {json: {infoBufferSize: 1024}}}"),
        ("KubeProxyConfiguration", PROXY, PROXY),
        ("KubeProxyConfiguration", PROXY, "{bindAddress: '', conntrack: {tcpEstablishedTimeout: 24h}, nodePortAddresses: []}"),
    ],
)
def test_written_in_another_way(kind, live, wanted):
    assert found(kind, live, wanted) == []


@pytest.mark.parametrize(
    ("kind", "live", "wanted", "differs"),
    [
        ("ClusterConfiguration", CLUSTER, "clusterName: other", ("clusterName", "other", "c1")),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {certSANs: [b.example.com]}",
            ("apiServer.certSANs", '["b.example.com"]', '["z.example.com", "a.example.com"]'),
        ),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {extraArgs: [{name: profiling, value: 'true'}]}",
            ("apiServer.extraArgs.profiling", "true", "false"),
        ),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {extraArgs: [{name: twice, value: '1'}]}",
            ("apiServer.extraArgs.twice", "1", '["1", "2"]'),
        ),
        (
            "ClusterConfiguration",
            V1BETA3,
            "apiServer: {extraArgs: [{name: v, value: '4'}]}",
            ("apiServer.extraArgs.v", "4", ""),
        ),
        (
            "ClusterConfiguration",
            CLUSTER,
            "apiServer: {extraEnvs: [{name: HTTP_PROXY, value: 'http://me:hunter3@proxy'}]}",
            ("apiServer.extraEnvs.HTTP_PROXY.value", "(not shown)", "(not shown)"),
        ),
        (
            "ClusterConfiguration",
            CLUSTER,
            "etcd: {external: {endpoints: ['https://me:hunter2@e']}}",
            ("etcd.external.endpoints", '["https://(not shown)@e"]', ""),
        ),
        ("KubeletConfiguration", KUBELET, "maxPods: 110", ("maxPods", "110", "64")),
        ("KubeletConfiguration", KUBELET, "podPidsLimit: 100", ("podPidsLimit", "100", "")),
        ("KubeletConfiguration", KUBELET, "failCgroupV1: false", ("failCgroupV1", "false", "")),  # a pointer: not its default
        ("KubeletConfiguration", KUBELET, "featureGates: {A: false}", ("featureGates.A", "false", "true")),
        ("KubeletConfiguration", KUBELET, "featureGates: {B: false}", ("featureGates.B", "false", "")),
        (
            "KubeletConfiguration",
            KUBELET,
            "enforceNodeAllocatable: [pods]",
            ("enforceNodeAllocatable", '["pods"]', '["pods", "system-reserved"]'),
        ),
        (
            "KubeletConfiguration",
            KUBELET,
            "staticPodURLHeader: {Authorization: [Basic hunter3]}",
            ("staticPodURLHeader.Authorization", "(not shown)", "(not shown)"),
        ),
        ("KubeProxyConfiguration", PROXY, "mode: iptables", ("mode", "iptables", "nftables")),
        ("KubeProxyConfiguration", PROXY, "conntrack: {min: 0}", ("conntrack.min", "0", "")),
        ("KubeProxyConfiguration", PROXY, "iptables: {localhostNodePorts: false}", ("iptables.localhostNodePorts", "false", "")),
    ],
)
def test_differs(kind, live, wanted, differs):
    assert found(kind, live, wanted) == [differs]
