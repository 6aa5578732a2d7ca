# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""From a task's parameters to Kubernetes objects, and to a kustomization of the same objects. Pure: no I/O."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import typing as t

from .._apply.objects import Object, merge_patch
from .._kubelet.quantity import quantity
from .._plan import PlanError
from . import environment

LABEL = "gpufleet.k8s/training-job"
INPUT = "gpufleet.k8s/input"  # annotation: a digest of everything that was rendered
MPI_API, JOB_API = "kubeflow.org/v2beta1", "batch/v1"
HOME = "/home/job"
DIRECTORIES = ("dataset_dir", "model_dir", "output_dir")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")  # the operator adds -launcher and -worker-N
#: ssh waits until a worker is ready, which DNS has the names of: the launcher of a job that was suspended starts together with
#: the workers, and a worker that replaces another takes its time.
_NAMED = 'Match exec "n=0; until getent hosts %h || [ $n -ge 300 ]; do n=$((n + 1)); sleep 1; done"'
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/@-]*")

Params = t.Mapping[str, t.Any]


def wished(params: Params) -> dict[str, t.Any]:
    """The parameters with what the environment file says. Raises PlanError naming the first one that cannot be."""
    result = dict(params)
    variables = environment.parse(params["environment_file"] or "")
    variables.update(environment.checked(params["environment"], "environment"))
    result["registry"] = params["registry"] or variables.get("REGISTRY")
    for option in DIRECTORIES:
        name = option.upper()
        result[option] = params[option] or variables.get(name)
        if result[option]:
            variables[name] = result[option]
    result["environment"] = variables
    _check(result)
    return result


def _check(wish: Params) -> None:
    if not _NAME.fullmatch(wish["name"]):
        raise PlanError(f"name is {wish['name']!r}: at most 40 lower-case letters, digits and '-', beginning with a letter")
    if not _IMAGE.fullmatch(image(wish)):
        raise PlanError(f"image {image(wish)!r} is no reference to an image, such as registry.example/team/training:1")
    if not wish["command"]:
        raise PlanError("command is empty: give the program that trains and its arguments, as a list")
    if len(wish["command"]) == 1 and " " in wish["command"][0]:
        raise PlanError(f"command is one word with spaces, {wish['command'][0]!r}: give a list, the program and each argument")
    for field in ("containers", "volumes"):
        if field in wish["pod_spec"]:
            raise PlanError(f"pod_spec.{field} would replace what is made from image, command, resources and volumes: use those")
    if wish["rerun"] and not wish["create"]:
        raise PlanError("rerun begins a job anew, which create: false forbids: use one of them")
    _check_patterns(wish["patterns"])
    _check_resources(wish)
    _check_folders(wish)


def _check_patterns(patterns: t.Mapping[str, t.Any]) -> None:
    for name, pattern in patterns.items():
        try:
            if re.compile(str(pattern)).groups < 1:
                raise PlanError(f"patterns.{name}: {pattern!r} has no group: put what is wanted in parentheses")
        except re.error as error:
            raise PlanError(f"patterns.{name}: {pattern!r} is no regular expression: {error}") from None


def _check_resources(wish: Params) -> None:
    amounts = {}
    for option in ("resources", "launcher_resources"):
        for name, value in wish[option].items():
            try:
                amounts[option, name] = quantity(str(value))
            except ValueError as error:
                raise PlanError(f"{option}.{name}: {error}") from None
    if wish["shm_size"]:
        try:
            quantity(wish["shm_size"])
        except ValueError as error:
            raise PlanError(f"shm_size: {error}") from None
    cpus = amounts.get(("resources", "cpu"))
    if wish["pinned"] and (cpus is None or cpus.denominator != 1 or cpus < 1 or ("resources", "memory") not in amounts):
        raise PlanError(
            "pinned needs a whole number of CPUs and an amount of memory in resources (cpu is "
            f"{wish['resources'].get('cpu')}, memory is {wish['resources'].get('memory')}): only then a pod gets CPUs of its own"
        )
    if wish["mode"] == "single_node":
        return
    slots = wish["slots_per_worker"]
    if cpus is not None and slots > max(cpus, 1):
        raise PlanError(
            f"slots_per_worker is {slots}, but a worker has {wish['resources']['cpu']} CPUs: each slot is a process that "
            "computes, so ask for as many CPUs or for fewer slots"
        )
    gpus = sum(
        int(value) for (option, name), value in amounts.items() if option == "resources" and name.startswith("nvidia.com/")
    )
    if gpus and slots > gpus:
        raise PlanError(
            f"slots_per_worker is {slots}, but a worker has {gpus} GPUs or parts of one: each slot needs one of its own"
        )


