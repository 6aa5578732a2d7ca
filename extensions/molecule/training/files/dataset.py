# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a data set of small images, the same on every node: images.npy and labels.npy in the folder that is named."""

from __future__ import annotations

import random
import sys
from pathlib import Path

COUNT, SIDE, CLASSES = 64, 32, 10


def npy(path: Path, shape: tuple[int, ...], content: bytes) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content)


def main(folder: Path) -> None:
    chance = random.Random(1)  # noqa: S311 test data, no secret
    size = SIDE * SIDE * 3
    patterns = [chance.randbytes(size) for _class in range(CLASSES)]
    labels = [number % CLASSES for number in range(COUNT)]
    noise = [chance.randbytes(size) for _image in labels]
    images = [bytes((3 * p + n) // 4 for p, n in zip(patterns[label], noise[number])) for number, label in enumerate(labels)]
    folder.mkdir(parents=True, exist_ok=True)
    npy(folder / "images.npy", (COUNT, SIDE, SIDE, 3), b"".join(images))
    npy(folder / "labels.npy", (COUNT,), bytes(labels))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
