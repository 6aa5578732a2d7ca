# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""CPUs, NUMA nodes and memory of a machine, as its kernel shows them below /sys and /proc.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .quantity import cpus

KIB = 1024


@dataclass(frozen=True)
class Machine:
    """`cpus` are the online ones; `numa` the online CPUs of each NUMA node; `cores` the (socket, core) of each CPU.

    Memory in bytes. `hugepages` is the resource name of each page size that the kernel offers, such as hugepages-2Mi.
    `cgroup2`: whether there is only cgroup v2; None when neither version was found.
    """

    cpus: frozenset[int] = frozenset()
    numa: t.Mapping[int, frozenset[int]] = field(default_factory=dict)
    cores: t.Mapping[int, tuple[int, int]] = field(default_factory=dict)
    memory: int = 0
    numa_memory: t.Mapping[int, int] = field(default_factory=dict)
    hugepages: frozenset[str] = frozenset()
    cgroup2: bool | None = None

    @property
    def sockets(self) -> int:
        return len({socket for socket, _core in self.cores.values()}) or 1

    def numa_of(self, members: t.Iterable[int]) -> list[int]:
        """The NUMA nodes that these CPUs belong to, sorted."""
        wanted = set(members)
        return sorted(node for node, its in self.numa.items() if its & wanted)


def read(root: str | Path = "/") -> Machine:
    """Reads the machine, or a recorded tree with the same files. Missing files leave their part empty."""
    base = Path(root)
    cpu_root = base / "sys/devices/system/cpu"
    online = cpus(_text(cpu_root / "online"))
    cores = {
        cpu: (_number(cpu_root / f"cpu{cpu}/topology/physical_package_id"), _number(cpu_root / f"cpu{cpu}/topology/core_id"))
        for cpu in online
    }
    numa, numa_memory = {}, {}
    for folder in sorted((base / "sys/devices/system/node").glob("node[0-9]*")):
        node = int(folder.name[4:])
        numa[node] = cpus(_text(folder / "cpulist")) & online
        found = re.search(r"MemTotal:\s+(\d+)", _text(folder / "meminfo"))
        numa_memory[node] = int(found.group(1)) * KIB if found else 0
    found = re.search(r"^MemTotal:\s+(\d+)", _text(base / "proc/meminfo"), re.MULTILINE)
    cgroups = base / "sys/fs/cgroup"
    sizes = (int(path.name[10:-2]) * KIB for path in (base / "sys/kernel/mm/hugepages").glob("hugepages-*kB"))
    return Machine(
        cpus=online,
        numa=numa or {0: online},  # a kernel without NUMA has no such folder; to the kubelet it is one node
        cores=cores,
        memory=int(found.group(1)) * KIB if found else 0,
        numa_memory=numa_memory,
        hugepages=frozenset(f"hugepages-{_binary(size)}" for size in sizes),
        cgroup2=(cgroups / "cgroup.controllers").exists() if any(cgroups.glob("*")) else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d+", text) else 0


def _binary(size: int) -> str:
    for suffix, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size % 2**power == 0:
            return f"{size >> power}{suffix}"
    return str(size)
