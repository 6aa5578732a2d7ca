# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What training_job says to what it sees in a cluster: kubectl's answers are given."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.kubectl import Kubectl
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
