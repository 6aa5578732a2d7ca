#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_taint
short_description: Set and remove taints on many Kubernetes nodes at once
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - One task serves a thousand nodes. They are listed once, 500 at a time, and each node that differs gets one patch,
    many at a time. Up to 10 O(nodes) are asked for one by one, which is cheaper in a large cluster.
  - A patch only applies while the node's taints are the ones it was made from. When something else writes them at the same
    time, the node is read and planned again, so nobody's update is lost.
  - Taints that the task does not name keep their order and all their fields, C(timeAdded) included.
  - A node that cannot be set holds up no other one. The task then fails at its end and its result says which nodes are done.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.api
  - gpufleet.k8s.kube
options:
  nodes:
    description:
      - Names of nodes. They are added to those of O(selector).
      - A name that no node has is a failure with O(state=present), after all other nodes are done.
    type: list
    elements: str
  selector:
    description:
      - Label selector, for example V(nvidia.com/gpu.present=true,zone in (a, b\)). An empty one selects every node.
      - A node that is deleted while the task runs no longer matches, which is no failure.
    type: str
  taints:
    description: Checked as the API server does it, before anything is changed.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description: For example V(dedicated) or V(example.com/gpu).
        type: str
        required: true
      value:
        description:
          - A taint may do without. With O(state=absent), only a taint with this value is removed.
          - Text or a whole number. Put V(true), V(yes) and the like in quotes.
        type: raw
      effect:
        description: Needed with O(state=present). With O(state=absent) and no effect, every taint of the key is removed.
        type: str
        choices: [NoSchedule, PreferNoSchedule, NoExecute]
  state:
    description:
      - With V(present), each node has each taint with this value. A node has one taint for each key and effect.
      - With V(absent), the node has no taint that matches one of O(taints) by key, by key and effect, or by all three.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Also remove taints that O(taints) does not list, but only those of O(owned_keys) and O(owned_prefixes).
      - With an empty list of O(taints), all owned taints are removed.
    type: bool
    default: false
  owned_keys:
    description: Keys that belong to this task, for O(exclusive).
    type: list
    elements: str
    default: []
  owned_prefixes:
    description:
      - What the keys that belong to this task begin with, for example V(example.com/), for O(exclusive).
      - A prefix never reaches C(node.kubernetes.io/*), C(node.cloudprovider.kubernetes.io/*) and C(node-role.kubernetes.io/*);
        name such a key in O(owned_keys) if it is yours.
    type: list
    elements: str
    default: []
  eviction_preview:
    description:
      - Also return RV(evictions), the pods that this change evicts, by the rules of Kubernetes' taint eviction controller.
      - Pods are only listed when a C(NoExecute) taint is new or has a new value on some node.
    type: bool
    default: false
  refuse_if_evicts:
    description:
      - Fail before any change, in check mode too, when a pod would be evicted, however long it tolerates the taint.
      - A node whose taints change meanwhile, so that setting them could now evict, fails and stays as it is.
    type: bool
    default: false
  parallel:
    description: How many calls run at the same time, 1 to 100.
    type: int
    default: 16
notes:
  - The user needs the verbs C(list), C(get) and C(patch) on C(nodes), and C(list) on C(pods) for a preview.
"""

EXAMPLES = r"""
- name: GPU nodes take only pods that ask for GPUs
  gpufleet.k8s.node_taint:
    selector: nvidia.com/gpu.present=true
    taints:
      - {key: nvidia.com/gpu, value: present, effect: NoSchedule}
  delegate_to: localhost
  run_once: true

- name: Our taints and no others of ours; what anybody else set stays
  gpufleet.k8s.node_taint:
    nodes: "{{ groups['gpu'] }}"
    taints:
      - {key: fleet.example.com/team, value: vision, effect: NoSchedule}
    exclusive: true
    owned_prefixes: [fleet.example.com/]
  delegate_to: localhost
  run_once: true

- name: Empty a node, but only if that evicts nobody
  gpufleet.k8s.node_taint:
    nodes: [gpu-7]
    taints:
      - {key: fleet.example.com/repair, effect: NoExecute}
    refuse_if_evicts: true
  delegate_to: localhost

- name: Remove a taint, whatever its value and effect
  gpufleet.k8s.node_taint:
    selector: ""
    taints:
      - key: dedicated
    state: absent
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
nodes:
  description: The nodes that were changed (in check mode, that would be), by name, with all their taints before and after.
  returned: success, and when some nodes could not be set
  type: dict
  sample:
    gpu-1:
      before: []
      after: [{key: dedicated, value: gpu, effect: NoSchedule}]
unchanged:
  description: Names of the nodes that were as wished.
  returned: success, and when some nodes could not be set
  type: list
  elements: str
vanished:
  description: Names of nodes that were deleted while the task ran, and with O(state=absent) of named nodes that do not exist.
  returned: success, and when some nodes could not be set
  type: list
  elements: str
failures:
  description: The nodes that are not as wished, by name, each with the reason. The task fails when there is one.
  returned: success, and when some nodes could not be set
  type: dict
  sample: {gpu-9: there is no node gpu-9 on https://10.0.0.1:6443}
evictions:
  description: The pods that the change evicts, and when.
  returned: with O(eviction_preview) or O(refuse_if_evicts), also when that refuses
  type: list
  elements: dict
  contains:
    node: {description: Name of the node., type: str, returned: always}
    namespace: {description: Namespace of the pod., type: str, returned: always}
    pod: {description: Name of the pod., type: str, returned: always}
    after_seconds:
      description: Seconds from the change until the eviction, from the pod's C(tolerationSeconds); V(0) is at once.
      type: int
      returned: always
actions:
  description: What was done, or in check mode would be, in words.
  returned: success, and when some nodes could not be set
  type: list
  elements: str
reason:
  description: The API server's word for why it refused a call, such as V(Forbidden); V(Unreachable) where it did not answer.
  type: str
  returned: failure
status:
  description: HTTP status of the API server's refusal; null where it did not answer.
  type: int
  returned: failure
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.node_taint import SPEC, entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