def _check_folders(wish: Params) -> None:
    paths = [volume["path"] for volume in wish["volumes"]]
    for path in [*paths, *(wish[option] for option in DIRECTORIES if wish[option])]:
        if not posixpath.isabs(path) or posixpath.normpath(path) != path or path == "/":
            raise PlanError(f"{path!r} is no folder in a container: it begins with / and has no . or .. and no / at its end")
    if len(set(paths)) < len(paths):
        raise PlanError(f"volumes: two have the same path, of {', '.join(paths)}")
    for number, volume in enumerate(wish["volumes"]):
        if len(volume["source"]) != 1 or not isinstance(next(iter(volume["source"].values())), dict):
            raise PlanError(
                f"volumes[{number}].source is {volume['source']}: it is one volume source as in a pod, for "
                "example {nfs: {server: ..., path: ...}}, {persistentVolumeClaim: {claimName: ...}} or {hostPath: {path: ...}}"
            )
    output = wish["output_dir"]
    if output:
        volume = _holder(output, wish["volumes"])
        if not volume:
            raise PlanError(
                f"output_dir {output} is in none of the volumes ({', '.join(paths) or 'there are none'}): it would be lost "
                "with the pod"
            )
        if volume["read_only"]:
            raise PlanError(f"output_dir {output} is in the volume {volume['path']}, which is read_only")


def _holder(path: str, volumes: t.Iterable[Params]) -> Params | None:
    """The volume that a path is in: the longest mount point above it."""
    above = [volume for volume in volumes if path == volume["path"] or path.startswith(volume["path"] + "/")]
    return max(above, key=lambda volume: len(volume["path"]), default=None)


def image(wish: Params) -> str:
    """With the registry, unless the image names one: its first part has a dot or a port."""
    first, slash, _rest = wish["image"].partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return wish["image"] if named or not wish["registry"] else f"{wish['registry'].rstrip('/')}/{wish['image']}"


# objects -------------------------------------------------------------------------------------------------------------


def objects(wish: Params) -> list[Object]:
    """What is applied: two ConfigMaps and the MPIJob or Job, which carries a digest of all of them."""
    multi = wish["mode"] == "multi_node"
    rendered = [
        _object("v1", "ConfigMap", f"{wish['name']}-env", wish, data=dict(wish["environment"])),
        _object("v1", "ConfigMap", f"{wish['name']}-user", wish, data=_user(wish)),
        _mpi_job(wish) if multi else _job(wish),
    ]
    digest = hashlib.sha256(json.dumps(rendered, sort_keys=True).encode()).hexdigest()[:16]
    rendered[-1]["metadata"]["annotations"] = {INPUT: digest}
    return rendered


