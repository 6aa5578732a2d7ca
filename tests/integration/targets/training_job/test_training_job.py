# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""training_job on a real API server without kubelets: what is created, refused, left alone and removed.

Real trainings, with logs and failures, are in the scenario training. Here nodes are objects, and the test is the kubelet.
"""

from __future__ import annotations

import json
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError, PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.resource import TrainingFailed, entry

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from kube_api import KubeApi, binary

AFFINITY = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}]}
Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(scope="session")
def api() -> t.Iterator[KubeApi]:
    """With two workers of two CPUs, and the Job controller; there is no MPI operator."""
    with KubeApi() as running:
        for name in ("a", "b"):
            running.call("POST", "/api/v1/nodes", {"metadata": {"name": name}})
            running.kubectl("patch", "node", name, "--type=json", '--patch=[{"op": "remove", "path": "/spec/taints"}]')
            devices = {"nvidia.com/mig-1g.10gb": "7", "vpc.amazonaws.com/efa": "1", "hugepages-2Mi": "1Gi"}
            allocatable = {"cpu": "2", "memory": "4Gi", "pods": "9", **devices}
            ready = [{"type": "Ready", "status": "True", "reason": "Test"}]
            patch = {"status": {"allocatable": allocatable, "capacity": allocatable, "conditions": ready}}
            running.kubectl("patch", "node", name, "--subresource=status", f"--patch={json.dumps(patch)}")
        # a real kubelet's Lease would keep nodes ready; nothing looks here
        with running.control("job-controller", "garbage-collector-controller"):
            yield running


@pytest.fixture
def run(api: KubeApi) -> Run:
    def run(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {"kubeconfig": str(api.kubeconfig), "kubectl": binary("kubectl"), "mode": "single_node", **options}
        result = ArgumentSpecValidator(SPEC["argument_spec"]).validate(
            {"image": "registry.example/i:1", "command": ["c"], **given}
        )
        assert not result.error_messages, result.error_messages
        return entry(result.validated_parameters, check)

    return run


def objects(api: KubeApi, name: str) -> list[str]:
    listed = api.kubectl("get", "jobs,pods,configmaps", f"--selector=gpufleet.k8s/training-job={name}", "--output=name")
    return sorted(line.split("/")[0] for line in listed.splitlines())


def pod_of(api: KubeApi, name: str) -> t.Any:
    """The training's pod, which the Job controller makes a moment after the Job."""
    deadline = time.monotonic() + 60
    while not (
        pods := json.loads(api.kubectl("get", "pods", f"--selector=gpufleet.k8s/training-job={name}", "--output=json"))["items"]
    ):
        assert time.monotonic() < deadline, "the Job controller made no pod"
        time.sleep(0.1)
    (pod,) = pods
    return pod


def test_the_ladder(api: KubeApi, run: Run) -> None:
    assert run(name="ladder", check=True)["actions"] == ["create Job default/ladder"]
    assert objects(api, "ladder") == []
    first = run(name="ladder")
    assert (first["changed"], first["phase"], first["finished"]) == (True, "pending", False)
    for check in (False, True):
        assert not run(name="ladder", check=check)["changed"]
    with pytest.raises(PlanError, match=r"with other input .it differs in template"):
        run(name="ladder", image="registry.example/i:2")
    anew = run(name="ladder", image="registry.example/i:2", rerun=True)
    assert anew["actions"] == ["remove the run before of default/ladder", "create Job default/ladder"]
    assert objects(api, "ladder").count("configmap") == 2
    assert run(name="ladder", state="absent", check=True)["changed"]
    assert run(name="ladder", state="absent")["changed"]
    assert objects(api, "ladder") == []
    assert not run(name="ladder", state="absent")["changed"]


def test_a_kustomization_is_ours_until_it_is_edited(api: KubeApi, run: Run, tmp_path: Path) -> None:
    given: dict[str, t.Any] = {"name": "folder", "environment": {"STEPS": 5}, "kustomize_dir": str(tmp_path / "k")}
    assert run(check=True, **given)["actions"] == [f"write kustomization {tmp_path}/k", "create Job default/folder"]
    assert not (tmp_path / "k").exists()
    with pytest.raises(PlanError, match="cpu 2 of 2 free, asked 3"):
        run(**given, resources={"cpu": 3})
    assert not (tmp_path / "k").exists()
    assert run(**given)["changed"]
    assert not run(**given)["changed"]
    api.kubectl("delete", "--kustomize", str(tmp_path / "k"), "--cascade=foreground")
    assert objects(api, "folder") == []
    api.kubectl("apply", "--kustomize", str(tmp_path / "k"))
    assert not run(**given)["changed"]  # the same labels, the same input
    (tmp_path / "k" / "mlops.env").write_text("STEPS=6\n")
    api.kubectl("apply", "--kustomize", str(tmp_path / "k"))
    with pytest.raises(PlanError, match=r"with other input .ConfigMap folder-env was edited"):
        run(**given)
    run(name="folder", state="absent", kustomize_dir=str(tmp_path / "k"))
    assert (objects(api, "folder"), (tmp_path / "k").exists()) == ([], False)


