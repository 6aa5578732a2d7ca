# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's slices as a drawing."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import picture

DOCUMENTATION = r"""
name: mig_svg
short_description: Draws the slices of all GPUs of a fleet
version_added: 0.1.0
author:
  - The gpufleet.k8s authors
description:
  - Makes an SVG with a bar for each GPU, one box for each slice. Slices in use have a dark edge, and all is said in words, too.
options:
  _input:
    description:
      - Host name to GPUs, as C(gpus) of M(gpufleet.k8s.mig_info) or C(before) and C(after) of M(gpufleet.k8s.mig_parted).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the slices of all hosts
  gpufleet.k8s.mig_info:
  become: true
  register: mig

- name: Draw them
  ansible.builtin.copy:
    content: "{{ dict(ansible_play_hosts | zip(gpus)) | gpufleet.k8s.mig_svg }}"
    dest: slices.svg
    mode: "0644"
  delegate_to: localhost
  run_once: true
  vars:
    gpus: "{{ ansible_play_hosts | map('extract', hostvars, ['mig', 'gpus']) }}"
"""

RETURN = r"""
_value:
  description: The drawing.
  type: str
"""


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"mig_svg": picture.svg}
