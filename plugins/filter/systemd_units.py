# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`systemctl show` as data."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: systemd_units
short_description: Reads the output of C(systemctl show)
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Reads what C(systemctl show --property=Id,... UNIT...) prints about several units, which is one call for all that a role
    wants to know.
positional: _input
options:
  _input:
    description: The output. The property C(Id) must be among those asked for.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ask
  ansible.builtin.command: systemctl show --property=Id,ActiveState containerd.service kubelet.service
  register: units
  changed_when: false

- name: Answer
  ansible.builtin.debug:
    msg: "{{ (units.stdout | gpufleet.k8s.systemd_units)['kubelet.service'].ActiveState }}"
"""

RETURN = r"""
_value:
  description: Unit name to its properties, all of them strings.
  type: dict
"""


def systemd_units(text: str) -> dict[str, dict[str, str]]:
    """`{Id: {property: value}}`; a unit asked for twice is there once."""
    units = (dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in str(text).split("\n\n"))
    return {unit["Id"]: unit for unit in units if "Id" in unit}


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"systemd_units": systemd_units}
