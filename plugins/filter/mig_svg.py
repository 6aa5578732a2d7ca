# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's slices as a drawing."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import picture

DOCUMENTATION = r"""
name: mig_svg
short_description: Draws the slices of all GPUs of a fleet
version_added: 0.1.0
author:
  - The gpufleet.k8s authors
description:
  - Makes an SVG with a bar for each GPU, one box for each slice, over as many memory slots as it takes. Slices in use have a dot
    and a dark edge, free slots are hatched, and all is said in words, too, for those who do not see it. It needs nothing from
    elsewhere, such as fonts.
options:
  _input:
    description:
      - Host name to the result of M(gpufleet.k8s.mig_info), of which C(gpus) is drawn, or of M(gpufleet.k8s.mig_parted), of which
        C(after) is, that is the plan in check mode.
      - Or host name to GPUs, as C(gpus) of M(gpufleet.k8s.mig_info) or C(before) and C(after) of M(gpufleet.k8s.mig_parted).
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
    content: "{{ dict(ansible_play_hosts | zip(found)) | gpufleet.k8s.mig_svg }}"
    dest: slices.svg
    mode: "0644"
  delegate_to: localhost
  run_once: true
  vars:
    found: "{{ ansible_play_hosts | map('extract', hostvars, 'mig') }}"
"""

RETURN = r"""
_value:
  description: The drawing.
  type: str
"""


def mig_svg(fleet: t.Mapping[str, t.Any]) -> str:
    """Pure. Raises AnsibleFilterError for a host that is nothing of that."""
    return picture.svg({host: _gpus(host, found) for host, found in fleet.items()})


def _gpus(host: str, found: t.Any) -> t.Sequence[picture.Described]:
    gpus = found.get("gpus", found.get("after")) if isinstance(found, t.Mapping) else found
    if not isinstance(gpus, t.Sequence) or isinstance(gpus, str):
        raise AnsibleFilterError(f"mig_svg: {host} has neither GPUs nor a result of mig_info or mig_parted, but {found!r}")
    return gpus


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"mig_svg": mig_svg}
