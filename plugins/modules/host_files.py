#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write several configuration files of a host in one go
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Makes sure that files have a given content and mode, and makes the folders that they are in. They belong to the user
    who runs this (root).
  - Does what M(ansible.builtin.copy) and M(ansible.builtin.file) do in loops, in one call for each host instead of one or two
    for each file, which saves seconds in each role.
  - Each file is replaced at once or not at all. When one cannot be written, those written before are put back.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
options:
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link there is replaced.
        type: path
        required: true
      content:
        description: All of the file.
        type: str
        required: true
      mode:
        description: Permission bits, octal.
        type: str
        default: '0644'
  folders:
    description: Folders that should be there, made with mode C(0755). The mode of one that is there stays.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Write what containerd reads
  gpufleet.k8s.host_files:
    folders: [/var/lib/containerd]
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
      - path: /etc/containerd/certs.d/docker.io/hosts.toml
        content: "{{ lookup('ansible.builtin.template', 'hosts.toml.j2') }}"
        mode: '0600'
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: success
  sample: [write /etc/containerd/config.toml]
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
"""

from ..module_utils._files.args import SPEC
from ..module_utils._files.resource import entry
from ..module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
