# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mpijob_v2beta1: what moves, what is told, and that nothing is lost in silence."""

from __future__ import annotations

import copy

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.mpijob_v2beta1 import RUN_POLICY, mpijob_v2beta1
from hypothesis import given
from hypothesis import strategies as st


def job(version="v1alpha2", name="train", launcher=None, worker=None, replica=None, **spec):
    def side(kind, container):
        return {
            "replicas": 1 if kind == "Launcher" else 2,
            "template": {"spec": {"containers": [{"name": kind.lower(), "image": "i", **(container or {})}]}},
        }

    replicas = {"Launcher": side("Launcher", launcher), "Worker": {**side("Worker", worker), **(replica or {})}}
    return {
        "apiVersion": f"kubeflow.org/{version}",
        "kind": "MPIJob",
        "metadata": {"name": name},
        "spec": {"mpiReplicaSpecs": replicas, **spec},
    }


def converted(*args, **kwargs):
    result = mpijob_v2beta1(job(*args, **kwargs))
    assert result["problems"] == []
    assert result["manifest"]["apiVersion"] == "kubeflow.org/v2beta1"
    return result["manifest"]["spec"]


@pytest.mark.parametrize("version", ["v1alpha2", "v1"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        ({"slotsPerWorker": 8}, {"slotsPerWorker": 8}),
        ({"cleanPodPolicy": "Running"}, {"runPolicy": {"cleanPodPolicy": "Running"}}),
        ({"cleanPodPolicy": ""}, {}),
        ({"backoffLimit": 0, "activeDeadlineSeconds": 60}, {"runPolicy": {"backoffLimit": 0, "activeDeadlineSeconds": 60}}),
        # runPolicy takes precedence, as it did in the old operators
        (
            {"backoffLimit": 6, "runPolicy": {"backoffLimit": 2, "suspend": True}},
            {"runPolicy": {"backoffLimit": 2, "suspend": True}},
        ),
        ({"mpiDistribution": "open_mpi"}, {"mpiImplementation": "OpenMPI"}),
        ({"mpiDistribution": "IntelMPI"}, {"mpiImplementation": "Intel"}),
        ({"mpiDistribution": "mpich"}, {"mpiImplementation": "MPICH"}),
        ({"mainContainer": "launcher"}, {}),
    ],
)
def test_fields_that_move(version, old, new):
    if old.get("mainContainer"):
        old = {**old, "mpiReplicaSpecs": {"Launcher": job()["spec"]["mpiReplicaSpecs"]["Launcher"]}}
    spec = converted(version, **old)
    assert spec.pop("launcherCreationPolicy") == "WaitForWorkersReady"  # as the old operators did
    assert {key: value for key, value in spec.items() if key != "mpiReplicaSpecs"} == new


def test_the_main_container_becomes_the_first():
    old = job(mainContainer="main")
    for replica in old["spec"]["mpiReplicaSpecs"].values():
        replica["template"]["spec"]["containers"] = [{"name": "log"}, {"name": "main"}]
    result = mpijob_v2beta1(old)
    assert result["problems"] == []
    for replica in result["manifest"]["spec"]["mpiReplicaSpecs"].values():
        assert [container["name"] for container in replica["template"]["spec"]["containers"]] == ["main", "log"]


