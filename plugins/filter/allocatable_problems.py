# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that do not offer what they should."""

from __future__ import annotations

import json
import typing as t

DOCUMENTATION = r"""
name: allocatable_problems
short_description: Says which Nodes do not offer the resources that they should
version_added: 0.1.0
author:
  - The gpufleet.k8s authors
description:
  - Compares C(status.allocatable) of Nodes with what is expected, for resources whose names begin with a prefix.
positional: _input, expected
options:
  _input:
    description: For each Node a line with its name, a tab and its C(status.allocatable) as JSON.
    type: str
    required: true
  expected:
    description: Node name to resource name to count.
    type: dict
    required: true
  prefix:
    description: Resources of other names are not compared.
    type: str
    default: nvidia.com/
"""

EXAMPLES = r"""
- name: Ask
  ansible.builtin.command:
    argv:
      - kubectl
      - get
      - nodes
      - --output=jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.allocatable}{"\n"}{end}
  register: nodes
  changed_when: false

- name: Say what is missing
  ansible.builtin.debug:
    msg: "{{ nodes.stdout | gpufleet.k8s.allocatable_problems({'gpu-1': {'nvidia.com/gpu': 7}}) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each Node that differs.
  type: list
  elements: str
"""


def allocatable_problems(text: str, expected: t.Mapping[str, t.Mapping[str, t.Any]], prefix: str = "nvidia.com/") -> list[str]:
    """Sentences. Pure. A resource that a Node once had stays there with 0, so 0 is the same as none."""
    nodes = {name: json.loads(found) for name, tab, found in (line.partition("\t") for line in text.splitlines()) if tab}
    problems = []
    for name, wanted in expected.items():
        if name not in nodes:
            problems.append(f"{name}: there is no such Node")
            continue
        offered = {key: int(value) for key, value in nodes[name].items() if key.startswith(prefix) and int(value)}
        if offered != {key: int(value) for key, value in wanted.items() if int(value)}:
            problems.append(f"{name}: offers {_told(offered)} instead of {_told(wanted)}")
    return problems


def _told(resources: t.Mapping[str, t.Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(resources.items())) or "nothing"


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"allocatable_problems": allocatable_problems}
