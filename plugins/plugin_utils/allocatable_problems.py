# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that do not offer what they should."""

from __future__ import annotations

import json
import typing as t


def allocatable_problems(text: str, expected: t.Mapping[str, t.Mapping[str, t.Any]], prefix: str = "nvidia.com/") -> list[str]:
    """Sentences. Pure. A resource that a Node once had stays there with 0, so 0 is the same as none."""
    nodes = {name: json.loads(found) for name, tab, found in (line.partition("\t") for line in text.splitlines()) if tab}
    problems = []
    for name, wanted in expected.items():
        if name not in nodes:
            problems.append(f"{name}: there is no such Node")
            continue
        offered = {key: int(value) for key, value in nodes[name].items() if key.startswith(prefix) and int(value)}
        if offered != {key: int(value) for key, value in wanted.items() if int(value)}:
            problems.append(f"{name}: offers {_told(offered)} instead of {_told(wanted)}")
    return problems


def _told(resources: t.Mapping[str, t.Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(resources.items())) or "nothing"
