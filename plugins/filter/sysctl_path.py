# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a sysctl is."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: sysctl_path
short_description: The file below C(/proc/sys) of a sysctl
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Turns the name of a sysctl into the path of its file, as C(sysctl) reads names.
positional: _input
options:
  _input:
    description: The name. A dot within one of its parts is written as a slash.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Prints /proc/sys/net/ipv4/conf/eth0.1/rp_filter
  ansible.builtin.debug:
    msg: "{{ 'net.ipv4.conf.eth0/1.rp_filter' | gpufleet.k8s.sysctl_path }}"
"""

RETURN = r"""
_value:
  description: The path.
  type: str
"""


def sysctl_path(name: str) -> str:
    """`net.ipv4.conf.eth0/1.rp_filter` -> `/proc/sys/net/ipv4/conf/eth0.1/rp_filter`."""
    return "/proc/sys/" + str(name).translate({ord("."): "/", ord("/"): "."})


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"sysctl_path": sysctl_path}
