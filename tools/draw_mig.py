# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws docs/mig-layout.svg: layouts that mig_parted plans for boards out of its table of known ones. No GPU is needed.

python3 tools/env.py dev -- python tools/draw_mig.py
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config, picture, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, plan

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "mig-layout.svg"

#: Host -> its boards, their layouts, and which slices (GPU, start slot) somebody uses.
FLEET: dict[str, tuple[list[str], dict[t.Any, t.Any], set[tuple[int, int]]]] = {
    "gpu-1": (
        ["A100-40GB", "A100-40GB"],
        {0: ["3g.20gb:4", "2g.10gb", "1g.5gb"], 1: "all-1g.5gb"},
        {(0, 4), (1, 0), (1, 1), (1, 5)},
    ),
    "gpu-2": (["A30", "A30"], {0: ["2g.12gb", "1g.6gb+me"], 1: "all-disabled"}, {(0, 2)}),
    "gpu-3": (["B200-180GB"], {0: ["4g.90gb", "1c.3g.90gb", "2c.3g.90gb"]}, {(0, 0)}),
    "gpu-4": (["RTX-PRO-6000"], {0: ["2g.48gb+gfx", "1g.24gb+gfx", "1g.24gb-me"]}, set()),
}


def drawn() -> str:
    fleet: dict[str, list[dict[str, t.Any]]] = {}
    for host, (boards, layout, used) in FLEET.items():
        gpus = resource.assumed(boards)
        wishes = config.resolve(config.from_layout(layout), gpus, True)
        fleet[host] = list(plan(gpus, wishes, Options()).facts["after"])
        for gpu in fleet[host]:
            for instance in gpu["instances"]:
                for device in instance["devices"]:
                    device["in_use_by"] = ["pod ml/example"] if (gpu["index"], instance["start"]) in used else []
    return picture.svg(fleet)


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
