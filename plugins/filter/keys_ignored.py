# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys of a configuration a program silently left out."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: keys_ignored
short_description: Lists the keys that a program dropped from its configuration
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Compares the configuration that was wished with the configuration that the program says it has, and lists the keys that are
    missing there.
  - Many programs, containerd and the kubelet among them, only log a warning for a key that they do not know, and go on without
    it.
  - A key whose wished value is empty or false may be missing, since programs leave such values out when they print.
positional: _input, effective
options:
  _input:
    description: What was wished.
    type: dict
    required: true
  effective:
    description: What the program says it has.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse typing errors
  ansible.builtin.assert:
    that: wished | gpufleet.k8s.keys_ignored(dump.stdout | gpufleet.k8s.from_toml) is falsy
"""

RETURN = r"""
_value:
  description: The paths of the missing keys, for example C(plugins['io.containerd.cri.v1.runtime'].enable_cdy).
  type: list
  elements: str
"""


def keys_ignored(wished: t.Mapping[str, t.Any], effective: t.Mapping[str, t.Any], path: str = "") -> list[str]:
    """Paths of keys that are in `wished` and not in `effective`, in order."""
    missing = []
    for key, value in wished.items():
        here = f"{path}['{key}']" if "." in key else f"{path}.{key}".lstrip(".")
        if key not in effective:
            missing += [here] if value else []
        elif isinstance(value, t.Mapping) and isinstance(effective[key], t.Mapping):
            missing += keys_ignored(value, effective[key], here)
    return missing


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"keys_ignored": keys_ignored}
