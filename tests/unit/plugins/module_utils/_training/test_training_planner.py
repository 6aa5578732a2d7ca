# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planners of training_job: what is created, left alone, removed and refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan, PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import args, render
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.resource import Observed, plan_absent, plan_present

NODES = tuple(
    {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "9"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    for name in ("a", "b")
)


def asked(**given: t.Any) -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
    options = {"name": "train", "image": "i", "command": ["c"], **given}
    wish = render.wished(ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options).validated_parameters)
    return wish, render.objects(wish)


def test_creates_what_is_not_there() -> None:
    wish, objects = asked()
    plan = plan_present(wish, objects, Observed(cluster=NODES))
    assert [str(step) for step in plan.steps] == ["create MPIJob default/train"]
    assert len(plan.differences) == 3
    assert set(plan.facts["kustomization"]) == {"kustomization.yaml", "mlops.env", "job.yaml"}


def test_only_looks_when_told() -> None:
    wish, objects = asked(create=False)
    assert not plan_present(wish, objects, Observed()).changed
    with pytest.raises(PlanError, match="rerun begins a job anew, which create: false forbids"):
        asked(create=False, rerun=True)


def test_leaves_the_same_alone_and_refuses_another() -> None:
    wish, objects = asked()
    assert not plan_present(wish, objects, Observed((objects[-1],))).changed
    for other, says in (({"replicas": 1}, "it differs in mpiReplicaSpecs"), ({"environment": {"A": 1}}, "differs in")):
        with pytest.raises(PlanError, match=says):
            plan_present(*asked(**other), Observed((objects[-1],)))
    with pytest.raises(PlanError, match="its environment or user differs"):
        plan_present(*asked(fs_group=None, ssh_port=2222, environment={}, gid=1000, uid=1000), Observed((_foreign(objects[-1]),)))
    with pytest.raises(PlanError, match="a job of another kind"):
        plan_present(*asked(mode="single_node"), Observed((objects[-1],)))


def _foreign(job: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**job, "metadata": {**job["metadata"], "annotations": {render.INPUT: "other"}}}


def test_begins_anew_when_told() -> None:
    wish, objects = asked(rerun=True, resources={"cpu": 2}, launcher_resources={})
    running = {**objects[-1], "metadata": {**objects[-1]["metadata"], "uid": "u"}}
    container = {"resources": {"requests": {"cpu": "2"}}}
    own = [
        {
            "kind": "Pod",
            "metadata": {"labels": {render.LABEL: "train"}, "namespace": "default"},
            "spec": {"nodeName": name, "containers": [container]},
        }
        for name in ("a", "b")
    ]
    plan = plan_present(wish, objects, Observed((running,), tuple(objects[:2]), cluster=(*NODES, *own)))
    assert [step.action for step in plan.steps] == ["remove", "create"]  # its own pods make room
    assert {ref.kind for ref in plan.steps[0].args["refs"]} == {"MPIJob", "ConfigMap"}


def test_refuses_what_cannot_work() -> None:
    wish, objects = asked()
    with pytest.raises(PlanError, match="install the MPI operator first"):
        plan_present(wish, objects, Observed(unknown=frozenset({(render.MPI_API, "MPIJob")})))
    with pytest.raises(PlanError, match='refuses the job: namespaces "x" not found'):
        plan_present(wish, objects, Observed(cluster=NODES, refusal='namespaces "x" not found'))
    with pytest.raises(PlanError, match=r"stay Pending for ever.*Set allow_pending"):
        plan_present(*asked(replicas=3), Observed(cluster=NODES))
    assert plan_present(*asked(replicas=3, allow_pending=True), Observed(cluster=NODES)).warnings
    assert plan_present(*asked(replicas=3, suspend=True), Observed(cluster=NODES)).changed


def test_what_is_somebody_elses_is_neither_removed_nor_overwritten() -> None:
    _wish, (env, user, job) = asked(mode="single_node")
    bare = {key: value for key, value in job["metadata"].items() if key != "labels"}
    other = {**job, "metadata": {**bare, "labels": {render.LABEL: "of-another"}}}
    for theirs in (
        Observed(({**job, "metadata": bare},)),
        Observed((other,), (env,)),
        Observed(others=({**env, "metadata": {**env["metadata"], "labels": {}}}, user)),
    ):
        name = next(obj["kind"] for obj in (*theirs.jobs, *theirs.others))
        for rerun in (False, True):
            with pytest.raises(PlanError, match=rf"{name} train.* is not of the training default/train: it lacks .*another name"):
                plan_present(*asked(mode="single_node", rerun=rerun), theirs)
        with pytest.raises(PlanError, match="Nothing was changed"):
            plan_absent(_wish, theirs)


