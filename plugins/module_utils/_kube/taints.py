# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Taints as the API server sees them: what is valid, what a wish makes of a node's list, whom NoExecute evicts.

PRIVATE: this module util is for this collection only and may change without notice.

Pure. A taint is the dict of the Kubernetes API (`key`, `value`, `effect`, `timeAdded`; `value` is left out when
empty) and is passed on as it came, so that fields nobody here knows survive too.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._plan import PlanError

Taint = t.Mapping[str, t.Any]
Taints = t.Sequence[Taint]

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

#: Set by Kubernetes and its cloud providers: a prefix in `owned_prefixes` never reaches them.
PROTECTED_PREFIXES = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "node-role.kubernetes.io/")

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")  # at most 63 characters
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # at most 253
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True)
class Wish:
    """What shall be true of the taints of each node. Made by `wish()`, which validates."""

    taints: tuple[Taint, ...]
    absent: bool = False
    exclusive: bool = False
    owned_keys: frozenset[str] = frozenset()
    owned_prefixes: tuple[str, ...] = ()

    def applied(self, before: Taints) -> list[Taint]:
        """A node's taints after this wish. Whatever the wish does not name keeps its place and all its fields."""
        if self.absent:
            return [taint for taint in before if not any(_selects(selector, taint) for selector in self.taints)]
        missing = {_identity(taint): taint for taint in self.taints}
        after: list[Taint] = []
        for taint in before:
            wanted = missing.pop(_identity(taint), None)
            if wanted is not None:
                after.append(taint if _value(taint) == _value(wanted) else _with_value(taint, _value(wanted)))
            elif not (self.exclusive and self.owns(taint["key"])):
                after.append(taint)
        return [*after, *missing.values()]

    def owns(self, key: str) -> bool:
        return key in self.owned_keys or (key.startswith(self.owned_prefixes) and not key.startswith(PROTECTED_PREFIXES))


def wish(params: t.Mapping[str, t.Any]) -> Wish:
    """From the module's parameters. Raises PlanError naming the first one that the API server would refuse."""
    absent = params["state"] == "absent"
    taints: list[Taint] = []
    for index, given in enumerate(params["taints"]):
        taint = _wanted(f"taints[{index}]", given, absent)
        if not absent and any(_identity(taint) == _identity(other) for other in taints):
            raise PlanError(
                f"taints[{index}] is the second {taint['key']}:{taint['effect']}; a node has one taint for each key and effect"
            )
        taints.append(taint)

    keys, prefixes = params["owned_keys"], params["owned_prefixes"]
    if params["exclusive"] and absent:
        raise PlanError("exclusive goes with state present: it removes the owned taints that `taints` does not list")
    if params["exclusive"] and not (keys or prefixes):
        raise PlanError("exclusive needs owned_keys or owned_prefixes: only taints that you own are removed")
    for key in keys:
        if problem := key_problem(key):
            raise PlanError(f"owned_keys: {key!r} {problem}")
    if "" in prefixes:
        raise PlanError("owned_prefixes: an empty prefix would own every taint; name a prefix such as example.com/")
    return Wish(tuple(taints), absent, params["exclusive"], frozenset(keys), tuple(prefixes))


def _wanted(where: str, given: t.Mapping[str, t.Any], absent: bool) -> Taint:
    taint = {name: value for name, value in given.items() if value is not None}
    if isinstance(taint.get("value"), (bool, float)):
        raise PlanError(f"{where}.value is {taint['value']}, which YAML made of a word without quotes; put the word in quotes")
    if "value" in taint:
        taint["value"] = str(taint["value"])
    if problem := key_problem(taint["key"]):
        raise PlanError(f"{where}.key {taint['key']!r} {problem}")
    if problem := value_problem(_value(taint)):
        raise PlanError(f"{where}.value {taint['value']!r} {problem}")
    if "effect" not in taint:
        if not absent:
            raise PlanError(f"{where} ({taint['key']}) needs an effect: {', '.join(EFFECTS)}")
        if "value" in taint:
            raise PlanError(f"{where} has a value but no effect; name a taint by key, key and effect, or all three")
    if not absent and taint.get("value") == "":
        del taint["value"]  # as the API server stores it
    return taint