def _object(api: str, kind: str, name: str, wish: Params, **body: t.Any) -> Object:
    metadata = {"name": name, "namespace": wish["namespace"], "labels": _labels(wish)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def _labels(wish: Params) -> dict[str, str]:
    return {LABEL: wish["name"], "app.kubernetes.io/managed-by": "gpufleet.k8s"}


def _user(wish: Params) -> dict[str, str]:
    """Files that make the uid a user in any image, and its sshd one that this user can run."""
    uid, gid = wish["uid"], wish["gid"]
    keys = f"{home(wish)}/.ssh"
    client = [f"IdentityFile {keys}/id_rsa", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR"]
    client += [_NAMED, "ConnectionAttempts 10"]
    server = [f"HostKey {keys}/id_rsa", f"AuthorizedKeysFile {keys}/authorized_keys", "StrictModes no", "UsePAM no"]
    server += ["PasswordAuthentication no", "PidFile none"]
    return {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\njob:x:{uid}:{gid}:training job:{HOME}:/bin/sh\n",
        "group": "root:x:0:\n" + (f"job:x:{gid}:\n" if gid else ""),
        **{
            f"{name}_config": "\n".join([f"Port {wish['ssh_port']}", *lines, ""])
            for name, lines in (("ssh", client), ("sshd", server))
        },
    }


def home(wish: Params) -> str:
    return "/root" if wish["uid"] == 0 else HOME


def _pod(wish: Params, container: Object, volumes: bool) -> Object:
    """A pod's template. The launcher computes nothing, and so needs no volumes."""
    files = {"passwd": "/etc/passwd", "group": "/etc/group"} if wish["uid"] else {}
    if wish["mode"] == "multi_node":
        files.update(ssh_config="/etc/ssh/ssh_config", sshd_config="/etc/ssh/sshd_config")
    mounts: list[Object] = [{"name": "user", "mountPath": path, "subPath": key, "readOnly": True} for key, path in files.items()]
    sources: list[Object] = [{"name": "user", "configMap": {"name": f"{wish['name']}-user"}}]
    if volumes and wish["shm_size"]:
        sources.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": wish["shm_size"]}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 it is what the volume is for
    for number, volume in enumerate(wish["volumes"] if volumes else ()):
        sources.append({"name": f"volume-{number}", **_source(volume["source"])})
        mounts.append({"name": f"volume-{number}", "mountPath": volume["path"], **_read_only(volume, wish)})
    spec = {
        "securityContext": {
            "runAsUser": wish["uid"],
            "runAsGroup": wish["gid"],
            "fsGroup": wish["gid"] if wish["fs_group"] is None else wish["fs_group"],
            "runAsNonRoot": wish["uid"] != 0,
        },
        "nodeSelector": dict(wish["node_selector"]),
        "tolerations": list(wish["tolerations"]),
        "enableServiceLinks": False,
        "containers": [
            {
                "image": image(wish),
                "envFrom": [{"configMapRef": {"name": f"{wish['name']}-env"}}],
                "volumeMounts": mounts,
                **container,
            }
        ],
        "volumes": sources,
    }
    # A mesh's proxy would stand between the ranks, and would keep the pod of a finished job alive
    annotations = {"sidecar.istio.io/inject": "false"}
    return {
        "metadata": {"labels": _labels(wish), "annotations": annotations},
        "spec": merge_patch(spec, wish["pod_spec"]),
    }


def _source(source: Params) -> dict[str, t.Any]:
    """As it came; a hostPath must exist, else the runtime makes an empty folder of root's."""
    host_path = source.get("hostPath")
    return {"hostPath": {"type": "Directory", **host_path}} if host_path else dict(source)


def _read_only(volume: Params, wish: Params) -> dict[str, bool]:
    """What the task says, else: the volume with the dataset, unless something is written to it as well."""
    decided = volume["read_only"]
    if decided is None:
        kept = {option: _holder(wish[option], wish["volumes"]) for option in DIRECTORIES if wish[option]}
        written = any(kept.get(option) is volume for option in ("model_dir", "output_dir"))
        decided = kept.get("dataset_dir") is volume and not written
    return {"readOnly": True} if decided else {}


def resources(amounts: Params, pinned: bool) -> Object:
    """Requests of everything; limits too, but for CPUs that may be exceeded and disk."""
    asked = {name: str(value) for name, value in amounts.items()}
    unlimited = {"ephemeral-storage"} | (set() if pinned else {"cpu"})
    return {"requests": asked, "limits": {name: value for name, value in asked.items() if name not in unlimited}}


def _mpi_job(wish: Params) -> Object:
    mpirun = ["mpirun", "-np", str(wish["replicas"] * wish["slots_per_worker"])]
    for name in sorted(wish["environment"]):
        mpirun += ["-x", name]
    if wish["uid"] == 0:
        mpirun.append("--allow-run-as-root")
    launcher = {
        "name": "launcher",
        "command": [*mpirun, *wish["mpirun_args"], *wish["command"]],
        "resources": resources(wish["launcher_resources"], pinned=False),
    }
    worker = {
        "name": "worker",
        "command": ["/usr/sbin/sshd", "-De"],
        "resources": resources(wish["resources"], wish["pinned"]),
        "startupProbe": {"tcpSocket": {"port": wish["ssh_port"]}, "periodSeconds": 1, "failureThreshold": 60},
    }
    pods = {"Launcher": _pod(wish, launcher, volumes=False), "Worker": _pod(wish, worker, volumes=True)}
    if wish["spread"]:
        own = {"matchLabels": {LABEL: wish["name"], "training.kubeflow.org/job-role": "worker"}}
        rule = {"labelSelector": own, "topologyKey": "kubernetes.io/hostname"}
        apart = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}}
        pods["Worker"]["spec"] = merge_patch(
            pods["Worker"]["spec"], merge_patch(apart, {"affinity": wish["pod_spec"].get("affinity", {})})
        )
    counts = {"Launcher": 1, "Worker": wish["replicas"]}
    policy = {**_policy(wish), "cleanPodPolicy": wish["clean_pod_policy"]}
    spec = {
        "slotsPerWorker": wish["slots_per_worker"],
        "runPolicy": policy,
        "sshAuthMountPath": f"{home(wish)}/.ssh",
        "mpiImplementation": "OpenMPI",
        # ssh to a worker that has no address yet fails, and with it the job
        "launcherCreationPolicy": "WaitForWorkersReady",
        "mpiReplicaSpecs": {
            role: {"replicas": counts[role], "restartPolicy": "Never", "template": pod} for role, pod in pods.items()
        },
    }
    return _object(MPI_API, "MPIJob", wish["name"], wish, spec=spec)


