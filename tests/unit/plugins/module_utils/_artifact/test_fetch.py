# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often and after which pauses a request is repeated. Everything else about fetching: integration target `artifact`."""

from __future__ import annotations

import sys
import time
import typing as t
from email.utils import formatdate
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.fetch import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Fetcher,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.planner import Download
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError

sys.path.insert(0, str(Path(__file__).resolve().parents[5] / "tests/integration/targets/artifact"))
from fault_server import Fault, FaultServer

PARAMS = {"timeout": 30, "headers": None, "username": None, "password": None, "validate_certs": True, "ca_path": None}


@pytest.fixture
def server() -> t.Iterator[FaultServer]:
    with FaultServer() as running:
        running.files["/x"] = b"content"
        yield running


def pauses_of(server: FaultServer, faults: list[Fault], retries: int) -> tuple[list[float], str]:
    """The pauses taken, and the text or the error."""
    pauses: list[float] = []
    server.faults["/x"] = faults
    try:
        result = Fetcher({**PARAMS, "retries": retries}, sleep=pauses.append).text(f"{server.url}/x")
    except ApplyError as error:
        result = error.message
    return pauses, result


def test_pauses_grow_and_are_random(server: FaultServer) -> None:
    runs = [pauses_of(server, [Fault(status=502)] * 4, 4) for _run in range(5)]
    for pauses, result in runs:
        assert result == "content"
        assert len(pauses) == 4
        assert all(0 <= pause <= FIRST_PAUSE_S * 2 ** (number + 1) for number, pause in enumerate(pauses))
    assert len({tuple(pauses) for pauses, _result in runs}) == len(runs)


def test_no_retries(server: FaultServer) -> None:
    pauses, result = pauses_of(server, [Fault(status=500)], 0)
    assert pauses == []
    assert result == f"cannot fetch {server.url}/x: the server answered 500 Internal Server Error"


def test_gives_up(server: FaultServer) -> None:
    pauses, result = pauses_of(server, [Fault(status=500)] * 3, 2)
    assert len(pauses) == 2
    assert "(gave up after 3 attempts in " in result


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_will_not_pass_is_not_repeated(server: FaultServer, status: int) -> None:
    pauses, result = pauses_of(server, [Fault(status=status)], 5)
    assert pauses == []
    assert f"the server answered {status} " in result


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("100000", LONGEST_PAUSE_S, LONGEST_PAUSE_S), ("date", 15, 20), ("past", 0, 0), ("soon", 0, FIRST_PAUSE_S * 2)],
)
def test_the_server_says_when(server: FaultServer, value: str, low: float, high: float) -> None:
    dates = {"date": formatdate(time.time() + 20, usegmt=True), "past": formatdate(0, usegmt=True)}
    pauses, result = pauses_of(server, [Fault(status=503, headers={"Retry-After": dates.get(value, value)})], 1)
    assert result == "content"
    assert low <= pauses[0] <= high


def test_size_asks_for_one_byte(server: FaultServer) -> None:
    fetcher = Fetcher({**PARAMS, "retries": 0})
    assert fetcher.size(f"{server.url}/x") == len(b"content")
    assert server.requests[0].range == "bytes=0-0"
    server.faults["/x"] = [Fault(ignore_range=True)]
    assert fetcher.size(f"{server.url}/x") == len(b"content")


def test_a_stopped_download_keeps_its_part(server: FaultServer, tmp_path: Path) -> None:
    fetcher = Fetcher({**PARAMS, "retries": 0})
    fetcher.stop()
    with pytest.raises(ApplyError, match="stopped because another one failed"):
        fetcher.download(Download(f"{server.url}/x", "0" * 64, str(tmp_path / "part")))
    assert (tmp_path / "part").read_bytes() == b"content"