@pytest.mark.parametrize(
    "worker",
    [{"command": ["sleep"], "args": ["365d"]}, {"command": ["/bin/sleep", "infinity"]}, {"command": ["/usr/sbin/sshd", "-De"]}],
)
def test_a_worker_runs_sshd(worker):
    container = converted(worker=worker)["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert "sshd" in str(container.get("command", "sshd, the operator's own"))


def test_a_launcher_that_always_restarts_did_so_on_failure_before_too():
    old = job()
    old["spec"]["mpiReplicaSpecs"]["Launcher"]["restartPolicy"] = "Always"
    result = mpijob_v2beta1(old)
    assert result["problems"] == []
    assert result["manifest"]["spec"]["mpiReplicaSpecs"]["Launcher"]["restartPolicy"] == "OnFailure"


def test_what_only_a_server_writes_is_left_out():
    old = job()
    old["status"] = {"conditions": []}
    old["metadata"] |= {
        "uid": "1",
        "labels": {"a": "b"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "c": "d"},
    }
    result = mpijob_v2beta1(old)
    assert result["manifest"]["metadata"] == {"name": "train", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    assert "status" not in result["manifest"]


@pytest.mark.parametrize(
    ("old", "problem"),
    [
        (job(gpus=8), "spec.gpus: v2beta1 has no such field"),
        (job(runPolicy={"retries": 1}), "spec.runPolicy.retries: v2beta1 has no such field"),
        (
            job(runPolicy={"managedBy": "kubeflow.org/training-operator"}),
            "does not run jobs of v2beta1",
        ),
        (job(mpiDistribution="mvapich"), "spec.mpiDistribution: mvapich is none of Intel, MPICH, OpenMPI"),
        (job(mainContainer="main"), "spec.mainContainer: Launcher has no container main"),
        (job(worker={"command": ["python", "serve.py"]}), "mpiReplicaSpecs.Worker.template.spec.containers[0]: it runs python"),
        (
            job(launcher={"env": [{"name": "OMPI_MCA_plm_rsh_agent"}]}),
            "Launcher.template.spec.containers[0]: it starts",
        ),
        (job(launcher={"args": ["-mca", "plm_rsh_agent", "/etc/mpi/kubexec.sh"]}), "it starts ranks by kubexec"),
        (job(replica={"restartPolicy": "ExitCode"}), "Worker.restartPolicy: v2beta1 has no ExitCode; it is OnFailure now"),
        (job(replica={"scale": 1}), "spec.mpiReplicaSpecs.Worker.scale: v2beta1 has no such field"),
        (job(replica={"template": {"spec": {}}}), "Worker.template.spec.containers: there must be at least one"),
        (job(mpiReplicaSpecs={}), "spec.mpiReplicaSpecs: there is no Launcher"),
        (
            job(mpiReplicaSpecs={"Launcher": {"replicas": 2, "template": {"spec": {"containers": [{}]}}}}),
            "Launcher.replicas is 2",
        ),
        (job(name="x" * 56), "at most 63"),
        (job(name="2nd"), "beginning with a letter"),
        (job(launcher={"securityContext": {"runAsUser": 1000}}), "runs as user 1000, who does not read /root/.ssh"),
    ],
)
def test_what_is_told(old, problem):
    problems = mpijob_v2beta1(old)["problems"]
    assert any(problem in text for text in problems), problems


def test_a_place_for_keys_that_the_user_can_read():
    old = job(launcher={"securityContext": {"runAsUser": 1000}})
    result = mpijob_v2beta1(old, ssh_auth_mount_path="/home/mpiuser/.ssh")
    assert result["problems"] == []
    assert result["manifest"]["spec"]["sshAuthMountPath"] == "/home/mpiuser/.ssh"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "text",
        {},
        {**job(), "kind": "TFJob"},
        {**job(), "metadata": {}},
        job("v1alpha1"),
        {**job(), "apiVersion": "batch/v1"},
    ],
)
def test_what_is_no_such_job(wrong):
    with pytest.raises(AnsibleFilterError, match="mpijob_v2beta1: "):
        mpijob_v2beta1(wrong)


scalars = st.integers(1, 9) | st.sampled_from(["None", "Running", "x"])
specs = st.dictionaries(
    st.sampled_from([
        "slotsPerWorker", "cleanPodPolicy", "backoffLimit", "activeDeadlineSeconds", "mpiDistribution", "mainContainer", "gpus",
    ]),
    scalars,
)  # fmt: skip
policies = st.dictionaries(st.sampled_from([*RUN_POLICY, "retries"]), scalars)


@given(st.sampled_from(["v1alpha2", "v1"]), specs, policies)
def test_nothing_is_lost_in_silence(version, spec, policy):
    old = job(version, **spec, runPolicy=policy)
    given_ = copy.deepcopy(old)
    result = mpijob_v2beta1(old)
    assert old == given_  # the input is the caller's
    new, told = result["manifest"]["spec"], " ".join(result["problems"])
    for key, value in policy.items():
        assert new.get("runPolicy", {}).get(key) == value or f"spec.runPolicy.{key}" in told
    for key, value in spec.items():
        moved = new.get("runPolicy", {}).get(key) if key not in policy else value
        assert value in (new.get(key), moved) or f"spec.{key}" in told
    assert mpijob_v2beta1(result["manifest"]) == {"manifest": result["manifest"], "problems": []}
