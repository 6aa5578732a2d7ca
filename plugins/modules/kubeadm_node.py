#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a host a Node of a kubeadm cluster, or frees it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_node
short_description: Make a host a node of a kubeadm cluster, or free it
version_added: 0.1.0
description:
  - Looks at what the host is now (its C(kubelet.conf), certificates, static pods, etcd data and its Node in the API) and runs
    only what is missing of C(kubeadm init) or C(kubeadm join).
  - A kubeadm that was killed half-way is finished, or reset where nothing can be lost. A host that belongs to another cluster, or
    plays another part in this one, is refused before anything is changed.
  - The configuration goes to kubeadm through a pipe. A join token never lies on the host's disk on behalf of this module.
  - In check mode it reports what the host is and what would be done; kubeadm need not be installed for that. Of a node that has
    lost its C(kubectl) it reports that it must be looked at again; without check mode that is an error.
options:
  state:
    description:
      - V(present) makes sure that the host is initialised or joined, as O(config) says.
      - V(absent) runs C(kubeadm reset) and removes what it leaves behind. The bridge and tunnel of the pod network, its address
        book, packet filter rules, root's copy of C(admin.conf) and the data of a local etcd are removed. The Node object stays in
        the API.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the Node. It must be the name in O(config).
    type: str
    required: true
  config:
    description:
      - Documents of kubeadm's configuration API, as they are in a kubeadm configuration file.
      - With a C(JoinConfiguration) the host joins, as a control plane if it has C(controlPlane); otherwise the host is
        initialised.
      - C(caCertHashes) of a C(JoinConfiguration) also tell which cluster a host that has joined already must belong to.
      - Required for O(state=present).
    type: list
    elements: dict
  token:
    description: Bootstrap token, put into the C(JoinConfiguration). Needed only if the host has to join.
    type: str
  certificate_key:
    description: Key of the uploaded control plane certificates, put into the C(JoinConfiguration) of a control plane.
    type: str
  secrets:
    description:
      - Tokens and keys that are in O(config) itself, such as that of a C(bootstrapTokens), so that neither the host's log nor the
        output shows them. The filter P(gpufleet.k8s.kubeadm_secrets#filter) finds them.
    type: list
    elements: str
    default: []
  labels:
    description:
      - Labels that the Node should have. They are compared only, see RV(relabel) and RV(unlabel), since a kubelet may not
        set all labels of its own Node.
    type: dict
    default: {}
  bin_dir:
    description: Where C(kubeadm), C(kubelet) and C(kubectl) are.
    type: path
    default: /usr/local/bin
  timeout:
    description: Limit for the whole work, in seconds.
    type: int
    default: 300
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
author:
  - The gpufleet.k8s authors (@gpufleet)
"""

EXAMPLES = r"""
- name: The first control plane
  gpufleet.k8s.kubeadm_node:
    name: "{{ inventory_hostname }}"
    config:
      - apiVersion: kubeadm.k8s.io/v1beta4
        kind: InitConfiguration
      - apiVersion: kubeadm.k8s.io/v1beta4
        kind: ClusterConfiguration
        kubernetesVersion: v1.36.3
        networking:
          podSubnet: 10.244.0.0/16

- name: A worker
  gpufleet.k8s.kubeadm_node:
    name: "{{ inventory_hostname }}"
    token: "{{ join.token }}"
    config:
      - apiVersion: kubeadm.k8s.io/v1beta4
        kind: JoinConfiguration
        discovery:
          bootstrapToken:
            apiServerEndpoint: "{{ join.endpoint }}"
            caCertHashes: "{{ join.ca_cert_hashes }}"
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: success
version:
  description: Version of the installed kubelet, where that is missing of the one that still runs, empty if there is none.
  type: str
  returned: success
service:
  description:
    - The kubelet to systemd, whether it starts with the host (C(enabled)) and whether it has been running since before its
      unit last changed (C(outdated)).
  type: dict
  returned: success
server:
  description: URL of the API server that the host's kubelet uses, empty if it has not joined.
  type: str
  returned: success
ca_cert_hash:
  description: Pin of the cluster's CA as kubeadm writes it, empty if the host has not joined.
  type: str
  returned: success
control_plane:
  description: Whether the host is a control plane with an administrator's kubeconfig.
  type: bool
  returned: success
node:
  description: Name, labels, pod CIDRs, provider ID and readiness of the Node; empty if there is none.
  type: dict
  returned: success
relabel:
  description:
    - All of O(labels), if there is a Node and it lacks one of them, has it with another value, or has one of RV(unlabel);
      otherwise empty.
  type: dict
  returned: success
unlabel:
  description:
    - Labels of the Node that are not in O(labels) any more, although the role P(gpufleet.k8s.kubeadm#role) set them, as the field
      manager C(gpufleet-kubeadm) of server-side apply. Those that somebody else has set as well, such as the kubelet when it
      registered, are not among them.
  type: list
  elements: str
  returned: success
cluster_configuration:
  description: On a control plane, the C(ClusterConfiguration) of the live cluster as YAML.
  type: str
  returned: success
kubelet_configuration:
  description: On a control plane, the C(KubeletConfiguration) that nodes join with, as YAML.
  type: str
  returned: success
kube_proxy_configuration:
  description: On a control plane, the C(KubeProxyConfiguration) of the live cluster as YAML, empty if there is none.
  type: str
  returned: success
certificates:
  description: Expiry by file, for every certificate that kubeadm and the kubelet use here.
  type: dict
  returned: success
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
stdout:
  description: The last lines that kubeadm, or another program that failed, wrote to its standard output, without secrets.
  type: str
  returned: failure, of a program
stderr:
  description: The last lines that it wrote to its standard error, without secrets.
  type: str
  returned: failure, of a program
"""

from ..module_utils._kubeadm.args import SPEC
from ..module_utils._kubeadm.node import entry
from ..module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
