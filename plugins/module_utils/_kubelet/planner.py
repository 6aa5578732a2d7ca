# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What has to happen on a node so that its kubelet runs with a wished configuration. Pure.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._plan import Difference, Plan, PlanError, Step
from . import files, merge, quantity, rules
from .schema import ROOT, Schema, schema
from .topology import Machine

API_VERSION = "kubelet.config.k8s.io/v1beta1"
#: On the Node, as long as a run has it cordoned: `cordoned`, then `drained`. So the next run knows whose cordon it is.
ANNOTATION = "gpufleet.k8s/kubelet-config"
STATES = ("cpu_manager_state", "memory_manager_state")  # below the kubelet's root directory
#: A change of these reaches running pods wrongly or not at all.
DRAINED_FOR = (
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "memoryManagerPolicy",
    "reservedMemory",
    "reservedSystemCPUs",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "cgroupDriver",
    "cgroupRoot",
    "cgroupsPerQOS",
    "podLogsDir",
    "containerRuntimeEndpoint",
)


def minor(version: str) -> int:
    match = re.match(r"v?1\.(\d+)\.", version)
    if not match:
        raise PlanError(f"{version!r} is no version of a kubelet that is understood here")
    return int(match.group(1))


@dataclass(frozen=True)
class Node:
    """The Node object. `mark` is the value of ANNOTATION, empty without it."""

    unschedulable: bool = False
    ready: bool = True
    mark: str = ""


@dataclass(frozen=True)
class Kubelet:
    """A kubelet as it was observed.

    `flags` are those of the running process, or of its unit when it does not run. `config_dir` is empty when the kubelet
    has none; `new_config_dir` is the one that it would get. `needs_config_dir`: its unit does not give it one yet;
    `own_config_dir`: this module made it do so. `drop_ins` are in the order of reading. `configz` is None when
    it could not be read (`configz_error` says why). `left` are the files that an unfinished run set aside.
    """

    version: str
    active: bool
    flags: tuple[str, ...] = ()
    base_path: str = ""
    base: t.Mapping[str, t.Any] = field(default_factory=dict)
    config_dir: str = ""
    new_config_dir: str = "/etc/kubernetes/kubelet.conf.d"
    drop_ins: tuple[tuple[str, t.Mapping[str, t.Any]], ...] = ()
    texts: t.Mapping[str, str] = field(default_factory=dict)
    configz: t.Mapping[str, t.Any] | None = None
    configz_error: str = ""
    cpu_state: t.Mapping[str, t.Any] | None = None
    memory_state: t.Mapping[str, t.Any] | None = None
    root_dir: str = "/var/lib/kubelet"
    needs_config_dir: bool = False
    own_config_dir: bool = False
    machine: Machine = field(default_factory=Machine)
    node: Node = field(default_factory=Node)
    left: t.Mapping[str, str | None] = field(default_factory=dict)

    @property
    def minor(self) -> int:
        return minor(self.version)


@dataclass(frozen=True)
class Wish:
    """`settings` is None when the drop-in shall be absent. `drain`: auto, always, never."""

    settings: t.Mapping[str, t.Any] | None
    name: str = "gpufleet"
    priority: int = 50
    drain: str = "auto"

    @property
    def file(self) -> str:
        return f"{self.priority:02d}-{self.name}.conf"


def healthz(config: t.Mapping[str, t.Any]) -> tuple[str, int]:
    """Address and port at which a kubelet with this configuration answers; port 0 where it does not."""
    address, port = str(config.get("healthzBindAddress") or "127.0.0.1"), config.get("healthzPort")
    return "127.0.0.1" if address in ("0.0.0.0", "::") else address, 10248 if port is None else int(port)  # noqa: S104


def text_of(wish: Wish) -> str:
    """The drop-in's text."""
    content = {"apiVersion": API_VERSION, "kind": ROOT, **(wish.settings or {})}
    return files.text(content, f"Managed by gpufleet.k8s (kubelet_config, name {wish.name}): changes here are lost.")


