# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drain on an API server that fails at the right moment. All else is in the integration target kubelet_config."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import drain
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError


class World:
    """One pod, which goes when it is evicted; `lists` and `evictions` fail first as given. A clock that goes on by sleeping."""

    def __init__(self, lists: t.Sequence[KubeError] = (), evictions: t.Sequence[KubeError] = ()) -> None:
        self.lists, self.evictions = list(lists), list(evictions)
        self.uid: str | None = "1"
        self.asked: list[str] = []
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def list(self, _path: str, **_query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        if self.lists:
            raise self.lists.pop(0)
        owner = {"kind": "ReplicaSet", "controller": True}
        if self.uid:
            yield {"metadata": {"namespace": "ns", "name": "one", "uid": self.uid, "ownerReferences": [owner]}, "spec": {}}

    def request(self, _method: str, _path: str, *, body: t.Any) -> None:
        uid = body["deleteOptions"]["preconditions"]["uid"]
        self.asked.append(uid)
        if self.evictions:
            error = self.evictions.pop(0)
            if error.status == 409:
                self.uid = f"{uid}'"
            raise error
        assert uid == self.uid
        self.uid = None

    def drained(self, monkeypatch: pytest.MonkeyPatch) -> drain.Outcome:
        monkeypatch.setattr(drain, "time", self)
        return drain.drain(t.cast(t.Any, self), "n1", drain.Options(timeout=60), self.sleep)


def refusal(status: int | None, cause: str = "") -> KubeError:
    details = {"details": {"causes": [{"reason": cause, "message": "why", "field": "metadata.namespace"}]}} if cause else {}
    return KubeError(f"refused with {status}", status=status, body=details)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_a_list_that_fails_for_a_moment_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    world = World(lists=[refusal(status)] * 5)
    assert world.drained(monkeypatch).evicted == ["ns/one"]
    assert 5 < world.now < 30


def test_a_list_that_fails_until_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lists=[refusal(503)] * 100)
    with pytest.raises(ApplyError, match="n1 could not be drained within 60 s: its pods cannot be listed: refused with 503"):
        world.drained(monkeypatch)
    assert 60 <= world.now < 61 and world.asked == []


def untrusted() -> KubeError:
    error = KubeError("no answer")
    error.__cause__ = OSError("certificate verify failed")
    return error


@pytest.mark.parametrize("error", [refusal(403), refusal(401), untrusted()])
def test_what_does_not_pass_is_told_at_once(monkeypatch: pytest.MonkeyPatch, error: KubeError) -> None:
    world = World(lists=[error])
    with pytest.raises(KubeError) as raised:
        world.drained(monkeypatch)
    assert raised.value is error and world.now == 0


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (refusal(429, "DisruptionBudget"), ["1", "1"]),
        (refusal(503), ["1", "1"]),
        (refusal(None), ["1", "1"]),
        (refusal(404), ["1", "1"]),
        (refusal(409), ["1", "1'"]),  # made anew under the same name
        (refusal(403, "NamespaceTerminating"), ["1", "1"]),
    ],
)
def test_evictions_that_may_be_asked_for_again(monkeypatch: pytest.MonkeyPatch, error: KubeError, asked: list[str]) -> None:
    world = World(evictions=[error])
    assert world.drained(monkeypatch).evicted == ["ns/one"]
    assert world.asked == asked


@pytest.mark.parametrize("error", [refusal(403), refusal(403, "AnotherCause"), refusal(422)])
def test_evictions_that_are_refused_for_good(monkeypatch: pytest.MonkeyPatch, error: KubeError) -> None:
    world = World(evictions=[error])
    with pytest.raises(KubeError):
        world.drained(monkeypatch)
    assert world.asked == ["1"]