def key_problem(key: str) -> str | None:
    """Why the API server refuses this key, or None (apimachinery's IsLabelKey: `[DNS subdomain/]name`)."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        return "must have a DNS name of at most 253 lower-case characters before its only '/', such as example.com/gpu"
    if not (len(name) <= 63 and _NAME.fullmatch(name)):
        return "must have a name of 1 to 63 letters, digits, '-', '_' or '.', that begins and ends with a letter or digit" + (
            ", after its '/'" if slash else ""
        )
    return None


def value_problem(value: str) -> str | None:
    """Why the API server refuses this value, or None (apimachinery's IsValidLabelValue)."""
    if not value or (len(value) <= 63 and _NAME.fullmatch(value)):
        return None
    return "must be at most 63 letters, digits, '-', '_' or '.', and begin and end with a letter or digit"


def node_name_problem(name: str) -> str | None:
    """Why no node can have this name, or None (a DNS subdomain)."""
    if len(name) <= 253 and _SUBDOMAIN.fullmatch(name):
        return None
    return "is no node name: lower-case letters, digits, '-' and '.', at most 253 characters"


def as_text(taints: Taints) -> str:
    """One taint a line, as kubectl writes them, in the node's order."""
    return "".join(f"{describe(taint)}\n" for taint in taints)


def describe(taint: Taint) -> str:
    return taint["key"] + (f"={taint['value']}" if taint.get("value") else "") + f":{taint['effect']}"


def exposes(before: Taints, after: Taints) -> Taints:
    """The NoExecute taints that are new or have a new value: without one, no pod can be evicted that was not before."""
    return [taint for taint in after if taint["effect"] == "NoExecute" and taint not in before]


def eviction(pod: t.Mapping[str, t.Any], before: Taints, after: Taints) -> int | None:
    """Seconds from the change until the taint eviction controller deletes the pod; None: this change evicts it not.

    A pod that the old taints evict as early or earlier does not count.
    """
    tolerations = pod["spec"].get("tolerations") or ()
    now, then = _tolerated_for(tolerations, before), _tolerated_for(tolerations, after)
    if then is None or pod["metadata"].get("deletionTimestamp") or (now is not None and now <= then):
        return None
    return then


def _tolerated_for(tolerations: t.Sequence[t.Mapping[str, t.Any]], taints: Taints) -> int | None:
    """Seconds until eviction, None for never: the rule of pkg/controller/tainteviction in Kubernetes.

    Each NoExecute taint uses the first toleration that matches it; the shortest tolerationSeconds of those counts.
    """
    limits: list[int] = []
    for taint in taints:
        if taint["effect"] != "NoExecute":
            continue
        used = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
        if used is None:
            return 0
        if used.get("tolerationSeconds") is not None:
            limits.append(max(0, used["tolerationSeconds"]))
    return min(limits) if limits else None


def tolerates(toleration: t.Mapping[str, t.Any], taint: Taint) -> bool:
    """Toleration.ToleratesTaint of k8s.io/api; `Lt` and `Gt` (gated, 1.35 on) compare whole numbers."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    mine, its = toleration.get("value") or "", _value(taint)
    if operator == "Equal":
        return mine == its
    if operator in ("Lt", "Gt") and _DECIMAL.fullmatch(mine) and _DECIMAL.fullmatch(its):
        return int(its) < int(mine) if operator == "Lt" else int(its) > int(mine)
    return False


def _identity(taint: Taint) -> tuple[str, str]:
    return taint["key"], taint["effect"]


def _value(taint: Taint) -> str:
    return taint.get("value") or ""


def _with_value(taint: Taint, value: str) -> Taint:
    changed = {**taint, "value": value}
    if not value:
        del changed["value"]
    return changed


def _selects(selector: Taint, taint: Taint) -> bool:
    """Every field that the selector gives is the taint's; an empty value selects taints without one."""
    return all((taint.get(name) or "") == value for name, value in selector.items())
