# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t
from datetime import datetime, timezone

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import (
    JoinData,
    Malformed,
    normal_hash,
    parse,
    parse_endpoint,
)
from hypothesis import given
from hypothesis import strategies as st

HASH, OTHER = "ab" * 32, "cd" * 32
ORIGINAL = {"master_addr_port": "10.1.113.28:6443", "token": "abcdef.0123456789abcdef", "discovery_token_ca_cert_hash": HASH}


def test_a_secret_of_the_original_scripts_can_be_read() -> None:
    assert parse(json.dumps(ORIGINAL)) == JoinData(
        "10.1.113.28:6443", "abcdef", "0123456789abcdef", (f"sha256:{HASH}",), None, schema_version=0
    )


def test_the_original_scripts_can_read_ours() -> None:
    join = JoinData("10.1.113.28:6443", "abcdef", "0123456789abcdef", (f"sha256:{HASH}", f"sha256:{OTHER}"), None)
    written = json.loads(join.text())
    assert {key: written[key] for key in ORIGINAL} == ORIGINAL
    assert written["ca_cert_hashes"] == [f"sha256:{HASH}", f"sha256:{OTHER}"]
    assert written["endpoint"] == "https://10.1.113.28:6443"


times = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=timezone.utc))
hashes = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")
joins = st.builds(
    JoinData,
    endpoint=st.sampled_from(["10.0.0.1:6443", "[fd00::1]:6443", "k8s.example.com:443"]),
    token_id=st.text("abcdefghij0123456789", min_size=6, max_size=6),
    token_secret=st.text("abcdefghij0123456789", min_size=16, max_size=16),
    ca_hashes=st.lists(hashes, min_size=1, max_size=3, unique=True).map(tuple),
    expires=st.none() | times,
    cluster_id=st.sampled_from(["", "kb8v11zrrpvr"]),
)


@given(joins)
def test_what_is_written_can_be_read(join: JoinData) -> None:
    assert parse(join.text()) == join


@given(joins)
def test_secrets_are_in_no_other_view(join: JoinData) -> None:
    shown = repr(join) + str(join) + json.dumps(join.public())
    assert join.token_secret not in shown or join.token_secret in "".join(join.ca_hashes)


def test_a_certificate_key_is_in_no_other_view() -> None:
    at = datetime(2026, 11, 23, tzinfo=timezone.utc)
    join = JoinData(
        "h:1", "abcdef", "0123456789abcdef", (f"sha256:{HASH}",), at, certificate_key="k" * 64, certificate_key_expires=at
    )
    assert parse(join.text()) == join
    assert "kkk" not in repr(join) + json.dumps(join.public())
    assert join.public()["certificate_key_expires"] == "2026-11-23T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "empty"),
        ("  ", "empty"),
        ("hunter2", "not JSON"),
        ('["hunter2"]', "not an object"),
        ("{}", "no token"),
        ({"token": "hunter2"}, "token is not id.secret"),
        ({"token": 7}, "token is not id.secret"),
        ({"discovery_token_ca_cert_hash": "hunter2"}, "not 64 hexadecimal digits"),
        ({"master_addr_port": "https://hunter2/k8s/x"}, "not host:port"),
        ({"master_addr_port": None}, "no master_addr_port"),
        ({"ca_cert_hashes": ["hunter2"]}, "ca_cert_hashes is not"),
        ({"expires": "hunter2"}, "expires is not a time"),
        ({"certificate_key_expires": 7}, "certificate_key_expires is not a time"),
    ],
)
def test_garbage_is_named_but_never_repeated(text: t.Any, reason: str) -> None:
    with pytest.raises(Malformed, match=reason) as caught:
        parse(json.dumps({**ORIGINAL, **text}) if isinstance(text, dict) else text)
    assert "hunter2" not in str(caught.value)


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(json.dumps)
)
def test_any_text_is_join_data_or_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://10.0.0.1:6443", "10.0.0.1:6443"),
        ("10.0.0.1", "10.0.0.1:6443"),
        ("https://k8s.example.com", "k8s.example.com:443"),
        ("k8s.example.com:443", "k8s.example.com:443"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
        ("[FD00:0::1]", "[fd00::1]:6443"),
        ("fd00::1", "[fd00::1]:6443"),
        ("https://internal-x-123.elb.cn-north-1.amazonaws.com.cn:6443/", "internal-x-123.elb.cn-north-1.amazonaws.com.cn:6443"),
    ],
)
def test_endpoints(text: str, endpoint: str) -> None:
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":6443",
        "h:",
        "h:0",
        "h:65536",
        "h:x",
        "https://h/k8s/clusters/x",
        "a b:1",
        "[::zz]:1",
        "h:1:2",
        "-h:1",
        "[h]:1",
        "[fd00::1]:",
        "https://",
    ],
)
def test_not_an_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address of an API server"):
        parse_endpoint(text)


def test_hashes_in_both_spellings() -> None:
    assert normal_hash(HASH.upper()) == normal_hash(f"sha256:{HASH}") == f"sha256:{HASH}"
    with pytest.raises(ValueError, match="not the hash of a certificate authority"):
        normal_hash("sha256:12")
