# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disk holds a node's container data."""

from __future__ import annotations

import typing as t

_ON_ITS_WAY = ("activating", "reloading", "deactivating")


def data_disk(
    units: t.Mapping[str, t.Mapping[str, str]], candidates: t.Sequence[str], services: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """`{path, settled, seen}` from units that `systemctl show` described."""
    candidates, services = list(map(str, candidates or ())), list(map(str, services or ()))
    mounts = {unit["Where"]: unit for unit in units.values() if unit.get("Where")}
    asked = [mounts.get(path.rstrip("/") or "/", {}) for path in candidates]
    chosen = next((number for number, unit in enumerate(asked) if unit.get("ActiveState") == "active"), len(asked))
    pending = asked[:chosen] + ([units.get(name, {}) for name in services] if chosen else [])
    states = list(zip(candidates, asked)) + [(name, units.get(name, {})) for name in services]
    return {
        "path": asked[chosen]["Where"] if chosen < len(asked) else "",  # without a slash at its end
        "settled": not any(map(_on_its_way, pending)),
        "seen": ", ".join(f"{name}: {_state(unit)}" for name, unit in states) or "no disk was named",
    }


def _on_its_way(unit: t.Mapping[str, str]) -> bool:
    return unit.get("ActiveState") in _ON_ITS_WAY or unit.get("Job", "0") not in ("", "0")


def _state(unit: t.Mapping[str, str]) -> str:
    if not unit or (unit.get("LoadState") == "not-found" and unit.get("ActiveState") == "inactive"):
        return "unknown to systemd (not mounted, no such unit)"
    result = unit.get("Result", "success")
    waiting = ", start queued" if unit.get("Job", "0") not in ("", "0") else ""
    return f"{unit.get('ActiveState')} ({unit.get('SubState')}{waiting}{'' if result == 'success' else ', ' + result})"
