# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are read as `cryptography` and openssl read them."""

from __future__ import annotations

import base64
import datetime
import hashlib

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.certificate import read
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

UTC = datetime.timezone.utc


KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("year", [2026, 2049, 2050, 2100])  # 2050 on is written with four digits
def test_the_pin_and_the_end(make_pem, kind, year):
    not_after = datetime.datetime(year, 11, 23, 4, 5, 6, tzinfo=UTC)
    pem = make_pem(not_after, KEYS[kind])
    key = KEYS[kind].public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = read("text before\n" + pem + "-----BEGIN PRIVATE KEY-----\n")
    assert found.spki_hash == "sha256:" + hashlib.sha256(key).hexdigest()
    assert found.not_after == not_after


def test_a_file_that_was_cut_off_is_an_error_and_no_crash(make_pem):
    pem = make_pem(datetime.datetime(2030, 1, 1, tzinfo=UTC))
    for length in range(len(pem) - 1):
        with pytest.raises(ValueError, match="certificate"):
            read(pem[:length])


@given(st.binary(max_size=60))
def test_garbage_is_an_error_and_no_crash(garbage):
    with pytest.raises(ValueError, match=r"certificate|padding"):
        read(f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(garbage).decode()}\n-----END CERTIFICATE-----")
