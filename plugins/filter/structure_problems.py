# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists and dictionaries that came as text."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: structure_problems
short_description: Finds variables that are text where a role wants a list or a dictionary
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - M(ansible.builtin.validate_argument_spec) takes V(a,b) for a list and V(a=b) for a dictionary, but leaves the variable as it
    is, so that a role stumbles over it later. Such text comes from C(-e NAME=VALUE) on the command line.
positional: _input, options
options:
  _input:
    description: Variables by name, for example those of a host.
    type: dict
    required: true
  options:
    description: Options as in C(argument_specs).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Not with lists as text
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('. ') }}"
  vars:
    options: {colours: {type: list}}
    problems: "{{ hostvars[inventory_hostname] | gpufleet.k8s.structure_problems(options) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem.
  type: list
  elements: str
"""

STRUCTURES = {"list": ("a list", "[...]"), "dict": ("a dictionary", "{...}")}


def structure_problems(variables: t.Mapping[str, t.Any], options: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """Sentences naming variable, value and remedy. Pure. Values of options with `no_log` are not shown."""
    problems = []
    for name, option in options.items():
        value = variables.get(name)
        if option.get("type") in STRUCTURES and isinstance(value, str):
            what, example = STRUCTURES[option["type"]]
            shown = "text" if option.get("no_log") else f"the text {str(value)!r}"
            problems.append(f"{name} is {shown} and must be {what}; on the command line write -e '{{\"{name}\": {example}}}'")
    return problems


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"structure_problems": structure_problems}
