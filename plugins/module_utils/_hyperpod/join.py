# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a worker needs to join, and its JSON in Secrets Manager.

The first three keys are those of shimomut's hyperpod_k8s, so that its lifecycle scripts can read what this collection
writes and the other way round; the rest is ours:

    master_addr_port              host:port, IPv6 in brackets; kubeadm's apiServerEndpoint
    token                         id.secret
    discovery_token_ca_cert_hash  64 hex, without "sha256:": the first certificate authority
    schema_version                1
    endpoint                      the same address as a URL
    ca_cert_hashes                all authorities as "sha256:<hex>": kubeadm's caCertHashes (several during a CA rotation)
    expires                       end of the token, RFC 3339; null: it has none
    cluster_id                    of the HyperPod cluster, "" where it is not known
    certificate_key, certificate_key_expires   only when asked for (control planes)

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from .duration import format_time, parse_time

SCHEMA_VERSION = 1
DEFAULT_PORT = 6443  # kubeadm's, where controlPlaneEndpoint names none
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?")


class Malformed(ValueError):
    """The secret's text is not join data. The message never holds any of the text."""


@dataclass(frozen=True)
class JoinData:
    endpoint: str  # host:port
    token_id: str
    token_secret: str = field(repr=False)
    ca_hashes: tuple[str, ...]
    expires: datetime | None
    cluster_id: str = ""
    certificate_key: str | None = field(default=None, repr=False)
    certificate_key_expires: datetime | None = None
    schema_version: int = SCHEMA_VERSION  # 0: written by the original scripts, which know no expiry

    def document(self) -> dict[str, t.Any]:
        """The JSON object, for the secret and for hyperpod_token_info's result. Holds the token."""
        document: dict[str, t.Any] = {
            "schema_version": self.schema_version,
            "master_addr_port": self.endpoint,
            "token": f"{self.token_id}.{self.token_secret}",
            "discovery_token_ca_cert_hash": self.ca_hashes[0].split(":")[1],
            "endpoint": f"https://{self.endpoint}",
            "ca_cert_hashes": list(self.ca_hashes),
            "expires": format_time(self.expires),
            "cluster_id": self.cluster_id,
        }
        if self.certificate_key is not None:
            document["certificate_key"] = self.certificate_key
            document["certificate_key_expires"] = format_time(self.certificate_key_expires)
        return document

    def text(self) -> str:
        return json.dumps(self.document(), sort_keys=True)

    def public(self) -> dict[str, t.Any]:
        """What may be shown: no token, no certificate key."""
        public = {key: value for key, value in self.document().items() if key not in ("token", "certificate_key")}
        return {**public, "token_id": self.token_id}


def parse(text: str | None) -> JoinData:
    """Reads the secret's text. Raises Malformed with the first thing wrong."""
    try:
        document = json.loads(text or "")
    except ValueError:
        raise Malformed("it is empty" if not (text or "").strip() else "it is not JSON") from None
    if not isinstance(document, dict):
        raise Malformed("it is JSON, but not an object")

    token = _match(_TOKEN, document, "token", "id.secret as kubeadm makes it")
    first = _match(_HASH, document, "discovery_token_ca_cert_hash", "64 hexadecimal digits")
    listed = document.get("ca_cert_hashes") or [f"sha256:{first[1]}"]
    if not isinstance(listed, list) or not all(isinstance(item, str) and _HASH.fullmatch(item) for item in listed):
        raise Malformed("its ca_cert_hashes is not a list of sha256:<64 hexadecimal digits>")
    hashes = tuple(dict.fromkeys(normal_hash(item) for item in (first[1], *listed)))
    address = document.get("master_addr_port")
    if not isinstance(address, str):
        raise Malformed("it has no master_addr_port")
    try:
        endpoint = parse_endpoint(address)
    except ValueError:
        raise Malformed("its master_addr_port is not host:port") from None
    schema, cluster_id, key = (document.get(name) for name in ("schema_version", "cluster_id", "certificate_key"))
    return JoinData(
        endpoint=endpoint,
        token_id=token[1],
        token_secret=token[2],
        ca_hashes=hashes,
        expires=_time(document, "expires"),
        cluster_id=cluster_id if isinstance(cluster_id, str) else "",
        certificate_key=key if isinstance(key, str) else None,
        certificate_key_expires=_time(document, "certificate_key_expires"),
        schema_version=schema if isinstance(schema, int) else 0,
    )


def hand_over(secret_name: str, owner: str) -> str:
    """What to do about a secret that is of `owner`, another HyperPod cluster than the wished one: a sentence without its end."""
    return (
        f"Give each cluster a secret_name of its own; or, if {owner} is gone (a HyperPod cluster that is made again has another"
        f" id), hand the secret over: delete it with hyperpod_token (secret_name {secret_name}, cluster_id {owner}, state absent)"
        f" or with `aws secretsmanager delete-secret --secret-id {secret_name}`, and run this again"
    )


def normal_hash(text: str) -> str:
    """`sha256:<hex>` from either spelling. Raises ValueError."""
    match = _HASH.fullmatch(text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is not the hash of a certificate authority: sha256: and 64 hexadecimal digits")
    return f"sha256:{match[1]}"


def parse_endpoint(text: str) -> str:
    """`host:port` (IPv6 in brackets) from a URL, kubeadm's controlPlaneEndpoint or `host:port`. Raises ValueError."""
    rest, port = text.strip(), str(DEFAULT_PORT)
    if rest.lower().startswith("https://"):
        rest, port = rest[len("https://") :].rstrip("/"), "443"
    host, colon, given = rest.rpartition(":")
    if rest.endswith("]") or (rest.count(":") > 1 and not rest.startswith("[")):
        host, colon = rest, ""  # an IPv6 address without a port
    elif not colon:
        host = rest
    port = given if colon else port
    try:
        if ":" in host:
            host = f"[{ipaddress.IPv6Address(host.removeprefix('[').removesuffix(']'))}]"
        elif not _HOST.fullmatch(host):
            raise ValueError
        if not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not the address of an API server: host:port, an IPv6 address in brackets") from None
    return f"{host}:{int(port)}"


def _match(pattern: re.Pattern[str], document: t.Mapping[str, t.Any], key: str, shape: str) -> re.Match[str]:
    if key not in document:
        raise Malformed(f"it has no {key}")
    match = pattern.fullmatch(document[key]) if isinstance(document[key], str) else None
    if not match:
        raise Malformed(f"its {key} is not {shape}")
    return match


def _time(document: t.Mapping[str, t.Any], key: str) -> datetime | None:
    value = document.get(key)
    if value is None:
        return None
    try:
        return parse_time(str(value))
    except ValueError:
        raise Malformed(f"its {key} is not a time as in RFC 3339") from None
