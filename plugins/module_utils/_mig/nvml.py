# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The real GPUs, through NVIDIA's own bindings (`nvidia-ml-py`, module pynvml). Errors are sentences.

PRIVATE: this module util is for this collection only and may change without notice.

Traps kept in mind: queries take NVML's profile enum, creation takes the profile's id; GPU instance profile names are computed
from memory as mig-parted computes them, and the driver's own name is accepted beside it; our own open handle makes a GPU
"in use", so NVML is shut down around a reset.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import subprocess
import sys
import threading
import types
import typing as t
from dataclasses import replace

from .._plan import GpufleetError
from . import known
from .layout import COMPUTE_SIZES, Board, Compute, Gpu, Holder, Instance, InstanceProfile, Profile

try:
    import pynvml
except ImportError:
    pynvml = None

#: NVML_GPU_INSTANCE_PROFILE_* that carry an attribute: (added, removed).
_ATTRIBUTES: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys((7, 8), (("me",), ())),
    **dict.fromkeys((10, 11, 12, 17), (("gfx",), ())),
    **dict.fromkeys((13, 14), ((), ("me",))),
    **dict.fromkeys((15, 16), (("me.all",), ())),
}
_INSTANCE_PROFILES = 0x20  # a few more than there are: unknown ones answer INVALID_ARGUMENT
_COMPUTE_PROFILES = 0x9

_NOT_SUPPORTED, _NO_PERMISSION, _INVALID_ARGUMENT, _NOT_FOUND, _NO_FUNCTION, _IN_USE = 3, 4, 2, 6, 13, 19

#: What to do, by NVML's return code.
_ADVICE = {
    1: "",
    _NO_PERMISSION: "run the task as root (become: true)",
    9: "load the nvidia kernel module, or install the driver",
    12: "install the NVIDIA driver: libnvidia-ml.so.1 is not there",
    _NO_FUNCTION: "this driver is too old for it; update the NVIDIA driver",
    15: "the GPU has fallen off the bus; look at dmesg for Xid errors and reset or reboot the host",
    16: "reset the GPU or reboot the host",
    18: "the driver was updated while its old kernel module is still loaded; reload the module or reboot",
    _IN_USE: "something still uses it: dcgm, nvsm, persistenced, a device plugin or a workload; see stop_services",
    23: "the driver finds no room for it; its own view of the GPU differs from the one planned with",
}


