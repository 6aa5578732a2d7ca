# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities, durations and CPU lists."""

from __future__ import annotations

from fractions import Fraction

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import quantity
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("300m", Fraction(3, 10)),
        ("1.5Gi", 1610612736),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        ("2e3", 2000),
        ("2E3", 2000),
        ("5E", 5 * 10**18),
        ("-1Ki", -1024),
        ("+4k", 4000),
        ("100n", Fraction(1, 10**7)),
    ],
)
def test_quantities(text: str, value: Fraction) -> None:
    assert quantity.quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "1gi", "Gi", "1K", "0x10", "1e", "1ee3", "1Kib", "--1", "1,5", "1e1000"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|range"):
        quantity.quantity(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("10s", 10**10),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("-1s", -(10**9)),
        ("1h0m0s", 3600 * 10**9),
        ("5µs", 5000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert quantity.duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "10", "10 s", "1d", "s", "1h 5m", "1m30", "1e3s", "9999999999h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        quantity.duration(text)


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "1;2", "0x1", "1-2-3"])
def test_no_cpu_lists(text: str) -> None:
    with pytest.raises(ValueError, match=r"CPUs|range"):
        quantity.cpus(text)


@given(st.frozensets(st.integers(0, 4000), max_size=40))
def test_cpu_lists_survive_writing_and_reading(members: frozenset[int]) -> None:
    assert quantity.cpus(quantity.cpu_list(members)) == members


def test_cpu_lists_are_written_as_linux_writes_them() -> None:
    assert quantity.cpu_list({0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11"
