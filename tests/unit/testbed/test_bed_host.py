# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What builds may use of the machine."""

from __future__ import annotations

import pytest
from bedlib import host

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "cpus", "limit"),
    [(24 * GIB, 2, "6144MiB"), (64 * GIB, 16, "2048MiB"), (4 * GIB, 2, "1024MiB"), (4 * GIB, 4, None), (2 * GIB, 2, None)],
)
def test_compilers_together_take_at_most_half_of_the_memory(total: int, cpus: int, limit: str | None) -> None:
    assert host.go_memory(total, cpus) == ({"GOGC": "off", "GOMEMLIMIT": limit} if limit else {})


def test_the_memory_is_no_more_than_the_machine_has() -> None:
    assert GIB // 4 < host.memory() <= 1 << 50
