# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A Kubernetes API server as JSON in, JSON out.

PRIVATE: this module util is for this collection only and may change without notice.

Who and where is `identity.py`, the wire is `transport.py`; here are the calls: retries, lists, errors as sentences.
There are no model objects: they cost more than the call and lose fields that they do not know.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import random
import re
import socket
import ssl
import threading
import time
import typing as t
from datetime import datetime, timezone
from urllib.parse import urlencode

from ansible.module_utils.basic import env_fallback

from .._plan import GpufleetError
from .identity import identify
from .transport import Transport

#: Names, aliases and K8S_AUTH_* variables are those of kubernetes.core, so that its users change nothing.
AUTH_SPEC: dict[str, dict[str, t.Any]] = {
    # no_log: as a dict it holds secrets
    "kubeconfig": {"type": "raw", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
    "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
    "host": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_HOST"])},
    "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_API_KEY"])},
    "username": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_USERNAME"])},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_PASSWORD"])},
    "validate_certs": {
        "type": "bool",
        "aliases": ["verify_ssl"],
        "fallback": (env_fallback, ["K8S_AUTH_VALIDATE_CERTS", "K8S_AUTH_VERIFY_SSL"]),
    },
    "ca_cert": {
        "type": "path",
        "aliases": ["ssl_ca_cert"],
        "fallback": (env_fallback, ["K8S_AUTH_CA_CERT", "K8S_AUTH_SSL_CA_CERT"]),
    },
    "client_cert": {
        "type": "path",
        "aliases": ["cert_file"],
        "fallback": (env_fallback, ["K8S_AUTH_CLIENT_CERT", "K8S_AUTH_CERT_FILE"]),
    },
    "client_key": {
        "type": "path",
        "aliases": ["key_file"],
        "no_log": False,  # a path
        "fallback": (env_fallback, ["K8S_AUTH_CLIENT_KEY", "K8S_AUTH_KEY_FILE"]),
    },
    "proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY"])},
    "no_proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_NO_PROXY"])},
    "proxy_headers": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": {
                "type": "str",
                "no_log": True,
                "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH"]),
            },
            "basic_auth": {
                "type": "str",
                "no_log": True,
                "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_BASIC_AUTH"]),
            },
            "user_agent": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_USER_AGENT"])},
        },
    },
    "persist_config": {"type": "bool", "fallback": (env_fallback, ["K8S_AUTH_PERSIST_CONFIG"])},
    "impersonate_user": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_IMPERSONATE_USER"])},
    "impersonate_groups": {
        "type": "list",
        "elements": "str",
        "fallback": (env_fallback, ["K8S_AUTH_IMPERSONATE_GROUPS"]),
    },
}

ATTEMPTS = 6  # of one request: with the pauses below about 6 s
FIRST_PAUSE = 0.2  # seconds, doubled at each attempt
LONGEST_PAUSE = 10.0  # seconds, also for what the server asks for in Retry-After
RETRY_BUDGET = 60.0  # seconds of pauses that all requests of one client may add up to
RETRIED = frozenset({429, 500, 502, 503, 504})


