# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock when clocks differ and connections break: what the API server of the integration target kubelet_config cannot play."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import lease
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError


class World:
    """A clock that goes on when somebody sleeps, and an API server with one Lease."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.spec: dict[str, t.Any] | None = None
        self.version = 0
        self.calls: list[str] = []
        self.down = False
        self.renews = False  # whether the other holder lives

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.version += self.renews

    def request(self, method: str, path: str, *, body: t.Any = None) -> t.Any:
        self.calls.append(method)
        if self.down:
            raise KubeError(f"no answer to {method} {path}")
        if method in ("GET", "PUT") and self.spec is None:
            raise KubeError("none", status=404)
        if method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeError("changed", status=409)
        if method in ("POST", "PUT"):
            self.spec, self.version = body["spec"], self.version + 1
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec}

    def lock(self, holder: str = "n1") -> lease._Lock:
        return lease._Lock(t.cast(t.Any, self), "ns", "lock", holder, 30)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(lease, "time", world)
    return world


LONG_AGO = {"holderIdentity": "n2", "leaseDurationSeconds": 30, "renewTime": "2000-01-01T00:00:00.000000Z"}


def test_a_holder_whose_clock_is_behind_keeps_its_lock_as_long_as_it_renews_it(world: World) -> None:
    world.spec, world.renews = LONG_AGO, True
    with pytest.raises(ApplyError, match="n2 has held the lock"):
        world.lock().acquire(world.now + 300, 300)
    assert world.spec == LONG_AGO


@pytest.mark.parametrize("renewed", [LONG_AGO["renewTime"], "2999-01-01T00:00:00.000000Z", None, "nonsense"])
def test_a_dead_holders_lock_is_taken_after_its_time_whatever_it_says(world: World, renewed: t.Any) -> None:
    world.spec = {**LONG_AGO, "renewTime": renewed}
    world.lock().acquire(world.now + 300, 300)
    assert world.spec["holderIdentity"] == "n1" and 1030 < world.now < 1033


def held(world: World) -> lease._Lock:
    lock = world.lock()
    lock.acquire(world.now, 0)
    world.calls.clear()
    return lock


def test_a_lock_that_was_renewed_in_time_is_not_asked_for(world: World) -> None:
    lock = held(world)
    world.now += 29
    world.down = True
    lock.check()
    assert world.calls == []


def test_after_a_long_break_a_lock_that_nobody_took_is_renewed(world: World) -> None:
    lock = held(world)
    world.now += 31
    lock.check()
    lock.check()
    assert world.calls == ["GET", "PUT"]


@pytest.mark.parametrize("spec", [LONG_AGO, None])
def test_after_a_long_break_another_may_have_it_or_have_had_it(world: World, spec: dict[str, t.Any] | None) -> None:
    lock = held(world)
    world.now += 31
    world.spec = spec
    for _again in range(2):
        with pytest.raises(ApplyError, match=r"n1 has lost the lock [(]Lease ns/lock[)]"):
            lock.check()
    assert world.calls == ["GET"]


def test_who_cannot_look_does_not_go_on(world: World) -> None:
    lock = held(world)
    world.now += 31
    world.down = True
    with pytest.raises(ApplyError, match=r"n1 cannot tell whether it still has the lock .* for more than 30 s: no answer to GET"):
        lock.check()
    world.down = False
    lock.check()
