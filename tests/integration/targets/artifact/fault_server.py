# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server that misbehaves as told, once for each fault, and remembers every request."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Fault:
    """One wrong answer. `status` instead of the file; or only `cut` bytes of it, then silence (`stall`) or the end."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: bool = False
    ignore_range: bool = False
    body: bytes | None = None


@dataclass(frozen=True)
class Request:
    path: str
    range: str | None
    headers: dict[str, str]


class FaultServer:
    """`files[path]` is served; `faults[path]` is a list used up from the front, then the file is served rightly."""

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[Request] = []
        self.stalled = threading.Event()  # set while a client waits for the rest of a stalled answer
        self._release = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if certificate and key:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if certificate else "http"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: t.Any) -> None:
                pass

            def do_GET(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer._answer(self)

        return Handler

    def _answer(self, client: http.server.BaseHTTPRequestHandler) -> None:
        wanted = client.headers.get("Range")
        self.requests.append(Request(client.path, wanted, dict(client.headers)))
        queue = self.faults.get(client.path, [])
        fault = queue.pop(0) if queue else Fault()
        content = self.files.get(client.path)
        status = fault.status or (200 if content is not None else 404)
        if status not in (200, 206) or content is None:
            body = fault.body or b"no"
            self._head(client, status, {"Content-Length": str(len(body)), **fault.headers})
            client.wfile.write(body)
            return
        headers = dict(fault.headers)
        if wanted and not fault.ignore_range:
            first, _dash, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else len(content)
            if start >= len(content):
                self._head(client, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
            content, status = content[start:end], 206
        self._head(client, status, {"Content-Length": str(len(content)), **headers})
        if fault.cut is None:
            client.wfile.write(content)
            return
        client.wfile.write(content[: fault.cut])
        client.wfile.flush()
        if fault.stall:
            self.stalled.set()
            self._release.wait()
        client.close_connection = True
        with contextlib.suppress(OSError):
            client.connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _head(client: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        client.send_response(status)
        for name, value in headers.items():
            client.send_header(name, value)
        client.end_headers()
