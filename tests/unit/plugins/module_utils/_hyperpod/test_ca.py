# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate walk against two X.509 implementations that others wrote: cryptography and openssl."""

from __future__ import annotations

import hashlib
import subprocess
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.ca import ca_hashes
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

KEYS: dict[str, t.Callable[[], t.Any]] = {
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def certificate(key: t.Any, name: str = "kubernetes") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    at = datetime(2026, 11, 23, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), at, at + timedelta(days=3650)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def expected(cert: x509.Certificate) -> str:
    info = cert.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


@pytest.mark.parametrize("kind", KEYS)
def test_like_cryptography(kind: str) -> None:
    cert = certificate(KEYS[kind]())
    assert ca_hashes(pem(cert)) == (expected(cert),)


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
    assert ca_hashes(cert.read_text()) == (f"sha256:{hashlib.sha256(der).hexdigest()}",)


def _openssl(*arguments: t.Any) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def test_a_bundle_during_a_rotation() -> None:
    old, new = certificate(KEYS["rsa-2048"](), "old"), certificate(KEYS["ecdsa-p256"](), "new")
    bundle = "# new first\n" + pem(new) + "\n" + pem(old) + pem(new).replace("\n", "\r\n")
    assert ca_hashes(bundle) == (expected(new), expected(old))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "too early"),
        ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----", "not base64"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "too early|not DER"),
        ("-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----", "not DER"),
    ],
)
def test_not_a_certificate(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ca_hashes(text)


CERTIFICATE = pem(certificate(KEYS["ecdsa-p256"]()))


@given(st.integers(0, len(CERTIFICATE)), st.text("ABCDEFabcdef0123456789+/=", max_size=40))
def test_damage_is_a_value_error_or_harmless(at: int, noise: str) -> None:
    damaged = CERTIFICATE[:at] + noise + CERTIFICATE[at + len(noise) :]
    try:
        hashes_found = ca_hashes(damaged)
    except ValueError:
        return
    assert all(len(found) == len("sha256:") + 64 for found in hashes_found)
