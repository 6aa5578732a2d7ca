# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of layouts."""

from __future__ import annotations

from xml.etree import ElementTree

from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known, picture
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import Compute, Gpu, Holder, Instance, Profile, describe
from hypothesis import given
from hypothesis import strategies as st

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
    for expected in (
        "node-1",
        "node-2",
        "3g.20gb = 1c.3g.20gb + 2c.3g.20gb at slots 4-7 (in use)",
        "whole",
        "cannot do MIG",
        "A100 <40>",
    ):
        assert expected in words
    width = float(drawing.get("width", "0"))
    for box in drawing.iter(f"{SVG}rect"):
        assert float(box.get("x", "0")) + float(box.get("width", "0")) <= width
    # Readers of the page, and of each slice; nothing is fetched from elsewhere.
    assert drawing.get("role") == "img" and drawing.get("aria-labelledby") == "mig-title mig-desc"
    title, described = drawing.find(f"{SVG}title"), drawing.find(f"{SVG}desc")
    assert title is not None and title.text == "MIG slices of 3 GPUs"
    assert described is not None and "node-2, GPU 0 A100 <40>: cannot do MIG" in (described.text or "")
    assert "href" not in picture.svg(fleet) and "url(http" not in picture.svg(fleet) and "font-face" not in picture.svg(fleet)


SVG = "{http://www.w3.org/2000/svg}"

layouts = st.lists(
    st.tuples(
        st.sampled_from(sorted(known.KNOWN)),
        st.one_of(st.none(), st.lists(st.integers(0, 10), max_size=7)),
        st.integers(0, 2**8),
    ),
    max_size=4,
)


def planned(name: str, numbers: list[int] | None, used: int) -> picture.Described:
    """A board with as many of these profiles as fit one after the other; bits of `used`: which of them are in use."""
    board = known.KNOWN[name][0]
    instances: list[Instance] = []
    for number in numbers or ():
        kind = board.profiles[number % len(board.profiles)]
        taken = sum(i.kind.mask(i.start) for i in instances)
        start = next((start for start in kind.starts if not kind.mask(start) & taken), None)
        if start is not None:
            holders = (Holder(pid=1),) if used >> len(instances) & 1 else ()
            instances.append(Instance(len(instances), kind, start, (Compute(0, kind.profile.g, "", holders),)))
    on = numbers is not None
    return describe(Gpu(0, "", "", 0, name, board, on, on, tuple(instances)))


@given(layouts)
def test_every_slice_is_one_box_none_overlaps_and_each_bar_is_full(wished: list[tuple[str, list[int] | None, int]]) -> None:
    gpus = [{**planned(*one), "index": index} for index, one in enumerate(wished)]
    fleet = {f"node-{index}": [gpu] for index, gpu in enumerate(gpus)}
    drawing = ElementTree.fromstring(picture.svg(fleet))  # noqa: S314 made here
    drawn = [group.find(f"{SVG}rect") for group in drawing.iter(f"{SVG}g")]
    rectangles = [tuple(float(box.get(key, "")) for key in ("x", "y", "width", "height")) for box in drawn if box is not None]
    free = [gpu["slots"] - sum(i["size"] for i in gpu["instances"]) for gpu in gpus]
    slices = [len(gpu["instances"]) + left if gpu["mig"] else 1 for gpu, left in zip(gpus, free)]
    assert len(rectangles) == sum(slices)
    assert sum("mig-free" in (box.get("fill") or "") for box in drawn if box is not None) == sum(
        left for gpu, left in zip(gpus, free) if gpu["mig"]
    )
    used = [d for gpu in gpus for i in gpu["instances"] for d in i["devices"] if d["in_use_by"]]
    assert len(list(drawing.iter(f"{SVG}circle"))) == len(used)
    for number, (x, y, width, height) in enumerate(rectangles):
        assert width > 0
        assert all(
            x + width <= ox or ox + owidth <= x or y + height <= oy or oy + oheight <= y
            for ox, oy, owidth, oheight in rectangles[number + 1 :]
        )
    for row, count in zip(sorted({y for _x, y, _width, _height in rectangles}), slices):
        widths = [width for _x, y, width, _height in rectangles if y == row]
        assert len(widths) == count and sum(widths) >= 640 - 2 * count
