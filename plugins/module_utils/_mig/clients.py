# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Who holds a GPU or a slice: open device files, processes that NVML reports, and what the kubelet has given to pods.

PRIVATE: this module util is for this collection only and may change without notice.

A pod that was given a slice holds it even while it runs nothing on the GPU, so the kubelet's own record is read too
(kubelet_internal_checkpoint; its format is internal to the kubelet, so what cannot be read is passed over). A pod's name
and namespace come from the name of its log directory, `/var/log/pods/NAMESPACE_NAME_UID`: no API server is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .layout import Compute, Gpu, Holder

_DEVICE = re.compile(r"/dev/nvidia(\d+)")
_CAPABILITY = re.compile(r"/dev/nvidia-caps/nvidia-cap(\d+)")
#: Lines of mig-minors: `gpu0/gi7/ci0/access 64`.
_MINOR = re.compile(r"gpu(\d+)/gi(\d+)(?:/ci(\d+))?/access (\d+)")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)

_KUBELET = "var/lib/kubelet"


@dataclass(frozen=True)
class Clients:
    """What was found: device minor -> process ids, (GPU, GPU instance, compute instance or None) -> ids, UUID -> pod uids."""

    devices: t.Mapping[int, t.Sequence[int]]
    slices: t.Mapping[tuple[int, int, int | None], t.Sequence[int]]
    pods: t.Mapping[str, t.Sequence[str]]
    root: Path = Path("/")

    @classmethod
    def scan(cls, root: Path = Path("/")) -> Clients:
        """Reads /proc and the kubelet's record. Processes that end meanwhile are passed over; so is this one."""
        minors = {}
        try:
            text = (root / "proc/driver/nvidia-caps/mig-minors").read_text(encoding="utf-8")
        except OSError:
            text = ""
        for gpu, instance, compute, minor in _MINOR.findall(text):
            minors[int(minor)] = (int(gpu), int(instance), int(compute) if compute else None)
        devices: dict[int, list[int]] = {}
        slices: dict[tuple[int, int, int | None], list[int]] = {}
        # Without device files nobody can have one open.
        for pid in _processes(root) if any((root / "dev").glob("nvidia*")) else ():
            for path in _open_files(root, pid):
                device, capability = _DEVICE.fullmatch(path), _CAPABILITY.fullmatch(path)
                if device:
                    devices.setdefault(int(device[1]), []).append(pid)
                elif capability and int(capability[1]) in minors:
                    slices.setdefault(minors[int(capability[1])], []).append(pid)
        return cls(devices, slices, _allocated(root), root)

    def attach(self, gpus: t.Sequence[Gpu]) -> tuple[Gpu, ...]:
        """The GPUs with everyone who holds them."""
        return tuple(self._gpu(gpu) for gpu in gpus)

    def _gpu(self, gpu: Gpu) -> Gpu:
        pids = [*(holder.pid for holder in gpu.holders), *self.devices.get(gpu.minor, ())]
        instances = []
        for instance in gpu.instances:
            computes = tuple(self._compute(gpu.minor, instance.id, compute) for compute in instance.computes)
            instances.append(replace(instance, computes=computes))
        pods = [Holder(pod=uid) for uid in self.pods.get(gpu.uuid, ())]
        return replace(gpu, holders=self._named(pids, pods), instances=tuple(instances))

    def _compute(self, minor: int, instance: int, compute: Compute) -> Compute:
        pids = [holder.pid for holder in compute.holders]
        # A CUDA process opens both of a slice's files; one that opened only the GPU instance's may use any part of it.
        pids += [*self.slices.get((minor, instance, compute.id), ()), *self.slices.get((minor, instance, None), ())]
        pods = [Holder(pod=uid) for uid in self.pods.get(compute.uuid, ())]
        return replace(compute, holders=self._named(pids, pods))

    def _named(self, pids: t.Iterable[int], allocated: t.Iterable[Holder]) -> tuple[Holder, ...]:
        holders = [who(pid, self.root) for pid in dict.fromkeys(pids)]
        there = {(holder.namespace, holder.pod) for holder in holders}
        pods = [_pod(holder.pod, self.root) for holder in allocated]
        return (*holders, *(pod for pod in pods if (pod.namespace, pod.pod) not in there))


def who(pid: int, root: Path = Path("/")) -> Holder:
    """A process by name, systemd unit and pod, as far as they can be told."""
    process = _read(root / f"proc/{pid}/comm").strip()
    cgroup = _read(root / f"proc/{pid}/cgroup")
    match = _POD.search(cgroup)
    if match:
        pod = _pod(match[1].replace("_", "-"), root)
        return Holder(pid=pid, process=process, pod=pod.pod, namespace=pod.namespace)
    units = _UNIT.findall(cgroup)
    return Holder(pid=pid, process=process, unit=units[-1] if units else "")


def _pod(uid: str, root: Path) -> Holder:
    for directory in (root / "var/log/pods").glob(f"*_{uid}"):
        namespace, name, _uid = directory.name.split("_", 2)
        return Holder(pod=name, namespace=namespace)
    return Holder(pod=uid)


def _processes(root: Path) -> list[int]:
    names = (path.name for path in (root / "proc").iterdir())
    return [int(name) for name in names if name.isdecimal() and int(name) != os.getpid()]


def _open_files(root: Path, pid: int) -> set[str]:
    """Through os and not pathlib: a node has many thousand open files, and this is four times as fast."""
    directory = str(root / f"proc/{pid}/fd")
    found: set[str] = set()
    try:
        for name in os.listdir(directory):  # noqa: PTH208
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"{directory}/{name}"))  # noqa: PTH115
    except OSError:
        pass
    return found


def _allocated(root: Path) -> dict[str, list[str]]:
    """Device UUID -> pod uids, of pods that the kubelet still has a directory for."""
    found: dict[str, list[str]] = {}
    try:
        entries = (
            json.loads(_read(root / _KUBELET / "device-plugins/kubelet_internal_checkpoint"))["Data"]["PodDeviceEntries"] or []
        )
        for entry in entries:
            devices = entry["DeviceIDs"]
            if not (root / _KUBELET / "pods" / entry["PodUID"]).is_dir():
                continue
            for group in devices.values() if isinstance(devices, dict) else [devices]:
                for uuid in group or ():
                    # A shared device is advertised as UUID::NUMBER.
                    found.setdefault(uuid.partition("::")[0], []).append(entry["PodUID"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
