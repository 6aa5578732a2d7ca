# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What training_job says to what it sees in a cluster: kubectl's answers are given."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.kubectl import Kubectl, KubectlError
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import args, resource

Object = dict[str, t.Any]


def ago(seconds: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster(Kubectl):
    """A cluster with these objects, and no events or logs."""

    def __init__(self, seen: tuple[Object, ...]) -> None:
        self.seen = seen

    def objects(self, *arguments: str, stdin: str = "", server: bool = True) -> list[Object]:
        return [] if "events" in arguments else list(self.seen)

    def run(self, *arguments: str, stdin: str = "", server: bool = True) -> str:
        return ""


def training(*seen: Object, **given: t.Any) -> resource.Training:
    options = {"name": "t", "image": "i", "command": ["c"], **given}
    made = resource.Training(ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options).validated_parameters, False)
    made.kubectl = Cluster(seen)
    return made


def job(created: str, **status: t.Any) -> Object:
    return {
        "kind": "MPIJob",
        "metadata": {"name": "t", "namespace": "default", "creationTimestamp": created},
        "spec": {"runPolicy": {}},
        "status": {"conditions": [{"type": "Created", "status": "True"}], **status},
    }


def worker(**spec: t.Any) -> Object:
    metadata = {"name": "t-worker-0", "labels": {"training.kubeflow.org/job-role": "worker"}, "creationTimestamp": ago(400)}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def test_a_job_that_waited_in_a_queue_has_its_time_to_start() -> None:
    assert training(job(ago(9000), startTime=ago(10))).follow()["phase"] == "pending"


def test_a_job_that_may_wait_for_a_node_does() -> None:
    seen = (job(ago(400), startTime=ago(400)), worker())
    assert training(*seen, allow_pending=True).follow()["phase"] == "pending"
    with pytest.raises(resource.TrainingFailed, match="has not begun within 300 s"):
        training(*seen).follow()
    placed = worker(nodeName="n1")
    with pytest.raises(resource.TrainingFailed, match="has not begun within 300 s"):
        training(seen[0], placed, allow_pending=True).follow()


def test_a_job_that_is_gone_may_have_ended() -> None:
    with pytest.raises(resource.TrainingFailed, match="is gone: somebody deleted it"):
        training().follow()
    with pytest.raises(resource.TrainingFailed, match=r"it ended, and its ttl_after_finished of 5 s .*or somebody deleted it"):
        training(ttl_after_finished=5).follow()


def test_one_module_run_looks_on_while_pods_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    begun = job(ago(9), startTime=ago(8))
    ended = job(ago(9), conditions=[{"type": "Succeeded", "status": "True"}])
    followed = training(begun, wait=9)
    looks = iter([(begun, worker(nodeName="n1")), (begun,), (ended,)])

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        followed.kubectl = Cluster(next(looks))

    monkeypatch.setattr(resource.time, "sleep", pause)
    assert followed.follow(begun=True)["phase"] == "succeeded"
    assert len(pauses) == 3


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(resource.time, "sleep", slept.append)
    return slept


class Stumbling(Cluster):
    """Its first looks fail in this way."""

    def __init__(self, seen: tuple[Object, ...], raw: str, times: int) -> None:
        super().__init__(seen)
        self.raw, self.left = raw, times

    def objects(self, *arguments: str, stdin: str = "", server: bool = True) -> list[Object]:
        self.left -= 1
        if self.left >= 0:
            raise KubectlError(self.raw, self.raw)
        return super().objects(*arguments)


ENDED = job(ago(9), conditions=[{"type": "Succeeded", "status": "True"}])


def test_a_look_that_fails_in_passing_is_repeated(pauses: list[float]) -> None:
    followed = training(wait=9)
    followed.kubectl = Stumbling((ENDED,), "dial tcp 10.0.0.1:6443: connect: connection refused", 2)
    assert followed.follow()["phase"] == "succeeded"
    assert len(pauses) == 2
    for raw, wait in (("connection refused", 0), ("Forbidden", 9)):  # no time left; nothing that passes
        followed = training(wait=wait)
        followed.kubectl = Stumbling((ENDED,), raw, 1)
        with pytest.raises(KubectlError, match=raw):
            followed.follow()


def test_what_was_created_is_told_when_the_look_after_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"changed": True, "actions": ["create MPIJob default/t"], "diff": []}
    monkeypatch.setattr(resource, "run", lambda *_: dict(made))
    for raw, passing in (("connection refused", True), ("Forbidden", False)):
        monkeypatch.setattr(resource, "Kubectl", lambda *_, raw=raw: Stumbling((), raw, 1))
        options = {"name": "t", "image": "i", "command": ["c"]}
        params = ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options).validated_parameters
        with pytest.raises(GpufleetError, match=raw) as error:
            resource.entry(params, False)
        assert error.value.facts == {**made, "passing": passing}


def test_why_it_failed_is_told_although_it_cannot_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = job(ago(9), conditions=[{"type": "Failed", "status": "True", "reason": "Backoff", "message": "limit"}])
    followed = training(failed)

    def remove(_refs: t.Any) -> None:
        raise KubectlError("timed out waiting for the condition", "")

    monkeypatch.setattr(followed, "remove", remove)
    with pytest.raises(resource.TrainingFailed, match=r"evicted or deleted.*could not be removed: timed out waiting") as error:
        followed.follow()
    assert error.value.facts["phase"] == "failed"


def test_a_job_that_somebody_else_suspended_is_waited_for(pauses: list[float]) -> None:
    suspended = job(ago(9), conditions=[{"type": "Suspended", "status": "True"}])
    report = training(suspended).follow()
    assert (report["phase"], report["finished"]) == ("suspended", False)
    assert training(suspended, suspend=True).follow()["finished"]
    followed = training(suspended, wait=9)
    pauses.clear()

    class Resumed(Cluster):
        def objects(self, *arguments: str, stdin: str = "", server: bool = True) -> list[Object]:
            return [ENDED] if len(pauses) > 1 else [suspended]

    followed.kubectl = Resumed(())
    assert followed.follow()["phase"] == "succeeded"
