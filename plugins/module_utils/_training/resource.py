# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`training_job` on a control plane host: observes, starts, looks at and removes a training through kubectl."""

from __future__ import annotations

import re
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from .._apply.kubectl import Kubectl, KubectlError
from .._apply.objects import Object, Ref, narrowed, ref_of, wished_part
from .._plan import ApplyError, Difference, GpufleetError, Plan, PlanError, Resource, Step, Undo, run
from . import fit, folder, render, status

PAUSE_S = 2.0  # between looks, each of which takes a kubectl's start from the training
START_S = 3.0  # of a pod, before its events are asked for
LINES_ON_THE_WAY = 1000  # of a log that still grows
REMOVE_LIMIT_S = 120
CLUSTER = "nodes,pods,persistentvolumeclaims,resourcequotas"  # what says whether a job would run
KINDS = {render.MPI_API: "MPIJob", render.JOB_API: "Job"}


class TrainingFailed(GpufleetError):
    """The training ended without success, or cannot begin."""


@dataclass(frozen=True)
class Observed:
    """`jobs`: the MPIJob or Job of that name; `others`: its ConfigMaps; `unknown`: kinds that are not installed."""

    jobs: tuple[Object, ...] = ()
    others: tuple[Object, ...] = ()
    unknown: frozenset[tuple[str, str]] = frozenset()
    missing: str | None = None  # in check mode: no kubectl or kubeconfig yet
    cluster: tuple[Object, ...] = field(default=(), repr=False)  # of CLUSTER, where a job is to start
    refusal: str | None = None  # what the API server says to the objects
    folder: folder.Folder | None = None  # of a kustomization, where one is asked for


