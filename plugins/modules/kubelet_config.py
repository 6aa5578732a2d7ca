#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the configuration of a running kubelet, and puts the old one back when it does not work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_config
short_description: Change the configuration of a running kubelet safely
version_added: 0.1.0
description:
  - Keeps one drop-in file of a node's kubelet (C(NN-NAME.conf) in its C(--config-dir)). The file of C(kubeadm) stays as it is, so
    upgrades keep the settings.
  - Before anything is touched, the settings are checked against this release of the kubelet and this machine. What the kubelet
    would refuse or ignore is refused, and so is a setting that a flag or another file would override.
  - Then the node is cordoned and drained (only if running pods would not survive the change), the kubelet is stopped, files are
    written, stale CPU and memory manager state is removed (only if the kubelet would refuse it), and the kubelet is started.
  - The kubelet then has to be healthy, its Node Ready by a fresh heartbeat, and its effective configuration (C(configz)) has to
    show every setting. If not, the old files and state come back, the old kubelet runs again, the node is uncordoned, and the
    error has the kubelet's last log lines.
  - A run that was killed half-way is finished by the next one.
  - Use it with C(serial) or rely on O(lock); either way one node is changed at a time.
  - Of the options that say how to reach an API server, a node needs O(api_key) only; the others are for O(provider=openshift).
options:
  state:
    description: Whether the drop-in (with O(provider=openshift) the C(KubeletConfig)) is there.
    type: str
    choices: [present, absent]
    default: present
  settings:
    description:
      - A part of a C(KubeletConfiguration) (C(kubelet.config.k8s.io/v1beta1)), in upstream's names and without C(apiVersion) and
        C(kind).
      - Maps merge with what other files say, lists replace, and null puts a default back, as the kubelet does it.
      - Required for O(state=present).
    type: dict
  name:
    description: Name of the drop-in. Several names can be on one node.
    type: str
    default: gpufleet
  priority:
    description: The number that the file's name begins with, 0 to 99. The kubelet reads its files by name and the last one wins.
    type: int
    default: 50
  provider:
    description:
      - How the kubelet runs. V(auto) is V(k3s) where C(/etc/rancher/k3s) is, else V(kubeadm). V(k3s) has to be 1.32 or newer.
      - V(kubeadm) stands for any kubelet that is a systemd unit named C(kubelet).
      - V(openshift) writes a C(KubeletConfig) resource for O(pool) and waits until the machine config operator has brought all
        machines of the pool there. It runs wherever the API server can be reached, once for a pool. The operator drains and
        reboots the machines, so O(drain), O(lock), O(priority) and O(node_name) have no meaning there.
    type: str
    choices: [auto, kubeadm, k3s, openshift]
    default: auto
  pool:
    description:
      - The C(MachineConfigPool) whose machines shall change. Required for O(provider=openshift).
      - It needs a label C(pools.operator.machineconfiguration.openshift.io/POOL), which OpenShift's own pools have. The
        C(KubeletConfig) is called C(POOL-NAME).
    type: str
  node_name:
    description: Name of the Node. Defaults to the kubelet's C(--hostname-override), else to the host's name in lower case.
    type: str
  api_key:
    description:
      - A token that may C(get) C(nodes/configz) (C(nodes/proxy) before Kubernetes 1.33) and keep the Lease of O(lock).
        C(docs/policies/kubelet_config_clusterrole.yml) has the smallest role. Let it be short-lived (C(kubectl create token)).
      - Everything else is done with the kubelet's own certificate; without a token C(configz) too, where the cluster allows it.
      - With O(provider=openshift) it is one of the ways to log in.
      - Can also be set by E(K8S_AUTH_API_KEY).
    type: str
  drain:
    description: How pods leave the node before its kubelet is stopped.
    type: dict
    suboptions:
      mode:
        description:
          - V(auto) drains when CPU, memory or topology management changes, or state files have to go.
          - V(always) drains before each restart, V(never) leaves the pods running.
        type: str
        choices: [auto, always, never]
        default: auto
      timeout:
        description: Limit in seconds. Pods that their disruption budgets protect are tried again until then, then named.
        type: int
        default: 300
      grace_period:
        description: Seconds that each pod gets to end; V(-1) leaves it to the pod.
        type: int
        default: -1
      delete_emptydir_data:
        description: Whether pods may lose what they keep in an C(emptyDir).
        type: bool
        default: false
      force:
        description: Whether pods without a controller may be evicted; they do not come back.
        type: bool
        default: false
  verify_timeout:
    description:
      - Seconds until the kubelet has to be healthy and its Node Ready, after the change and again after a roll-back.
      - Defaults to 120, with O(provider=openshift) to 900 for each machine of O(pool).
    type: int
  rollback:
    description:
      - Whether a change that does not work is undone. Without it the new files stay, a kubelet that did not come up is stopped,
        and the node stays cordoned, for you to look at.
    type: bool
    default: true
