# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubelet's pod resources socket says, with GPUs, which no test bed's kubelet has. That a real one answers is in the
scenario cpu_pinning."""

from __future__ import annotations

import socket
import struct
import threading
import typing as t
from contextlib import suppress
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import podresources
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.podresources import Container, Device

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def number(value: int) -> bytes:
    """A varint."""
    return bytes([value & 0x7F | 0x80]) + number(value >> 7) if value > 0x7F else bytes([value])


def field(index: int, value: bytes | str | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return number(index << 3) + number(value)
    data = value.encode() if isinstance(value, str) else value
    return number(index << 3 | 2) + number(len(data)) + data


def device(resource: str, ids: t.Sequence[str], numa: t.Sequence[int] | None) -> bytes:
    """ContainerDevices. A NUMANode of zero is an empty message."""
    nodes = b"".join(field(1, field(1, node) if node else b"") for node in numa or ())
    topology = b"" if numa is None else field(3, nodes)
    return field(1, resource) + b"".join(field(2, one) for one in ids) + topology


#: ListPodResourcesResponse as k8s.io/kubelet/pkg/apis/podresources/v1 has it: cpu_ids are packed.
GPUS = field(2, device("nvidia.com/gpu", ["GPU-1", "GPU-2"], [0, 1])) + field(2, device("example.com/nic", ["eth1"], None))
MAIN = field(1, "main") + GPUS + field(3, number(4) + number(5) + number(200))
SIDE = field(1, "side") + field(4, field(1, "memory") + field(2, 1 << 40))  # memory (field 4) is of no interest
PINNED = field(1, "one") + field(2, "ns") + field(3, MAIN) + field(3, SIDE)
NEWER = field(1, "two") + field(2, "ns") + field(3, field(1, "main") + field(3, 6) + field(3, 7)) + number(99 << 3 | 1) + bytes(8)
ANSWER = field(1, PINNED) + field(1, NEWER)

FOUND = [
    Container(
        "ns",
        "one",
        "main",
        frozenset({4, 5, 200}),
        (
            Device("nvidia.com/gpu", ("GPU-1", "GPU-2"), frozenset({0, 1})),
            Device("example.com/nic", ("eth1",), frozenset()),
        ),
    ),
    Container("ns", "one", "side", frozenset()),
    Container("ns", "two", "main", frozenset({6, 7})),
]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(data: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(data)) + data


#: Settings, an acknowledgement of the client's, and a ping.
GREETING = frame(4, 0, 0, b"") + frame(4, 1, 0, b"") + frame(6, 0, 0, bytes(8))


@pytest.fixture
def kubelet(tmp_path: Path) -> t.Iterator[t.Callable[[bytes], str]]:
    """Serves these bytes once, after the call has come; the socket's path. What asks for an acknowledgement has to get it."""
    path = str(tmp_path / "kubelet.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    threads: list[threading.Thread] = []
    answers: list[bytes] = []
    said: list[bytes] = []

    def serve(answer: bytes) -> str:
        def work() -> None:
            connection, _address = listening.accept()
            with connection:
                got = b""
                while b"\0\0\5\0\1\0\0\0\1\0\0\0\0\0" not in got:  # the empty message, which ends the stream
                    got += connection.recv(65536)
                assert got.startswith(PREFACE)
                assert podresources.LIST.encode() in got
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):  # it reads no further than the error
                    while more := connection.recv(65536):
                        said.append(more)

        answers.append(answer)
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return path

    yield serve
    for thread in threads:
        thread.join()
    listening.close()
    asks = answers[0].startswith(GREETING)
    assert b"".join(said) == (frame(4, 1, 0, b"") + frame(6, 1, 0, bytes(8)) if asks else b"")


def test_cpus_and_devices_of_each_container(kubelet: t.Callable[[bytes], str]) -> None:
    """As grpc-go answers: settings and a ping first, the message in two frames, trailers at the end."""
    data = message(ANSWER)
    answer = (
        GREETING
        + frame(8, 0, 0, struct.pack(">I", 5))
        + frame(1, 4, 1, b"\x88")
        + frame(0, 0, 1, data[:20])
        + frame(0, 0, 1, data[20:])
        + frame(1, 5, 1, b"\x88")
    )
    assert podresources.containers(kubelet(answer)) == FOUND


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "closed the connection without an answer"),
        (frame(7, 0, 0, bytes(8)), "refused the call"),
        (frame(3, 0, 1, bytes(4)), "refused the call"),
        (frame(1, 5, 1, b"\x88"), "does not know this call"),  # trailers alone: UNIMPLEMENTED
        (frame(0, 1, 1, message(ANSWER, compressed=1)), "answered it compressed"),
        (frame(0, 1, 1, message(b"\x0a")), "ends in the middle of a number"),
        (frame(0, 1, 1, message(field(1, 5))), "a number where a message was expected"),
        (frame(0, 1, 1, message(number(1 << 3 | 3))), "has the unknown type 3"),
    ],
)
def test_an_answer_that_is_none(kubelet: t.Callable[[bytes], str], answer: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        podresources.containers(kubelet(answer))


def test_a_node_without_pods(kubelet: t.Callable[[bytes], str]) -> None:
    assert podresources.containers(kubelet(frame(0, 1, 1, message(b"")))) == []