class Training(Resource[Observed]):
    def __init__(self, params: t.Mapping[str, t.Any], check_mode: bool) -> None:
        self.check_mode = check_mode
        self.present = params["state"] == "present"
        self.wish = render.wished(params) if self.present else dict(params)
        self.objects = render.objects(self.wish) if self.present else []
        self.kubectl = Kubectl(params["kubectl"], params["kubeconfig"])

    # observe ---------------------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        path = self.wish["kustomize_dir"]
        seen = folder.look(path) if path else None
        return replace(self._observe(), folder=seen)

    def _observe(self) -> Observed:
        missing = self.kubectl.missing()
        if missing and self.check_mode:
            return Observed(missing=missing)
        name, namespace = self.wish["name"], self.wish["namespace"]
        asked = [Ref(api, kind, namespace, name).manifest() for api, kind in KINDS.items()]
        asked += [Ref("v1", "ConfigMap", namespace, f"{name}-{part}").manifest() for part in ("env", "user")]
        begins = self.present and self.wish["create"]
        with ThreadPoolExecutor(1) as pool:  # somebody waits for the first step, and most runs begin a job
            refusal = pool.submit(self._dry_run, replacing=False) if begins and not self.wish["rerun"] else None
            found, unknown = self.kubectl.get(asked)
            jobs = tuple(obj for obj in found if obj["kind"] != "ConfigMap")
            others = tuple(obj for obj in found if obj["kind"] == "ConfigMap")
            observed = Observed(jobs, others, frozenset(unknown))
            if not begins or (self.objects[-1]["apiVersion"], self.objects[-1]["kind"]) in unknown:
                return observed
            if jobs and not self.wish["rerun"]:
                return observed
            refusal = refusal or pool.submit(self._dry_run, replacing=bool(jobs))
            cluster = tuple(self.kubectl.objects("get", CLUSTER, "--all-namespaces"))
            return Observed(jobs, others, frozenset(unknown), None, cluster, refusal.result())

    def _dry_run(self, replacing: bool) -> str | None:
        """What the API server has against the objects. Fields that cannot change are no objection where all is made anew."""
        asked = self.objects[:-1] if replacing else self.objects
        try:
            self.kubectl.apply([*asked, *render.pods(self.objects[-1])], "gpufleet", force=True, dry_run=True)
        except KubectlError as error:
            return error.message
        return None

    # plan ------------------------------------------------------------------------------------------------------------

    def plan(self, observed: Observed) -> Plan:
        """The kustomization comes before the job, so that it is there for one that fails."""
        made = plan_present(self.wish, self.objects, observed) if self.present else plan_absent(self.wish, observed)
        if not observed.folder or not self.wish["create"]:
            return made
        if self.present:
            return _joined(folder.plan_present(observed.folder, made.facts["kustomization"]), made)
        return _joined(made, folder.plan_absent(observed.folder, self.wish["name"]))

    # apply -----------------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> Undo | None:
        """A job is not undone: one that was created is the next run's job as well."""
        if "folder" in step.args:
            return folder.apply(step.args["folder"], step.args["files"])
        try:
            if step.action == "create":
                self.kubectl.apply(self.objects, "gpufleet", force=True)
            else:
                self.remove(step.args["refs"])
        except KubectlError as error:
            raise ApplyError(error.message) from None
        return None

    def remove(self, refs: t.Sequence[Ref]) -> None:
        """With everything that the job made: foreground deletion ends when the pods are gone."""
        self.kubectl.delete(refs, REMOVE_LIMIT_S, cascade="foreground")

    def verify(self, plan: Plan) -> dict[str, t.Any]:
        """The API server accepted all; how the training goes on is looked at by `follow`."""
        del plan
        return {}

    # look ------------------------------------------------------------------------------------------------------------

    def follow(self, begun: bool = False) -> dict[str, t.Any]:
        """Looks at the job until it ends or `wait` seconds are over; a job that has just `begun` gets a moment first.

        What passes by itself, such as an API server that restarts, is waited for as well. Raises TrainingFailed and KubectlError.
        """
        deadline = time.monotonic() + self.wish["wait"]
        if begun and self.wish["wait"] > PAUSE_S:
            time.sleep(PAUSE_S)
        while True:
            over = time.monotonic() + PAUSE_S > deadline
            try:
                seen = self._seen(over)
            except KubectlError as error:
                if over or not error.passing:
                    raise
                seen = None
            if seen:
                return seen
            time.sleep(PAUSE_S)

    def _seen(self, over: bool) -> dict[str, t.Any] | None:
        """The report of a job that has ended, or of any when the time is over. Raises TrainingFailed."""
        job, pods = self._look()
        phase = status.phase(job, pods)
        if phase == "absent":
            raise TrainingFailed(f"{self._what()} is gone: {self._why_gone()}", finished=True)
        trouble = self._trouble(job, pods) if phase in ("pending", "running") else None
        if trouble or phase == "failed":
            self._fail(job, pods, trouble)
        return self._report(job, pods, phase) if over or self._ended(phase) else None

    def _ended(self, phase: str) -> bool:
        """A job that was suspended by somebody else, such as a queue, goes on when they say so."""
        return phase in ("succeeded", "failed") or (phase == "suspended" and self.wish["suspend"])

    def _why_gone(self) -> str:
        ttl = self.wish["ttl_after_finished"]
        if ttl is None:
            return "somebody deleted it while it was waited for"
        return (
            f"it ended, and its ttl_after_finished of {ttl} s was over before it was looked at again, or somebody deleted it. "
            "Whether it succeeded cannot be told any more; a ttl_after_finished of 60 s or more leaves time to look"
        )

    def _look(self) -> tuple[Object, list[Object]]:
        kind = "mpijobs.kubeflow.org" if self.wish["mode"] == "multi_node" else "jobs.batch"
        selector, namespace = f"--selector={render.LABEL}={self.wish['name']}", f"--namespace={self.wish['namespace']}"
        found = self.kubectl.objects("get", f"{kind},pods", selector, namespace)
        job = next((obj for obj in found if obj["kind"] != "Pod" and obj["metadata"]["name"] == self.wish["name"]), {})
        return job, sorted((obj for obj in found if obj["kind"] == "Pod"), key=lambda pod: str(pod["metadata"]["name"]))

    def _trouble(self, job: Object, pods: t.Sequence[Object]) -> str | None:
        """Why it will not start, or has not started in time."""
        now = time.time()
        waiting = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Pending" and status.age(pod, now) > START_S]
        since = status.waiting_since(job, pods, self.wish["allow_pending"])
        late = status.phase(job, pods) == "pending" and since is not None and now - since > self.wish["start_timeout"]
        if not waiting and not late:
            return None
        events = self._events()
        trouble = status.hopeless(waiting, events)
        if not trouble and late:
            trouble = f"it has not begun within {self.wish['start_timeout']} s: {status.not_started(job, pods, events)}"
        return trouble

    def _events(self, which: str = "type=Warning") -> list[Object]:
        """Events about the job and its pods, the newest last."""
        events = self.kubectl.objects(
            "get", "events", f"--namespace={self.wish['namespace']}", f"--field-selector={which}", "--sort-by=.lastTimestamp"
        )
        name = self.wish["name"]
        mine = re.compile(rf"{re.escape(name)}(-launcher(-.+)?|-worker-\d+|-[a-z0-9]{{5}})?")
        return [event for event in events if mine.fullmatch(str((event.get("involvedObject") or {}).get("name")))]

    def _scheduled(self) -> list[Object]:
        """Which pods the scheduler placed; none for a user who may not read events: the failure is told all the same."""
        try:
            return self._events("reason=Scheduled")
        except KubectlError:
            return []

    def _logs(self, pods: t.Sequence[Object], whole: bool) -> dict[str, str]:
        """Logs by pod, those of all workers together. A pod that was removed since the look has none."""
        began = [pod for pod in pods if status.began(pod)]
        flags = [f"--namespace={self.wish['namespace']}", f"--tail={-1 if whole else LINES_ON_THE_WAY}"]
        sources = {pod["metadata"]["name"]: [pod["metadata"]["name"]] for pod in began if status.part_of(pod) != "worker"}
        if len(sources) < len(began):
            selector = f"--selector={render.LABEL}={self.wish['name']},training.kubeflow.org/job-role=worker"
            sources[f"{self.wish['name']}-workers"] = [selector, "--prefix", "--ignore-errors", "--max-log-requests=1000"]
        logs = {}
        for name, which in sources.items():
            try:
                logs[name] = self.kubectl.run("logs", *which, *flags)
            except KubectlError:
                continue
        return logs

    def _report(self, job: Object, pods: t.Sequence[Object], phase: str) -> dict[str, t.Any]:
        logs = self._logs(pods, whole=phase in ("succeeded", "failed"))
        told = status.speaker(pods)
        log = logs.get(told["metadata"]["name"], "") if told else ""
        return {
            "phase": phase,
            "finished": self._ended(phase),
            "succeeded": phase == "succeeded",
            "duration": status.seconds(job) if job else None,
            "pods": [status.told(pod) for pod in pods],
            "last_line": "".join(status.last_lines(log, 1)),
            "found": status.values(log, self.wish["patterns"]),
            "logs": logs,
        }

    def _fail(self, job: Object, pods: t.Sequence[Object], trouble: str | None) -> t.NoReturn:
        report = self._report(job, pods, "failed")
        told = status.speaker(pods)
        log = report["logs"].get(told["metadata"]["name"], "") if told else ""
        reason = trouble or status.failure(job, pods, self._scheduled(), self.wish["time_limit"])
        lines = status.last_lines(log)
        left = "It was left as it is"
        if self.wish["on_failure"] == "remove":
            left = "It was removed from the cluster"
            try:
                self.remove([ref_of(obj) for obj in self.objects])
            except KubectlError as error:  # why the training failed is what counts
                left = f"It could not be removed: {error.message}"
        raise TrainingFailed(
            f"{self._what()} failed: {reason}. {left}"
            + (f". Its last lines: {' | '.join(lines)}" if lines else "; there is no log"),
            reason=reason,
            **report,
        )

    def _what(self) -> str:
        return f"training {self.wish['namespace']}/{self.wish['name']}"


