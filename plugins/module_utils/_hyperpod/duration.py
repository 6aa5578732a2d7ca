# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Durations and points in time as kubeadm and Kubernetes write them.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .._plan import PlanError

# https://pkg.go.dev/time#ParseDuration, which kubeadm's --ttl uses
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)")
LONGEST = 100 * 365 * 86400  # seconds; dates have an end


def parse_duration(option: str, text: str) -> timedelta:
    """`48h`, `1h30m`, `90s`, `0`. Raises PlanError that names `option`."""
    rest = text.strip()
    if rest == "0":
        return timedelta()
    seconds = 0.0
    while rest:
        part = _PART.match(rest)
        if not part:
            break
        seconds += float(part[1]) * _SECONDS[part[2]]
        rest = rest[part.end() :]
    else:
        if seconds > LONGEST:
            raise PlanError(f"{option}: {text!r} is more than 100 years")
        if text.strip():
            return timedelta(seconds=seconds)
    raise PlanError(f"{option}: {text!r} is not a duration; write it as for kubeadm, for example 48h, 90m or 1h30m")


def format_duration(value: timedelta) -> str:
    """As Go prints it, without zero parts: `1h30m`, `45s`, `-2m`, `0s`. Whole seconds."""
    total = int(value.total_seconds())
    sign, total = ("-", -total) if total < 0 else ("", total)
    parts = [(total // 3600, "h"), (total // 60 % 60, "m"), (total % 60, "s")]
    return sign + ("".join(f"{number}{unit}" for number, unit in parts if number) or "0s")


def now() -> datetime:
    """The time in UTC, in whole seconds: what RFC 3339 in Kubernetes Secrets holds."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def parse_time(text: str) -> datetime:
    """RFC 3339, any offset; fractions of a second are dropped. Raises ValueError."""
    match = _RFC3339.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a time as in RFC 3339")
    offset = "+00:00" if match[3] in "Zz" else match[3]
    return datetime.fromisoformat(f"{match[1]}T{match[2]}{offset}").astimezone(timezone.utc)


def format_time(value: datetime | None) -> str | None:
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None
