# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What is wished: mig-parted's configuration file format v1, the shorter `layout:`, and named layouts.

PRIVATE: this module util is for this collection only and may change without notice.

    version: v1
    mig-configs:
      <label>:
        - devices: all | [0, 1]                        # indexes in NVML's (PCI) order
          device-filter: "0x20B010DE" | [...]          # PCI device and vendor, optionally :0xSUBSYSTEM
          mig-enabled: true
          mig-devices: {"1g.5gb": 2, "3g.20gb": 1}
          placement: {"3g.20gb": [4]}                  # ours: start slots; mig-parted refuses a file that has it

Nodes may have no YAML parser, so a file is parsed where Ansible runs (the action plugin) and arrives here as plain data,
with the line of each key beside it.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._plan import PlanError
from .layout import Board, Gpu, InstanceProfile, Profile
from .solver import most

_FILTER = re.compile(r"0x([0-9A-Fa-f]{8})(?::0x([0-9A-Fa-f]{8}))?")
_FIELDS = ("devices", "device-filter", "mig-enabled", "mig-devices", "placement")

#: mig-parted's balanced layout by compute slices of the board: slices of a profile -> how many.
_BALANCED = {7: {1: 2, 2: 1, 3: 1}, 4: {1: 2, 2: 1}}


@dataclass(frozen=True)
class Wish:
    """What one GPU shall be. `demands`: compute instance profile -> count; `starts`: GPU instance profile -> slots."""

    enabled: bool
    demands: tuple[tuple[Profile, int], ...] = ()
    starts: tuple[tuple[Profile, tuple[int, ...]], ...] = ()
    where: str = field(default="", compare=False)
    #: Where each profile stands, for errors about one of them.
    places: t.Mapping[Profile, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Entry:
    """One item of a configuration: which GPUs (None: all), and their wish. `named` is a layout to compute for each GPU."""

    devices: tuple[int, ...] | None
    filters: tuple[tuple[int, int | None], ...]
    wish: Wish
    named: str = ""


@dataclass(frozen=True)
class Source:
    """Where data came from, so that an error can point: a file with the line of each path, or an option's name."""

    name: str
    lines: t.Mapping[str, int] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """`mig.yaml line 12 (mig-configs/x/0/devices)`; the nearest parent that has a line."""
        known = path
        while known and known not in self.lines:
            known = known.rpartition("/")[0]
        line = self.lines.get(known)
        return f"{self.name} line {line} ({path})" if line else f"{self.name} ({path})" if path else self.name


# ---- mig-parted's format ----


def load(data: t.Any, source: Source, label: str | None) -> list[Entry]:
    """Validates all of a v1 document and returns the entries under `label` (optional when there is only one).

    Raises PlanError with the place at fault.
    """
    _mapping(data, source, "", ("version", "mig-configs"))
    if data.get("version") != "v1":
        raise PlanError(f"{source.at('version')}: version is {data.get('version')!r}; the format that exists is v1")
    configs = data.get("mig-configs")
    if not isinstance(configs, dict) or not configs:
        raise PlanError(f"{source.at('mig-configs')}: no configuration in it; it maps labels to lists of entries")
    parsed = {str(name): _entries(entries, source, f"mig-configs/{name}") for name, entries in configs.items()}
    if label is None and len(parsed) == 1:
        return next(iter(parsed.values()))
    if label not in parsed:
        wanted = f"has no configuration {label!r}" if label else "has several configurations: name one in `selected`"
        raise PlanError(f"{source.at('mig-configs')}: it {wanted}; it has {', '.join(parsed)}")
    return parsed[label]


def _entries(entries: t.Any, source: Source, path: str) -> list[Entry]:
    if not isinstance(entries, list) or not entries:
        raise PlanError(f"{source.at(path)}: a configuration is a list of at least one entry")
    return [_entry(entry, source, f"{path}/{number}") for number, entry in enumerate(entries)]


def _entry(entry: t.Any, source: Source, path: str) -> Entry:
    _mapping(entry, source, path, _FIELDS)
    for required in ("devices", "mig-enabled"):
        if required not in entry:
            raise PlanError(f"{source.at(path)}: {required} is missing")
    enabled, counts = entry["mig-enabled"], entry.get("mig-devices")
    if not isinstance(enabled, bool):
        raise PlanError(f"{source.at(path + '/mig-enabled')}: mig-enabled is {enabled!r}; it must be true or false")
    if enabled and counts is None:
        raise PlanError(f"{source.at(path)}: mig-devices is missing (an empty mapping means MIG on without instances)")
    if not enabled and (counts or entry.get("placement")):
        raise PlanError(f"{source.at(path + '/mig-devices')}: it asks for MIG devices while mig-enabled is false")
    demands = _demands(counts or {}, source, f"{path}/mig-devices")
    starts = _placement(entry.get("placement") or {}, demands, source, f"{path}/placement")
    places = {Profile.parse(name): source.at(f"{path}/mig-devices/{name}") for name in counts or ()}
    wish = Wish(enabled, demands, starts, source.at(f"{path}/mig-devices" if counts else path), places)
    devices = _devices(entry["devices"], source.at(f"{path}/devices"))
    return Entry(devices, _filters(entry.get("device-filter"), source.at(f"{path}/device-filter")), wish)


def _devices(value: t.Any, where: str) -> tuple[int, ...] | None:
    if value == "all":
        return None
    if isinstance(value, list) and value and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value):
        return tuple(value)
    raise PlanError(f"{where}: devices is {value!r}; it must be `all` or a list of GPU indexes")