def plan(kubelet: Kubelet, wish: Wish) -> Plan:
    """Raises PlanError when the kubelet would refuse, ignore or override the wish."""
    known = schema(kubelet.minor)
    settings = dict(wish.settings or {})
    check_types(known, settings)

    folder = kubelet.config_dir or kubelet.new_config_dir
    path = f"{folder}/{wish.file}"
    own = [
        its for its, _content in kubelet.drop_ins if re.fullmatch(rf"\d+-{re.escape(wish.name)}\.conf", its[len(folder) + 1 :])
    ]
    wanted: dict[str, str | None] = dict.fromkeys(own)
    if wish.settings is not None:
        wanted[path] = text_of(wish)
    files = {its: text for its, text in wanted.items() if kubelet.texts.get(its) != text}

    others = [(its, content) for its, content in kubelet.drop_ins if its not in own]
    drop_ins = sorted(others + ([(path, settings)] if wish.settings is not None else []), key=lambda one: one[0].split("/"))
    before = merge.effective(known, kubelet.base, [content for _its, content in kubelet.drop_ins], kubelet.flags)
    after = merge.effective(known, kubelet.base, [content for _its, content in drop_ins], kubelet.flags)
    old = merge.merge_patch({}, _united([content for its, content in kubelet.drop_ins if its in own]))

    _check_shadows(kubelet, settings, after, [one for one in drop_ins if one[0].split("/") > path.split("/")])
    _check_side_effects(known, {**settings, **old}, before, after)
    case = rules.Case(after, known, kubelet.machine)
    # What the running kubelet lives with is no reason to refuse.
    accepted = set(rules.problems(rules.Case(before, known, kubelet.machine))) if kubelet.active else set()
    found = [problem for problem in rules.problems(case) if problem not in accepted]
    if found:
        raise _unworkable(kubelet.version, found)

    expected = _projected(_united([old, settings]), after)
    current = kubelet.configz
    if current is None and kubelet.active and (files or settings):
        raise PlanError(
            f"the kubelet's effective configuration cannot be read, so nothing could be proved: {kubelet.configz_error}. "
            "Nothing was changed."
        )
    different = list(known.differences(expected, current or {})) if kubelet.active else []
    restart = bool(different) or not kubelet.active
    return _steps(kubelet, wish, case, before, _Work(path, wanted, files, expected, different, restart))


@dataclass(frozen=True)
class _Work:
    path: str
    wanted: dict[str, str | None]
    files: dict[str, str | None]
    expected: dict[str, t.Any]
    different: list[str]
    restart: bool


def _steps(kubelet: Kubelet, wish: Wish, case: rules.Case, before: t.Mapping[str, t.Any], work: _Work) -> Plan:
    known = case.schema
    warnings = list(rules.warnings(case))
    current = kubelet.configz if kubelet.configz is not None else before
    states = _stale_states(kubelet, case, current) if work.restart else {}
    touched = sorted(
        key for key in DRAINED_FOR if list(known.differences({key: case.config.get(key)}, {key: current.get(key)}, subset=False))
    )
    needs_drain = work.restart and (wish.drain == "always" or (wish.drain == "auto" and bool(touched or states)))
    reasons = [f"{key} changes" for key in touched] + [f"{name} must go: {why}" for name, why in states.items()]
    if wish.drain == "always":
        reasons.append("drain.mode is always")
    # Somebody may have uncordoned a node that a killed run had drained; it has pods again.
    drained = kubelet.node.mark == "drained" and kubelet.node.unschedulable
    drain = needs_drain and kubelet.active and not drained
    if needs_drain and not kubelet.active and not drained:
        warnings.append(
            "the kubelet does not run, so its pods cannot be evicted; it is started with the new configuration as it is"
        )
    if work.restart and wish.drain == "never" and states:
        warnings.append(
            f"drain is never, but {', '.join(states)} must go: running pods lose the CPUs or memory that they were given"
        )

    # A cordon is taken over when a run that was killed left it, and left alone when it is somebody else's.
    ours = bool(kubelet.node.mark)
    cordon = (drain and not kubelet.node.unschedulable) or (ours and work.restart)
    steps = [Step("cordon", "node", {"mark": "drained" if drained else "cordoned"})] if cordon else []
    if drain:
        steps.append(Step("drain", "node", {"mark": cordon}))
    if work.restart:
        steps.append(Step("stop", "kubelet", {"paths": [*work.wanted, *(f"{kubelet.root_dir}/{name}" for name in STATES)]}))
        if kubelet.needs_config_dir and wish.settings is not None:
            steps.append(Step("add --config-dir to", "kubelet", {"folder": kubelet.new_config_dir}))
    for path, text in sorted(work.files.items()):
        steps.append(Step("remove" if text is None else "write", path, {"text": text}))
    steps += [Step("remove", f"{kubelet.root_dir}/{name}", {"text": None}) for name in states]
    useless = kubelet.own_config_dir and wish.settings is None and kubelet.texts.keys() <= work.files.keys()
    if useless:
        steps.append(Step("take --config-dir from", "kubelet"))
    if work.restart:
        policy = case.text("cpuManagerPolicy") or "none"
        steps.append(Step("start", "kubelet", {"expected": work.expected, "policy": policy, "healthz": healthz(case.config)}))
    if cordon or ours:
        steps.append(Step("uncordon", "node"))
    if kubelet.left and not work.restart:
        steps.append(Step("forget", "what an unfinished run had set aside"))

    differences = [Difference("--config-dir of the kubelet's unit", kubelet.new_config_dir, None)] if useless else []
    differences += [Difference(path, kubelet.texts.get(path), text) for path, text in sorted(work.files.items())]
    if work.different:
        found = _projected(work.expected, current)
        differences.append(Difference("effective configuration", found, work.expected))
    return Plan(
        tuple(differences),
        tuple(steps),
        tuple(warnings),
        facts={
            "drop_in": work.path,
            "kubelet_version": kubelet.version,
            "restart": work.restart,
            "drain": drain,
            "drain_reasons": reasons if drain else [],
            "state_files": states,
            "effective": work.expected,
        },
    )