def test_what_is_somebody_elses_stays(api: KubeApi, run: Run) -> None:
    for kind, name in (("job", "web"), ("configmap", "site-env"), ("configmap", "page-user")):
        api.kubectl("create", kind, name, *(["--image=registry.example/i:1"] if kind == "job" else ["--from-literal=a=b"]))
        training = name.partition("-")[0]
        for options in ({"rerun": True}, {"state": "absent"}):
            with pytest.raises(PlanError, match=rf"{name} is not of the training default/{training}: .*another name"):
                run(name=training, **options)
        api.kubectl("get", kind, name)
        assert objects(api, training) == []
        api.kubectl("delete", kind, name)


def test_refused_before_anything_is_created(api: KubeApi, run: Run) -> None:
    for options, says in (
        ({"mode": "multi_node"}, "the cluster does not know MPIJob"),
        ({"namespace": "nowhere"}, 'namespaces "nowhere" not found'),
        ({"pod_spec": {"nonsense": 1}}, "the API server refuses the job"),
        ({"resources": {"cpu": 3}}, "a, b: cpu 2 of 2 free, asked 3"),
        ({"node_selector": {"gpu": "a100"}}, "has not the label gpu=a100"),
        (
            {"pod_spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": AFFINITY}}}},
            "a, b: meets no term of the required nodeAffinity (gpu In a100)",
        ),
        ({"resources": {"nvidia.com/mig-2g.20gb": 1}}, "a, b: nvidia.com/mig-2g.20gb 0 of 0 free, asked 1"),
        # what the API server only says to a pod
        ({"resources": {"hugepages-2Mi": "64Mi"}}, "HugePages require cpu or memory"),
        ({"pod_spec": {"priorityClassName": "nowhere"}}, "no PriorityClass with name nowhere was found"),
        ({"uid": 1 << 33}, "Invalid value: 8589934592"),
        ({"volumes": [{"path": "/w", "source": {"nfs": {"sever": "fs"}}}]}, ".nfs.sever: field not declared in schema"),
        (
            {"volumes": [{"path": "/w", "source": {"persistentVolumeClaim": {"claimName": "nowhere"}}}]},
            "the PersistentVolumeClaim default/nowhere is not there",
        ),
    ):
        with pytest.raises(PlanError) as error:
            run(name="refused", **options)
        assert says in error.value.message
        assert objects(api, "refused") == []


def test_all_that_a_pod_can_ask_for(api: KubeApi, run: Run) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.call("POST", "/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": "work"}, "spec": claim})
    amounts = {"nvidia.com/mig-1g.10gb": "2", "vpc.amazonaws.com/efa": "1", "hugepages-2Mi": "128Mi", "cpu": "1", "memory": "1Gi"}
    run(
        name="asks",
        resources=amounts,
        pinned=True,
        shm_size="64Mi",
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
        node_selector={"kubernetes.io/os": "linux"},
        allow_pending=True,  # the nodes here have no such label
        dataset_dir="/data/imagenet",
        output_dir="/work/output",
        volumes=[
            {"path": "/data", "source": {"nfs": {"server": "fs.example", "path": "/datasets"}}},
            {"path": "/work", "source": {"persistentVolumeClaim": {"claimName": "work"}}},
        ],
    )
    pod = pod_of(api, "asks")
    spec = pod["spec"]
    assert spec["containers"][0]["resources"] == {"limits": amounts, "requests": amounts}
    assert pod["status"]["qosClass"] == "Guaranteed"
    assert [volume for volume in spec["volumes"] if volume["name"].startswith("volume-")] == [
        {"name": "volume-0", "nfs": {"server": "fs.example", "path": "/datasets"}},
        {"name": "volume-1", "persistentVolumeClaim": {"claimName": "work"}},
    ]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in spec["containers"][0]["volumeMounts"]}
    assert (mounts["/data"], mounts["/work"]) == (True, False)
    run(name="asks", state="absent")


def test_what_does_not_fit_may_wait_when_told(api: KubeApi, run: Run) -> None:
    result = run(name="later", resources={"cpu": 3}, allow_pending=True)
    assert result["changed"]
    assert "would stay Pending for ever" in result["warnings"][0]
    run(name="later", state="absent")
    assert run(name="queued", suspend=True)["phase"] in ("pending", "suspended")
    assert run(name="queued", suspend=True, wait=20)["phase"] == "suspended"
    run(name="queued", state="absent")


def test_what_does_not_start_is_told_and_removed(api: KubeApi, run: Run) -> None:
    with pytest.raises(TrainingFailed, match=r"has not begun within 1 s: pod slow-.*It was removed") as error:
        run(name="slow", start_timeout=1, wait=20)
    assert (error.value.facts["changed"], error.value.facts["phase"]) == (True, "failed")
    assert objects(api, "slow") == []
    with pytest.raises(GpufleetError, match="It was left as it is"):
        run(name="kept", start_timeout=1, wait=20, on_failure="keep")
    assert "job.batch" in objects(api, "kept")


def test_the_end_is_told(api: KubeApi, run: Run) -> None:
    run(name="done")
    pod = pod_of(api, "done")
    api.kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", '--patch={"status": {"phase": "Succeeded"}}')
    result = run(name="done", wait=20)
    assert (result["changed"], result["phase"], result["succeeded"]) == (False, "succeeded", True)
    assert result["duration"] >= 0