def test_an_edited_kustomization_is_another_input() -> None:
    wish, (env, user, job) = asked(environment={"STEPS": 5})
    edited = {**env, "data": {"STEPS": "6"}}
    assert not plan_present(wish, [env, user, job], Observed((job,), (env, user))).changed
    with pytest.raises(PlanError, match=r"with other input \(ConfigMap train-env was edited\): .*another name, or set rerun"):
        plan_present(wish, [env, user, job], Observed((job,), (edited, user)))
    looks, objects = asked(environment={"STEPS": 5}, create=False)
    assert not plan_present(looks, objects, Observed((job,), (edited, user))).changed  # a job that runs has what it began with
    empty, (none, *more) = asked()
    live = {key: value for key, value in none.items() if key != "data"}  # as the API server has it
    assert not plan_present(empty, [none, *more], Observed((more[-1],), (live, user))).changed


def test_slots_are_compared_with_nodes_where_no_cpus_are_asked_for() -> None:
    with pytest.raises(PlanError, match="slots_per_worker is 3, but the largest node for workers, a, has 2 CPUs"):
        plan_present(*asked(slots_per_worker=3), Observed(cluster=NODES))
    assert plan_present(*asked(slots_per_worker=2), Observed(cluster=NODES)).changed
    assert plan_present(*asked(slots_per_worker=3, allow_pending=True), Observed(cluster=NODES)).warnings
    assert plan_present(*asked(slots_per_worker=3, mode="single_node"), Observed(cluster=NODES)).changed


def test_quotas_and_affinity_are_looked_at() -> None:
    hard = {"hard": {"requests.cpu": "1"}}
    quota = {"kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "default"}, "spec": hard, "status": hard}
    with pytest.raises(PlanError, match=r"the ResourceQuota team .* leaves requests.cpu 1 of 1, .* ask 1100m .*allow_pending"):
        plan_present(*asked(resources={"cpu": "500m"}), Observed(cluster=(*NODES, quota)))
    elsewhere = {**quota, "metadata": {"name": "team", "namespace": "other"}}
    assert plan_present(*asked(resources={"cpu": "500m"}), Observed(cluster=(*NODES, elsewhere))).changed
    term = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    with pytest.raises(PlanError, match=r"a, b: meets no term of the required nodeAffinity \(gpu Exists\)"):
        plan_present(*asked(pod_spec={"affinity": {"nodeAffinity": required}}), Observed(cluster=NODES))


def test_claims_are_there_and_for_all_nodes() -> None:
    def claim(mode: str, namespace: str = "default") -> dict[str, t.Any]:
        metadata = {"name": "work", "namespace": namespace}
        return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {"accessModes": [mode]}}

    def plan(*claims: dict[str, t.Any], **given: t.Any) -> Plan:
        volume = {"path": "/work", "source": {"persistentVolumeClaim": {"claimName": "work"}}}
        return plan_present(*asked(volumes=[volume], **given), Observed(cluster=(*NODES, *claims)))

    for claims in ((), (claim("ReadWriteMany", "other"),)):
        with pytest.raises(PlanError, match=r"volumes\[0\]: the PersistentVolumeClaim default/work is not there"):
            plan(*claims)
    with pytest.raises(PlanError, match=r"is for one node \(ReadWriteOnce\), the workers are on 2"):
        plan(claim("ReadWriteOnce"))
    assert plan(claim("ReadWriteMany")).changed
    assert plan(claim("ReadWriteOnce"), mode="single_node").changed
    assert plan(allow_pending=True).warnings


def test_single_node_needs_no_operator() -> None:
    wish, objects = asked(mode="single_node")
    assert plan_present(wish, objects, Observed(unknown=frozenset({(render.MPI_API, "MPIJob")}), cluster=NODES)).changed


def test_in_check_mode_a_bare_host_is_taken_for_a_coming_cluster() -> None:
    wish, objects = asked()
    plan = plan_present(wish, objects, Observed(missing="kubectl is not installed"))
    assert plan.changed
    assert plan.warnings


def test_removes_all_of_it_once() -> None:
    wish, objects = asked()
    plan = plan_absent(wish, Observed((objects[-1],), tuple(objects[:2])))
    assert len(plan.steps[0].args["refs"]) == 3
    assert not plan_absent(wish, Observed()).changed
