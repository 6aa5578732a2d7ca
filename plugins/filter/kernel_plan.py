# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's kernel settings are and what they should be."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.filter.sysctl_path import sysctl_path

DOCUMENTATION = r"""
name: kernel_plan
short_description: Compares a node's kernel modules, sysctls and swap with what is wished
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Compares what the kernel has with what a node needs, from the files below C(/proc).
  - A module counts as there when it is loaded, built in, or when what it provides is there. The last is how a container shows
    it, where no module can be loaded or listed.
positional: _input, modules, sysctls
options:
  _input:
    description:
      - File name to content, as P(gpufleet.k8s.grep_files#filter) gives it, of C(/proc/modules), C(/proc/filesystems),
        C(/proc/swaps), C(/lib/modules/RELEASE/modules.builtin) and the files of the sysctls.
    type: dict
    required: true
  modules:
    description: The kernel modules to have.
    type: list
    elements: str
    default: []
  sysctls:
    description: Name to value of the sysctls to have.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: What is there to do
  ansible.builtin.debug:
    msg: "{{ files.stdout | gpufleet.k8s.grep_files | gpufleet.k8s.kernel_plan(['overlay'], {'net.ipv4.ip_forward': 1}) }}"
"""

RETURN = r"""
_value:
  description: What differs.
  type: dict
  contains:
    modules:
      description: The modules that are not there.
      type: list
      elements: str
    sysctls:
      description: The sysctls that have another value, with that value.
      type: dict
    unknown:
      description: The sysctls that this kernel does not have (yet, a module may bring them).
      type: list
      elements: str
    swaps:
      description: The swap devices and files in use.
      type: list
      elements: str
"""

#: What a module provides, for where it is neither listed as loaded nor as built in.
_PROVIDES = {
    "overlay": ("/proc/filesystems", "\toverlay\n"),
    "br_netfilter": ("/proc/sys/net/bridge/bridge-nf-call-iptables", ""),
}


def kernel_plan(
    files: t.Mapping[str, str], modules: t.Sequence[str] = (), sysctls: t.Mapping[str, t.Any] | None = None
) -> dict[str, t.Any]:
    """`{modules, sysctls, unknown, swaps}`: what is missing, different, not there at all, and in use."""
    there = {line.split()[0] for line in files.get("/proc/modules", "").splitlines() if line}
    for path, content in files.items():
        if path.endswith("/modules.builtin"):
            there |= {line.rpartition("/")[2].split(".")[0].replace("-", "_") for line in content.splitlines()}
    there |= {name for name, (path, text) in _PROVIDES.items() if path in files and text in files[path]}
    values = {name: files.get(sysctl_path(name)) for name in sysctls or {}}
    return {
        "modules": [name for name in modules if name.replace("-", "_") not in there],
        "sysctls": {
            name: " ".join(value.split())
            for name, value in values.items()
            if value is not None and value.split() != str((sysctls or {})[name]).split()
        },
        "unknown": [name for name, value in values.items() if value is None],
        "swaps": [line.split()[0] for line in files.get("/proc/swaps", "").splitlines()[1:]],
    }


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"kernel_plan": kernel_plan}
