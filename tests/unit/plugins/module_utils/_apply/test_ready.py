# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness, kind by kind, as tables of what controllers write."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.ready import (
    REVISION,
    hopeless,
    lacking_on,
    pod_trouble,
    waiting_for,
    wanted_condition,
    wanted_field,
)

Object = dict[str, t.Any]


def obj(kind: str, status: Object | None = None, generation: int = 2, **spec: t.Any) -> Object:
    return {"kind": kind, "metadata": {"name": "x", "generation": generation}, "spec": spec, "status": status or {}}


def conditions(**statuses: str) -> Object:
    return {
        "conditions": [
            {"type": name, "status": status, "reason": "Why", "message": "because"} for name, status in statuses.items()
        ]
    }


ROLLED_OUT = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
ON_ALL_NODES = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (obj("Deployment", ROLLED_OUT, replicas=3), None),
        (obj("Deployment", {"observedGeneration": 2}, replicas=0), None),
        (obj("Deployment", {**ROLLED_OUT, "observedGeneration": 1}, replicas=3), "its controller has not seen the change yet"),
        (obj("Deployment"), "its controller has not seen the change yet"),
        (obj("Deployment", {**ROLLED_OUT, "updatedReplicas": 1}, replicas=3), "1 of 3 pods are updated"),
        (obj("Deployment", {**ROLLED_OUT, "replicas": 4}, replicas=3), "1 old replicas have not ended yet"),
        (obj("Deployment", {**ROLLED_OUT, "availableReplicas": 2}, replicas=3), "2 of 3 pods are available"),
        (obj("StatefulSet", ROLLED_OUT, replicas=3), None),
        (obj("StatefulSet", {**ROLLED_OUT, "updatedReplicas": 0}, replicas=3), "0 of 3 pods are updated"),
        (obj("StatefulSet", {"observedGeneration": 2}, replicas=3, updateStrategy={"type": "OnDelete"}), None),
        (obj("DaemonSet", ON_ALL_NODES), None),
        (obj("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 0}), None),
        (obj("DaemonSet", {**ON_ALL_NODES, "updatedNumberScheduled": 2}), "2 of 3 pods are updated"),
        (obj("DaemonSet", {**ON_ALL_NODES, "numberAvailable": 0}), "0 of 3 pods are available"),
        (obj("DaemonSet", {**ON_ALL_NODES, "numberAvailable": 0}, updateStrategy={"type": "OnDelete"}), None),
        (obj("Job", conditions(Complete="True")), None),
        (obj("Job"), "it has no condition Complete yet"),
        (obj("Job", conditions(Failed="True")), "Failed is True (Why: because)"),
        (obj("MPIJob", conditions(Running="False", Succeeded="True")), None),
        (obj("MPIJob", conditions(Running="True")), "it has no condition Succeeded yet"),
        (obj("MPIJob", conditions(Failed="True")), "Failed is True (Why: because)"),
        (obj("Workflow", {"phase": "Succeeded"}), None),
        (obj("Workflow"), "it has no status.phase yet"),
        (obj("Workflow", {"phase": "Error", "message": "no pod"}), "its phase is Error (no pod)"),
        (obj("CustomResourceDefinition", conditions(NamesAccepted="True", Established="True")), None),
        (obj("CustomResourceDefinition", conditions(Established="False")), "Established is False (Why: because)"),
        (obj("CustomResourceDefinition", conditions(NamesAccepted="False")), "NamesAccepted is False (Why: because)"),
        (obj("APIService", conditions(Available="False")), "Available is False (Why: because)"),
        (obj("Namespace", {"phase": "Active"}), None),
        (obj("Namespace", {"phase": "Terminating"}), "its phase is Terminating"),
        (obj("Pod", {"phase": "Succeeded"}), None),
        (obj("Pod", {"phase": "Running", **conditions(Ready="True")}), None),
        (obj("Pod", {"phase": "Running", **conditions(Ready="False")}), "Ready is False (Why: because)"),
        (obj("Node", conditions(Ready="Unknown")), "Ready is Unknown (Why: because)"),
        (obj("ConfigMap"), None),
    ],
)
def test_waiting_for(what: Object, expected: str | None) -> None:
    assert waiting_for(what) == expected