def check_types(known: Schema, settings: t.Mapping[str, t.Any]) -> None:
    """Raises PlanError for what a kubelet would not decode, would ignore, or would not start with."""
    own = [f"settings.{key} is written by this module; leave it out" for key in ("apiVersion", "kind") if key in settings]
    found = own or rules.of_settings(known, settings)
    if found:
        raise PlanError("; ".join(found) + ". Nothing was changed.", problems=found)


def check_part(version: str, settings: t.Mapping[str, t.Any]) -> None:
    """Raises PlanError for what no other file could mend: all that can be told where those cannot be read."""
    known = schema(minor(version))
    check_types(known, settings)
    if found := rules.of_part(known, settings):
        raise _unworkable(version, found)


def _unworkable(version: str, found: list[str]) -> PlanError:
    return PlanError(
        f"the kubelet ({version}) would not work with these settings: " + "; ".join(found) + ". Nothing was changed.",
        problems=found,
    )


def _check_shadows(
    kubelet: Kubelet,
    settings: t.Mapping[str, t.Any],
    after: t.Mapping[str, t.Any],
    later: t.Sequence[tuple[str, t.Mapping[str, t.Any]]],
) -> None:
    """A wish that a flag or a file in `later` overrides would look applied and not be."""
    known = schema(kubelet.minor)
    lost = list(known.differences(merge.merge_patch({}, settings), after))
    if not lost:
        return
    _config, owners = merge.from_flags(known, kubelet.flags)
    reasons = []
    for its in lost:
        flag = next(
            (flag for owned, flag in owners.items() if f"{its}.".startswith(f"{owned}.") or owned.startswith(f"{its}.")), ""
        )
        files = [path for path, content in later if _has(content, its)]
        culprit = f"the flag {flag} of the kubelet's command line" if flag else files[-1] if files else "a default of the kubelet"
        reasons.append(f"settings.{its} would be overridden by {culprit}")
    raise PlanError(
        "; ".join(reasons)
        + ". Remove it there (flags win over files; among files the last name wins: see priority). Nothing was changed.",
        shadowed=lost,
        problems=reasons,
    )


def _check_side_effects(
    known: Schema, named: t.Mapping[str, t.Any], before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]
) -> None:
    """Kubelet 1.28 lets a drop-in reset what it does not name to the default; from 1.29 on there is nothing to find."""
    if known.minor >= 29:
        return
    reset = [its for its in known.differences(before, after, subset=False) if its.partition(".")[0] not in named]
    if reset:
        problem = (
            f"kubelet 1.{known.minor} would also reset {', '.join(reset)} to its default, because it reads a drop-in as a whole "
            "configuration; name these in settings too, or upgrade the kubelet"
        )
        raise PlanError(f"{problem}. Nothing was changed.", problems=[problem])


