# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's kernel settings are and what they should be."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.plugin_utils.sysctl_path import sysctl_path

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
        "modules": [name for name in map(str, modules or ()) if name.replace("-", "_") not in there],
        "sysctls": {
            name: " ".join(value.split())
            for name, value in values.items()
            if value is not None and value.split() != str((sysctls or {})[name]).split()
        },
        "unknown": [name for name, value in values.items() if value is None],
        "swaps": [line.split()[0] for line in files.get("/proc/swaps", "").splitlines()[1:]],
    }