def test_hopeless() -> None:
    assert hopeless(obj("Job", conditions(Failed="True")))
    assert hopeless(obj("CustomResourceDefinition", conditions(NamesAccepted="False")))
    assert hopeless(obj("MPIJob", conditions(Failed="True")))
    assert hopeless(obj("Workflow", {"phase": "Failed"}))
    assert not hopeless(obj("Job", conditions(Failed="False")))
    assert not hopeless(obj("Workflow", {"phase": "Running"}))
    assert not hopeless(obj("CustomResourceDefinition", conditions(NamesAccepted="True", Established="False")))
    assert not hopeless(obj("Deployment", conditions(Failed="True")))


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("Ready", None),
        ("ready=true", None),
        ("Ready=False", "Ready is True (Why: because)"),
        ("Other", "it has no condition Other yet"),
        ("Busy=False", None),
    ],
)
def test_wanted_condition(wish: str, expected: str | None) -> None:
    assert wanted_condition(obj("X", conditions(Ready="True", Busy="False")), wish) == expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("status.phase", "Bound", None),
        (".status.phase", "Lost", ".status.phase is Bound"),
        ("{.status.phase}", "Bound", None),
        ("status.list.1.x", "2", None),
        ("status.done", "true", None),
        ("status.nothing", "x", "it has no status.nothing yet"),
        ("status.list.9", "x", "it has no status.list.9 yet"),
        ("status.phase.deeper", "x", "it has no status.phase.deeper yet"),
    ],
)
def test_wanted_field(path: str, value: str, expected: str | None) -> None:
    status = {"phase": "Bound", "list": [{"x": 1}, {"x": 2}], "done": True}
    assert wanted_field(obj("PersistentVolumeClaim", status), path, value) == expected


def pod(containers: list[Object], phase: str = "Pending", init: t.Sequence[Object] = (), **statuses: str) -> Object:
    return obj(
        "Pod", {"phase": phase, "containerStatuses": containers, "initContainerStatuses": list(init), **conditions(**statuses)}
    )


WAITING = {
    "name": "main",
    "image": "i:1",
    "ready": False,
    "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}},
}
CREATING = {"name": "main", "image": "i:1", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
CRASHED = {"name": "init", "image": "i:2", "restartCount": 2, "state": {"terminated": {"reason": "Error", "exitCode": 1}}}
DONE = {"name": "init", "image": "i:2", "ready": True, "state": {"terminated": {"reason": "Completed"}}}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (pod([WAITING]), "container main (i:1): ErrImagePull: no such host"),
        (pod([CREATING], init=[CRASHED]), "container init (i:2): Error"),
        (pod([CREATING], init=[DONE]), "Pending, not ready: main"),
        (pod([], PodScheduled="False"), "not scheduled: because"),
        (pod([]), "Pending, not ready: no container has started"),
        (pod([{"name": "main", "ready": False, "state": {"running": {}}}], "Running", Ready="False"), "Running, not ready: main"),
        (pod([{"name": "main", "ready": True}], "Running", Ready="False"), "Running, not ready: its node, or a readiness gate"),
        (pod([], "Running", Ready="True"), None),
        (pod([], "Succeeded", Ready="False"), None),
        (obj("Pod"), "unknown phase, not ready: no container has started"),
    ],
)
def test_pod_trouble(what: Object, expected: str | None) -> None:
    assert pod_trouble(what) == expected


def owned(kind: str, owner: str = "d", node: str = "", template: str = "new", **more: t.Any) -> Object:
    metadata = {"name": "x", "labels": {REVISION: template}, "ownerReferences": [{"uid": owner}]}
    return {"kind": kind, "metadata": metadata, "spec": {"nodeName": node}, **more}


READY = {"status": conditions(Ready="True")}
FINE = owned("Pod", node="a", **READY)
ENDING = {**FINE, "metadata": {**FINE["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
OLD = owned("Pod", node="a", template="old", **READY)
REVISIONS = [owned("ControllerRevision", template="new", revision=9), owned("ControllerRevision", template="old", revision=2)]


@pytest.mark.parametrize(
    ("desired", "pods", "lack"),
    [
        (1, [FINE], None),
        (2, [FINE, owned("Pod", node="b")], None),  # b is nobody's business
        (2, [owned("Pod", node="b", **READY)], "there is none on a"),
        (1, [owned("Pod", node="b", **READY)], None),  # as many as wanted: it is not meant for a
        (1, [owned("Pod", owner="other", node="a", **READY)], "there is none on a"),
        (1, [owned("Pod", **READY)], "there is none on a"),  # not scheduled yet
        (1, [owned("Pod", node="a")], "it has no condition Ready yet"),
        (1, [OLD], "it is of an older template, and not replaced yet"),
        (1, [OLD, FINE], None),  # a surge
        (1, [ENDING], "it is being deleted"),
        (1, [ENDING, FINE], None),
    ],
)
def test_a_daemon_set_on_one_node(desired: int, pods: list[Object], lack: str | None) -> None:
    daemon_set = {"metadata": {"uid": "d"}, "status": {"desiredNumberScheduled": desired}}
    assert [why for _node, why, _pod in lacking_on(["a"], daemon_set, [*REVISIONS, *pods])] == ([lack] if lack else [])


def test_a_daemon_set_whose_revisions_nobody_has() -> None:
    assert not list(lacking_on(["a"], {"metadata": {"uid": "d"}, "status": {"desiredNumberScheduled": 1}}, [OLD]))