def _filters(value: t.Any, where: str) -> tuple[tuple[int, int | None], ...]:
    result = []
    for item in [] if value is None else value if isinstance(value, list) else [value]:
        text = f"0x{item:08X}" if isinstance(item, int) and not isinstance(item, bool) else str(item)
        match = _FILTER.fullmatch(text)
        if not match:
            raise PlanError(f"{where}: {text!r} is not a device-filter; one looks like 0x20B010DE (PCI device 20B0, vendor 10DE)")
        result.append((int(match[1], 16), int(match[2], 16) if match[2] else None))
    return tuple(result)


def _demands(counts: t.Any, source: Source, path: str) -> tuple[tuple[Profile, int], ...]:
    _mapping(counts, source, path)
    result = []
    for name, count in counts.items():
        where = source.at(f"{path}/{name}")
        profile = _profile(name, where)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise PlanError(f"{where}: the count of {name} is {count!r}; it must be a number from 0 up")
        if count:
            result.append((profile, count))
    if counts and not result:
        raise PlanError(f"{source.at(path)}: all counts are 0; write an empty mapping for MIG on without instances")
    return tuple(sorted(result))


def _placement(
    placement: t.Any, demands: tuple[tuple[Profile, int], ...], source: Source, path: str
) -> tuple[tuple[Profile, tuple[int, ...]], ...]:
    _mapping(placement, source, path)
    wanted = {profile.whole for profile, _count in demands}
    result = []
    for name, slots in placement.items():
        where = source.at(f"{path}/{name}")
        profile = _profile(name, where).whole
        values = slots if isinstance(slots, list) else [slots]
        if not values or not all(isinstance(slot, int) and not isinstance(slot, bool) and slot >= 0 for slot in values):
            raise PlanError(f"{where}: {slots!r} are not start slots; write a list of numbers from 0 up")
        if len(set(values)) != len(values):
            raise PlanError(f"{where}: {slots!r} names a slot twice")
        if profile not in wanted:
            raise PlanError(f"{where}: {name} has a placement but is not in mig-devices")
        result.append((profile, tuple(values)))
    return tuple(sorted(result))


def _profile(name: t.Any, where: str) -> Profile:
    try:
        return Profile.parse(str(name))
    except PlanError as error:
        raise PlanError(f"{where}: {error.message}") from None


