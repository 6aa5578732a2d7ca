# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the objects of a training say about it."""

from __future__ import annotations

import typing as t
from datetime import datetime

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import status

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"


def job(kind: str = "MPIJob", start: str = EARLY, **conditions: str) -> dict[str, t.Any]:
    listed = [
        {"type": name, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": LATE}
        for name, reason in conditions.items()
    ]
    return {
        "kind": kind,
        "metadata": {"name": "t", "creationTimestamp": EARLY},
        "status": {"conditions": listed, "startTime": start},
    }


def pod(name: str = "t-launcher-x", phase: str = "Running", created: str = EARLY, **more: t.Any) -> dict[str, t.Any]:
    part = "worker" if "worker" in name else "launcher" if "launcher" in name else "training"
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": created,
            "labels": {"training.kubeflow.org/job-role": part} if part != "training" else {},
        },
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, **more},
    }


def waiting(reason: str, message: str = "") -> dict[str, t.Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod("t-worker-0", "Pending", containerStatuses=[{"name": "worker", "image": "i", "state": state}])


def event(reason: str, message: str) -> dict[str, t.Any]:
    return {"reason": reason, "message": message, "involvedObject": {"uid": "t-worker-0", "name": "t-worker-0"}}


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (None, "absent"),
        (job(), "pending"),
        (job(Created="x"), "pending"),
        (job(Created="x", Running="x"), "running"),
        (job(Running="x", Succeeded="x"), "succeeded"),
        (job(Running="x", Failed="x"), "failed"),
        (job(Suspended="x"), "suspended"),
        (job("Job", Complete="x"), "succeeded"),
    ],
)
def test_phases(found: dict[str, t.Any] | None, phase: str) -> None:
    assert status.phase(found) == phase


@pytest.mark.parametrize(("its", "phase"), [("Pending", "pending"), ("Running", "running"), ("Succeeded", "running")])
def test_a_job_of_one_pod_runs_as_its_pod_does(its: str, phase: str) -> None:
    assert status.phase({"kind": "Job", "status": {"active": 1}}, [pod(phase=its)]) == phase


@pytest.mark.parametrize(
    ("pods", "events", "says"),
    [
        ([waiting("InvalidImageName")], [], "cannot start: container worker (i): InvalidImageName"),
        ([waiting("ErrImagePull", "i: not found")], [], "ErrImagePull: i: not found"),
        ([waiting("ImagePullBackOff", "Back-off")], [event("Failed", "i: not found")], "(i: not found)"),
        ([waiting("ImagePullBackOff", "Back-off")], [event("Failed", "connection refused")], None),
        ([waiting("ErrImagePull", "lookup registry.example: no such host")], [], None),
        ([waiting("CreateContainerConfigError", "failed to sync configmap cache: timed out")], [], None),
        ([waiting("CreateContainerConfigError", 'secret "x" not found')], [], 'CreateContainerConfigError: secret "x" not found'),
        (
            [waiting("ContainerCreating")],
            [event("FailedMount", "driver name efs.csi.aws.com not found in the list of registered CSI drivers")],
            None,
        ),
        ([waiting("ContainerCreating")], [], None),
        (
            [waiting("ContainerCreating")],
            [event("FailedMount", "hostPath type check failed: /data is not a directory")],
            "pod t-worker-0 on node n1 cannot start: hostPath type check failed: /data is not a directory",
        ),
        ([waiting("ContainerCreating")], [event("FailedMount", "failed to sync configmap cache: timed out")], None),
        ([pod()], [event("FailedMount", "hostPath type check failed")], None),
    ],
)
def test_what_will_never_start(pods: list[dict[str, t.Any]], events: list[dict[str, t.Any]], says: str | None) -> None:
    found = status.hopeless(pods, events)
    assert (found is None) if says is None else (found is not None and says in found)


def ended(code: int, reason: str = "Error") -> dict[str, t.Any]:
    return {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code, "reason": reason}}}]}


