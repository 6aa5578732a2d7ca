#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's GPUs are cut into, and what they could be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mig_info
short_description: Read the MIG layout of a host's GPUs
version_added: 0.1.0
description:
  - Tells the mode, instances, UUIDs and users of every GPU, and the profiles and named layouts that it offers.
  - Exports the present state as a configuration file of C(nvidia-mig-parted) (format v1), which M(gpufleet.k8s.mig_parted)
    finds nothing to do for.
options:
  label:
    description: Label of the exported configuration.
    type: str
    default: current
  placement:
    description: Export the start slots, too. C(nvidia-mig-parted) refuses such a file.
    type: bool
    default: false
  timeout:
    description: Limit in seconds for a driver that does not answer.
    type: int
    default: 60
extends_documentation_fragment:
  - gpufleet.k8s.attributes.info
  - gpufleet.k8s.attributes.node
requirements:
  - NVIDIA driver
  - nvidia-ml-py >= 12.535 (Python module C(pynvml)) on the node
notes:
  - Needs root (C(become=true)) where MIG is on, because the driver lists instances to root only.
seealso:
  - module: gpufleet.k8s.mig_parted
author: The gpufleet.k8s authors (@gpufleet)
"""

EXAMPLES = r"""
- name: What is there?
  gpufleet.k8s.mig_info:
  become: true
  register: mig

- name: Show it
  ansible.builtin.debug:
    msg: "{{ mig.picture.splitlines() }}"

- name: Keep it as a file
  ansible.builtin.copy:
    content: "{{ mig.config_yaml }}"
    dest: /etc/gpufleet/mig-layout.yaml
    mode: "0644"
"""

RETURN = r"""
driver:
  description: Version of the NVIDIA driver.
  returned: success, and where it is too old for MIG or the GPUs cannot be read
  type: str
  sample: 580.65.06
gpus:
  description:
    - Every GPU with its mode, instances, UUIDs, users, profiles and named layouts; on failure its C(index) and C(name) only,
      if the driver tells them.
  returned: success, and as RV(driver)
  type: list
  elements: dict
  sample: [{index: 0, name: NVIDIA A100-PCIE-40GB, mig: true, instances: [], profiles: [], layouts: {all-1g.5gb: {1g.5gb: 7}}}]
config:
  description: The present state in the format of C(nvidia-mig-parted).
  returned: success
  type: dict
  sample: {version: v1, mig-configs: {current: [{devices: all, mig-enabled: true, mig-devices: {1g.5gb: 7}}]}}
config_yaml:
  description: RV(config) as YAML text.
  returned: success
  type: str
picture:
  description: The layout for people, one line an instance.
  returned: success
  type: str
svg:
  description: The layout as a drawing.
  returned: success
  type: str
nvml_code:
  description: NVML's return code, where one of its calls failed, else V(0).
  type: int
  returned: failure
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.args import INFO_SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.resource import info
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(info, **INFO_SPEC)


if __name__ == "__main__":
    main()
