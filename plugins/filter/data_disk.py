# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disk holds a node's container data."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: data_disk
short_description: Chooses the first of several disks that is mounted
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Chooses the first of an ordered list of mount points that really is one, from what systemd knows about them.
  - A folder that merely exists is not enough. On SageMaker HyperPod, for example, C(/opt/dlami/nvme) may exist before the disks
    are mounted there, and what is written too early fills the root volume.
  - Says whether it is too early to choose, because a candidate before the chosen one is still being mounted.
positional: _input, candidates
options:
  _input:
    description:
      - Units as P(gpufleet.k8s.systemd_units#filter) gives them, with C(Where), C(LoadState), C(ActiveState), C(SubState),
        C(Result) and C(Job).
    type: dict
    required: true
  candidates:
    description: The mount points, best first.
    type: list
    elements: str
    required: true
  services:
    description:
      - Services that mount disks by themselves. As long as one of them is on its way, no disk before a mounted one is given up.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Wait until it is clear where container data goes
  ansible.builtin.command:
    argv: "{{ ['systemctl', 'show', '--property=Id,Where,LoadState,ActiveState,SubState,Result,Job'] + disks + services }}"
  vars:
    disks: [/opt/dlami/nvme, /opt/sagemaker]
    services: [dlami-nvme.service]
  register: units
  changed_when: false
  until: (units.stdout | gpufleet.k8s.systemd_units | gpufleet.k8s.data_disk(disks, services)).settled
  retries: 60
  delay: 2
"""

RETURN = r"""
_value:
  description: The choice.
  type: dict
  contains:
    path:
      description: The chosen mount point. Empty when none is mounted.
      type: str
    settled:
      description: Whether waiting longer cannot give a better choice.
      type: bool
    seen:
      description: The state of each candidate and service, for a message.
      type: str
"""

_ON_ITS_WAY = ("activating", "reloading", "deactivating")


def data_disk(
    units: t.Mapping[str, t.Mapping[str, str]], candidates: t.Sequence[str], services: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """`{path, settled, seen}` from units that `systemctl show` described."""
    mounts = {unit["Where"]: unit for unit in units.values() if unit.get("Where")}
    asked = [mounts.get(path.rstrip("/") or "/", {}) for path in candidates]
    chosen = next((number for number, unit in enumerate(asked) if unit.get("ActiveState") == "active"), len(asked))
    pending = asked[:chosen] + ([units.get(name, {}) for name in services] if chosen else [])
    states = list(zip(candidates, asked)) + [(name, units.get(name, {})) for name in services]
    return {
        "path": candidates[chosen] if chosen < len(asked) else "",
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


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"data_disk": data_disk}
