# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site's services, run as its services container's only program: mirror, registry, AWS stand-in.

    python3 serve.py MIRROR_FOLDER REGISTRY_BINARY REGISTRY_STORAGE

Ends, and so ends the container, when any of them ends. Standard library only; it runs on the node image.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import typing as t
from pathlib import Path

MIRROR_PORT, REGISTRY_PORT, AWS_PORT = 8080, 5000, 5555

REGISTRY_CONFIG = """
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  maintenance: {{readonly: {{enabled: true}}}}
http: {{addr: ":{port}"}}
"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files with single byte ranges, so that interrupted downloads can resume. No listings, no dot files."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if "/." in self.path or not path.is_file():
            self.send_error(404, "not in the mirror")
            return
        size = path.stat().st_size
        try:
            begin, end = byte_range(self.headers.get("Range"), size)
        except ValueError:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = (begin, end) != (0, size)
        self.send_response(206 if part else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - begin))
        if part:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.end_headers()
        if body:
            with path.open("rb") as stream:
                stream.seek(begin)
                if part:
                    self._copy(stream, end - begin)
                else:
                    shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def _copy(self, stream: t.BinaryIO, left: int) -> None:
        while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
            self.wfile.write(chunk)
            left -= len(chunk)

    def log_message(self, format: str, *args: t.Any) -> None:
        print(f"mirror: {self.address_string()} {format % args}", flush=True)


def byte_range(header: str | None, size: int) -> tuple[int, int]:
    """(begin, end) of what a Range header asks of a file of `size` bytes, end not included; all of it for no header or for
    one that is not a single byte range (RFC 9110, 14.2: such a header is ignored). ValueError when it lies outside."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not match or match.group(0) == "bytes=-":
        return 0, size
    first, last = match.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if begin >= size or begin >= end:
        raise ValueError(f"{header} of {size} bytes")
    return begin, end


def end(number: int, frame: t.Any) -> t.NoReturn:
    sys.exit(0)


def main(mirror: str, registry: str, storage: str) -> int:
    signal.signal(signal.SIGTERM, end)
    server = http.server.ThreadingHTTPServer(("", MIRROR_PORT), functools.partial(Files, directory=mirror))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = Path(tempfile.mkdtemp()) / "registry.yml"
    config.write_text(REGISTRY_CONFIG.format(storage=storage, port=REGISTRY_PORT))
    children = {
        "registry": subprocess.Popen([registry, "serve", str(config)], env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}),
        "AWS stand-in": subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(AWS_PORT)]),
    }
    names = {process.pid: name for name, process in children.items()}
    try:
        while True:
            pid, status = os.wait()
            if pid in names:
                print(f"serve: the {names[pid]} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
                return 1
    finally:
        for process in children.values():
            process.terminate()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
