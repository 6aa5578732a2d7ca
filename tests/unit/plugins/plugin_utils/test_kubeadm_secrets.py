# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly the tokens and keys of kubeadm's documents: what else would be hidden is missed in results."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kubeadm_secrets import kubeadm_secrets

TOKEN, OTHER, KEY = "abcdef.0123456789abcdef", "fedcba.0123456789abcdef", "f" * 64


@pytest.mark.parametrize(
    ("documents", "secrets"),
    [
        ({}, []),
        (None, []),
        (
            [
                {"bootstrapTokens": [{"token": TOKEN, "ttl": "24h0m0s", "usages": ["authentication"]}], "certificateKey": KEY},
                {
                    "discovery": {"bootstrapToken": {"token": TOKEN, "apiServerEndpoint": "api.example.com:6443"}},
                    "controlPlane": {"certificateKey": KEY, "localAPIEndpoint": {"advertiseAddress": "10.100.100.100"}},
                },
            ],
            [TOKEN, KEY],
        ),
        ({"discovery": {"tlsBootstrapToken": OTHER, "file": {"kubeConfigPath": "/etc/a.conf"}}}, [OTHER]),
        ({"bootstrapTokens": [{"token": TOKEN, "expires": datetime.datetime(2026, 12, 1)}]}, [TOKEN]),
        # Of a wrong type: refused later, and logged before
        ({"certificateKey": 1234567812345678}, ["1234567812345678"]),
        ({"discovery": {"bootstrapToken": TOKEN}, "bootstrapTokens": [OTHER]}, [TOKEN, OTHER]),
        ({"bootstrapTokens": [{"token": {"id": TOKEN}}]}, [TOKEN]),
        ({"discovery": {"bootstrapToken": {"token": "10.0"}}}, []),  # it would hide a part of addresses
        ({"nodeRegistration": {"kubeletExtraArgs": [{"name": "token-like", "value": "something"}]}}, []),
    ],
)
def test_kubeadm_secrets(documents, secrets):
    assert kubeadm_secrets(documents) == sorted(secrets)