def _stale_states(kubelet: Kubelet, case: rules.Case, current: t.Mapping[str, t.Any]) -> dict[str, str]:
    """State files that would stop the kubelet from starting, or hold what is no longer true -> why."""
    found = {}
    cpu = _cpu_reason(kubelet.cpu_state, case, current)
    if cpu:
        found["cpu_manager_state"] = cpu
    memory = _memory_reason(kubelet.memory_state, case, current)
    if memory:
        found["memory_manager_state"] = memory
    return found


def _cpu_reason(state: t.Mapping[str, t.Any] | None, case: rules.Case, current: t.Mapping[str, t.Any]) -> str:
    """pkg/kubelet/cm/cpumanager: what NewCheckpointState and staticPolicy.validateState refuse."""
    policy = case.text("cpuManagerPolicy") or "none"
    if state is None:
        return ""
    if state.get("policyName") != policy:
        return f"it was written by policy {state.get('policyName') or '(none named)'}, and the kubelet refuses it under {policy}"
    default = quantity.cpus(str(state.get("defaultCpuSet") or ""))
    given = [quantity.cpus(cpus) for pod in (state.get("entries") or {}).values() for cpus in pod.values()]
    if policy != "static" or not (default or given):
        return ""
    earlier = rules.Case(current, case.schema, case.machine)
    reserved, strict = rules.explicit_cpus(case), rules.strict(case)
    # Which CPUs a strict reservation by number takes is the kubelet's choice, so there only explicit ones are compared.
    every = default.union(*given) | (reserved if strict else frozenset())
    reason = ""
    if strict != rules.strict(earlier):
        reason = "strict-cpu-reservation changes, and with it the set of CPUs that the file must hold"
    elif case.map("cpuManagerPolicyOptions") != earlier.map("cpuManagerPolicyOptions"):
        reason = "cpuManagerPolicyOptions change, and the CPUs in it were given out by the old ones"
    elif (rules.reserved_cpu_count(case), reserved) != (rules.reserved_cpu_count(earlier), rules.explicit_cpus(earlier)):
        reason = "the CPUs reserved for the system change"
    elif every != case.machine.cpus and not (strict and not reserved):
        reason = f"it knows CPUs {quantity.cpu_list(every)}, but {quantity.cpu_list(case.machine.cpus)} are online"
    return reason


def _memory_reason(state: t.Mapping[str, t.Any] | None, case: rules.Case, current: t.Mapping[str, t.Any]) -> str:
    """pkg/kubelet/cm/memorymanager: policy names, and machine states that must be equal."""
    policy = case.text("memoryManagerPolicy") or "None"
    if state is None:
        return ""
    if state.get("policyName") != policy:
        return f"it was written by policy {state.get('policyName') or '(none named)'}, and the kubelet refuses it under {policy}"
    if policy == "Static" and list(
        case.schema.differences(
            {"reservedMemory": case.config.get("reservedMemory")}, {"reservedMemory": current.get("reservedMemory")}
        )
    ):
        return "reservedMemory changes, and the kubelet compares it with the file"
    return ""


def _united(contents: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """All keys that any of these has; only the shape counts."""
    shape: dict[str, t.Any] = {}
    for content in contents:
        for key, value in content.items():
            if key in ("apiVersion", "kind"):
                continue
            mine = shape.get(key)
            shape[key] = _united([mine, value]) if isinstance(mine, dict) and isinstance(value, dict) else value
    return shape


def _projected(shape: t.Mapping[str, t.Any], config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The values that `config` has where `shape` has keys; None where it has none."""
    found: dict[str, t.Any] = {}
    for key, inner in shape.items():
        value = config.get(key)
        found[key] = _projected(inner, value or {}) if isinstance(inner, dict) and (inner or value is None) else value
        if isinstance(inner, dict) and not inner:
            found[key] = value
    return found


def _has(content: t.Mapping[str, t.Any], path: str) -> bool:
    inside: t.Any = content
    for part in path.split("."):
        if not isinstance(inside, dict) or part not in inside:
            return False
        inside = inside[part]
    return True