# the planners, pure --------------------------------------------------------------------------------------------------


def plan_present(wish: t.Mapping[str, t.Any], objects: t.Sequence[Object], observed: Observed) -> Plan:
    """Creates what is not there; refuses what cannot work, and another input under a name that is taken."""
    job = objects[-1]
    facts: dict[str, t.Any] = {"kustomization": render.kustomization(wish, objects)}
    create = Step("create", f"{job['kind']} {wish['namespace']}/{wish['name']}")
    made = [Difference(str(ref_of(obj)), None, obj) for obj in objects]
    if observed.missing:
        warning = f"{observed.missing}; taken as: an earlier task would make it, and the job would be created"
        return Plan(tuple(made), (create,), (warning,), facts)
    _refuse_theirs(wish, observed)
    if not observed.jobs and not wish["create"]:
        return Plan(facts=facts)  # `follow` says that there is none
    if (job["apiVersion"], job["kind"]) in observed.unknown:
        raise PlanError(
            "the cluster does not know MPIJob (kubeflow.org/v2beta1): install the MPI operator first (role "
            "gpufleet.k8s.mpi_operator), or use mode single_node. Nothing was changed"
        )
    there = {obj["kind"]: obj for obj in observed.jobs}
    if there and not wish["rerun"]:
        _same_input(wish, objects, there, observed.others if wish["create"] else ())
        return Plan(facts=facts)
    if observed.refusal:
        raise PlanError(f"the API server refuses the job: {observed.refusal}. Nothing was changed")
    old = tuple(ref_of(obj) for obj in (*observed.jobs, *observed.others))
    warnings = _fits(wish, job, observed)
    steps = (
        (Step("remove", f"the run before of {wish['namespace']}/{wish['name']}", {"refs": old}), create) if there else (create,)
    )
    return Plan(tuple(made), steps, warnings, facts)


