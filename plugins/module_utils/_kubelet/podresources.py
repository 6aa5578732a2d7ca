# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Asks a kubelet's pod resources socket which CPUs and devices it gave to whom: gRPC with the standard library.

PRIVATE: this module util is for this collection only and may change without notice.

One call without parameters needs little of HTTP/2 (RFC 9113): headers that use no table, windows that are never full, and
a response of which only the data is read. Messages: k8s.io/kubelet/pkg/apis/podresources/v1 (stable since 1.28).
"""

from __future__ import annotations

import socket
import struct
import typing as t
from dataclasses import dataclass

LIST = "/v1.PodResourcesLister/List"
TIMEOUT = 5.0  # seconds
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WIDE = 2**31 - 1  # the largest window

Fields = t.Dict[int, t.List[t.Union[int, bytes]]]  # noqa: UP006  evaluated at run time


@dataclass(frozen=True)
class Device:
    """`numa` are the NUMA nodes that the device plugin names for it."""

    resource: str
    ids: tuple[str, ...]
    numa: frozenset[int]


@dataclass(frozen=True)
class Container:
    """`cpus` are exclusive ones: empty for a container of the shared pool."""

    namespace: str
    pod: str
    name: str
    cpus: frozenset[int]
    devices: tuple[Device, ...] = ()


def containers(path: str) -> list[Container]:
    """All containers of the node with what they were given. Raises OSError, ValueError."""
    found = []
    for pod in _fields(_call(path, LIST)).get(1, []):
        pod_fields = _fields(_bytes(pod))
        for one in pod_fields.get(3, []):
            fields = _fields(_bytes(one))
            devices = tuple(_device(_fields(_bytes(device))) for device in fields.get(2, []))
            cpus = frozenset(_numbers(fields.get(3, [])))
            found.append(Container(_text(pod_fields, 2), _text(pod_fields, 1), _text(fields, 1), cpus, devices))
    return found


def _device(fields: Fields) -> Device:
    ids = tuple(_bytes(one).decode() for one in fields.get(2, []))
    topology = _fields(_bytes(fields[3][0])) if fields.get(3) else {}
    # A field that is zero is not sent: a node without a number is node 0.
    nodes = (_fields(_bytes(node)).get(1, [0])[0] for node in topology.get(1, []))
    return Device(_text(fields, 1), ids, frozenset(int(node) for node in nodes if isinstance(node, int)))


def _call(path: str, method: str) -> bytes:
    """Sends an empty message and returns the answer's message."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        stream = connection.makefile("rb")
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WIDE))  # 4: window of each stream
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE - 65535))
            + _frame(HEADERS, END_HEADERS, 1, b"".join(_literal(*header) for header in headers.items()))
            + _frame(DATA, END_STREAM, 1, b"\0\0\0\0\0")
        )
        answer = b""
        while True:
            head = stream.read(9)
            if len(head) < 9:
                raise ValueError("the kubelet closed the connection without an answer")
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload = stream.read(length)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(_frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                connection.sendall(_frame(PING, ACK, 0, payload))
            elif kind == DATA:
                answer += payload
            elif kind in (RST_STREAM, GOAWAY):
                raise ValueError("the kubelet refused the call")
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                break
    if len(answer) < 5 or answer[0]:
        raise ValueError("the kubelet does not know this call, or answered it compressed")
    return answer[5 : 5 + struct.unpack(">I", answer[1:5])[0]]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header that is not indexed (RFC 7541, 6.2.2); both strings are shorter than 127 bytes."""
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _fields(message: bytes) -> Fields:
    """A protobuf message's fields by number: whole numbers, or bytes for what has a length."""
    found: Fields = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(message, at)
        elif key & 7 == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"a field of the kubelet's answer has the unknown type {key & 7}")
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("the kubelet's answer ends in the middle of a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _numbers(values: t.Iterable[int | bytes]) -> t.Iterator[int]:
    """Numbers of a repeated field, packed or not."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ValueError("a field of the kubelet's answer is a number where a message was expected")


def _text(fields: Fields, number: int) -> str:
    return _bytes(fields[number][0]).decode() if fields.get(number) else ""
