# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`kube_apply` on the control plane: renders, compares, applies, waits and prunes through kubectl."""

from __future__ import annotations

import re
import time
import typing as t
from pathlib import Path

from .._plan import ApplyError, GpufleetError, Plan, PlanError, Resource, Step, VerifyError, run
from .kubectl import Kubectl, KubectlError
from .objects import (
    CRD,
    Object,
    Ref,
    apply_patches,
    defined_kinds,
    flatten,
    inventory,
    override_images,
    prepare,
    ref_of,
    remembered,
)
from .planner import Observed, plan_absent, plan_present
from .ready import (
    AUTOMATIC,
    ON_NODES,
    ROLLOUTS,
    hopeless,
    lacking_on,
    node_of,
    pod_trouble,
    unseen,
    waiting_for,
    wanted_condition,
    wanted_field,
)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 2.0  # between looks at what is waited for
TROUBLED_PODS_SHOWN = 3
NODES_SHOWN = 5

Trouble = tuple[str, str, t.Optional[Object]]  # what is not ready, what it lacks, the object


class ApplyResource(Resource[Observed]):
    """One set of manifests."""

    def __init__(self, params: t.Mapping[str, t.Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.present = params["state"] == "present"
        self.kubectl = Kubectl(params["kubectl"], params["kubeconfig"])
        self.objects: list[Object] = []  # as wished
        self.own: list[Object] = []  # the inventory as wished; empty for a set without a name
        self.last_seen: dict[Ref, Object] = {}
        self.others: list[str] = []  # Nodes that nobody waits for, and that are not ready

    # observe ---------------------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        self.objects = self._render()
        refs = [ref_of(o) for o in self.objects]
        self.own = self._inventory(refs)
        found, unknown = self._get([*self.objects, *self.own])
        keys = {ref.key for ref in refs}
        formerly = [ref for o in self.own for ref in remembered(found.get(ref_of(o))) if ref.key not in keys]
        there = self._get([ref.manifest() for ref in formerly])[0]
        # One object can have two references: a cluster-scoped one keeps the namespace of its set, and groups are renamed.
        wished = {obj["metadata"]["uid"] for obj in found.values()}
        stale = [ref for ref in formerly if ref in there and there[ref]["metadata"]["uid"] not in wished]
        if not self.present:
            stale += [ref for ref in refs if ref in found]
            return Observed(
                tuple(self.objects), stale=tuple(stale), own=next((ref for ref in map(ref_of, self.own) if ref in found), None)
            )
        if stale and not self.params["prune"]:
            self.own = self._inventory([*refs, *stale])
        self.last_seen = found
        after, warnings = self._would_be(found, unknown)
        return Observed((*self.objects, *self.own), found, after, tuple(stale), warnings=tuple(warnings))

    def _render(self) -> list[Object]:
        params = self.params
        if self.present and params["name"] and all(params[source] is None for source in ("manifests", "content", "kustomize")):
            raise PlanError(
                f"the set '{params['name']}' has no source, which would delete all that it applied: give `manifests`, `content`"
                " or `kustomize`; leave `name` out to wait only; `content: []` or `state: absent` if all of it shall go"
            )
        objects: list[Object] = []
        for path in params["manifests"] or ():
            if "://" in path:
                raise PlanError(f"manifests: '{path}' is a URL; fetch it with gpufleet.k8s.artifact, which pins its content")
            if not Path(path).exists():
                raise PlanError(f"manifests: {path} does not exist on this host")
            objects += self._to_json(path, path)
        if params["kustomize"]:
            objects += self._to_json("-", params["kustomize"], self.kubectl.run("kustomize", params["kustomize"], server=False))
        content = params["content"]
        if isinstance(content, str):
            objects += self._to_json("-", "content", content) if content.strip() else []
        elif content is not None:
            for document in content if isinstance(content, list) else [content]:
                if not isinstance(document, dict):
                    raise PlanError(f"content: {str(document)[:80]!r} is not a Kubernetes object, that is a dict")
                objects += flatten(document)
        namespace = params["namespace"]
        objects = apply_patches(objects, params["patches"] or (), namespace)
        return prepare(override_images(objects, params["images"] or {}), namespace)

    def _to_json(self, source: str, label: str, text: str = "") -> list[Object]:
        try:
            return self.kubectl.to_json(source, stdin=text)
        except KubectlError as error:
            raise PlanError(f"{label} cannot be read: {error.message}") from None

    def _inventory(self, refs: t.Sequence[Ref]) -> list[Object]:
        if not self.params["name"]:
            return []
        return [inventory(self.params["name"], self.params["inventory_namespace"], refs)]

    def _get(self, objects: t.Sequence[Object]) -> tuple[dict[Ref, Object], set[tuple[str, str]]]:
        found, unknown = self.kubectl.get(objects)
        return _by_ref(objects, found), unknown

    def _would_be(self, found: t.Mapping[Ref, Object], unknown: set[tuple[str, str]]) -> tuple[dict[Ref, Object], list[str]]:
        """The API server's answer to a dry run. What needs a namespace or a definition of the same set cannot be asked yet."""
        warnings = []
        foreign = unknown - {(o["apiVersion"], o["kind"]) for o in self.objects if _group_kind(o) in defined_kinds(self.objects)}
        if foreign:
            names = ", ".join(sorted(f"{kind} ({version})" for version, kind in foreign))
            message = f"the cluster does not know the kind {names}, and no definition of it is among the manifests"
            if not self.check_mode:
                raise PlanError(f"{message}; install that first")
            warnings.append(f"{message}; taken as: an earlier task would install it")
        wished = [*self.objects, *self.own]
        later = {o["metadata"]["name"] for o in self.objects if o["kind"] == "Namespace" and ref_of(o) not in found}
        while True:
            askable = [
                o
                for o in wished
                if (o["apiVersion"], o["kind"]) not in unknown
                and (o["kind"] == "Namespace" or o["metadata"]["namespace"] not in later)
            ]
            try:
                answer = self.kubectl.apply(askable, self.params["field_manager"], self.params["force_conflicts"], dry_run=True)
                return _by_ref(askable, answer), warnings
            except KubectlError as error:
                missing = set(re.findall(r'namespaces "(.+?)" not found', error.raw)) - later
                if not (missing and self.check_mode):
                    raise PlanError(f"the API server refuses the manifests: {error.message}") from None
                warnings.append(f"there is no namespace {', '.join(sorted(missing))}; taken as: an earlier task would make it")
                later |= missing

    # plan ------------------------------------------------------------------------------------------------------------

    def plan(self, observed: Observed) -> Plan:
        return plan_present(observed, self.params["prune"]) if self.present else plan_absent(observed)

    # apply -----------------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> None:
        """Not undone when a later step fails: half of a set is repaired by the next run, not by deleting the other half."""
        if step.action == "apply":
            self._apply(step.args["keep"])
        else:
            self._delete(step.args["groups"])

    def _apply(self, keep: t.Sequence[Ref]) -> None:
        """The inventory goes early and remembers old and new, so that a killed run forgets neither."""
        namespaces = [o for o in self.objects if o["kind"] == "Namespace"]
        rest = [o for o in self.objects if o["kind"] != "Namespace"]
        first = [*namespaces, *self._inventory([*(ref for o in self.own for ref in remembered(o)), *keep])]
        deadline = time.monotonic() + self.params["wait_timeout"]
        definitions = [o for o in rest if o["kind"] == CRD]
        if any(ref_of(o) not in self.last_seen for o in definitions):
            self._apply_until([*first, *definitions], deadline)
            self._wait([ref_of(o) for o in definitions], (), deadline)
            first, rest = [], [o for o in rest if o["kind"] != CRD]
        self._apply_until([*first, *rest], deadline)

    def _apply_until(self, objects: t.Sequence[Object], deadline: float) -> None:
        while True:
            try:
                self.kubectl.apply(objects, self.params["field_manager"], self.params["force_conflicts"])
                return
            except KubectlError as error:
                if not error.passing or time.monotonic() > deadline:
                    raise ApplyError(error.message) from None
                time.sleep(1)  # a webhook's pod is starting; nothing says when

    def _delete(self, groups: t.Sequence[t.Sequence[Ref]]) -> None:
        deadline = time.monotonic() + self.params["wait_timeout"]
        for group in groups:
            try:
                self.kubectl.delete(group, max(1, int(deadline - time.monotonic())))
            except KubectlError as error:
                left = self._get([ref.manifest() for ref in group])[0]
                raise ApplyError(
                    f"{error.message}; still there: " + "; ".join(f"{ref} {_why_there(obj)}" for ref, obj in left.items())
                ) from None
        if self.present:
            self.kubectl.apply(self.own, self.params["field_manager"], True)

    # verify ----------------------------------------------------------------------------------------------------------

    def verify(self, plan: Plan | None = None) -> dict[str, t.Any]:
        """Waits until everything works. The API server's answers already said that everything is as wished."""
        del plan
        if self.present:
            automatic = [ref_of(o) for o in self.objects if o["kind"] in AUTOMATIC] if self.params["wait"] else []
            deadline = time.monotonic() + self.params["wait_timeout"]
            self._wait(automatic, self.params["wait_for"] or (), deadline)
        return {}

    def already_works(self) -> bool:
        """What `observe` saw needs no waiting."""
        automatic = [ref for ref in self.last_seen if ref.kind in AUTOMATIC] if self.params["wait"] else []
        return not self.params["wait_for"] and all(waiting_for(self.last_seen[ref]) is None for ref in automatic)

    def _wait(self, refs: t.Sequence[Ref], wishes: t.Sequence[t.Mapping[str, t.Any]], deadline: float) -> None:
        pause = FIRST_PAUSE_S
        while True:
            troubles = self._troubles(refs, wishes)
            if not troubles:
                return
            if time.monotonic() + pause > deadline or any(obj and hopeless(obj) for _label, _reason, obj in troubles):
                reasons = [f"{label}: {reason}{self._pods(obj)}" for label, reason, obj in troubles] + self.other_nodes()
                raise VerifyError(
                    f"not ready after {self.params['wait_timeout'] - max(0.0, deadline - time.monotonic()):.0f} s: "
                    + "; ".join(reasons),
                    not_ready=[{"object": label, "reason": reason} for label, reason, _obj in troubles],
                )
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _troubles(self, refs: t.Sequence[Ref], wishes: t.Sequence[t.Mapping[str, t.Any]]) -> list[Trouble]:
        """(what, what it lacks, the object) of everything that is not ready now."""
        troubles: list[Trouble] = []
        try:
            if refs:
                found = self._get([ref.manifest() for ref in refs])[0]
                for ref in refs:
                    obj = found.get(ref)
                    reason = waiting_for(obj) if obj else "it is not there"
                    if reason:
                        troubles.append((str(ref), reason, obj))
            for wish in wishes:
                troubles += self._unfulfilled(wish)
        except KubectlError as error:
            if not error.passing:
                raise
            troubles.append(("API server", error.message, None))
        return troubles

    def _unfulfilled(self, wish: t.Mapping[str, t.Any]) -> list[Trouble]:
        which = [wish["name"]] if wish["name"] else [f"--selector={wish['selector']}"] if wish["selector"] else []
        namespace = wish["namespace"] or self.params["namespace"]
        label = " ".join([wish["kind"], *which])
        try:
            found = self.kubectl.objects("get", wish["kind"], *which, f"--namespace={namespace}", "--ignore-not-found")
        except KubectlError as error:
            if "the server doesn't have a resource type" in error.raw:
                return [(label, "its kind is not known to the API server", None)]
            raise
        if not found:
            return [(label, "there is none", None)]
        nodes = list(dict.fromkeys(wish["nodes"] or ()))
        if nodes and found[0]["kind"] == "DaemonSet":
            return [trouble for obj in found for trouble in self._daemons(obj, nodes)]
        lacks = [(obj, self._lacks(obj, wish)) for obj in found]
        if nodes and found[0]["kind"] == "Node":
            self.others = [node_of(obj) for obj, reason in lacks if reason and node_of(obj) not in nodes]
        troubles: list[Trouble] = [
            (str(ref_of(obj)), reason, obj) for obj, reason in lacks if reason and (not nodes or node_of(obj) in nodes)
        ]
        missing = _some(sorted({*nodes} - {node_of(obj) for obj in found}))
        if missing:
            lack = f"there is no {missing}" if found[0]["kind"] == "Node" else f"there is none on {missing}"
            troubles.append((label, lack, None))
        return troubles

    def _lacks(self, obj: Object, wish: t.Mapping[str, t.Any]) -> str | None:
        if wish["condition"]:
            return wanted_condition(obj, wish["condition"])
        if wish["field"]:
            return wanted_field(obj, wish["field"], wish["value"])
        return waiting_for(obj)

    def _daemons(self, obj: Object, nodes: t.Sequence[str]) -> list[Trouble]:
        """What a DaemonSet lacks on these Nodes. Where it is rolled out everywhere, its pods are not asked for."""
        reason = waiting_for(obj)
        if reason is None:
            return []
        if unseen(obj):
            return [(str(ref_of(obj)), reason, obj)]
        namespace = f"--namespace={obj['metadata']['namespace']}"
        found = self.kubectl.objects("get", "pods,controllerrevisions.apps", namespace, *_selector(obj))
        return [
            (str(ref_of(pod or obj)) + (f" on {node}" if pod else ""), lack, pod if number < TROUBLED_PODS_SHOWN else None)
            for number, (node, lack, pod) in enumerate(lacking_on(nodes, obj, found))
        ]

    def other_nodes(self) -> list[str]:
        """In a sentence, the Nodes that are not ready and that nobody waits for."""
        count = len(self.others)
        return [f"{count} other Node{'s are' if count > 1 else ' is'} not ready: {_some(self.others)}"] if self.others else []

    def _pods(self, obj: Object | None) -> str:
        """Why the pods of a workload do not work, for an error message."""
        if not obj or obj["kind"] not in (*ROLLOUTS, "Job", "Pod"):
            return ""
        namespace = f"--namespace={obj['metadata']['namespace']}"
        try:
            if obj["kind"] == "Pod":
                trouble = pod_trouble(obj)
                return f" ({trouble}{self._events(obj, namespace)})" if trouble else ""
            selector = _selector(obj)
            pods = self.kubectl.objects("get", "pods", namespace, *selector) if selector else []
            troubled = [(pod, trouble) for pod, trouble in ((pod, pod_trouble(pod)) for pod in pods) if trouble]
            texts = [
                f"pod {pod['metadata']['name']}: {trouble}{self._events(pod, namespace)}"
                for pod, trouble in troubled[:TROUBLED_PODS_SHOWN]
            ]
            if not pods:
                texts = [f"it has no pods{self._events(obj, namespace)}"]
        except GpufleetError as error:
            texts = [f"its pods cannot be listed: {error.message}"]
        return f" ({'; '.join(texts)})" if texts else ""

    def _events(self, obj: Object, namespace: str) -> str:
        field = f"--field-selector=involvedObject.uid={obj['metadata']['uid']},type=Warning"
        events = self.kubectl.objects("get", "events", namespace, field, "--sort-by=.lastTimestamp")
        return f"; last event: {events[-1].get('reason')}: {events[-1].get('message')}" if events else ""


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module. Raises GpufleetError."""
    for wish in params["wait_for"] or ():
        _refuse_nodes(wish)
    _refuse_text(params)
    resource = ApplyResource(params, check_mode)
    if check_mode:
        absent = _not_there_yet(resource, params)
        if absent:
            what = [str(x) for x in [*(params["manifests"] or ()), params["kustomize"]] if x] or ["content"]
            changed = resource.present and (what != ["content"] or bool(params["content"]))
            return {
                "changed": changed,
                "actions": [f"apply {', '.join(what)}"] if changed else [],
                "diff": [],
                "warnings": [f"{absent}; taken as: an earlier task would make it, and everything would be applied"]
                if changed
                else [],
            }
    result = run(resource, check_mode)
    if not check_mode and not result["changed"] and not resource.already_works():
        resource.verify()
    if others := resource.other_nodes():
        result["warnings"] = [*result.get("warnings", ()), *others]
    return result


def _refuse_nodes(wish: t.Mapping[str, t.Any]) -> None:
    kind = ON_NODES.get(wish["kind"].lower())
    if wish["nodes"] and kind is None:
        raise PlanError(
            f"wait_for: {wish['kind']} has no `nodes`, which the kinds Node, Pod and DaemonSet have. Nothing was changed"
        )
    if wish["nodes"] and kind == "DaemonSet" and (wish["condition"] or wish["field"]):
        raise PlanError(
            "wait_for: `condition` and `field` are of a whole DaemonSet, and `nodes` is a part of it. Nothing was changed"
        )


def _refuse_text(params: t.Mapping[str, t.Any]) -> None:
    """Where a path should be. It is not shown: manifests may hold secrets."""
    named = [(f"manifests[{number}]", path) for number, path in enumerate(params["manifests"] or ())]
    for option, path in [*named, ("kustomize", params["kustomize"] or "")]:
        why = ""
        try:
            if "\n" in path or "\0" in path:
                why = "it has several lines or a null character"
            elif "://" not in path:
                Path(path).exists()
        except OSError as error:
            why = str(error.strerror)
        if why:
            raise PlanError(f"{option} is no path of a file or folder ({why}); the text of manifests goes into `content`")


def _not_there_yet(resource: ApplyResource, params: t.Mapping[str, t.Any]) -> str | None:
    """On a bare host check mode comes before what earlier tasks bring."""
    missing = resource.kubectl.missing()
    for path in [*(params["manifests"] or ()), params["kustomize"]]:
        if not missing and path and "://" not in path and not Path(path).exists():
            missing = f"{path} does not exist on this host"
    return missing


def _by_ref(asked: t.Sequence[Object], answers: t.Sequence[Object]) -> dict[Ref, Object]:
    """The answers by the reference that they were asked for; cluster-scoped ones come back without a namespace."""
    by_key = {ref_of(answer, "").key: answer for answer in answers}
    result = {}
    for obj in asked:
        ref = ref_of(obj)
        group, kind, _namespace, name = ref.key
        answer = by_key.get(ref.key) or by_key.get((group, kind, "", name))
        if answer:
            result[ref] = answer
    return result


def _selector(obj: Object) -> list[str]:
    """The flag of kubectl that selects the pods of a workload."""
    labels = ((obj["spec"].get("selector") or {}).get("matchLabels")) or {}
    return ["--selector=" + ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []


def _some(names: t.Sequence[str]) -> str:
    more = len(names) - NODES_SHOWN
    return ", ".join(names[:NODES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _group_kind(obj: Object) -> tuple[str, str]:
    return obj["apiVersion"].rpartition("/")[0], obj["kind"]


def _why_there(obj: Object) -> str:
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp"):
        return "(not being deleted)"
    finalizers = metadata.get("finalizers") or (obj.get("spec") or {}).get("finalizers") or []
    return f"(being deleted, finalizers: {', '.join(finalizers) or 'none'})"