def _refuse_theirs(wish: t.Mapping[str, t.Any], observed: Observed) -> None:
    """Objects of these names that are no training's: they are neither overwritten nor removed."""
    for obj in (*observed.jobs, *observed.others):
        if not _belongs(obj, wish):
            raise PlanError(
                f"{ref_of(obj)} is not of the training {wish['namespace']}/{wish['name']}: it lacks the label "
                f"{render.LABEL}={wish['name']}. Use another name for the training. Nothing was changed"
            )


def _same_input(
    wish: t.Mapping[str, t.Any], objects: t.Sequence[Object], there: t.Mapping[str, Object], others: t.Iterable[Object]
) -> None:
    """`others`: the ConfigMaps, which `kubectl apply -k` of an edited kustomization makes other than the job's digest says."""
    job = objects[-1]
    found = there.get(job["kind"])
    digest = ((found or {}).get("metadata", {}).get("annotations") or {}).get(render.INPUT)
    data = {obj["metadata"]["name"]: obj.get("data") or {} for obj in others}
    edited = [str(ref_of(obj)) for obj in objects[:-1] if data.get(obj["metadata"]["name"], obj["data"]) != obj["data"]]
    differs = "it is a job of another kind"
    if found and digest == job["metadata"]["annotations"][render.INPUT]:
        if not edited:
            return
        differs = f"{' and '.join(edited)} was edited"
    elif found:
        before, _after = narrowed(wished_part(found)["spec"], job["spec"])
        known = [key for key in before if key in job["spec"]]
        differs = f"it differs in {', '.join(known)}" if known else "its environment or user differs"
    raise PlanError(
        f"there is a training {wish['namespace']}/{wish['name']} with other input ({differs}): give this one another name, "
        "or set rerun to remove that and begin anew. Nothing was changed"
    )


def _fits(wish: t.Mapping[str, t.Any], job: Object, observed: Observed) -> tuple[str, ...]:
    own = {obj["metadata"]["uid"] for obj in observed.jobs if "uid" in obj["metadata"]}
    cluster = [obj for obj in observed.cluster if not _belongs(obj, wish)] if own else observed.cluster
    nodes = fit.nodes(cluster)
    try:
        workers, launcher = wants(wish, job)
        _claims(wish, workers.count if workers.apart else 1, cluster)
        if wish["mode"] == "multi_node":
            _slots(wish, workers, nodes)
        leaving = [obj for obj in observed.cluster if obj["kind"] == "Pod" and _belongs(obj, wish)] if own else []
        over = fit.over_quota([workers, *filter(None, [launcher])], _of(wish, cluster, "ResourceQuota"), leaving)
        if over:
            raise PlanError(over)
        fit.place(workers, launcher, nodes)
    except PlanError as error:
        if wish["allow_pending"] or wish["suspend"]:
            return (error.message,)
        raise PlanError(f"{error.message}. Set allow_pending to create it all the same. Nothing was changed") from None
    return ()


def _of(wish: t.Mapping[str, t.Any], cluster: t.Iterable[Object], kind: str) -> list[Object]:
    return [obj for obj in cluster if obj["kind"] == kind and obj["metadata"]["namespace"] == wish["namespace"]]


