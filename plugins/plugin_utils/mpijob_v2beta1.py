# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MPIJobs of older MPI operators for today's."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError

Job = dict[str, t.Any]
GROUP = "kubeflow.org/"
#: Written by a server, or by kubectl about the old version.
SERVER_METADATA = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: Fields of the spec that are fields of runPolicy now. Where both stand, runPolicy's counts, as in the old operators.
MOVED = ("cleanPodPolicy", "backoffLimit", "activeDeadlineSeconds")
RUN_POLICY = (*MOVED, "managedBy", "schedulingPolicy", "suspend", "ttlSecondsAfterFinished")
MANAGERS = ("kubeflow.org/mpi-operator", "kueue.x-k8s.io/multikueue")
IMPLEMENTATIONS = {"openmpi": "OpenMPI", "intelmpi": "Intel", "intel": "Intel", "mpich": "MPICH"}
RESTART_POLICIES = ("Never", "OnFailure")
HOST_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def mpijob_v2beta1(job: Job, ssh_auth_mount_path: str | None = None) -> dict[str, t.Any]:
    """`{manifest, problems}`. Raises AnsibleFilterError for what is no MPIJob of a known version."""
    version = _version(job)
    if version == "v2beta1":
        return {"manifest": job, "problems": []}
    problems: list[str] = []
    spec = _dictionary(job.get("spec"), "spec")
    metadata = {key: value for key, value in job["metadata"].items() if key not in SERVER_METADATA}
    if LAST_APPLIED in _dictionary(metadata.get("annotations"), "metadata.annotations"):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != LAST_APPLIED}

    # The old launchers had an init container (kubectl-delivery) that waited for the workers; those of v2beta1 start with them.
    converted: Job = {"launcherCreationPolicy": "WaitForWorkersReady"}
    if "slotsPerWorker" in spec:
        converted["slotsPerWorker"] = spec.pop("slotsPerWorker")
    run_policy = _run_policy(spec, problems)
    if run_policy:
        converted["runPolicy"] = run_policy
    implementation = _implementation(spec.pop("mpiDistribution", None), problems)
    if implementation:
        converted["mpiImplementation"] = implementation
    if ssh_auth_mount_path:
        converted["sshAuthMountPath"] = ssh_auth_mount_path
    replicas = _dictionary(spec.pop("mpiReplicaSpecs", None), "spec.mpiReplicaSpecs")
    converted["mpiReplicaSpecs"] = {
        kind: _replica(kind, _dictionary(replica, f"spec.mpiReplicaSpecs.{kind}"), spec.get("mainContainer"), problems)
        for kind, replica in replicas.items()
    }
    spec.pop("mainContainer", None)
    problems += [f"spec.{key}: v2beta1 has no such field; it was left out" for key in sorted(spec)]
    problems += _whole_job(metadata["name"], converted)
    return {
        "manifest": {"apiVersion": f"{GROUP}v2beta1", "kind": "MPIJob", "metadata": metadata, "spec": converted},
        "problems": problems,
    }


def _version(job: t.Any) -> str:
    if not isinstance(job, dict) or job.get("kind") != "MPIJob" or not _dictionary(job.get("metadata"), "metadata").get("name"):
        raise AnsibleFilterError(f"mpijob_v2beta1: this is no MPIJob with a name: {str(job)[:120]}")
    version = str(job.get("apiVersion"))
    if version not in {GROUP + known for known in ("v1alpha2", "v1", "v2beta1")}:
        raise AnsibleFilterError(
            f"mpijob_v2beta1: MPIJob {job['metadata']['name']} is of {version}; only {GROUP}v1alpha2 and {GROUP}v1 can be "
            "converted (v1alpha1 has no launcher and workers: write it anew)"
        )
    return version[len(GROUP) :]


def _dictionary(value: t.Any, where: str) -> Job:
    """A copy; empty for null. Raises AnsibleFilterError for anything else, which the old CRDs took and no operator understood."""
    if value is not None and not isinstance(value, t.Mapping):
        raise _wrong(where, value, "dictionary")
    return dict(value or {})


def _list(value: t.Any, where: str) -> list[t.Any]:
    if value is not None and not isinstance(value, (list, tuple)):
        raise _wrong(where, value, "list")
    return list(value or ())


def _wrong(where: str, value: t.Any, what: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"mpijob_v2beta1: {where} is a {type(value).__name__}, not a {what}")


def _run_policy(spec: Job, problems: list[str]) -> Job:
    policy = {key: spec.pop(key) for key in MOVED if key in spec}
    if policy.get("cleanPodPolicy") == "":  # the old way of not saying
        del policy["cleanPodPolicy"]
    for key, value in _dictionary(spec.pop("runPolicy", None), "spec.runPolicy").items():
        if key not in RUN_POLICY:
            problems.append(f"spec.runPolicy.{key}: v2beta1 has no such field; it was left out")
        elif key == "managedBy" and value not in MANAGERS:
            problems.append(
                f"spec.runPolicy.managedBy: {value} does not run jobs of v2beta1 ({' and '.join(MANAGERS)} do); it was left out"
            )
        else:
            policy[key] = value
    return policy