class NvmlError(GpufleetError):
    """An NVML call failed. `code` is NVML's return code, 0 where no call was made."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message, nvml_code=code)
        self.code = code


class ResetRefused(GpufleetError):
    """This machine cannot reset a GPU (passed through to a virtual machine); a reboot does it."""


class Nvml:
    """The GPUs of this host. A context manager: initialised inside, shut down after."""

    def __init__(self) -> None:
        if pynvml is None:
            raise NvmlError(
                "the Python module pynvml is not on this host; install nvidia-ml-py 12.535 or later "
                "(pip install nvidia-ml-py, or the distribution's python3-pynvml)"
            )
        self.nvml: types.ModuleType = pynvml
        #: The call in progress, for whoever waits on a driver that does not answer; empty between calls.
        self.calling = ""
        #: What the run is at, for whoever waits on something else.
        self.doing = "looking at the GPUs"
        self.initialised = False

    def __enter__(self) -> Nvml:
        self._open()
        return self

    def __exit__(self, *_exception: object) -> None:
        # The work is done and told by now; the process ends, and with it what NVML holds.
        with contextlib.suppress(NvmlError):
            self._close()

    def _open(self) -> None:
        self._raw("nvmlInit")
        self.initialised = True

    def _close(self) -> None:
        if self.initialised:
            self.initialised = False
            self._raw("nvmlShutdown")

    def _call(self, name: str, *arguments: t.Any, of: str = "") -> t.Any:
        """One NVML call. Initialises again if that failed after a reset: what follows may be putting things back."""
        if not self.initialised:
            self._open()
        return self._raw(name, *arguments, of=of)

    def _raw(self, name: str, *arguments: t.Any, of: str = "") -> t.Any:
        function = getattr(self.nvml, name, None)
        if function is None:
            raise NvmlError(f"pynvml on this host has no {name}; update nvidia-ml-py to 12.535 or later")
        self.calling = name
        try:
            return function(*arguments)
        except self.nvml.NVMLError as error:
            code = int(error.value)
            advice = _ADVICE.get(code, "see the driver's log (dmesg, nvidia-bug-report.sh)")
            raise NvmlError(f"{of or 'the NVIDIA driver'}: {name}: {error}{f'; {advice}' if advice else ''}", code) from None
        finally:
            self.calling = ""

    def _maybe(self, codes: t.Container[int], name: str, *arguments: t.Any, of: str = "") -> t.Any:
        """The answer, or None for these return codes."""
        try:
            return self._call(name, *arguments, of=of)
        except NvmlError as error:
            if error.code not in codes:
                raise
            return None

    def _handle(self, index: int) -> t.Any:
        return self._call("nvmlDeviceGetHandleByIndex", index, of=f"GPU {index}")

    # ---- reading ----

    def driver(self) -> str:
        """The driver's version."""
        return str(self._call("nvmlSystemGetDriverVersion"))

    def told(self) -> dict[str, t.Any]:
        """`driver` and names of `gpus`, which also a driver that is too old for MIG tells: for who must explain a failure."""
        facts: dict[str, t.Any] = {}
        with contextlib.suppress(NvmlError):
            facts["driver"] = self.driver()
            facts["gpus"] = [
                {"index": index, "name": str(self._call("nvmlDeviceGetName", self._handle(index)))}
                for index in range(self._call("nvmlDeviceGetCount"))
            ]
        return facts

    def observe(self) -> tuple[Gpu, ...]:
        """All GPUs. Holders are process ids only (clients.py adds who they are). Raises NvmlError."""
        return tuple(self._gpu(index) for index in range(self._call("nvmlDeviceGetCount")))

    def _gpu(self, index: int) -> Gpu:
        of = f"GPU {index}"
        handle = self._handle(index)
        pci = self._call("nvmlDeviceGetPciInfo", handle, of=of)
        mode = self._maybe((_NOT_SUPPORTED,), "nvmlDeviceGetMigMode", handle, of=of)
        minor = self._maybe((_NOT_SUPPORTED,), "nvmlDeviceGetMinorNumber", handle, of=of)
        gpu = Gpu(
            index=index,
            minor=index if minor is None else int(minor),
            uuid=str(self._call("nvmlDeviceGetUUID", handle, of=of)),
            bus_id=_text(pci.busId).lower(),
            pci_id=int(pci.pciDeviceId),
            subsystem_id=int(pci.pciSubSystemId),
            name=str(self._call("nvmlDeviceGetName", handle, of=of)),
            board=Board(name="", profiles=()),
            mig=None if mode is None else bool(mode[0]),
            pending=None if mode is None else bool(mode[1]),
        )
        if mode is None:
            return replace(gpu, board=Board(gpu.name, ()))
        gpu = replace(gpu, board=self._board(gpu, handle))
        if not gpu.mig:
            pids = self._processes(handle, of)
            return replace(gpu, holders=tuple(Holder(pid=pid) for pid in pids))
        return replace(gpu, instances=tuple(self._instances(gpu, handle)))

    def _board(self, gpu: Gpu, handle: t.Any) -> Board:
        """What the driver offers; the table of known boards where it will not tell (and for the A30, whose counts are wrong)."""
        of = gpu.label
        total = int(self._call("nvmlDeviceGetMemoryInfo", handle, of=of).total)
        known_boards = known.boards(gpu.pci_id)
        capability = self._call("nvmlDeviceGetCudaComputeCapability", handle, of=of)
        reset = tuple(capability) < (9, 0)
        kinds = [] if gpu.pci_id == known.A30_PCI_ID else self._kinds(handle, total, of)
        if kinds:
            return Board(gpu.name, tuple(kinds), reset)
        gigabytes = math.ceil(total / 2**30)
        known_boards.sort(key=lambda board: abs(max(kind.profile.gb for kind in board.profiles) - gigabytes))
        return Board(gpu.name, known_boards[0].profiles if known_boards else (), reset)

    def _kinds(self, handle: t.Any, total: int, of: str) -> list[InstanceProfile]:
        """Profiles with placements; empty where the driver answers neither with MIG off nor without root."""
        kinds = []
        for number in range(_INSTANCE_PROFILES):
            answers = (_NOT_SUPPORTED, _INVALID_ARGUMENT)
            info = self._maybe(answers, "nvmlDeviceGetGpuInstanceProfileInfo", handle, number, of=of)
            if info is None:
                continue
            places = self._placements(handle, info, of)
            if not places:
                return []
            plus, minus = _ATTRIBUTES.get(number, ((), ()))
            slices = int(info.sliceCount)
            profile = Profile(slices, memory_gb(int(info.memorySizeMB), total), slices, plus, minus)
            engines = (int(info.decoderCount), int(info.encoderCount), int(info.jpegCount), int(info.ofaCount))
            starts, size = tuple(sorted({start for start, _size in places})), places[0][1]
            alias = _text(info.name).replace("MIG ", "")
            kinds.append(InstanceProfile(profile, int(info.id), starts, size, int(info.instanceCount), engines, alias))
        return kinds

    def _placements(self, handle: t.Any, info: t.Any, of: str) -> list[tuple[int, int]]:
        room = 64
        array = (self.nvml.c_nvmlGpuInstancePlacement_t * room)()
        count = ctypes.c_uint(room)
        arguments = (handle, info.id, array, ctypes.byref(count))
        answered = self._maybe((_NOT_SUPPORTED, _NO_PERMISSION), "nvmlDeviceGetGpuInstancePossiblePlacements", *arguments, of=of)
        return [] if answered is None else [(int(array[n].start), int(array[n].size)) for n in range(count.value)]

    def _instances(self, gpu: Gpu, handle: t.Any) -> t.Iterator[Instance]:
        devices = self._mig_devices(gpu, handle)
        for kind in gpu.board.profiles:
            for instance in self._array(
                self.nvml.c_nvmlGpuInstance_t, "nvmlDeviceGetGpuInstances", handle, kind.id, of=gpu.label
            ):
                info = self._call("nvmlGpuInstanceGetInfo", instance, of=gpu.label)
                of = f"{gpu.label} {kind.name} at slot {info.placement.start}"
                computes, offers = [], []
                for profile in self._compute_profiles(instance, of):
                    slices = int(profile.sliceCount)
                    offers.append((slices, self._compute_starts(instance, kind, profile, of)))
                    for compute in self._computes(instance, profile, of):
                        at = self._call("nvmlComputeInstanceGetInfo", compute, of=of)
                        uuid, pids = devices.get((int(info.id), int(at.id)), ("", []))
                        users = tuple(Holder(pid=pid) for pid in pids)
                        computes.append(Compute(int(at.id), slices, uuid, users, int(at.placement.start)))
                yield Instance(int(info.id), kind, int(info.placement.start), tuple(computes), tuple(offers))

    def _computes(self, instance: t.Any, profile: t.Any, of: str) -> list[t.Any]:
        return self._array(self.nvml.c_nvmlComputeInstance_t, "nvmlGpuInstanceGetComputeInstances", instance, profile.id, of=of)

    def _compute_starts(self, instance: t.Any, kind: InstanceProfile, profile: t.Any, of: str) -> tuple[int, ...]:
        """Where such a compute instance may start inside; empty where the driver will not tell (not root, or too old)."""
        name = "nvmlGpuInstanceGetComputeInstancePossiblePlacements"
        if profile.sliceCount == kind.profile.g:
            return (0,)
        if not hasattr(self.nvml, name):
            return ()
        room = 64
        array, count = (self.nvml.c_nvmlComputeInstancePlacement_t * room)(), ctypes.c_uint(room)
        codes = (_NOT_SUPPORTED, _NO_PERMISSION, _NO_FUNCTION)
        answered = self._maybe(codes, name, instance, profile.id, array, ctypes.byref(count), of=of)
        return () if answered is None else tuple(sorted({int(array[n].start) for n in range(count.value)}))

    def _compute_profiles(self, instance: t.Any, of: str) -> t.Iterator[t.Any]:
        for number in range(_COMPUTE_PROFILES):
            codes = (_NOT_SUPPORTED, _INVALID_ARGUMENT)
            info = self._maybe(codes, "nvmlGpuInstanceGetComputeInstanceProfileInfo", instance, number, 0, of=of)
            if info is not None:
                yield info

    def _array(self, kind: t.Any, name: str, *arguments: t.Any, of: str) -> list[t.Any]:
        array, count = (kind * 64)(), ctypes.c_uint(0)
        self._call(name, *arguments, array, ctypes.byref(count), of=of)
        return [array[n] for n in range(count.value)]

    def _mig_devices(self, gpu: Gpu, handle: t.Any) -> dict[tuple[int, int], tuple[str, list[int]]]:
        """(GPU instance id, compute instance id) -> (UUID, process ids)."""
        found = {}
        for number in range(self._call("nvmlDeviceGetMaxMigDeviceCount", handle, of=gpu.label)):
            codes = (_NOT_FOUND, _INVALID_ARGUMENT)
            device = self._maybe(codes, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number, of=gpu.label)
            if device is None:
                continue
            of = f"{gpu.label} MIG device {number}"
            key = (
                int(self._call("nvmlDeviceGetGpuInstanceId", device, of=of)),
                int(self._call("nvmlDeviceGetComputeInstanceId", device, of=of)),
            )
            found[key] = (str(self._call("nvmlDeviceGetUUID", device, of=of)), self._processes(device, of))
        return found

    def _processes(self, handle: t.Any, of: str) -> list[int]:
        codes = (_NOT_SUPPORTED,)
        return [int(process.pid) for process in self._maybe(codes, "nvmlDeviceGetComputeRunningProcesses", handle, of=of) or ()]

    # ---- changing ----

    def set_mode(self, index: int, enabled: bool) -> None:
        """Asks for a MIG mode. Boards before Hopper take it at the next reset; the caller re-reads."""
        self._call("nvmlDeviceSetMigMode", self._handle(index), int(enabled), of=f"GPU {index}")

    def pending(self, index: int) -> bool:
        """Is a mode change waiting for a reset?"""
        current, pending = self._call("nvmlDeviceGetMigMode", self._handle(index), of=f"GPU {index}")
        return bool(current != pending)

    def create_instance(self, index: int, kind: InstanceProfile, start: int) -> None:
        of = f"GPU {index} {kind.name} at slot {start}"
        placement = self.nvml.c_nvmlGpuInstancePlacement_t(start, kind.size)
        self._call("nvmlDeviceCreateGpuInstanceWithPlacement", self._handle(index), kind.id, ctypes.byref(placement), of=of)

    def destroy_instance(self, index: int, instance: int) -> None:
        of = f"GPU {index} GPU instance {instance}"
        self._call("nvmlGpuInstanceDestroy", self._by_id(index, instance, of), of=of)

    def create_compute(self, index: int, kind: InstanceProfile, start: int, slices: int, inside: int) -> None:
        """In the GPU instance of that kind at that slot, at its slice `inside`.

        The driver chooses where that is not among the places that it tells of: what was planned before there was a GPU instance
        to ask comes out of a table, and largest first there is room for each.
        """
        of = f"GPU {index} {kind.name} at slot {start}"
        kind_of = self.nvml.c_nvmlGpuInstance_t
        for instance in self._array(kind_of, "nvmlDeviceGetGpuInstances", self._handle(index), kind.id, of=of):
            if self._call("nvmlGpuInstanceGetInfo", instance, of=of).placement.start != start:
                continue
            for info in self._compute_profiles(instance, of):
                if info.sliceCount != slices:
                    continue
                of = f"{of}, {slices}c"
                if slices < kind.profile.g and inside in self._compute_starts(instance, kind, info, of):
                    place = ctypes.byref(self.nvml.c_nvmlComputeInstancePlacement_t(inside, slices))
                    self._call("nvmlGpuInstanceCreateComputeInstanceWithPlacement", instance, info.id, place, of=of)
                else:
                    self._call("nvmlGpuInstanceCreateComputeInstance", instance, info.id, of=of)
                return
            sizes = ", ".join(f"{size}c" for size in COMPUTE_SIZES.get(kind.profile.g, ()))
            raise NvmlError(f"{of}: the driver offers no compute instance of {slices} slices; expected were {sizes}")
        raise NvmlError(f"{of}: the GPU instance has disappeared; something else changes this GPU at the same time")

    def destroy_compute(self, index: int, instance: int, compute: int) -> None:
        of = f"GPU {index} GPU instance {instance} compute instance {compute}"
        found = self._call("nvmlGpuInstanceGetComputeInstanceById", self._by_id(index, instance, of), compute, of=of)
        self._call("nvmlComputeInstanceDestroy", found, of=of)

    def _by_id(self, index: int, instance: int, of: str) -> t.Any:
        return self._call("nvmlDeviceGetGpuInstanceById", self._handle(index), instance, of=of)

    def reset(self, bus_ids: t.Sequence[str]) -> None:
        """Resets these GPUs and no other. Raises ResetRefused where only a reboot helps, NvmlError otherwise."""
        command = ["nvidia-smi", "-r", "-i", ",".join(bus_ids)]
        self._close()
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
            )
            output, failed = " ".join(done.stdout.split()), done.returncode != 0
        except (OSError, subprocess.TimeoutExpired) as error:
            output, failed = str(error), True
        if failed and "not supported" in output.lower():
            raise ResetRefused(f"{' '.join(command)}: {output}")
        if failed:
            raise NvmlError(f"{' '.join(command)} failed: {output}; end what holds the GPU, or reboot the host")