def _job(wish: Params) -> Object:
    container = {
        "name": "training",
        "command": list(wish["command"]),
        "resources": resources(wish["resources"], wish["pinned"]),
    }
    pod = _pod(wish, container, volumes=True)
    pod["spec"]["restartPolicy"] = "Never"
    return _object(JOB_API, "Job", wish["name"], wish, spec={**_policy(wish), "template": pod})


def _policy(wish: Params) -> Object:
    policy = {
        "backoffLimit": wish["backoff_limit"],
        "activeDeadlineSeconds": wish["time_limit"],
        "ttlSecondsAfterFinished": wish["ttl_after_finished"],
        "suspend": wish["suspend"],
    }
    return {key: value for key, value in policy.items() if value is not None}


def pods(job: Object) -> list[Object]:
    """One of each kind that the job will have, for a dry run: of quotas, priority classes and the like only pods are asked."""
    spec = job["spec"]
    templates = {role: each["template"] for role, each in spec.get("mpiReplicaSpecs", {"training": spec}).items()}
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "namespace": namespace, "name": f"{name}-{role.lower()}"},
            "spec": {**template["spec"], "restartPolicy": "Never"},
        }
        for role, template in templates.items()
    ]


def kustomization(wish: Params, rendered: t.Sequence[Object]) -> dict[str, str]:
    """Files of a folder for `kubectl apply -k`: the same objects, the environment as a file to edit."""
    env = rendered[0]
    options = {"disableNameSuffixHash": True, "labels": dict(env["metadata"]["labels"])}
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": wish["namespace"],
        "resources": ["job.yaml"],
        "configMapGenerator": [{"name": env["metadata"]["name"], "envs": ["mlops.env"], "options": options}],
    }
    return {
        "kustomization.yaml": json.dumps(content, indent=2) + "\n",
        "mlops.env": "".join(f"{name}={value}\n" for name, value in sorted(env["data"].items())),
        "job.yaml": "".join(f"---\n{json.dumps(obj, indent=2)}\n" for obj in rendered[1:]),
    }
