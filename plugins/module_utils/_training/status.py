# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How a training stands, from its objects: phase, pods, and why it will not or did not succeed. Pure: no I/O."""

from __future__ import annotations

import re
import typing as t
from datetime import datetime

from .._apply.objects import Object
from .._apply.ready import condition, pod_trouble

LAST_LINES = 12  # of a log in an error message: mpirun has six of its own below what the program said
#: What waiting does not cure. An image that cannot be pulled may be a registry that is starting, unless the registry says no.
#: A name that is not found may be DNS that is starting.
_HOPELESS = re.compile(
    r"InvalidImageName|ErrImageNeverPull|CreateContainerConfigError|CreateContainerError|RunContainerError|StartError"
)
_NO_IMAGE = re.compile(r"not found|manifest unknown|denied|unauthorized|does not exist", re.IGNORECASE)
_NO_MOUNT = re.compile(r"hostPath type check failed|not found|access denied|No such file|Permission denied", re.IGNORECASE)
#: What sounds hopeless and passes: a driver that registers late, what a kubelet has not read yet, a busy runtime.
_PASSES = re.compile(
    r"not found in the list of registered CSI drivers|failed to sync (configmap|secret) cache|kube-root-ca\.crt"
    r"|context deadline exceeded|failed to reserve (container|sandbox) name",
    re.IGNORECASE,
)


def phase(job: Object | None, pods: t.Sequence[Object] = ()) -> str:
    """absent, pending, running, succeeded, failed or suspended. A Job has no condition for having begun, but its pods tell."""
    if not job:
        return "absent"

    def true(name: str) -> bool:
        return bool(condition(job, name).get("status") == "True")

    if true("Failed"):
        return "failed"
    if true("Succeeded") or true("Complete"):
        return "succeeded"
    if true("Suspended"):
        return "suspended"
    begun = true("Running") or (job["kind"] == "Job" and any(began(pod) for pod in pods))
    return "running" if begun else "pending"


def began(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed")


def part_of(pod: Object) -> str:
    """launcher, worker or training."""
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("training.kubeflow.org/job-role", "training"))


