# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The nouns of MIG: profiles, boards and instances.

PRIVATE: this module util is for this collection only and may change without notice.

A GPU instance occupies *memory slots* (8 on an A100, 4 on an A30) from a start that its profile allows, and *compute
slices* (7 on an A100). Inside it live compute instances; what CUDA sees is one compute instance. `3g.20gb` is a GPU
instance of three slices with one compute instance over all of it, `1c.3g.20gb` one of its slices.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from .._plan import PlanError

#: `1c.3g.20gb+me,gfx`: the grammar of mig-parted and of `nvidia-smi mig -lgip`.
_PROFILE = re.compile(
    r"(?:(?P<c>[1-9]\d*)c\.)?(?P<g>[1-9]\d*)g\.(?P<gb>[1-9]\d*)gb"
    r"(?:(?P<sign>[+-])(?P<attributes>[a-zA-Z][a-zA-Z0-9.]*(?:,[a-zA-Z][a-zA-Z0-9.]*)*))?"
)

#: Compute instance sizes that a GPU instance of so many slices can hold (NVML's profiles; there is no 3c in a 4g).
COMPUTE_SIZES: dict[int, tuple[int, ...]] = {1: (1,), 2: (1, 2), 3: (1, 2, 3), 4: (1, 2, 4), 7: (1, 2, 3, 4, 7)}


def compute_starts(g: int, c: int) -> tuple[int, ...]:
    """Where a compute instance of `c` slices may start in a GPU instance of `g`: a guess for when no driver can be asked."""
    return tuple(range(0, g - c + 1, 4 if (c, g) == (3, 7) else c))


#: What an instance takes besides slots and slices, in this order.
ENGINES = ("video decoder", "video encoder", "JPEG engine", "optical flow engine")


@dataclass(frozen=True, order=True)
class Profile:
    """A profile's name, taken apart. `c` equals `g` when one compute instance takes the whole GPU instance."""

    g: int
    gb: int
    c: int
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Raises PlanError that quotes the text."""
        match = _PROFILE.fullmatch(text)
        if not match:
            raise PlanError(
                f"{text!r} is not a MIG profile: a name looks like 1g.5gb, 1c.3g.20gb, 1g.5gb+me, 2g.48gb+gfx or 1g.24gb-me"
            )
        g, attributes = int(match["g"]), tuple(sorted((match["attributes"] or "").split(",")))
        c = int(match["c"] or g)
        if c > g:
            raise PlanError(f"{text!r} is not a MIG profile: {c} compute slices do not fit into {g}")
        if len(set(attributes)) != len(attributes):
            raise PlanError(f"{text!r} is not a MIG profile: it repeats an attribute")
        plus, minus = (attributes, ()) if match["sign"] == "+" else ((), attributes) if match["sign"] else ((), ())
        return cls(g=g, gb=int(match["gb"]), c=c, plus=plus, minus=minus)

    @property
    def whole(self) -> Profile:
        """The GPU instance's profile: `3g.20gb` for `1c.3g.20gb`."""
        return replace(self, c=self.g)

    def __str__(self) -> str:
        prefix = f"{self.c}c." if self.c != self.g else ""
        suffix = f"+{','.join(self.plus)}" if self.plus else f"-{','.join(self.minus)}" if self.minus else ""
        return f"{prefix}{self.g}g.{self.gb}gb{suffix}"


@dataclass(frozen=True)
class InstanceProfile:
    """One kind of GPU instance that a board offers.

    `id` is the number that creation takes (19 for 1g on an A100), `starts` and `size` count memory slots, `limit` is the
    most that the driver allows of it, `engines` what each one takes, `alias` the driver's own name where it differs.
    """

    profile: Profile
    id: int
    starts: tuple[int, ...]
    size: int
    limit: int
    engines: tuple[int, ...] = (0, 0, 0, 0)
    alias: str = ""

    @property
    def name(self) -> str:
        return str(self.profile)

    def mask(self, start: int) -> int:
        """The memory slots as bits."""
        return ((1 << self.size) - 1) << start