def _slots(wish: t.Mapping[str, t.Any], workers: fit.Want, nodes: t.Sequence[fit.Node]) -> None:
    """Raises PlanError for workers that ask for no CPUs and have more processes than any node has CPUs."""
    cpus = {each.name: each.allocatable.get("cpu", fit.ONE) for each in nodes if not each.refusal(workers)}
    largest = max(cpus, key=lambda name: cpus[name], default=None)
    if largest and "cpu" not in workers.requests and wish["slots_per_worker"] > max(cpus[largest], fit.ONE):
        raise PlanError(
            f"slots_per_worker is {wish['slots_per_worker']}, but the largest node for workers, {largest}, has "
            f"{fit.written('cpu', cpus[largest])} CPUs: each slot is a process that computes, so use fewer slots"
        )


def _claims(wish: t.Mapping[str, t.Any], nodes: int, cluster: t.Iterable[Object]) -> None:
    """Raises PlanError for a claim that is not there, or that fewer than so many nodes may have."""
    claims = _of(wish, cluster, "PersistentVolumeClaim")
    there = {obj["metadata"]["name"]: set(obj["spec"].get("accessModes") or ()) for obj in claims}
    for number, volume in enumerate(wish["volumes"]):
        name = (volume["source"].get("persistentVolumeClaim") or {}).get("claimName")
        where = f"volumes[{number}]: the PersistentVolumeClaim {wish['namespace']}/{name}"
        if name and name not in there:
            raise PlanError(f"{where} is not there; the job would stay Pending until it is")
        if name and nodes > 1 and there[name] <= {"ReadWriteOnce", "ReadWriteOncePod"}:
            raise PlanError(f"{where} is for one node ({', '.join(there[name])}), the workers are on {nodes}: use ReadWriteMany")


def _belongs(obj: Object, wish: t.Mapping[str, t.Any]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return labels.get(render.LABEL) == wish["name"] and obj["metadata"].get("namespace") == wish["namespace"]


def wants(wish: t.Mapping[str, t.Any], job: Object) -> tuple[fit.Want, fit.Want | None]:
    """The pods that a job asks nodes for: its workers (or its one pod), and its launcher."""

    def want(what: str, count: int, pod: Object, apart: bool = False) -> fit.Want:
        spec = pod["spec"]
        asked = {**fit.requests(spec), "pods": fit.ONE}
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        return fit.Want(
            what,
            count,
            asked,
            spec.get("nodeSelector") or {},
            tuple(spec.get("tolerations") or ()),
            apart,
            fit.limits(spec),
            tuple(required.get("nodeSelectorTerms") or ()) if required else None,
        )

    if job["kind"] == "Job":
        return want("training pod", 1, job["spec"]["template"]), None
    replicas = job["spec"]["mpiReplicaSpecs"]
    count = replicas["Worker"]["replicas"]
    workers = want("worker" if count == 1 else "workers", count, replicas["Worker"]["template"], wish["spread"])
    return workers, want("launcher", 1, replicas["Launcher"]["template"])


def plan_absent(wish: t.Mapping[str, t.Any], observed: Observed) -> Plan:
    _refuse_theirs(wish, observed)
    found = [*observed.jobs, *observed.others]
    if not found:
        return Plan()
    refs = tuple(ref_of(obj) for obj in found)
    step = Step("remove", f"training {wish['namespace']}/{wish['name']}", {"refs": refs})
    return Plan(tuple(Difference(str(ref_of(obj)), wished_part(obj), None) for obj in found), (step,))


def _joined(*plans: Plan) -> Plan:
    """One after the other."""
    return Plan(
        tuple(each for plan in plans for each in plan.differences),
        tuple(each for plan in plans for each in plan.steps),
        tuple(each for plan in plans for each in plan.warnings),
        {name: value for plan in plans for name, value in plan.facts.items()},
    )


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module. Raises GpufleetError; its fact `passing` says whether a look may succeed a little later."""
    training = Training(params, check_mode)
    result: dict[str, t.Any] = {}
    try:
        result = run(training, check_mode)
        if training.present and not check_mode:
            result.update(training.follow(begun=any(action.startswith("create ") for action in result["actions"])))
    except TrainingFailed as error:
        raise TrainingFailed(error.message, **{**result, **error.facts}) from None
    except KubectlError as error:
        raise GpufleetError(error.message, **{**result, "passing": error.passing}) from None
    return result
