# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task's parameters become."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import args, environment, render

OUTPUT = {"path": "/work", "source": {"hostPath": {"path": "/srv/work"}}}


def wish(**given: t.Any) -> dict[str, t.Any]:
    options = {"name": "train", "image": "team/resnet50:1", "command": ["train", "--fast"], **given}
    result = ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options)
    assert not result.error_messages
    return render.wished(result.validated_parameters)


def rendered(**given: t.Any) -> dict[str, t.Any]:
    env, user, job = render.objects(wish(**given))
    assert (env["kind"], user["kind"]) == ("ConfigMap", "ConfigMap")
    return {"env": env["data"], "user": user["data"], "job": job}


def pods(job: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: each["template"]["spec"] for name, each in job["spec"]["mpiReplicaSpecs"].items()}


def test_an_mpi_job() -> None:
    made = rendered(replicas=3, slots_per_worker=2, resources={"cpu": 2, "memory": "4Gi"}, environment={"STEPS": 5})
    spec = made["job"]["spec"]
    assert (spec["slotsPerWorker"], spec["sshAuthMountPath"]) == (2, "/home/job/.ssh")
    assert spec["runPolicy"] == {"backoffLimit": 0, "suspend": False, "cleanPodPolicy": "Running"}
    launcher, worker = pods(made["job"])["Launcher"], pods(made["job"])["Worker"]
    assert launcher["containers"][0]["command"] == [
        *("mpirun", "-np", "6", "-x", "STEPS", "--bind-to", "none", "train", "--fast"),
    ]
    assert worker["containers"][0]["command"] == ["/usr/sbin/sshd", "-De"]
    assert worker["containers"][0]["resources"] == {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}
    assert worker["securityContext"] == {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": True}
    assert "podAntiAffinity" in worker["affinity"]
    assert made["env"] == {"STEPS": "5"}
    assert "job:x:1000:1000:" in made["user"]["passwd"]


def test_a_job_of_one_pod_runs_the_same_command() -> None:
    made = rendered(mode="single_node", time_limit=60, uid=1234, gid=99, fs_group=7)
    spec = made["job"]["spec"]
    assert (spec["activeDeadlineSeconds"], spec["template"]["spec"]["restartPolicy"]) == (60, "Never")
    assert spec["template"]["spec"]["containers"][0]["command"] == ["train", "--fast"]
    assert spec["template"]["spec"]["securityContext"]["fsGroup"] == 7
    assert "ssh_config" not in json.dumps(spec)


def test_as_root_the_images_own_users_stay() -> None:
    made = rendered(uid=0, gid=0)
    assert made["job"]["spec"]["sshAuthMountPath"] == "/root/.ssh"
    worker = pods(made["job"])["Worker"]["containers"][0]
    assert {mount["mountPath"] for mount in worker["volumeMounts"]} == {"/etc/ssh/ssh_config", "/etc/ssh/sshd_config"}
    assert "--allow-run-as-root" in pods(made["job"])["Launcher"]["containers"][0]["command"]


def test_volumes() -> None:
    data = {"path": "/data", "source": {"nfs": {"server": "fs", "path": "/data"}}}
    made = rendered(
        volumes=[OUTPUT, data], dataset_dir="/data/imagenet", output_dir="/work/output", model_dir="/work/model", shm_size="1Gi"
    )
    worker = pods(made["job"])["Worker"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in worker["containers"][0]["volumeMounts"]}
    assert (mounts["/data"], mounts["/work"], mounts["/dev/shm"]) == (True, False, False)  # noqa: S108
    sources = {volume["name"]: volume for volume in worker["volumes"]}
    assert sources["volume-0"]["hostPath"] == {"type": "Directory", "path": "/srv/work"}
    assert sources["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert made["env"] == {"DATASET_DIR": "/data/imagenet", "MODEL_DIR": "/work/model", "OUTPUT_DIR": "/work/output"}
    assert not any(volume["name"].startswith("volume") for volume in pods(made["job"])["Launcher"]["volumes"])


def test_pinned_is_guaranteed() -> None:
    made = rendered(pinned=True, resources={"cpu": 2, "memory": "1Gi"})
    resources = pods(made["job"])["Worker"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "2", "memory": "1Gi"}


def test_more_of_a_pod() -> None:
    made = rendered(pod_spec={"priorityClassName": "high", "affinity": {"nodeAffinity": {"x": 1}}, "enableServiceLinks": None})
    worker = pods(made["job"])["Worker"]
    assert worker["priorityClassName"] == "high"
    assert set(worker["affinity"]) == {"nodeAffinity", "podAntiAffinity"}
    assert "enableServiceLinks" not in worker


@pytest.mark.parametrize(
    ("image", "registry", "result"),
    [
        ("a/b:1", None, "a/b:1"),
        ("a/b:1", "reg.example/x/", "reg.example/x/a/b:1"),
        ("reg.example/b:1", "other", "reg.example/b:1"),
        ("localhost/b", "other", "localhost/b"),
        ("b@sha256:0", "docker.io", "docker.io/b@sha256:0"),
    ],
)
def test_the_registry(image: str, registry: str | None, result: str) -> None:
    assert render.image(wish(image=image, registry=registry)) == result


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "Train_1"}, "name is 'Train_1'"),
        ({"image": ""}, "image '' is no reference"),
        ({"command": []}, "command is empty"),
        ({"resources": {"cpu": "two"}}, "resources.cpu: 'two' is no quantity"),
        ({"resources": {"cpu": 1}, "slots_per_worker": 4}, "slots_per_worker is 4, but a worker has 1 CPUs"),
        ({"resources": {"nvidia.com/gpu": 2}, "slots_per_worker": 3}, "a worker has 2 GPUs"),
        ({"resources": {"cpu": "1500m", "memory": "1Gi"}, "pinned": True}, "pinned needs a whole number of CPUs"),
        ({"output_dir": "/out"}, "output_dir /out is in none of the volumes (there are none)"),
        ({"output_dir": "/workshop", "volumes": [OUTPUT]}, "output_dir /workshop is in none of the volumes (/work)"),
        ({"output_dir": "/work", "volumes": [{**OUTPUT, "read_only": True}]}, "which is read_only"),
        ({"dataset_dir": "data"}, "'data' is no folder in a container"),
        ({"volumes": [OUTPUT, OUTPUT]}, "two have the same path"),
        ({"volumes": [{"path": "/w", "source": {}}]}, "volumes[0].source is {}: it is one volume source"),
        ({"volumes": [{"path": "/w", "source": {"hostPath": "/srv"}}]}, "volumes[0].source is {'hostPath': '/srv'}"),
        ({"command": "python3 train.py"}, "command is one word with spaces, 'python3 train.py'"),
        ({"pod_spec": {"containers": []}}, "pod_spec.containers would replace"),
        ({"shm_size": "lots"}, "shm_size: 'lots' is no quantity"),
        ({"environment": {"A B": "1"}}, "environment: 'A B' is no name"),
        ({"environment": {"STEPS": None}}, "environment: STEPS is None: a variable is text or a number"),
        ({"environment": {"STEPS": [1]}}, "environment: STEPS is [1]"),
        ({"patterns": {"loss": "loss ("}}, "patterns.loss: 'loss (' is no regular expression: missing )"),
        ({"patterns": {"loss": "loss .*"}}, "patterns.loss: 'loss .*' has no group"),
        ({"environment_file": "export A=1"}, "environment_file: 'export A' is no name"),
        ({"environment_file": "MODEL_DIR=ROOT/<package dir>"}, "ROOT stands for something of yours"),
        ({"environment": {"OUTPUT_DIR": "<package dir>/output"}}, "environment: OUTPUT_DIR is '<package dir>/output'"),
        ({"environment_file": "STEPS 5"}, "environment_file line 1: 'STEPS 5' is not NAME=value"),
        ({"environment_file": "A=1\n\nA=2"}, "environment_file line 3: A is there a second time"),
    ],
)
def test_refuses(given: dict[str, t.Any], says: str) -> None:
    with pytest.raises(PlanError) as error:
        wish(**given)
    assert says in error.value.message


