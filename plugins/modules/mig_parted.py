#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MIG layout of a host's GPUs, by declaration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mig_parted
short_description: Cut NVIDIA GPUs into MIG slices by declaration
version_added: 0.1.0
description:
  - Brings the GPUs of a host to a wished Multi-Instance GPU (MIG) layout. Reads the configuration files of C(nvidia-mig-parted)
    (format v1) without needing that program.
  - Whether the profiles fit together, and where, is proved before anything is touched. Instances that the wished layout can keep
    stay where they are, with their UUIDs; instances in use are not destroyed unless O(allow_busy=true).
  - Only the GPUs that the configuration names are looked at, so a configuration for some of a host's GPUs is idempotent.
  - When a step fails, the layout that was there before is put back and verified, and the failure says so.
  - A mode change resets only the GPUs that need it (Ampere). Where a reset is impossible, as for a GPU passed through to a
    virtual machine, RV(reboot_required) is true and the instances come with the run after the reboot.
options:
  state:
    description: V(present) is all there is. A GPU without slices is a layout, too - V(all-disabled), or V(all-enabled).
    type: str
    choices: [present]
    default: present
  config:
    description:
      - A configuration in the format of C(nvidia-mig-parted), as a mapping (or as YAML text).
      - "Besides C(devices), C(device-filter), C(mig-enabled) and C(mig-devices) an entry may have C(placement), which maps GPU
        instance profiles to lists of start slots. C(nvidia-mig-parted) refuses a file that has it."
    type: dict
  src:
    description: A file with such a configuration, on the controller (searched for like the O(ansible.builtin.copy#module:src)).
    type: path
  remote_src:
    description: The file O(src) is on the node.
    type: bool
    default: false
  selected:
    description:
      - Label of the configuration to use; not needed when there is only one.
      - Without O(config) and O(src) a named layout that is computed from the GPUs themselves, as C(nvidia-mig-parted
        generate-config) does - V(all-disabled), V(all-enabled), V(all-balanced), V(all-1g.5gb), V(all-1g.5gb.me) and so on.
    type: str
  layout:
    description:
      - The short form. Maps GPU indexes, or V(all), to a named layout, a list of profiles, or a mapping of profiles to counts.
      - An index outweighs V(all). In a list, V(3g.20gb:4) asks for a start at memory slot 4.
    type: dict
  allow_busy:
    description: Also destroy instances that processes or pods use, and change the mode of GPUs that are held.
    type: bool
    default: false
  reset:
    description: Reset GPUs whose mode change needs it. With V(false) the change waits for a reboot, see RV(reboot_required).
    type: bool
    default: true
  stop_services:
    description:
      - Systemd units that may be stopped while GPUs change, for example C(nvidia-dcgm.service). They do not count as users.
      - Only those that hold a GPU which changes are stopped. They are started again in any case; after a run that was killed, by
        the next one.
    type: list
    elements: str
    default: []
  refresh_cdi:
    description: Restart C(nvidia-cdi-refresh.service) after a change, where that unit is installed.
    type: bool
    default: true
  drain:
    description: How pods make room on the Kubernetes Node of this host. Done with the kubelet's own certificate, except O(lock).
    type: dict
    suboptions:
      enabled:
        description:
          - Where something changes, the Node is cordoned first, exactly those pods that hold what goes are evicted, as their
            disruption budgets allow, and afterwards it is uncordoned. Pods whose slices can stay stay.
          - Pods that would not leave, or that no controller would make again, are refused by the plan, so by a dry run, too.
          - Meanwhile the Node has the label C(gpufleet.k8s/mig=changing), which DaemonSets that hold GPUs keep off, so the device
            plugin starts anew with the new layout.
          - If the change turns out not to hold after the Node was uncordoned, it is cordoned and drained once more before the old
            layout is put back.
          - Without effect where no kubelet has joined a cluster.
        type: bool
        default: false
      timeout:
        description: Seconds until all of them must be gone.
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
      node_name:
        description: Name of the Node. Defaults to the host's name.
        type: str
      kubeconfig:
        description: The kubelet's kubeconfig. Found by itself for C(kubeadm) and k3s.
        type: path
  api_key:
    description:
      - A token that may keep the Lease of O(lock). C(docs/policies/mig_parted_role.yml) has the smallest role. Let it be
        short-lived (C(kubectl create token)).
      - Can also be set by E(K8S_AUTH_API_KEY).
    type: str
  boot:
    description:
      - V(true) keeps a systemd unit, C(gpufleet-mig.service), that applies the same configuration at boot, before the kubelet
        starts, because instances do not survive one. It needs the Python of this task, and neither Ansible nor NVIDIA's
        C(nvidia-mig-manager).
      - V(false) removes it. Without this option it is left alone.
    type: bool
  assume_gpus:
    description:
      - Plan for these boards (V(A100-40GB), V(H100-80GB), ...) instead of the host's, whole and with MIG off. Check mode only;
        needs no driver.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Limit in seconds. Where the Node is drained, O(drain.timeout) adds to it twice, for the way there and the way back.
      - A driver that hangs cannot be interrupted, so nothing is put back then.
      - The wait for O(lock) does not count.
    type: int
    default: 600
  config_name:
    description: What errors call the configuration. Filled in by the action plugin.
    type: str
    default: config
  config_lines:
    description: Line numbers by path in O(config), so that errors can point. Filled in by the action plugin.
    type: dict
    default: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin, so some parts of the options can be executed on the controller.
    support: full
    details:
      - YAML is parsed where Ansible runs, so the node needs no YAML library.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
  - gpufleet.k8s.kube.lock
requirements:
  - NVIDIA driver
  - nvidia-ml-py >= 12.535 (Python module C(pynvml)) on the node
notes:
  - Needs root (C(become=true)).
  - A second run on the same host waits for the first.
seealso:
  - module: gpufleet.k8s.mig_info
author: The gpufleet.k8s authors (@gpufleet)
"""

EXAMPLES = r"""
- name: Seven slices on every GPU
  gpufleet.k8s.mig_parted:
    selected: all-1g.5gb
  become: true

- name: A mixed layout on GPU 0, its big slice in the upper half, the others balanced
  gpufleet.k8s.mig_parted:
    layout:
      0: ["3g.20gb:4", 2g.10gb, 1g.5gb, 1g.5gb]
      all: all-balanced
    stop_services: [nvidia-dcgm.service, nvidia-persistenced.service]
  become: true

- name: A file written for nvidia-mig-parted
  gpufleet.k8s.mig_parted:
    src: mig-configs.yaml
    selected: custom-config
  become: true

- name: In CI, does the file fit the machines that will come?
  gpufleet.k8s.mig_parted:
    src: mig-configs.yaml
    selected: custom-config
    assume_gpus: [A100-40GB, A100-40GB]
  check_mode: true
"""

RETURN = r"""
before:
  description: All GPUs as they were.
  returned: success
  type: list
  elements: dict
  sample: [{index: 0, name: NVIDIA A100-PCIE-40GB, mig: false, instances: []}]
after:
  description: All GPUs as they are; in check mode as they will be, with empty UUIDs for what is not there yet.
  returned: success, and when a step failed, if they can be read then
  type: list
  elements: dict
  sample: [{index: 0, mig: true, instances: [{profile: 7g.40gb, start: 0, devices: [{profile: 7g.40gb, uuid: "MIG-..."}]}]}]
actions:
  description: Every step in order.
  returned: success
  type: list
  elements: str
  sample: ["checkpoint GPU 0", "create GPU instance GPU 0 7g.40gb:0", "create compute instance GPU 0 7g.40gb:0 7c"]
operations:
  description: How many GPU instances were created, destroyed and kept; compute instances, mode changes and resets.
  returned: success
  type: dict
  sample: {created: 1, destroyed: 0, kept: 0, compute_created: 1, compute_destroyed: 0, mode_changes: 0, resets: 0}
evicted:
  description: Pods that had to leave, as C(namespace/name); after a failure also those that had to leave on the way back.
  returned: success, and when a step failed
  type: list
  elements: str
reboot_required:
  description: A mode change waits for a reboot; run the task again after it.
  returned: success
  type: bool
restored:
  description: Whether the GPUs have the layout that they had before.
  returned: when a step failed
  type: bool
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
reason:
  description: The API server's word for why it refused a call, such as V(Forbidden); V(Unreachable) where it did not answer.
  type: str
  returned: failure
status:
  description: HTTP status of the API server's refusal; null where it did not answer.
  type: int
  returned: failure
nvml_code:
  description: NVML's return code, where one of its calls failed, else V(0).
  type: int
  returned: failure
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.resource import parted
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(parted, **SPEC)


if __name__ == "__main__":
    main()
