# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.duration import (
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("48h", 172800),
        ("24h0m0s", 86400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5m", 30),
        ("90s", 90),
        ("0", 0),
        ("0s", 0),
        ("1500ms", 1.5),
    ],
)
def test_as_kubeadm_writes_it(text: str, seconds: float) -> None:
    assert parse_duration("ttl", text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "48", "1d", "-1h", "h", "1h 30m", "1h30", "forever"])
def test_refused_by_name(text: str) -> None:
    with pytest.raises(PlanError, match=f"ttl: '{text}' is not a duration"):
        parse_duration("ttl", text)


@given(st.integers(0, 10**7))
def test_what_is_printed_can_be_read(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration("ttl", format_duration(duration)) == duration


def test_printed_without_zero_parts() -> None:
    assert [format_duration(timedelta(seconds=s)) for s in (0, 45, 3600, 5400, 3601, -120)] == [
        "0s",
        "45s",
        "1h",
        "1h30m",
        "1h1s",
        "-2m",
    ]


@pytest.mark.parametrize(
    "text", ["2026-11-23T08:00:00Z", "2026-11-23T08:00:00.123456789Z", "2026-11-23T10:00:00+02:00", "2026-11-23t00:00:00-08:00"]
)
def test_rfc3339(text: str) -> None:
    assert parse_time(text) == datetime(2026, 11, 23, 8, tzinfo=timezone.utc)
    assert format_time(parse_time(text)) == "2026-11-23T08:00:00Z"


@pytest.mark.parametrize("text", ["", "2026-11-23", "2026-11-23T08:00:00", "2026-13-23T08:00:00Z", "soon"])
def test_not_a_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time|month"):
        parse_time(text)


@pytest.mark.parametrize("text", ["9999999h", "99999999999h", "9" * 400 + "s"])
def test_longer_than_dates_are(text: str) -> None:
    with pytest.raises(PlanError, match=r"^ttl: '9+[hs]' is more than 100 years$"):
        parse_duration("ttl", text)