@contextlib.contextmanager
def deadline(engine: Nvml, seconds: float) -> t.Iterator[None]:
    """Ends this process with a module failure when the run takes longer, by fault of the driver or of whatever else is slow.

    A call that hangs inside the driver cannot be interrupted, so nothing can be put back either; the next run finds what is
    there and converges (services that were stopped are on record).
    """

    def give_up() -> None:
        call = engine.calling
        msg = too_late(call, engine.doing, seconds)
        sys.stdout.write(json.dumps({"failed": True, "msg": msg, "nvml_call": call}) + "\n")
        sys.stdout.flush()
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def too_late(call: str, doing: str, seconds: float) -> str:
    """Who used the time up: the driver's call in progress, or without one what the run was at."""
    if call:
        return f"the NVIDIA driver did not answer {call} within {seconds:g} s ({doing}); see dmesg, reset or reboot the host"
    return (
        f"the run was not done within {seconds:g} s; it was at: {doing}. See why that is slow, or raise timeout; the next run "
        "starts what is stopped and takes back the cordon"
    )


def memory_gb(mebibytes: int, total: int) -> int:
    """The GB in a profile's name: the instance's eighths of the GPU's memory (`total` bytes), as mig-parted rounds them."""
    eighths = math.ceil(mebibytes * 2**20 / total * 8) / 8
    return math.floor(eighths * math.ceil(total / 2**30) + 0.5)


def _text(value: t.Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