@pytest.mark.parametrize(
    ("found", "pods", "says"),
    [
        (job(Failed="DeadlineExceeded"), [], ["ran longer than its time_limit of 60 s"]),
        (
            job(Failed="Backoff"),
            [pod(phase="Failed", **ended(1))],
            ["launcher pod t-launcher-x on node n1 ended with exit code 1 (Error)"],
        ),
        (job(Failed="Backoff"), [pod("t-worker-0")], ["is gone: it was evicted or deleted"]),
        (
            {**job(Failed="Backoff"), "spec": {"runPolicy": {"ttlSecondsAfterFinished": 5}}},
            [],
            ["evicted or deleted while it ran, or removed 5 s after its end, as ttl_after_finished says"],
        ),
        (
            job(Failed="Backoff"),
            [pod(phase="Failed", **ended(137)), pod("t-worker-0"), pod("t-worker-1", created=LATE)],
            ["worker t-worker-1 was lost", "exit code 137"],
        ),
        (
            job(Failed="Evict"),
            [pod(), pod("t-worker-0", "Failed", reason="Evicted", message="low on memory")],
            ["worker pod t-worker-0 on node n1 was evicted (low on memory)"],
        ),
        (
            job(Failed="Backoff"),
            [pod(phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}])],
            ["launcher pod t-launcher-x on node n1 was evicted (EvictionByEvictionAPI"],
        ),
        (job("Job", Failed="Backoff"), [pod("t-abcde", "Failed", **ended(137, "OOMKilled"))], ["training pod", "OOMKilled"]),
    ],
)
def test_why_it_failed(found: dict[str, t.Any], pods: list[dict[str, t.Any]], says: list[str]) -> None:
    reason = status.failure(found, pods, [], 60)
    assert all(part in reason for part in says), reason


def placed(uid: str, when: str, name: str = "t-worker-1") -> dict[str, t.Any]:
    return {"reason": "Scheduled", "eventTime": when, "involvedObject": {"name": name, "uid": uid}}


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ([placed("a", EARLY), placed("b", LATE)], True),
        ([placed("a", EARLY), placed("a", LATE)], False),
        ([placed("a", "2020-01-01T00:00:00.000001Z"), placed("b", LATE)], False),  # of a run before under the same name
        ([placed("a", EARLY, "t-launcher-x"), placed("b", LATE, "t-launcher-x")], False),
        ([{**placed("a", EARLY), "eventTime": None, "firstTimestamp": EARLY}, placed("b", LATE)], True),
    ],
)
def test_a_lost_worker_whose_successor_was_cleaned_up(events: list[dict[str, t.Any]], lost: bool) -> None:
    """The clean-up policy takes the new worker as soon as the launcher has failed: only events tell of it."""
    reason = status.failure(job(Failed="Backoff"), [pod(phase="Failed", **ended(1)), pod("t-worker-0")], events, 60)
    assert ("worker t-worker-1 was lost" in reason) is lost


def test_what_keeps_it_from_running() -> None:
    assert "the MPI operator has not taken it up" in status.not_started(job(), [], [])
    assert "ContainerCreating" in status.not_started(job(), [waiting("ContainerCreating")], [])


START = datetime.fromisoformat(EARLY.replace("Z", "+00:00")).timestamp()
PLACED = {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": LATE}]}
UNPLACED = {**pod("t-worker-1", "Pending"), "spec": {}}


@pytest.mark.parametrize(
    ("found", "pods", "patient", "since"),
    [
        (job(start=""), [], False, START),  # not taken up yet
        (job(start=LATE, Created="x"), [], False, START + 90),  # was suspended for 90 s
        ({**job(start="", Suspended="x"), "spec": {"runPolicy": {"suspend": True}}}, [], False, None),
        ({**job(start=""), "spec": {"runPolicy": {"suspend": True}}}, [], False, None),  # its condition comes a moment later
        ({**job("Job", start=""), "spec": {"suspend": True}}, [], False, None),
        ({**job("Job", start=LATE), "spec": {"suspend": False}}, [], False, START + 90),
        (job(), [UNPLACED], False, START),
        (job(), [pod("t-worker-0", "Pending", **PLACED), UNPLACED], True, None),
        (job(), [pod("t-worker-0", "Pending", **PLACED), pod("t-worker-1", "Pending")], True, START + 90),
        (job(), [], True, START),
        (job("Job"), [pod("t-abcde", "Pending", LATE)], False, START + 90),  # begun again, its startTime is the old one
    ],
)
def test_since_when_it_could_have_started(
    found: dict[str, t.Any], pods: list[dict[str, t.Any]], patient: bool, since: float | None
) -> None:
    assert status.waiting_since(found, pods, patient) == since


def test_times_and_values() -> None:
    assert status.seconds(job(Failed="x")) == 90
    assert status.seconds(job()) is None
    log = "step 1 loss 2.5 images/sec 10\nstep 2 loss 1e-3 images/sec 12.5\nloss ...\n"
    assert status.values(log, {"loss": r"loss ([0-9.e-]+)", "speed": r"images/sec ([0-9.]+)"}) == {
        "loss": [2.5, 0.001],
        "speed": [10, 12.5],
    }
    assert status.values("acc\nacc 0.5\n", {"acc": r"acc( [0-9.]+)?"}) == {"acc": [0.5]}
    assert status.last_lines("a\n\nb\nc\n", 2) == ["b", "c"]
