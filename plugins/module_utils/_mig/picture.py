# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A layout for people: lines of text for `--diff`, and an SVG of a fleet. Pure.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from html import escape

#: A GPU as `layout.describe` tells of it, and as the modules report it.
Described = t.Mapping[str, t.Any]

#: Fill by compute slices: one hue, darker with size, so that a reader sees sizes before reading names; another hue for profiles
#: with attributes (+me, +gfx, -me). Black text is readable on all of them (contrast 4.5 or more).
_FILL = {"1": "#d6e8c8", "2": "#aed493", "3": "#86c05f", "4": "#6aa84a", "7": "#559a38"}
_FILL_WITH_ATTRIBUTES = {"1": "#cfe2f3", "2": "#9fc5e8", "4": "#6fa8dc"}
_FREE = "url(#mig-free)"
_WHOLE = "#eeeeee"

_MARGIN, _LEFT, _WIDTH = 10, 190, 640  # of the drawing; where bars begin; of a bar
_BAR, _ROW, _HOST = 26, 34, 24  # heights: a bar, a GPU with the gap below, a host's name
_CHARACTER = 6.5  # about the width of one at 12 px


@dataclass(frozen=True)
class Box:
    """A rectangle of the drawing, in px, and what it stands for. `start`, `size`: memory slots, 0 for a GPU that is not cut."""

    host: str
    gpu: str
    x: float
    y: int
    width: float
    fill: str
    label: str
    start: int = 0
    size: int = 0
    busy: bool = False

    @property
    def words(self) -> str:
        where = f" at slots {self.start}-{self.start + self.size - 1}" if self.size > 1 else f" at slot {self.start}"
        return f"{self.label}{where if self.size else ''}{' (in use)' if self.busy else ''}"


def text(gpu: Described) -> str:
    """One line for each instance, so that a unified diff shows exactly the slices that change.

    GPU 0 (NVIDIA A100-PCIE-40GB): MIG on
      slots 0-3  4g.20gb
      slot  4    free
    """
    mode = "cannot do MIG" if gpu["mig"] is None else f"MIG {'on' if gpu['mig'] else 'off'}"
    if gpu["mig_pending"] != gpu["mig"]:
        mode += f", {'on' if gpu['mig_pending'] else 'off'} after a reset or reboot"
    lines = [f"GPU {gpu['index']} ({gpu['name']}): {mode}"]
    for start, size, instance in _spans(gpu):
        where = f"slots {start}-{start + size - 1}" if size > 1 else f"slot  {start}"
        lines.append(f"  {where:<10} {_name(instance)}")
    return "\n".join(lines) + "\n"


def _name(instance: Described | None) -> str:
    if instance is None:
        return "free"
    profile, devices = instance["profile"], [device["profile"] for device in instance["devices"]]
    return str(profile) if devices == [profile] else f"{profile} = {' + '.join(devices) or 'no compute instance'}"


def _spans(gpu: Described) -> t.Iterator[tuple[int, int, Described | None]]:
    """(start, size, instance or None) over all memory slots of a GPU with MIG on."""
    at = {instance["start"]: instance for instance in gpu["instances"]}
    slot = 0
    while gpu["mig"] and slot < gpu["slots"]:
        instance = at.get(slot)
        size = instance["size"] if instance else 1
        yield slot, size, instance
        slot += size


def boxes(fleet: t.Mapping[str, t.Sequence[Described]]) -> list[Box]:
    """What is drawn, top down: hosts, their GPUs, the slices by slot. Boxes of a GPU lie side by side and never overlap."""
    found: list[Box] = []
    y = _MARGIN
    for host, gpus in fleet.items():
        y += _HOST if host else 0
        for gpu in gpus:
            name = f"GPU {gpu['index']} {gpu['name'].replace('NVIDIA ', '')}"
            spans = list(_spans(gpu))
            if not spans:
                label = "cannot do MIG" if gpu["mig"] is None else "whole"
                if gpu["mig_pending"] != gpu["mig"]:
                    label += ", cut after a reset or reboot"
                found.append(Box(host, name, _LEFT, y, _WIDTH, _WHOLE, label, busy=bool(gpu["holders"])))
            unit = _WIDTH / (gpu["slots"] or 1)
            for start, size, instance in spans:
                busy = any(device["in_use_by"] for device in instance["devices"]) if instance else False
                fill, label = (_fill(instance["profile"]), _name(instance)) if instance else (_FREE, "free")
                found.append(Box(host, name, _LEFT + start * unit, y, size * unit - 2, fill, label, start, size, busy))
            y += _ROW
        y += _MARGIN
    return found


def _fill(profile: str) -> str:
    fills = _FILL_WITH_ATTRIBUTES if "+" in profile or "-" in profile else _FILL
    return fills.get(profile.partition("g")[0], "#86c05f")


def svg(fleet: t.Mapping[str, t.Sequence[Described]]) -> str:
    """Hosts with their GPUs as bars of memory slots. A dot and a dark edge: in use; hatched: free. All is said in words, too."""
    drawn = boxes(fleet)
    rows: list[str] = []
    told: dict[int, list[Box]] = {}
    host = ""
    for box in drawn:
        if box.host != host:
            rows.append(f'<text x="{_MARGIN}" y="{box.y - _HOST + 14}" font-weight="bold">{escape(box.host)}</text>')
        host = box.host
        if box.y not in told:
            rows.append(f'<text x="{_MARGIN}" y="{box.y + 18}">{escape(_short(box.gpu, _LEFT - 2 * _MARGIN))}</text>')
        told.setdefault(box.y, []).append(box)
        rows.append(_draw(box))
    height = max((box.y + _ROW for box in drawn), default=_MARGIN) + _MARGIN
    rows.append(f'<text x="{_LEFT}" y="{height + 6}">\u25cf in use; hatched: free; blue: with attributes (+me, +gfx, -me)</text>')
    width, height = _LEFT + _WIDTH + _MARGIN, height + 6 + _MARGIN
    described = "; ".join(
        f"{f'{row[0].host}, ' if row[0].host else ''}{row[0].gpu}: {', '.join(box.words for box in row)}" for row in told.values()
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12" role="img" aria-labelledby="mig-title mig-desc">',
            f'<title id="mig-title">MIG slices of {len(told)} GPUs</title>',
            f'<desc id="mig-desc">{escape(described)}</desc>',
            '<defs><pattern id="mig-free" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" '
            'fill="#ffffff"/><path d="M0 6L6 0" stroke="#bbb"/></pattern></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',  # viewers with a dark page would hide the text
            *rows,
            "</svg>",
            "",
        ]
    )


def _draw(box: Box) -> str:
    edge = 'stroke="#222" stroke-width="2"' if box.busy else 'stroke="#999"'
    dot = f'<circle cx="{box.x + 9:.1f}" cy="{box.y + _BAR / 2:.1f}" r="4" fill="#222"/>' if box.busy else ""
    left = 17 if box.busy else 5
    # A free slot is hatched, and text over that is hard to read.
    label = "" if box.fill == _FREE else escape(_short(box.label, box.width - left))
    return (
        f'<g class="slice"><title>{escape(box.words)}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y}" width="{box.width:.1f}" height="{_BAR}" rx="3" fill="{box.fill}" {edge}/>'
        f'{dot}<text x="{box.x + left:.1f}" y="{box.y + 17}">{label}</text></g>'
    )


def _short(words: str, width: float) -> str:
    room = int(width / _CHARACTER)
    return words if len(words) <= room else words[: room - 1] + "\u2026"
