# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Boards by PCI id, for plans made where no driver can be asked (check mode in CI, drivers that answer only with MIG on).

PRIVATE: this module util is for this collection only and may change without notice.

Where there is a driver, it is asked and this table is not read, with one exception: the A30, for which NVML reports wrong
instance counts. Source: NVIDIA's MIG user guide (profile tables and placements). Ids of boards after the H100 are assumed
to equal those of the A100; nothing depends on them, since creation takes the id that the driver reports.
"""

from __future__ import annotations

import typing as t

from .layout import Board, InstanceProfile, Profile

A30_PCI_ID = 0x20B710DE

Row = tuple[str, int, tuple[int, ...], int, int, tuple[int, ...]]

# name, id, starts, size, limit, engines (video decoder, video encoder, JPEG, optical flow)
_A30: tuple[Row, ...] = (
    ("1g.6gb", 14, (0, 1, 2, 3), 1, 4, (0, 0, 0, 0)),
    ("1g.6gb+me", 21, (0, 1, 2, 3), 1, 1, (1, 0, 1, 1)),
    ("2g.12gb", 5, (0, 2), 2, 2, (2, 0, 0, 0)),
    ("2g.12gb+me", 6, (0, 2), 2, 1, (2, 0, 1, 1)),
    ("4g.24gb", 0, (0,), 4, 1, (4, 0, 1, 1)),
)
_RTX_PRO_6000: tuple[Row, ...] = (
    ("1g.24gb", 14, (0, 1, 2, 3), 1, 4, (1, 1, 1, 0)),
    ("1g.24gb+me", 21, (0, 1, 2, 3), 1, 1, (1, 1, 1, 1)),
    ("1g.24gb+gfx", 47, (0, 1, 2, 3), 1, 4, (1, 1, 1, 0)),
    ("1g.24gb+me.all", 65, (0, 1, 2, 3), 1, 1, (4, 4, 4, 1)),
    ("1g.24gb-me", 67, (0, 1, 2, 3), 1, 4, (0, 0, 0, 0)),
    ("2g.48gb", 5, (0, 2), 2, 2, (2, 2, 2, 0)),
    ("2g.48gb+gfx", 35, (0, 2), 2, 2, (2, 2, 2, 0)),
    ("2g.48gb+me.all", 64, (0, 2), 2, 1, (4, 4, 4, 1)),
    ("2g.48gb-me", 66, (0, 2), 2, 2, (0, 0, 0, 0)),
    ("4g.96gb", 0, (0,), 4, 1, (4, 4, 4, 1)),
    ("4g.96gb+gfx", 32, (0,), 4, 1, (4, 4, 4, 1)),
)


def _eighths(sizes: tuple[int, int, int, int, int, int], hopper: bool) -> tuple[Row, ...]:
    """Boards of 8 memory slots and 7 slices; `sizes`: GB of 1g, 1g with double memory, 2g, 3g, 4g, 7g."""
    one, double, two, three, four, seven = sizes
    e = (
        ((1, 0, 1, 0), (1, 0, 1, 1), (1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 3, 0), (4, 0, 4, 0), (7, 0, 7, 1))
        if hopper
        else ((0, 0, 0, 0), (1, 0, 1, 1), (1, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (2, 0, 0, 0), (5, 0, 1, 1))
    )
    singles = (0, 1, 2, 3, 4, 5, 6)
    return (
        (f"1g.{one}gb", 19, singles, 1, 7, e[0]),
        (f"1g.{one}gb+me", 20, singles, 1, 1, e[1]),
        (f"1g.{double}gb", 15, (0, 2, 4, 6), 2, 4, e[2]),
        (f"2g.{two}gb", 14, (0, 2, 4), 2, 3, e[3]),
        (f"3g.{three}gb", 9, (0, 4), 4, 2, e[4]),
        (f"4g.{four}gb", 5, (0,), 4, 1, e[5]),
        (f"7g.{seven}gb", 0, (0,), 8, 1, e[6]),
    )


def _board(name: str, rows: t.Sequence[Row], reset: bool) -> Board:
    kinds = tuple(InstanceProfile(Profile.parse(text), *rest) for text, *rest in rows)  # type: ignore[arg-type]
    return Board(name=name, profiles=kinds, reset=reset)


def _hopper(name: str, *sizes: int) -> Board:
    return _board(name, _eighths(sizes, hopper=True), reset=False)  # type: ignore[arg-type]


#: Name -> (board, PCI ids). A PCI id can stand in two rows where the same chip is sold with two memory sizes.
KNOWN: dict[str, tuple[Board, tuple[int, ...]]] = {
    board.name: (board, ids)
    for board, ids in (
        (_board("A30", _A30, reset=True), (A30_PCI_ID,)),
        (_board("A100-40GB", _eighths((5, 10, 10, 20, 20, 40), False), True), (0x20B010DE, 0x20B110DE, 0x20F110DE, 0x20F610DE)),
        (_board("A100-80GB", _eighths((10, 20, 20, 40, 40, 80), False), True), (0x20B210DE, 0x20B510DE, 0x20F310DE, 0x20F510DE)),
        (_board("A100-96GB", _eighths((12, 24, 24, 48, 48, 96), False), True), (0x20B610DE,)),
        (_hopper("H100-80GB", 10, 20, 20, 40, 40, 80), (0x233010DE, 0x233110DE, 0x232210DE, 0x232410DE)),
        (_hopper("H100-94GB", 12, 24, 24, 47, 47, 94), (0x232110DE, 0x233A10DE)),
        (_hopper("H100-96GB", 12, 24, 24, 48, 48, 96), (0x234210DE, 0x233D10DE, 0x232910DE)),
        (_hopper("GH200-144GB", 18, 36, 36, 72, 72, 144), (0x234810DE,)),
        (_hopper("H200-141GB", 18, 35, 35, 71, 71, 141), (0x233510DE, 0x233B10DE)),
        (_hopper("B200-180GB", 23, 45, 45, 90, 90, 180), (0x290110DE,)),
        (_hopper("GB200-186GB", 23, 47, 47, 93, 93, 186), (0x294110DE,)),
        (_hopper("GB200-189GB", 24, 47, 47, 95, 95, 189), (0x294110DE,)),
        (_hopper("B300-269GB", 34, 67, 67, 135, 135, 269), (0x318210DE,)),
        (_hopper("GB300-278GB", 35, 70, 70, 139, 139, 278), (0x31C210DE,)),
        (_board("RTX-PRO-6000", _RTX_PRO_6000, reset=False), (0x2BB510DE,)),
    )
}


def boards(pci_id: int) -> list[Board]:
    """Known boards with this PCI id (0xDDDDVVVV); empty where the id is unknown."""
    return [board for board, ids in KNOWN.values() if pci_id in ids]
