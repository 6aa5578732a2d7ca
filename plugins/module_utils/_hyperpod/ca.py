# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The hash of a certificate authority's public key, as `kubeadm join --discovery-token-ca-cert-hash` wants it.

That is sha256 over the DER of the certificate's SubjectPublicKeyInfo (RFC 7469's pin, in hex). The standard library
has no X.509 parser and nodes have no `cryptography`; but the wanted bytes stand in the certificate as they are, so
stepping over six DER fields is all it takes. Tested against `cryptography` and openssl.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION = 0x30, 0xA0


def ca_hashes(pem: str) -> tuple[str, ...]:
    """`sha256:<64 hex>` for each certificate of a bundle, in its order, doubles left out. Raises ValueError."""
    hashes = [f"sha256:{hashlib.sha256(_public_key(_decode(body))).hexdigest()}" for body in _PEM.findall(pem)]
    if not hashes:
        raise ValueError("there is no PEM certificate in it")
    return tuple(dict.fromkeys(hashes))


def _decode(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a PEM certificate is not base64: {error}") from error


def _public_key(certificate: bytes) -> bytes:
    """SubjectPublicKeyInfo with its own tag and length (RFC 5280, section 4.1)."""
    _tag, start, _end = _field(certificate, 0, _SEQUENCE)  # Certificate
    _tag, position, _end = _field(certificate, start, _SEQUENCE)  # TBSCertificate
    tag, _start, end = _field(certificate, position)
    if tag == _VERSION:  # optional
        position = end
    for _skipped in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _tag, _start, position = _field(certificate, position)
    _tag, _start, end = _field(certificate, position, _SEQUENCE)
    return certificate[position:end]


def _field(data: bytes, position: int, expected: int | None = None) -> tuple[int, int, int]:
    """(tag, start of the content, end) of the DER field at `position`."""
    try:
        tag, length = data[position], data[position + 1]
        start = position + 2
        if length & 0x80:  # long form: the low bits count the bytes of the length
            start += length & 0x7F
            length = int.from_bytes(data[position + 2 : start], "big")
    except IndexError:
        raise ValueError("a certificate ends too early") from None
    if start + length > len(data) or (expected is not None and tag != expected):
        raise ValueError("a certificate is not DER as in RFC 5280")
    return tag, start, start + length