def test_what_looks_like_a_placeholder_may_be_meant() -> None:
    given = {"PAD": "<pad>", "LEVEL": "ROOT"}
    assert wish(environment=given)["environment"] == wish(environment_file="PAD=<pad>\nLEVEL=ROOT")["environment"] == given


def test_the_originals_file() -> None:
    text = "# parameters\nREGISTRY=docker.io\nDATASET_DIR=/tf_dataset\nMODEL_DIR=/nfs/model\nOUTPUT_DIR=/nfs/model/output\n"
    nfs = {"path": "/nfs", "source": {"nfs": {"server": "fs", "path": "/"}}}
    found = wish(environment_file=text, volumes=[nfs], dataset_dir="/other", environment={"STEPS": 1})
    assert (found["registry"], found["dataset_dir"], found["output_dir"]) == ("docker.io", "/other", "/nfs/model/output")
    assert found["environment"] == {**environment.parse(text), "DATASET_DIR": "/other", "STEPS": "1"}


def test_odd_lines_of_a_file() -> None:
    text = "\ufeffA=1\r\n  # no B=2\r\n\n\tC=a=b # no comment\r\nD=\nE='quoted'\n"
    assert environment.parse(text) == {"A": "1", "C": "a=b # no comment", "D": "", "E": "'quoted'"}
    assert wish(environment={"N": 0.5, "YES": True})["environment"] == {"N": "0.5", "YES": "true"}


def test_the_pods_that_a_job_will_have() -> None:
    launcher, worker = render.pods(rendered(name="t", namespace="n")["job"])
    assert (launcher["metadata"]["name"], worker["metadata"]["name"]) == ("t-launcher", "t-worker")
    assert worker["metadata"]["namespace"] == "n"
    (training,) = render.pods(rendered(mode="single_node")["job"])
    assert training["spec"]["containers"][0]["command"] == ["train", "--fast"]


def test_the_digest_is_of_everything() -> None:
    def digest(**given: t.Any) -> str:
        return str(rendered(**given)["job"]["metadata"]["annotations"][render.INPUT])

    assert digest() == digest()
    changes: list[dict[str, t.Any]] = [
        {},
        {"environment": {"A": 1}},
        {"uid": 7},
        {"replicas": 1},
        {"image": "x"},
        {"suspend": True},
    ]
    assert len({digest(**change) for change in changes}) == len(changes)
    assert digest(allow_pending=True, wait=5, on_failure="keep") == digest()  # nothing of the job


@pytest.mark.parametrize("mode", ["multi_node", "single_node"])
def test_a_kustomization_is_the_same_job(mode: str) -> None:
    asked = wish(environment={"STEPS": "5", "NOTE": "a=b c"}, mode=mode)
    objects = render.objects(asked)
    files = render.kustomization(asked, objects)
    assert list(yaml.safe_load_all(files["job.yaml"])) == objects[1:]
    assert environment.parse(files["mlops.env"]) == objects[0]["data"]
    generator = yaml.safe_load(files["kustomization.yaml"])["configMapGenerator"][0]
    assert (generator["name"], generator["options"]["disableNameSuffixHash"]) == ("train-env", True)
    assert generator["options"]["labels"] == objects[0]["metadata"]["labels"]  # by which it is known as ours
    assert objects[-1]["kind"] == {"multi_node": "MPIJob", "single_node": "Job"}[mode]
