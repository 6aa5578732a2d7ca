# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads TOML, as a program's own "show me your configuration" prints it."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

try:
    import tomllib
except ImportError:  # only so that the file can be imported (and its documentation read) by an older Python
    tomllib = None  # type: ignore[assignment]

DOCUMENTATION = r"""
name: from_toml
short_description: Reads TOML into a dictionary
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Reads a TOML 1.0 document into a dictionary.
requirements:
  - Python 3.11 or newer on the controller
positional: _input
options:
  _input:
    description: The document.
    type: str
    required: true
seealso:
  - plugin: gpufleet.k8s.to_toml
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What containerd makes of its configuration
  ansible.builtin.command: containerd config dump
  register: dump
  changed_when: false

- name: The runtimes it would know
  ansible.builtin.debug:
    msg: "{{ (dump.stdout | gpufleet.k8s.from_toml).plugins['io.containerd.cri.v1.runtime'].containerd.runtimes.keys() }}"
"""

RETURN = r"""
_value:
  description: The document.
  type: dict
"""


def from_toml(text: t.Any) -> dict[str, t.Any]:
    """TOML text as a dictionary. Raises AnsibleFilterError with line and column of what is no TOML."""
    if tomllib is None:
        raise AnsibleFilterError("from_toml needs Python 3.11 or newer on the controller")
    if not isinstance(text, str):
        raise AnsibleFilterError(f"from_toml: the input is a {type(text).__name__}, not a string")
    try:
        return tomllib.loads(str(text))
    except tomllib.TOMLDecodeError as error:
        raise AnsibleFilterError(f"from_toml: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"from_toml": from_toml}
