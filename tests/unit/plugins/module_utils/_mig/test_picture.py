# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of layouts."""

from __future__ import annotations

from xml.etree import ElementTree

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known, picture
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import Compute, Gpu, Holder, Instance, Profile, describe

BOARD = known.KNOWN["A100-40GB"][0]


def gpu(mig: bool | None = True, pending: bool | None = True) -> picture.Described:
    three, one = (BOARD.find(Profile.parse(name)) for name in ("3g.20gb", "1g.5gb"))
    instances = (
        Instance(2, three, 4, (Compute(0, 1), Compute(1, 2, "", (Holder(pid=1),)))),
        Instance(7, one, 0, (Compute(0, 1),)),
        Instance(8, one, 1, ()),
    )
    return describe(Gpu(0, "GPU-0", "", 0x20B010DE, "NVIDIA A100 <40>", BOARD, mig, pending, instances if mig else ()))


def test_text() -> None:
    assert picture.text(gpu()).splitlines() == [
        "GPU 0 (NVIDIA A100 <40>): MIG on",
        "  slot  0    1g.5gb",
        "  slot  1    1g.5gb = no compute instance",
        "  slot  2    free",
        "  slot  3    free",
        "  slots 4-7  3g.20gb = 1c.3g.20gb + 2c.3g.20gb",
    ]
    assert picture.text(gpu(False, True)) == "GPU 0 (NVIDIA A100 <40>): MIG off, on after a reset or reboot\n"
    assert picture.text(gpu(None, None)) == "GPU 0 (NVIDIA A100 <40>): cannot do MIG\n"


def test_svg_is_well_formed_and_says_in_words_what_it_shows() -> None:
    fleet = {"node-1": [gpu(), gpu(False, False)], "node-2": [gpu(None, None)]}
    drawing = ElementTree.fromstring(picture.svg(fleet))  # noqa: S314 made here
    words = " ".join("".join(element.itertext()) for element in drawing.iter())
    for expected in ("node-1", "node-2", "3g.20gb = 1c.3g.20gb + 2c.3g.20gb (in use)", "whole", "cannot do MIG", "A100 <40>"):
        assert expected in words
    width = float(drawing.get("width", "0"))
    for box in drawing.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(box.get("x", "0")) + float(box.get("width", "0")) <= width
