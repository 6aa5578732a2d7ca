# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubelets as they are found, for the tests of the planner and the merge."""

from __future__ import annotations

import dataclasses
import typing as t

import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import merge, planner
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.topology import Machine

KUBEADM = """\
# as kubeadm writes it
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
clusterDNS:
- 10.96.0.10
evictionHard: {memory.available: 100Mi, "nodefs.available": '10%'}  # a comment
cpuManagerReconcilePeriod: 0s
maxPods: 110
logging:
  flushFrequency: 0
  options:
    text:
      infoBufferSize: "0"
emptyOne: {}
nothing:
staticPodPath: /etc/kubernetes/manifests
providerID: aws:///us-west-2a/i-0abc
memoryThrottlingFactor: 0.8
"""

DIRECTORY = "/etc/kubernetes/kubelet.conf.d"
PATH = f"{DIRECTORY}/50-gpufleet.conf"
GIB = 2**30

STATIC = {"cpuManagerPolicy": "static", "kubeReserved": {"cpu": "300m"}}
#: The original's override file (Enabling CPU Pinning, step 1), key by key.
ORIGINAL = {
    "cpuManagerPolicy": "static",
    "topologyManagerPolicy": "single-numa-node",
    "topologyManagerScope": "pod",
    "featureGates": {"CPUManager": True, "TopologyManager": True},
    "kubeReserved": {"cpu": "1"},
    "systemReserved": {"cpu": "1"},
}

TWO_NUMA = Machine(
    cpus=frozenset(range(8)),
    numa={0: frozenset(range(4)), 1: frozenset(range(4, 8))},
    cores={cpu: (cpu // 4, cpu) for cpu in range(8)},
    memory=64 * GIB,
    numa_memory={0: 32 * GIB, 1: 32 * GIB},
)
NONE_STATE = {"policyName": "none", "defaultCpuSet": "", "checksum": 1353318690}


def kubelet(drop_ins: dict[str, dict[str, t.Any]] | None = None, version: str = "1.36.3", **changes: t.Any) -> planner.Kubelet:
    """A kubelet that runs with the files it has, unless `changes` say otherwise."""
    drop_ins = drop_ins or {}
    base = yaml.safe_load(KUBEADM)
    flags = changes.pop("flags", ("--node-ip=10.0.0.1",))
    minor = int(version.split(".")[1])
    observed = planner.Kubelet(
        version=version,
        active=True,
        flags=flags,
        base_path="/var/lib/kubelet/config.yaml",
        base=base,
        config_dir=DIRECTORY,
        drop_ins=tuple((f"{DIRECTORY}/{name}", content) for name, content in sorted(drop_ins.items())),
        texts={
            f"{DIRECTORY}/{name}": planner.text_of(planner.Wish(content, name[3:-5], int(name[:2])))
            for name, content in drop_ins.items()
        },
        configz=merge.effective(schema(minor), base, [drop_ins[name] for name in sorted(drop_ins)], flags),
        cpu_state=NONE_STATE,
        memory_state={"policyName": "None", "machineState": {}},
        machine=TWO_NUMA,
    )
    return dataclasses.replace(observed, **changes)