class KubeError(GpufleetError):
    """A call to the API server failed.

    `status` is the HTTP status, None when no answer came; `reason` is the server's word for it (`Forbidden`,
    `NotFound`, `Conflict`, `Expired`, ...), or `Unreachable`; `body` is the server's Status object, if it sent one.
    """

    def __init__(
        self, message: str, status: int | None = None, reason: str = "Unreachable", body: t.Mapping[str, t.Any] | None = None
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.status = status
        self.reason = reason
        self.body = body or {}


class KubeClient:
    """One API server with one identity. Safe to use from many threads at once.

    `server` is its URL; `source` says where the identity comes from, for error messages.
    """

    def __init__(
        self,
        server: str,
        source: str,
        transport: Transport,
        authorization: t.Callable[[], str | None],
        headers: t.Sequence[tuple[str, str]] = (),
    ) -> None:
        self.server = server
        self.source = source
        self._transport = transport
        self._authorization = authorization
        self._headers = headers
        self._lock = threading.Lock()
        self._budget = RETRY_BUDGET

    def request(
        self,
        method: str,
        path: str,
        *,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
    ) -> t.Any:
        """Sends one call and returns the parsed JSON answer (None when it is empty).

        Tried again, with growing pauses, when the server is overloaded (429, 5xx) or the connection breaks; a POST
        only where it cannot have been executed. Raises KubeError.
        """
        target = path + ("?" + urlencode({k: v for k, v in query.items() if v is not None}, doseq=True) if query else "")
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        for attempt in range(ATTEMPTS):
            try:
                status, headers, answer = self._send(method, target, data, content_type)
            except KubeError as error:
                executed = not isinstance(error.__cause__, ConnectionRefusedError)
                if (method == "POST" and executed) or not _passing(error) or not self._pause(attempt, None):
                    raise
                continue
            if status < 300:
                return json.loads(answer) if answer else None
            retriable = status == 429 or (status in RETRIED and method != "POST")
            if not retriable or not self._pause(attempt, headers.get("Retry-After")):
                raise self._refusal(method, path, status, answer)
        raise AssertionError("the last attempt returns or raises")

    def list(self, path: str, *, limit: int = 500, **query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        """Yields the items of a collection, fetched `limit` at a time.

        When a list takes so long that its snapshot expires (410), the server hands out a token for the rest of the
        list as it is by then; that is used: each item is still whole. Raises KubeError.
        """
        token = None
        while True:
            try:
                page = self.request("GET", path, query={**query, "limit": limit, "continue": token})
            except KubeError as error:
                fresh = error.body.get("metadata", {}).get("continue")
                if error.status != 410 or not fresh or fresh == token:
                    raise
                token = fresh
                continue
            yield from page.get("items") or ()
            token = page.get("metadata", {}).get("continue")
            if not token:
                return

    def _send(self, method: str, target: str, data: bytes | None, content_type: str) -> tuple[int, t.Any, bytes]:
        headers = [("Accept", "application/json"), ("User-Agent", "gpufleet.k8s"), *self._headers]
        if data is not None:
            headers.append(("Content-Type", content_type))
        with self._lock:  # an expired token is fetched once, not by every thread
            authorization = self._authorization()
        if authorization:
            headers.append(("Authorization", authorization))
        try:
            return self._transport.send(method, target, headers, data)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(method, target.partition("?")[0], error) from error

    def _pause(self, attempt: int, asked: str | None) -> bool:
        """Waits before the next attempt. False when there shall be none."""
        pause = FIRST_PAUSE * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311  spreads clients, no secret
        if asked and asked.isdigit():
            pause = max(pause, float(asked))
        pause = min(pause, LONGEST_PAUSE)
        with self._lock:
            if attempt + 1 >= ATTEMPTS or self._budget < pause:
                return False
            self._budget -= pause
        time.sleep(pause)
        return True

    def _unreachable(self, method: str, path: str, error: Exception) -> KubeError:
        hint = "check that the server runs and that this machine reaches it"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "give the cluster's CA in ca_cert or in the kubeconfig, and a host name that the certificate holds"
        cause = str(error) or type(error).__name__
        return KubeError(f"{self.server} gave no answer to {method} {path}: {cause}; {hint} ({self.source})")

    def _refusal(self, method: str, path: str, status: int, answer: bytes) -> KubeError:
        body: t.Any
        try:
            body = json.loads(answer)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {"message": answer.decode(errors="replace").strip()[:200]}
        said = body.get("message") or "nothing"
        hint = ""
        if status == 401:
            hint = f"; the credentials are wrong or no longer valid{_expiry(self._authorization())}: {self.source}"
        elif status == 403:
            hint = _missing_permission(said)
        return KubeError(
            f"{self.server} refused {method} {path} with {status}: {said}{hint}",
            status=status,
            reason=body.get("reason") or str(status),
            body=body,
        )


def connect(params: t.Mapping[str, t.Any]) -> KubeClient:
    """Makes a client from the options of AUTH_SPEC; see `identity.identify` for their order. No call is made yet.

    Raises GpufleetError.
    """
    given = {name: params.get(name) for name in AUTH_SPEC if params.get(name) is not None}
    who = identify(given)
    try:
        transport = Transport(
            who.server,
            who.tls(),
            server_name=who.server_name,
            proxy=who.proxy,
            proxy_headers=_proxy_headers(given.get("proxy_headers") or {}),
        )
    except ValueError as error:
        raise GpufleetError(f"the server or its proxy cannot be used: {error} ({who.source})") from error
    return KubeClient(who.server, who.source, transport, who.authorization, who.headers)


def _proxy_headers(given: t.Mapping[str, str | None]) -> list[tuple[str, str]]:
    def basic(value: str) -> str:
        return "Basic " + base64.b64encode(value.encode()).decode()

    headers = (
        ("Proxy-Authorization", "proxy_basic_auth", basic),
        ("Authorization", "basic_auth", basic),
        ("User-Agent", "user_agent", str),
    )
    return [(header, write(given[option] or "")) for header, option, write in headers if given.get(option)]


def _passing(error: KubeError) -> bool:
    """Whether the same call may succeed a moment later: unknown names and certificates do not heal."""
    cause = error.__cause__
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    return not isinstance(cause, ssl.SSLCertVerificationError)


def _missing_permission(said: str) -> str:
    """From RBAC's message, the sentence that says what to grant."""
    match = re.search(
        r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
        r'(?: in the namespace "(?P<namespace>[^"]+)")?',
        said,
    )
    if not match:
        return ""
    resource = match["resource"] + (f".{match['group']}" if match["group"] else "")
    scope = f"Role in namespace {match['namespace']}" if match["namespace"] else "ClusterRole"
    return f"; grant {match['user']} a {scope} with verb {match['verb']} on {resource}"


def _expiry(authorization: str | None) -> str:
    """When the bearer token ended, if it says so itself (JSON Web Token, RFC 7519: `exp` in seconds since 1970)."""
    try:
        payload = (authorization or "").split(".")[1]
        ended = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return ""
    if ended > time.time():
        return ""
    return f" (the token expired at {datetime.fromtimestamp(ended, timezone.utc):%Y-%m-%dT%H:%M:%SZ})"
