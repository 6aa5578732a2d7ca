#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells which containers have CPUs of their own, and whether that is true."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpu_pinning_info
short_description: Tell which containers have CPUs of their own, and prove it
version_added: 0.1.0
description:
  - Asks the kubelet which CPUs it gave to which container (its pod resources socket, else its state file), and the kernel where
    the processes of all containers may run.
  - Reports as problems two containers with the same CPU, a process that may leave its container's CPUs, a process of the shared
    pool that may run on somebody's own CPU, and what breaks the promise of O(topology_policy).
  - A container with CPUs of its own and without a process, which may wait for its image or be done, is a problem for O(pods), and
    else a warning.
  - Warns when the static CPU policy and NVIDIA's device plugin run in a combination in which containers lose their GPU.
  - Needs no access to the API server. Runs on the node, as root.
options:
  root_dir:
    description: The kubelet's root directory.
    type: path
    default: /var/lib/kubelet
  pods:
    description: Pods (C(namespace/name)) that must have CPUs of their own; it is a problem if they have none.
    type: list
    elements: str
    default: []
  topology_policy:
    description:
      - The kubelet's C(topologyManagerPolicy). With V(single-numa-node) it is a problem if CPUs of a container belong to several
        NUMA nodes. With that and with V(restricted) it is one if its GPU is on another NUMA node; otherwise that is a warning.
    type: str
    choices: [none, best-effort, restricted, single-numa-node]
    default: none
  timeout:
    description:
      - Seconds to wait until there are no problems. The kubelet moves containers of the shared pool off a CPU that it has given
        away only every C(cpuManagerReconcilePeriod), 10 seconds by default.
    type: int
    default: 0
extends_documentation_fragment:
  - gpufleet.k8s.attributes.info
  - gpufleet.k8s.attributes.node
author:
  - The gpufleet.k8s authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Ask the node
  gpufleet.k8s.cpu_pinning_info:
    pods: [default/cpu-pinning-test]
    timeout: 30
  register: pinning
  failed_when: not pinning.ok
"""

RETURN = r"""
ok:
  description: Whether there are no problems.
  type: bool
  returned: success
problems:
  description: What is not as it should be, one sentence each.
  type: list
  elements: str
  returned: success
source:
  description: Where the kubelet's answer comes from, V(podresources) or V(state_file).
  type: str
  returned: success
policy:
  description: The CPU manager's policy, as its state file has it.
  type: str
  returned: success
exclusive:
  description: The containers that have CPUs of their own.
  type: list
  elements: dict
  returned: success
  contains:
    namespace:
      description: Namespace of the pod.
      type: str
    pod:
      description: Name of the pod.
      type: str
    container:
      description: Name of the container.
      type: str
    cpus:
      description: Its CPUs, as Linux writes such lists.
      type: str
    numa_nodes:
      description: The NUMA nodes that these belong to.
      type: list
      elements: int
    gpu_numa_nodes:
      description: The NUMA nodes of its GPUs, as the device plugin says.
      type: list
      elements: int
    processes:
      description: How many processes of it were found.
      type: int
shared_cpus:
  description: CPUs that all other containers share; empty without the static policy.
  type: str
  returned: success
online_cpus:
  description: All CPUs.
  type: str
  returned: success
numa_nodes:
  description: The CPUs of each NUMA node.
  type: dict
  returned: success
"""

from ..module_utils._kubelet.pinning import SPEC, entry
from ..module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
