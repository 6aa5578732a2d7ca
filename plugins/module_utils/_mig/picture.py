# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A layout for people: lines of text for `--diff`, and an SVG of a fleet. Pure.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t
from html import escape

#: A GPU as `layout.describe` tells of it, and as the modules report it.
Described = t.Mapping[str, t.Any]

#: Fill by compute slices: one hue, darker with size, so that a reader sees sizes before reading names.
_FILL = {"1": "#d6e8c8", "2": "#aed493", "3": "#86c05f", "4": "#6aa84a", "7": "#4f8a35"}


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


def svg(fleet: t.Mapping[str, t.Sequence[Described]]) -> str:
    """Hosts with their GPUs as bars of memory slots; a slice in use has a dark edge. Text stands beside colour everywhere."""
    width, row, left = 640, 34, 190
    rows: list[str] = []
    y = 10
    for host, gpus in fleet.items():
        rows.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(host)}</text>')
        y += 24
        for gpu in gpus:
            name = f"GPU {gpu['index']} {gpu['name'].replace('NVIDIA ', '')[:20]}"
            rows.append(f'<text x="10" y="{y + 18}">{escape(name)}</text>')
            spans = list(_spans(gpu))
            if not spans:
                label = "cannot do MIG" if gpu["mig"] is None else "whole"
                rows.append(_box(left, y, width, fill="#eeeeee", label=label, busy=False))
            for start, size, instance in spans:
                unit = width / gpu["slots"]
                fill = _FILL.get(instance["profile"].partition("g")[0], "#86c05f") if instance else "#ffffff"
                label = _name(instance) if instance else ""
                busy = any(device["in_use_by"] for device in instance["devices"]) if instance else False
                rows.append(_box(left + start * unit, y, size * unit - 2, fill=fill, label=label, busy=busy))
            y += row
        y += 10
    extent = f'width="{left + width + 10}" height="{y}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {extent}>'
    return "\n".join([head, *rows, "</svg>"]) + "\n"


def _box(x: float, y: int, width: float, *, fill: str, label: str, busy: bool) -> str:
    edge = 'stroke="#222" stroke-width="2"' if busy else 'stroke="#999"'
    shown = escape(label + (" (in use)" if busy else ""))
    return (
        f'<g><title>{shown}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="26" rx="3" fill="{fill}" {edge}/>'
        f'<text x="{x + 5:.1f}" y="{y + 17}">{shown[: int(width / 6.5)]}</text></g>'
    )