def speaker(pods: t.Sequence[Object]) -> Object | None:
    """The pod whose log is the training's: the newest launcher, or the newest pod of a single-node job."""
    told = [pod for pod in pods if part_of(pod) != "worker"]
    return max(told, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def told(pod: Object) -> dict[str, t.Any]:
    """A pod for people."""
    status = pod.get("status") or {}
    trouble = pod_trouble(pod) if status.get("phase") != "Running" else None
    return {
        "name": pod["metadata"]["name"],
        "role": part_of(pod),
        "node": pod["spec"].get("nodeName", ""),
        "phase": status.get("phase", "Unknown"),
        "trouble": trouble or "",
    }


def hopeless(pods: t.Sequence[Object], events: t.Sequence[Object]) -> str | None:
    """Why the pods will not start, however long one waits."""
    for pod in pods:
        trouble = pod_trouble(pod) if (pod.get("status") or {}).get("phase") == "Pending" else None
        if not trouble or _PASSES.search(trouble):
            continue
        name = pod["metadata"]["name"]
        heard = [e for e in events if (e.get("involvedObject") or {}).get("uid") == pod["metadata"]["uid"]]
        words = "; ".join(str(event.get("message")) for event in heard if event.get("reason") == "Failed")
        if _HOPELESS.search(trouble):
            return f"pod {name} cannot start: {trouble}"
        if re.search(r"ErrImagePull|ImagePullBackOff", trouble) and _NO_IMAGE.search(f"{trouble} {words}"):
            return f"pod {name} cannot start: {trouble}{f' ({words})' if words and 'ErrImagePull' not in trouble else ''}"
        for event in heard:
            said = str(event.get("message"))
            if event.get("reason") == "FailedMount" and _NO_MOUNT.search(said) and not _PASSES.search(said):
                return f"pod {name} on node {pod['spec'].get('nodeName')} cannot start: {said}"
    return None


def not_started(job: Object, pods: t.Sequence[Object], events: t.Sequence[Object]) -> str:
    """What keeps a job from running, for when its time to start is up."""
    if not pods:
        if job["kind"] == "MPIJob" and not (job.get("status") or {}).get("conditions"):
            return "the MPI operator has not taken it up: is its Deployment running, and for this namespace?"
        return "it has no pods" + (f": {events[-1].get('message')}" if events else "")
    waiting = [(pod["metadata"]["name"], pod_trouble(pod)) for pod in pods]
    reasons = [f"pod {name}: {trouble}" for name, trouble in waiting if trouble]
    last = f"; last event: {events[-1].get('reason')}: {events[-1].get('message')}" if events else ""
    return ("; ".join(reasons) or "all its pods run, but it does not") + last


def failure(job: Object, pods: t.Sequence[Object], events: t.Sequence[Object], time_limit: int | None) -> str:
    """Which pod failed and why, of a job that has failed. `events`: those of the job and its pods, of every type."""
    found = condition(job, "Failed")
    reason, message = str(found.get("reason", "")), str(found.get("message", ""))
    if reason.startswith("DeadlineExceeded"):
        return f"it ran longer than its time_limit{f' of {time_limit} s' if time_limit else ''} and was ended"
    causes = _lost_workers(job, pods, events) + [text for pod in pods for text in [_pod_failure(pod)] if text]
    if not speaker(pods):
        ttl = _policy(job).get("ttlSecondsAfterFinished")  # an MPIJob's goes to its launcher
        removed = "" if ttl is None else f", or removed {ttl} s after its end, as ttl_after_finished says"
        causes.append(f"the pod that ran it is gone: it was evicted or deleted while it ran{removed}")
    return "; ".join(causes) or f"{reason}: {message}"


def _lost_workers(job: Object, pods: t.Sequence[Object], events: t.Sequence[Object]) -> list[str]:
    """Workers that the operator made anew: younger than the launcher, which comes after all workers, or scheduled twice.

    The events are asked too because a clean-up policy removes the new worker as soon as the launcher has failed.
    """
    launcher = speaker(pods)
    lost = set()
    if launcher and part_of(launcher) == "launcher":
        since = str(launcher["metadata"]["creationTimestamp"])
        lost = {
            str(pod["metadata"]["name"])
            for pod in pods
            if part_of(pod) == "worker" and str(pod["metadata"]["creationTimestamp"]) > since
        }
    scheduled: dict[str, set[str]] = {}
    for event in events:
        about, when = event.get("involvedObject") or {}, event.get("eventTime") or event.get("firstTimestamp")
        if event.get("reason") == "Scheduled" and when and _time(when) >= _time(job["metadata"]["creationTimestamp"]):
            scheduled.setdefault(str(about.get("name")), set()).add(str(about.get("uid")))
    workers = re.compile(rf"{re.escape(job['metadata']['name'])}-worker-\d+")
    lost |= {name for name, uids in scheduled.items() if len(uids) > 1 and workers.fullmatch(name)}
    return [f"worker {name} was lost while it trained (killed, evicted or deleted) and made anew" for name in sorted(lost)]


def _pod_failure(pod: Object) -> str | None:
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    where = f"{part_of(pod)} pod {name} on node {pod['spec'].get('nodeName', '(none)')}"
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted.get("status") == "True":
        return f"{where} was evicted ({disrupted.get('reason')}: {disrupted.get('message')})"
    if status.get("reason") == "Evicted":
        return f"{where} was evicted ({status.get('message')})"
    for container in status.get("containerStatuses") or ():
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated")
            if ended and (ended.get("exitCode") or ended.get("signal")):
                code = f"exit code {ended.get('exitCode')}"
                return (
                    f"{where} ended with {code} ({ended.get('reason')}{': ' + ended['message'] if ended.get('message') else ''})"
                )
    return f"{where} failed: {status.get('reason')} {status.get('message', '')}" if status.get("phase") == "Failed" else None


def seconds(job: Object) -> float | None:
    """How long a job that has ended took, from its start to its end."""
    status = job.get("status") or {}
    end = status.get("completionTime") or condition(job, "Failed").get("lastTransitionTime")
    return _time(end) - _time(status["startTime"]) if end and status.get("startTime") else None


def waiting_since(job: Object, pods: t.Sequence[Object], patient: bool) -> float | None:
    """When the time of a job to start began to run, as a Unix time; None while it does not: the job is suspended, or `patient`
    and a pod has no node yet, which an autoscaler or a queue will give it.

    The job controller and the MPI operator set status.startTime anew each time they resume a job, and a job that is created
    suspended has none (updateMPIJobStatus of mpi-operator 0.8, syncJob of Kubernetes). A retry leaves it as it is, so the newest
    pod counts as well.
    """
    if _policy(job).get("suspend"):
        return None
    since = [_time((job.get("status") or {}).get("startTime") or job["metadata"]["creationTimestamp"])]
    since += [_time(pod["metadata"]["creationTimestamp"]) for pod in pods]
    if patient:
        if not all(pod["spec"].get("nodeName") for pod in pods):
            return None
        placed = [condition(pod, "PodScheduled").get("lastTransitionTime") for pod in pods]
        since += [_time(when) for when in placed if when]
    return max(since)


def _policy(job: Object) -> Object:
    """Where time limits and the like are: an MPIJob's runPolicy, a Job's spec."""
    spec: Object = job.get("spec") or {}
    return spec.get("runPolicy") or spec


def age(obj: Object, now: float) -> float:
    return now - _time(obj["metadata"]["creationTimestamp"])


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def values(log: str, patterns: t.Mapping[str, str]) -> dict[str, list[float]]:
    """What each pattern's first group found in a log, in order."""
    found: dict[str, list[float]] = {}
    for name, pattern in patterns.items():
        found[name] = []
        for match in re.finditer(pattern, log):
            try:
                found[name].append(float(match.group(1)))
            except (TypeError, ValueError):  # None where the group took no part in the match
                continue
    return found


def last_lines(log: str, count: int = LAST_LINES) -> list[str]:
    """Without empty lines and mpirun's rulers."""
    return [line.rstrip() for line in log.splitlines() if line.strip(" -")][-count:]
