# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""HTTP to one server over connections that are kept and shared by threads. Standard library only.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import ipaddress
import ssl
import time
import typing as t
from urllib.parse import urlsplit

Headers = t.Sequence[tuple[str, str]]  # pairs, because a name may come more than once

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0  # seconds: the API server's own limit for a request
IDLE = 30.0  # seconds after which a kept connection is not trusted any more


class Transport:
    """`server` is a URL. `tls` verifies it, as `server_name` where that is not the URL's host. `proxy` is an HTTP URL."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext,
        *,
        server_name: str | None = None,
        proxy: str | None = None,
        proxy_headers: Headers = (),
    ) -> None:
        self._url = urlsplit(server)
        self._tls = tls
        self._server_name = server_name
        self._proxy = urlsplit(proxy) if proxy else None
        self._proxy_headers = proxy_headers
        self._kept: collections.deque[tuple[float, http.client.HTTPConnection]] = collections.deque()
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError(f"{server!r} is no http or https URL")
        if self._proxy and (self._proxy.scheme != "http" or not self._proxy.hostname):
            raise ValueError(f"{proxy!r} is no http URL")

    def send(self, method: str, target: str, headers: Headers, data: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request; returns status, headers and content. Raises OSError or http.client.HTTPException."""
        # What must not be sent twice is not sent over a connection that the server may have closed meanwhile.
        connection = (self._take() if method != "POST" else None) or self._connect()
        try:
            forwarded = self._proxy and self._url.scheme == "http"  # by the proxy itself; https goes through a tunnel
            path = self._url.path.rstrip("/") + target
            connection.putrequest(method, f"http://{self._url.netloc}{path}" if forwarded else path)
            for name, value in (*headers, *(self._proxy_headers if forwarded else ())):
                connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._kept.append((time.monotonic(), connection))
        return answer.status, answer.headers, content

    def _take(self) -> http.client.HTTPConnection | None:
        with contextlib.suppress(IndexError):  # the deque is empty
            while True:
                since, connection = self._kept.pop()
                if time.monotonic() - since < IDLE:
                    return connection
                connection.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        via = self._proxy or self._url
        host, port = via.hostname or "", via.port or (443 if via.scheme == "https" else 80)
        if self._url.scheme == "https":
            connection: http.client.HTTPConnection = _Tls(host, port, self._tls, self._server_name)
            if self._proxy:
                connection.set_tunnel(self._url.hostname or "", self._url.port or 443, dict(self._proxy_headers))
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT)
        connection.connect()
        connection.sock.settimeout(READ_TIMEOUT)
        return connection


class _Tls(http.client.HTTPConnection):
    """Like HTTPSConnection, which cannot ask for another name than the host's."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, server_name: str | None) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT)
        self._tls, self._server_name, self._verified = tls, server_name, host

    def set_tunnel(self, host: str, port: int | None = None, headers: t.Mapping[str, str] | None = None) -> None:
        super().set_tunnel(host, port, headers)
        self._verified = host

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._server_name or self._verified)


def bypasses(server: str, no_proxy: str | None) -> bool:
    """Whether NO_PROXY names this server: by name, by a domain above it, by address, or by a network it is in."""
    host = (urlsplit(server).hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in (part.strip().lower() for part in (no_proxy or "").split(",")):
        if entry == "*" or (entry and host == entry):
            return True
        if address is None:
            domain = entry.lstrip("*").lstrip(".")
            if domain and (host == domain or host.endswith("." + domain)):
                return True
        else:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
    return False