def _mapping(value: t.Any, source: Source, path: str, fields: tuple[str, ...] = ()) -> None:
    if not isinstance(value, dict):
        raise PlanError(f"{source.at(path)}: {value!r} is not a mapping")
    for key in value:
        if fields and key not in fields:
            place = source.at(f"{path}/{key}" if path else str(key))
            raise PlanError(f"{place}: unknown field {key!r}; there are {', '.join(fields)}")


# ---- the short form ----


def from_layout(layout: t.Any) -> list[Entry]:
    """`{0: [3g.20gb:4, 2g.10gb], 1: {1g.5gb: 7}, all: all-balanced}`; an index outweighs `all`. Raises PlanError."""
    if not isinstance(layout, dict) or not layout:
        raise PlanError("layout: it maps GPU indexes, or `all`, to lists of profiles or to a named layout")
    entries = []
    for key, value in layout.items():
        devices = None
        if key != "all":
            if not str(key).isdecimal():
                raise PlanError(f"layout: {key!r} is neither a GPU index nor `all`")
            devices = (int(key),)
        where = f"layout[{key}]"
        if isinstance(value, str):
            named = value
            wish = Wish(named != "all-disabled", where=where)
        else:
            named, wish = "", _short(value, Source(where))
        entries.append(Entry(devices, (), wish, named))
    return entries


def _short(value: t.Any, source: Source) -> Wish:
    if isinstance(value, dict):
        return Wish(True, _demands(value, source, ""), (), source.name)
    if not isinstance(value, list):
        raise PlanError(f"{source.name}: {value!r} is neither a list of profiles, nor a mapping of counts, nor a named layout")
    counts: dict[str, int] = {}
    starts: dict[str, list[int]] = {}
    for item in value:
        name, colon, slot = str(item).partition(":")
        if colon and not slot.isdecimal():
            raise PlanError(f"{source.name}: {item!r}: after the colon stands the start slot, for example {name}:0")
        counts[name] = counts.get(name, 0) + 1
        if colon:
            starts.setdefault(str(_profile(name, source.name).whole), []).append(int(slot))
    demands = _demands(counts, source, "")
    return Wish(True, demands, _placement(starts, demands, source, ""), source.name)


# ---- which GPU gets what ----


def resolve(entries: t.Sequence[Entry], gpus: t.Sequence[Gpu], specific: bool) -> dict[int, Wish]:
    """GPU index -> wish, only for the GPUs that the entries name. `specific`: an index outweighs `all` (layout).

    Raises PlanError for indexes that do not exist, two entries that contradict each other, and nothing matching at all.
    """
    there = {gpu.index for gpu in gpus}
    chosen: dict[int, tuple[Wish, bool]] = {}
    for entry in entries:
        matching = [gpu for gpu in gpus if _matches(entry, gpu)]
        missing = sorted(set(entry.devices or ()) - there) if matching or not entry.filters else []
        if missing:
            raise PlanError(f"{entry.wish.where}: there is no GPU {_numbers(missing)}; this host has {_numbers(there) or 'none'}")
        for gpu in matching:
            wish, exact = _wish(entry, gpu), entry.devices is not None
            if wish is None:
                continue
            earlier = chosen.get(gpu.index)
            if earlier and earlier[0] != wish and not (specific and exact != earlier[1]):
                raise PlanError(f"{gpu.label} is asked for twice, differently: {earlier[0].where}; {wish.where}")
            if not earlier or (exact and not earlier[1]):
                chosen[gpu.index] = (wish, exact)
    if not chosen:
        have = ", ".join(f"{gpu.name} (0x{gpu.pci_id:08X})" for gpu in gpus) or "none"
        raise PlanError(f"{entries[0].wish.where}: no GPU of this host matches; its GPUs are {have}")
    return {index: wish for index, (wish, _exact) in sorted(chosen.items())}


def _matches(entry: Entry, gpu: Gpu) -> bool:
    if entry.devices is not None and gpu.index not in entry.devices:
        return False
    ids = ((device, subsystem) for device, subsystem in entry.filters)
    return not entry.filters or any(d == gpu.pci_id and s in (None, gpu.subsystem_id) for d, s in ids)


