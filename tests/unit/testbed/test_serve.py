# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import http.client
import http.server
import threading
import typing as t
from pathlib import Path

import pytest
from bedlib import serve

CONTENT = bytes(range(256)) * 4


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 1024)),
        ("bytes=0-", (0, 1024)),
        ("bytes=1000-", (1000, 1024)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-5000", (10, 1024)),
        ("bytes=-24", (1000, 1024)),
        ("bytes=-5000", (0, 1024)),
        ("bytes=-", (0, 1024)),
        ("bytes=1-2,5-6", (0, 1024)),
        ("lines=1-2", (0, 1024)),
    ],
)
def test_byte_range(header: str | None, expected: tuple[int, int]) -> None:
    assert serve.byte_range(header, 1024) == expected


@pytest.mark.parametrize("header", ["bytes=1024-", "bytes=5-4", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=header):
        serve.byte_range(header, 1024)


@pytest.fixture
def server(tmp_path: Path) -> t.Iterator[http.client.HTTPConnection]:
    (tmp_path / "mirror" / "host").mkdir(parents=True)
    (tmp_path / "mirror" / "host" / "file").write_bytes(CONTENT)
    (tmp_path / "mirror" / "host" / ".file.x").write_bytes(b"half a file")
    (tmp_path / "secret").write_text("outside")
    handler = functools.partial(serve.Files, directory=str(tmp_path / "mirror"))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", made.server_port, timeout=10)
    yield connection
    connection.close()
    made.shutdown()
    made.server_close()
    thread.join()


def ask(
    server: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPResponse]:
    server.request(method, path, headers=headers)
    answer = server.getresponse()
    return answer.status, answer.read(), answer


def test_a_download_resumes(server: http.client.HTTPConnection) -> None:
    status, body, answer = ask(server, "/host/file", Range="bytes=100-")
    assert (status, body) == (206, CONTENT[100:])
    assert answer.getheader("Content-Range") == "bytes 100-1023/1024"


def test_a_finished_download_cannot_resume(server: http.client.HTTPConnection) -> None:
    status, body, answer = ask(server, "/host/file", Range="bytes=1024-")
    assert (status, body, answer.getheader("Content-Range")) == (416, b"", "bytes */1024")


def test_whole_files_and_heads(server: http.client.HTTPConnection) -> None:
    assert ask(server, "/host/file")[:2] == (200, CONTENT)
    status, body, answer = ask(server, "/host/file", "HEAD")
    assert (status, body, answer.getheader("Content-Length")) == (200, b"", "1024")


@pytest.mark.parametrize("path", ["/", "/host", "/host/", "/host/none", "/host/.file.x", "/../secret", "/%2e%2e/secret"])
def test_only_whole_files_of_the_mirror_are_served(server: http.client.HTTPConnection, path: str) -> None:
    assert ask(server, path)[0] == 404
