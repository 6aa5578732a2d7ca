# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The three notations inside a KubeletConfiguration's strings: quantities, durations and sets of CPUs.

PRIVATE: this module util is for this collection only and may change without notice.

Each parser raises ValueError with what is wrong, without the name of the field.
"""

from __future__ import annotations

import re
import typing as t
from fractions import Fraction
from functools import lru_cache

_QUANTITY = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)")
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def quantity(text: str) -> Fraction:
    """The value of a Kubernetes resource.Quantity: `500m`, `1.5Gi`, `2e3`."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no quantity; write a number with a suffix such as m, k, M, G or Ki, Mi, Gi")
    sign, number, suffix = match.groups()
    value = Fraction(number)
    if suffix in _BINARY:
        value *= 2 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > 99:
            raise ValueError(f"{text!r} has an exponent that is out of range")
        value *= Fraction(10) ** exponent
    return -value if sign == "-" else value


def whole(text: str) -> int:
    """A quantity without a fraction."""
    value = quantity(text)
    if value.denominator != 1:
        raise ValueError(f"{text!r} is no whole number")
    return int(value)


@lru_cache(maxsize=512)  # a plan compares the same few, mostly defaults, many times
def duration(text: str) -> int:
    """Nanoseconds of a Go duration: `10s`, `1m30s`, `1.5h`; `0` needs no unit."""
    if text in ("0", "+0", "-0"):
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write numbers with units (ns, us, ms, s, m, h) such as 1m30s")
    total = sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(text))
    if total >= 2**63:
        raise ValueError(f"{text!r} is longer than a duration can be (292 years)")
    return int(-total if text.startswith("-") else total)


def cpus(text: str) -> frozenset[int]:
    """The CPUs of a list as Linux and the kubelet write it: `0-3,8`."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        if not re.fullmatch(r"\d{1,6}", first) or (dash and not re.fullmatch(r"\d{1,6}", last)):
            raise ValueError(f"{text!r} is no list of CPUs; write numbers and ranges such as 0-3,8")
        if dash and int(last) < int(first):
            raise ValueError(f"{text!r} has a range that ends before it begins: {part}")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def cpu_list(members: t.Iterable[int]) -> str:
    """The inverse of `cpus`, in Linux's shortest form."""
    parts: list[list[int]] = []
    for cpu in sorted(members):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1][1:] = [cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)