requirements:
  - PyYAML on the node (C(python3-yaml) or C(python3-pyyaml)), and nothing else there
  - Python packages C(openshift) 0.13 or newer and C(kubernetes), for O(provider=openshift) only
extends_documentation_fragment:
  - gpufleet.k8s.kube
  - gpufleet.k8s.kube.lock
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
author:
  - The gpufleet.k8s authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Give Guaranteed pods CPUs of their own, on one NUMA node
  gpufleet.k8s.kubelet_config:
    settings:
      cpuManagerPolicy: static
      topologyManagerPolicy: single-numa-node
      topologyManagerScope: pod
      reservedSystemCPUs: 0-1
    drain:
      timeout: 900
      delete_emptydir_data: true
    api_key: "{{ token }}"

- name: The same on all machines of an OpenShift pool
  gpufleet.k8s.kubelet_config:
    provider: openshift
    pool: worker
    settings:
      cpuManagerPolicy: static
      reservedSystemCPUs: 0-1
    kubeconfig: ~/.kube/config
  delegate_to: localhost
  run_once: true

- name: Back to what the cluster says
  gpufleet.k8s.kubelet_config:
    state: absent
    api_key: "{{ token }}"
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: success
drop_in:
  description: The drop-in file, or the C(KubeletConfig).
  type: str
  returned: success
kubelet_version:
  description: Version of the installed kubelet, with O(provider=openshift) the oldest in the pool.
  type: str
  returned: success
restart:
  description: Whether the kubelet was (or would be) restarted.
  type: bool
  returned: on a node
drain:
  description: Whether the node was (or would be) drained.
  type: bool
  returned: on a node
drain_reasons:
  description: Why it is drained.
  type: list
  elements: str
  returned: on a node
state_files:
  description: State files of the kubelet that were (or would be) removed, and why.
  type: dict
  returned: on a node
effective:
  description: What the effective configuration has (or would have) at the keys of O(settings) and of the former drop-in.
  type: dict
  returned: success, with O(provider=openshift) only with O(state=present)
evicted:
  description: The pods that were evicted.
  type: list
  elements: str
  returned: when a node was changed
seconds:
  description: How long each kind of step took.
  type: dict
  returned: when a node was changed, or was to be
problems:
  description: What is wrong with O(settings), one sentence each.
  type: list
  elements: str
  returned: when they are refused
shadowed:
  description: The keys of O(settings) that a later file or a flag of the kubelet would override.
  type: list
  elements: str
  returned: when they are refused for that
kubelet_log:
  description: The kubelet's last log lines, errors first of all.
  type: list
  elements: str
  returned: when the kubelet did not start, or does not run as wished
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
remaining_actions:
  description: What was still to be done after all steps, where that is why the task failed.
  type: list
  elements: str
  returned: failure
reason:
  description: The API server's word for why it refused a call, such as V(Forbidden); V(Unreachable) where it did not answer.
  type: str
  returned: failure
status:
  description: HTTP status of the API server's refusal; null where it did not answer.
  type: int
  returned: failure
"""

from ..module_utils._kubelet.args import SPEC
from ..module_utils._kubelet.resource import entry
from ..module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
