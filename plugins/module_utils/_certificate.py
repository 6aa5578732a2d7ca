# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a cluster's certificates say, read with the standard library: nodes have no `cryptography` package.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import base64
import binascii
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


def read_all(pem: str) -> tuple[Certificate, ...]:
    """Each certificate of a bundle, in its order. Raises ValueError when there is none, or one is not DER (RFC 5280, 4.1)."""
    found = PEM.findall(pem)
    if not found:
        raise ValueError("there is no PEM certificate in it")
    return tuple(map(_read, found))


def read(pem: str) -> Certificate:
    """The first certificate in `pem`; raises as `read_all`."""
    return read_all(pem)[0]


def pins(pem: str) -> tuple[str, ...]:
    """What `kubeadm join --discovery-token-ca-cert-hash` wants for a bundle: `sha256:<64 hex>` each, doubles left out."""
    return tuple(dict.fromkeys(certificate.spki_hash for certificate in read_all(pem)))


def _read(body: str) -> Certificate:
    try:
        return _read_der(base64.b64decode("".join(body.split()), validate=True))
    except binascii.Error as error:
        raise ValueError(f"a PEM certificate is not base64: {error}") from error
    except (IndexError, StopIteration, ValueError) as error:
        raise ValueError(f"a certificate is not valid DER ({str(error) or 'it ends too early'})") from error


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
