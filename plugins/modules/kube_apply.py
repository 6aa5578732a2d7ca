#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Apply a set of Kubernetes manifests, wait until they work, remove what is no longer in the set
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Applies manifests server-side with the kubectl of a control plane host, so that manifests of many megabytes work and the
    host needs no Python package.
  - What would change comes from the API server itself (a dry run of the same apply compared with what is there), so a
    manifest that the API server refuses is refused before anything is changed.
  - Namespaces and CustomResourceDefinitions are applied first; their custom resources follow when they are established.
  - A set with a O(name) remembers what it applied and removes what no longer is in it.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
requirements:
  - kubectl on the host, and a kubeconfig
options:
  name:
    description:
      - Name of the set. What was applied under it is remembered in the ConfigMap C(gpufleet-set-<name>), for O(prune) and
        O(state=absent).
      - A set needs O(manifests), O(content) or O(kustomize), where C([]) is a set of nothing.
    type: str
  state:
    description:
      - V(present) applies.
      - V(absent) deletes what the set called O(name) applied, and what the manifests name, in reverse order, and waits until
        it is gone. Custom resources go first, while their controller still runs. Deleting a CustomResourceDefinition or a
        Namespace deletes everything in it, also what others made.
    type: str
    choices: [present, absent]
    default: present
  manifests:
    description: Files, or folders of files (C(.yaml), C(.yml), C(.json)), on the host.
    type: list
    elements: path
  content:
    description: Manifests as text, as a dict or as a list of dicts.
    type: raw
  kustomize:
    description: A folder on the host with a kustomization, rendered with C(kubectl kustomize).
    type: path
  namespace:
    description: The namespace of objects that name none.
    type: str
    default: default
  images:
    description:
      - Images to use instead. A key is an image as the manifests have it, with or without its tag; a value without a tag
        keeps that tag.
      - A key that no container uses is an error.
    type: dict
  patches:
    description: Changes to the manifests before they are applied. A patch that fits no object is an error.
    type: list
    elements: dict
    suboptions:
      kind:
        description: Kind of the objects to change.
        type: str
        required: true
      name:
        description: Name of the object to change. All of that kind without it.
        type: str
      namespace:
        description: Namespace of the object to change. Any without it.
        type: str
      patch:
        description:
          - A dict is merged into the object (RFC 7386, null removes a field).
          - A list is a JSON patch (RFC 6902) of C(add), C(replace), C(remove) and C(test), which also reaches into lists.
        type: raw
        required: true
  prune:
    description: Whether objects that the set called O(name) applied before and no longer contains are deleted.
    type: bool
    default: true
  inventory_namespace:
    description: The namespace of the ConfigMap that remembers the set. It must exist.
    type: str
    default: kube-system
  field_manager:
    description: The name under which the API server notes who owns which field.
    type: str
    default: gpufleet
  force_conflicts:
    description: Whether fields that somebody else owns are taken over. Without it such a conflict is an error.
    type: bool
    default: true
  wait:
    description:
      - Whether to wait until every Deployment, DaemonSet and StatefulSet of the set is rolled out, every Job complete, every
        CustomResourceDefinition established, every APIService available. Also done when nothing changed.
    type: bool
    default: true
  wait_for:
    description:
      - More to wait for after that; without O(wait_for[].condition) and O(wait_for[].field) until it is rolled out or ready,
        as fits its kind.
    type: list
    elements: dict
    suboptions:
      kind:
        description: Kind, as kubectl accepts it; for example V(Node) or V(workflows.argoproj.io).
        type: str
        required: true
      name:
        description: Name. Without it and O(wait_for[].selector) all objects of the kind in the namespace, at least one.
        type: str
      namespace:
        description: Namespace, if not O(namespace).
        type: str
      selector:
        description: Label selector; all that it selects are waited for, at least one.
        type: str
      nodes:
        description:
          - Names of Nodes; only these are waited for, or what runs on them. Without it, or empty, all are.
          - Of the kind V(Node), each of them must be there; how many others are not ready is a warning. Of the kind V(Pod), each
            must have at least one. Of the kind V(DaemonSet), each that it is meant for must have a ready pod of its newest
            template. Other kinds are refused.
        type: list
        elements: str
      condition:
        description: A condition that must be true, for example V(Available), or have another status, V(Ready=False).
        type: str
      field:
        description: A field of the object, for example V(status.phase).
        type: str
      value:
        description: What O(wait_for[].field) must be.
        type: str
  wait_timeout:
    description:
      - Seconds after which waiting, or deleting, has failed. With V(0) it looks once. The message says what was seen last, down
        to pods and their events.
    type: int
    default: 300
  kubeconfig:
    description: Path of the kubeconfig on the host.
    type: path
    default: /etc/kubernetes/admin.conf
  kubectl:
    description: Path of kubectl, or its name, which is also looked for in C(/usr/local/bin) and similar places.
    type: str
    default: kubectl
notes:
  - The data of Secrets is not shown in differences. The task's own arguments are, so set C(no_log) on a task whose O(content)
    has secrets.
  - In check mode, a kubectl, kubeconfig or manifest that does not exist yet is taken for one that an earlier task would
    bring; a warning says so.
  - When applying fails half-way nothing is rolled back; the next run continues.
"""

EXAMPLES = r"""
- name: A pod network, on its own subnet, until every node is ready
  gpufleet.k8s.kube_apply:
    name: flannel
    manifests: [/etc/gpufleet/manifests/kube-flannel.yml]
    patches:
      - kind: ConfigMap
        name: kube-flannel-cfg
        patch:
          data:
            net-conf.json: '{"Network": "10.0.0.0/14", "Backend": {"Type": "vxlan"}}'
    wait_for:
      - kind: Node

- name: Objects of one's own
  gpufleet.k8s.kube_apply:
    name: team-a
    content:
      - apiVersion: v1
        kind: Namespace
        metadata: {name: team-a}
      - apiVersion: v1
        kind: ResourceQuota
        metadata: {name: gpus, namespace: team-a}
        spec: {hard: {requests.nvidia.com/gpu: '4'}}

- name: Remove the operator and everything that it came with
  gpufleet.k8s.kube_apply:
    name: mpi-operator
    state: absent
"""

RETURN = r"""
objects:
  description: The objects of the set in the order in which they are applied, and those that were deleted.
  type: list
  elements: dict
  returned: success, not in check mode on a host that lacks C(kubectl), the kubeconfig or one of the manifests
  contains:
    kind:
      description: Kind of the object.
      type: str
    namespace:
      description: Namespace of the object; without a meaning for cluster-scoped kinds.
      type: str
    name:
      description: Name of the object.
      type: str
    action:
      description: What was, or in check mode would be, done with it.
      type: str
      sample: created, changed, unchanged or deleted
actions:
  description: The steps in order, each a verb and what it was done to.
  type: list
  elements: str
  returned: success
not_ready:
  description: What was still not ready when the time was up, and why.
  type: list
  elements: dict
  returned: when waiting fails
done:
  description: The steps that had been done before one failed, or before they turned out not to have had their effect.
  type: list
  elements: str
  returned: failure
undone:
  description: Those of RV(done) that were undone, the last one first.
  type: list
  elements: str
  returned: failure
undo_failed:
  description: Those of RV(done) that could not be undone, each with the reason.
  type: list
  elements: str
  returned: failure
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.resource import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
