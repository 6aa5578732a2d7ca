# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kubeadm certificate says, read with the standard library: nodes have no `cryptography` package.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import typing as t
from dataclasses import dataclass

PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
UTC_TIME = 0x17  # two-digit year; RFC 5280 4.1.2.5: below 50 means 20xx
CONTEXT_0 = 0xA0


@dataclass(frozen=True)
class Certificate:
    """`spki_hash` is kubeadm's CA pin (`sha256:<64 hex>` over the DER SubjectPublicKeyInfo); `not_after` is UTC."""

    spki_hash: str
    not_after: datetime.datetime


def read(pem: str) -> Certificate:
    """The first certificate in `pem`. Raises ValueError when there is none or it is not DER inside (RFC 5280 4.1)."""
    found = PEM.search(pem)
    if not found:
        raise ValueError("there is no PEM certificate in it")
    try:
        return _read_der(base64.b64decode(found.group(1)))
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError(f"its certificate is not valid DER ({error})") from error


def _read_der(der: bytes) -> Certificate:
    _tag, _whole, certificate = next(_elements(der))
    _tag, _whole, tbs = next(_elements(certificate))
    fields = [field for field in _elements(tbs) if field[0] != CONTEXT_0]  # without the version
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    _not_before, (tag, _whole, not_after) = list(_elements(fields[3][2]))[:2]
    return Certificate("sha256:" + hashlib.sha256(fields[5][1]).hexdigest(), _time(tag, not_after.decode("ascii")))


def _time(tag: int, text: str) -> datetime.datetime:
    if tag == UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)


def _elements(data: bytes) -> t.Iterator[tuple[int, bytes, bytes]]:
    """The (tag, whole element, content) triples that `data` is a sequence of."""
    start = 0
    while start < len(data):
        length, body = data[start + 1], start + 2
        if length >= 0x80:
            size = length & 0x7F
            length, body = int.from_bytes(data[body : body + size], "big"), body + size
        if body + length > len(data):
            raise IndexError("it is cut off")
        yield data[start], data[start : body + length], data[body : body + length]
        start = body + length