def _wish(entry: Entry, gpu: Gpu) -> Wish | None:
    """None where a named layout for `all` says nothing about this GPU: it cannot do MIG, or lacks the profile."""
    if not entry.named:
        return entry.wish
    if entry.named == "all-disabled":
        return entry.wish
    try:
        if gpu.mig is None:
            raise PlanError(f"{entry.wish.where}: {gpu.label} ({gpu.name}) cannot do MIG")
        return Wish(True, named(entry.named, gpu.board), (), entry.wish.where)
    except PlanError:
        if entry.devices is not None:
            raise
        return None


def named(name: str, board: Board) -> tuple[tuple[Profile, int], ...]:
    """The demands of a named layout on a board, as `nvidia-mig-parted generate-config` computes them. Raises PlanError."""
    choices = generate(board)
    if name not in choices:
        raise PlanError(f"{board.name} has no layout {name!r}; it has all-disabled, {', '.join(choices)}")
    return choices[name]


def generate(board: Board) -> dict[str, tuple[tuple[Profile, int], ...]]:
    """Every named layout of a board except all-disabled: name -> demands."""
    layouts: dict[str, tuple[tuple[Profile, int], ...]] = {"all-enabled": ()}
    plain = [kind for kind in board.profiles if not kind.profile.plus and not kind.profile.minus]
    smallest: dict[int, InstanceProfile] = {}
    for kind in sorted(plain, key=lambda kind: kind.size, reverse=True):
        smallest[kind.profile.g] = kind
    formula = _BALANCED.get(board.slices, {})
    if formula and all(g in smallest for g in formula):
        layouts["all-balanced"] = tuple(sorted((smallest[g].profile, count) for g, count in formula.items()))
    for kind in sorted(board.profiles, key=lambda kind: kind.profile):
        layouts["all-" + kind.name.replace("+", ".")] = ((kind.profile, most(board, kind)),)
    return layouts


def _numbers(numbers: t.Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


# ---- the present state as a file ----


def export(gpus: t.Sequence[Gpu], label: str = "current", placement: bool = False) -> dict[str, t.Any]:
    """A v1 document that asks for exactly what is. With `placement`, for exactly where it is, too (ours, not mig-parted's)."""
    groups: list[tuple[dict[str, t.Any], list[int]]] = []
    for gpu in gpus:
        entry: dict[str, t.Any] = {"mig-enabled": bool(gpu.mig), "mig-devices": gpu.counts()}
        if placement and gpu.counts():
            starts: dict[str, list[int]] = {}
            for instance in sorted(gpu.instances, key=lambda instance: instance.start):
                if instance.computes:
                    starts.setdefault(instance.kind.name, []).append(instance.start)
            entry["placement"] = starts
        for known, indexes in groups:
            if known == entry:
                indexes.append(gpu.index)
                break
        else:
            groups.append((entry, [gpu.index]))
    entries = [{"devices": "all" if len(groups) == 1 else indexes, **entry} for entry, indexes in groups]
    return {"version": "v1", "mig-configs": {label: entries}}


def to_yaml(document: t.Mapping[str, t.Any]) -> str:
    """`export`'s document as YAML, without a YAML library."""
    lines = [f"version: {document['version']}", "mig-configs:"]
    for label, entries in document["mig-configs"].items():
        lines.append(f"  {label}:")
        for entry in entries:
            for number, (key, value) in enumerate(entry.items()):
                lead = "    - " if number == 0 else "      "
                if isinstance(value, dict) and value:
                    lines.append(f"{lead}{key}:")
                    lines.extend(f'        "{name}": {count}' for name, count in value.items())
                else:
                    text = str(value).lower() if isinstance(value, bool) else "{}" if value == {} else str(value)
                    lines.append(f"{lead}{key}: {text}")
    return "\n".join(lines) + "\n"