@dataclass(frozen=True)
class Board:
    """What a GPU can be cut into. `reset`: changing its MIG mode needs a GPU reset (Ampere; Hopper and later do not)."""

    name: str
    profiles: tuple[InstanceProfile, ...]
    reset: bool = True

    @property
    def slots(self) -> int:
        return max((start + kind.size for kind in self.profiles for start in kind.starts), default=0)

    @property
    def slices(self) -> int:
        return max((kind.profile.g for kind in self.profiles), default=0)

    @property
    def engines(self) -> tuple[int, ...]:
        """All there are: the instance over the whole GPU has them."""
        return tuple(max(counts) for counts in zip(*(kind.engines for kind in self.profiles)))

    def find(self, profile: Profile) -> InstanceProfile:
        """The GPU instance kind for a profile of either sort. Raises PlanError that lists what there is."""
        whole = profile.whole
        for kind in self.profiles:
            if kind.profile == whole or kind.alias == str(whole):
                if profile.c not in COMPUTE_SIZES.get(kind.profile.g, (profile.c,)):
                    sizes = ", ".join(f"{size}c" for size in COMPUTE_SIZES[kind.profile.g])
                    raise PlanError(f"{profile}: a {whole} instance holds compute instances of {sizes}")
                return kind
        names = (
            ", ".join(str(profile) for profile in sorted(kind.profile for kind in self.profiles))
            or "none that the driver would tell"
        )
        raise PlanError(f"{self.name} has no profile {profile}; it has {names}")


@dataclass(frozen=True)
class Holder:
    """Who uses a GPU or a slice of it. Any field may be unknown (empty, 0)."""

    pid: int = 0
    process: str = ""
    unit: str = ""
    pod: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        words = []
        if self.pid:
            words.append(f"process {self.process or '?'} (pid {self.pid}{f', unit {self.unit}' if self.unit else ''})")
        if self.pod:
            words.append(f"pod {self.namespace}/{self.pod}" if self.namespace else f"pod {self.pod}")
        return " of ".join(words) or "an unknown holder"


@dataclass(frozen=True)
class Compute:
    """A compute instance: its slices, its UUID as CUDA knows it, who uses it, and its first slice in the GPU instance."""

    id: int
    slices: int
    uuid: str = ""
    holders: tuple[Holder, ...] = ()
    start: int = 0


@dataclass(frozen=True)
class Instance:
    """A GPU instance where it is. `offers`: (slices, starts) of compute instances that the driver allows in it, if it told."""

    id: int
    kind: InstanceProfile
    start: int
    computes: tuple[Compute, ...] = ()
    offers: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def busy(self) -> bool:
        return any(compute.holders for compute in self.computes)

    def names(self) -> list[str]:
        """Profile names of its compute instances, as mig-parted counts them."""
        return [str(replace(self.kind.profile, c=compute.slices)) for compute in self.computes]


@dataclass(frozen=True)
class Gpu:
    """One GPU as it is. `mig`/`pending` are the current and the pending mode, None where the GPU cannot do MIG.

    `pci_id` is device and vendor as in a device-filter (0x20B010DE); `holders` are those of the whole device; `minor` is the N
    of /dev/nvidiaN.
    """

    index: int
    uuid: str
    bus_id: str
    pci_id: int
    name: str
    board: Board
    mig: bool | None
    pending: bool | None
    instances: tuple[Instance, ...] = ()
    holders: tuple[Holder, ...] = ()
    subsystem_id: int = 0
    minor: int = 0

    @property
    def label(self) -> str:
        return f"GPU {self.index}"

    def counts(self) -> dict[str, int]:
        """MIG devices by profile name: the `mig-devices` of a configuration file."""
        result: dict[str, int] = {}
        for instance in self.instances:
            for name in instance.names():
                result[name] = result.get(name, 0) + 1
        return dict(sorted(result.items(), key=lambda item: Profile.parse(item[0])))

    def shape(self) -> tuple[t.Any, ...]:
        """Mode and slices without ids and UUIDs: two GPUs of equal shape serve the same."""
        slices = sorted((i.start, i.kind.name, tuple(sorted(c.slices for c in i.computes))) for i in self.instances)
        return (self.mig, self.pending, tuple(slices))


def describe(gpu: Gpu) -> dict[str, t.Any]:
    """A GPU as a module reports it."""
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "bus_id": gpu.bus_id,
        "pci_id": f"0x{gpu.pci_id:08X}",
        "name": gpu.name,
        "mig": gpu.mig,
        "mig_pending": gpu.pending,
        "slots": gpu.board.slots,
        "holders": [str(holder) for holder in gpu.holders],
        "instances": [
            {
                "id": instance.id,
                "profile": instance.kind.name,
                "start": instance.start,
                "size": instance.kind.size,
                "devices": [
                    {"id": c.id, "profile": name, "uuid": c.uuid, "in_use_by": [str(holder) for holder in c.holders]}
                    for c, name in zip(instance.computes, instance.names())
                ],
            }
            for instance in sorted(gpu.instances, key=lambda instance: instance.start)
        ],
    }
