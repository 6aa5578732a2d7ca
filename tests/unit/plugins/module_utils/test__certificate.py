# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are read as two X.509 implementations that others wrote read them: cryptography and openssl."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._certificate import pins, read
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st

UTC = datetime.timezone.utc
LATER = datetime.datetime(2036, 11, 23, tzinfo=UTC)
KEYS: dict[str, t.Any] = {
    "rsa-2048": rsa.generate_private_key(65537, 2048),
    "rsa-4096": rsa.generate_private_key(65537, 4096),
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def expected(kind: str) -> str:
    info = KEYS[kind].public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("year", [2026, 2049, 2050, 2100])  # 2050 on is written with four digits
def test_the_pin_and_the_end(make_pem: t.Any, kind: str, year: int) -> None:
    not_after = datetime.datetime(year, 11, 23, 4, 5, 6, tzinfo=UTC)
    found = read("text before\n" + make_pem(not_after, KEYS[kind]) + "-----BEGIN PRIVATE KEY-----\n")
    assert (found.spki_hash, found.not_after) == (expected(kind), not_after)


@pytest.mark.parametrize(("version", "newkey"), [("-x509", "rsa:2048"), ("-x509v1", "rsa:2048"), ("-x509", "ec")])
def test_like_the_openssl_command_that_kubeadm_documents(version: str, newkey: str, tmp_path: Path) -> None:
    if version == "-x509v1":  # version 1 has no version field
        key, request, cert = (tmp_path / name for name in ("key", "csr", "crt"))
        _openssl("req", "-newkey", newkey, "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=kubernetes")
        _openssl("x509", "-req", "-in", request, "-signkey", key, "-out", cert)
        assert "Version: 1" in _openssl("x509", "-in", cert, "-noout", "-text").decode()
    else:
        extra = ["-pkeyopt", "ec_paramgen_curve:P-256"] if newkey == "ec" else []
        cert = tmp_path / "crt"
        _openssl(
            "req",
            "-x509",
            "-newkey",
            newkey,
            *extra,
            "-nodes",
            "-keyout",
            tmp_path / "key",
            "-out",
            cert,
            "-subj",
            "/CN=kubernetes",
        )
    public = _openssl("x509", "-pubkey", "-noout", "-in", cert)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True, capture_output=True).stdout
    assert pins(cert.read_text()) == (f"sha256:{hashlib.sha256(der).hexdigest()}",)


def _openssl(*arguments: t.Any) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def test_a_bundle_during_a_rotation(make_pem: t.Any) -> None:
    old, new = (make_pem(LATER, KEYS[kind]) for kind in ("rsa-2048", "ecdsa-p256"))
    bundle = "# new first\n" + new + "\n" + old + new.replace("\n", "\r\n")
    assert pins(bundle) == (expected("ecdsa-p256"), expected("rsa-2048"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "it ends too early"),
        ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----", "not base64"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "not valid DER"),
        ("-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----", "not valid DER"),
    ],
)
def test_not_a_certificate(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pins(text)


def test_a_file_that_was_cut_off_is_an_error_and_no_crash(make_pem: t.Any) -> None:
    pem = make_pem(LATER)
    for length in range(len(pem) - 1):
        with pytest.raises(ValueError, match="certificate"):
            read(pem[:length])


@given(st.integers(0, 600), st.text("ABCDEFabcdef0123456789+/=", max_size=40))
@example(28, "A" * 40)
def test_damage_is_a_value_error_or_harmless(make_pem: t.Any, at: int, noise: str) -> None:
    pem = make_pem(LATER)
    try:
        found = pins(pem[:at] + noise + pem[at + len(noise) :])
    except ValueError:
        return
    assert all(len(pin) == len("sha256:") + 64 for pin in found)