def _implementation(distribution: str | None, problems: list[str]) -> str | None:
    if distribution is None:
        return None
    implementation = IMPLEMENTATIONS.get(str(distribution).lower().replace("_", ""))
    if implementation is None:
        known = ", ".join(sorted(set(IMPLEMENTATIONS.values())))
        problems.append(f"spec.mpiDistribution: {distribution} is none of {known}; it was left out")
    return implementation


def _replica(kind: str, replica: Job, main: str | None, problems: list[str]) -> Job:
    """A launcher or worker; `main` is the name of its container that matters."""
    where = f"spec.mpiReplicaSpecs.{kind}"
    policy = replica.get("restartPolicy")
    if policy is not None and policy not in RESTART_POLICIES:
        replica["restartPolicy"] = "OnFailure"
        if kind != "Launcher":  # the old operators did the same for the launcher
            problems.append(f"{where}.restartPolicy: v2beta1 has no {policy}; it is OnFailure now")
    for key in sorted(replica.keys() - {"replicas", "restartPolicy", "template"}):
        del replica[key]
        problems.append(f"{where}.{key}: v2beta1 has no such field; it was left out")

    template = _dictionary(replica.get("template"), f"{where}.template")
    pod = _dictionary(template.get("spec"), f"{where}.template.spec")
    found = _list(pod.get("containers"), f"{where}.template.spec.containers")
    containers = [_dictionary(item, f"{where}.template.spec.containers[{number}]") for number, item in enumerate(found)]
    if not containers:
        problems.append(f"{where}.template.spec.containers: there must be at least one")
        return replica
    names = [container.get("name") for container in containers]
    if main in names[1:]:  # v2beta1 works with the first one
        containers.insert(0, containers.pop(names.index(main)))
    elif main and main not in names:
        problems.append(f"spec.mainContainer: {kind} has no container {main}; v2beta1 works with the first one, {names[0]}")
    _first_container(kind, containers[0], f"{where}.template.spec.containers[{names.index(containers[0].get('name'))}]", problems)
    pod["containers"] = containers
    template["spec"] = pod
    return {**replica, "template": template}


def _first_container(kind: str, container: Job, where: str, problems: list[str]) -> None:
    words = [str(word) for word in [*(container.get("command") or ()), *(container.get("args") or ())]]
    if kind == "Worker" and words:
        program = words[0].rpartition("/")[2]
        if program == "sleep":  # waited for kubectl exec; now the operator's own command takes its place
            container.pop("command", None)
            container.pop("args", None)
        elif "sshd" not in " ".join(words):
            problems.append(f"{where}: it runs {program}; workers of v2beta1 are reached by SSH and must run sshd")
    environment = [str(variable.get("name")) for variable in container.get("env") or ()]
    if "kubexec.sh" in " ".join(words) or any("rsh_agent" in name for name in environment):
        problems.append(f"{where}: it starts ranks by kubexec.sh (kubectl exec); v2beta1 uses SSH, so take that out")


def _whole_job(name: str, spec: Job) -> list[str]:
    """What the operator would refuse, or what would hang."""
    problems = []
    replicas = spec["mpiReplicaSpecs"]
    launcher, worker = replicas.get("Launcher"), replicas.get("Worker") or {}
    if launcher is None:
        problems.append("spec.mpiReplicaSpecs: there is no Launcher")
    elif launcher.get("replicas", 1) != 1:
        problems.append(f"spec.mpiReplicaSpecs.Launcher.replicas is {launcher['replicas']}; it must be 1")
    count = worker.get("replicas") or 1
    if not isinstance(count, int):
        raise _wrong("spec.mpiReplicaSpecs.Worker.replicas", count, "whole number")
    last = f"{name}-worker-{max(1, count) - 1}"
    if not HOST_NAME.fullmatch(last):
        problems.append(
            f"metadata.name: {name} makes the host name {last}; that must be at most 63 of a-z, 0-9 and -, "
            "beginning with a letter"
        )
    users = sorted({user for replica in replicas.values() for user in _users(replica) if user})
    if users and "sshAuthMountPath" not in spec:
        problems.append(
            f"spec.sshAuthMountPath: the job runs as user {', '.join(map(str, users))}, who does not read /root/.ssh; "
            "give ssh_auth_mount_path (.ssh in that user's home)"
        )
    return problems


def _users(replica: Job) -> t.Iterator[int]:
    pod = (replica.get("template") or {}).get("spec") or {}
    for place in (pod, *(pod.get("containers") or ())):
        yield (place.get("securityContext") or {}).get("runAsUser") or 0
