# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""KubeletConfiguration of one minor: fields and their types, defaults, feature gates, flags. Reads table.py.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import datetime
import difflib
import json
import typing as t
from functools import cache

from .._plan import PlanError
from . import quantity, table

ROOT = "KubeletConfiguration"
FIRST = int(table.RELEASES[0].split(".")[1])
LAST = int(table.RELEASES[-1].split(".")[1])

Runs = t.List[t.Tuple[int, str]]  # noqa: UP006  (first minor, value; "-": not there), evaluated at run time

_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("a string", (str,)),
    "bool": ("true or false", (bool,)),
    "int32": ("a whole number", (int,)),
    "int64": ("a whole number", (int,)),
    "uint": ("a whole number", (int,)),
    "uint32": ("a whole number", (int,)),
    "uint64": ("a whole number", (int,)),
    "float64": ("a number", (int, float)),
    "duration": ("a duration such as 1m30s", (str,)),
    "quantity": ("a quantity such as 500m or 1Gi", (str, int)),
    "time": ("a time such as 2026-01-31T12:00:00Z", (str, datetime.datetime)),  # YAML reads one without quotes as the latter
}
_BOUNDS: dict[str, tuple[int, int]] = {
    "int32": (-(2**31), 2**31),
    "int64": (-(2**63), 2**63),
    "uint": (0, 2**64),
    "uint32": (0, 2**32),
    "uint64": (0, 2**64),
}
_SHOWN = {"a string": str, "bool": bool, "int": int, "float": float}  # ansible-core's own kinds of them too
_SECRETS = ("token", "tlsBootstrapToken", "certificateKey", "bootstrapToken", "bootstrapTokens")  # what is wrong there may be one
_ZEROS: tuple[t.Any, ...] = (None, "", 0, False, [], {})


@cache
def _runs(section: str) -> dict[str, Runs]:
    found: dict[str, Runs] = {}
    for line in getattr(table, section).splitlines():
        name, _blank, rest = line.partition(" ")
        runs = []
        # Only DEFAULTS has values with blanks in them, and JSON as the generator writes it has none outside of strings.
        for part in rest.split(" "):
            minor, colon, value = part.partition(":")
            runs.append((int(minor), value) if colon and minor.isdigit() and len(minor) == 2 else (FIRST, part))
        found[name] = runs
    return found


def _at(runs: Runs, minor: int) -> str | None:
    value = None
    for first, its in runs:
        if first <= minor:
            value = its
    return None if value == "-" else value


def history(runs: Runs) -> str:
    """Where else a name is known, for people: `removed in 1.33`, `known from 1.34 on`."""
    parts = []
    if runs[0][0] > FIRST:
        parts.append(f"known from 1.{runs[0][0]} on")
    parts += [f"removed in 1.{first}" for first, value in runs if value == "-"]
    return ", ".join(parts)


@cache
def schema(minor: int) -> Schema:
    """Raises PlanError for a minor that the table does not cover."""
    if not FIRST <= minor <= LAST:
        raise PlanError(
            f"kubelet 1.{minor} is not among the releases whose configuration this collection knows (1.{FIRST} to 1.{LAST}); "
            + (
                "upgrade it"
                if minor < FIRST
                else "use a newer gpufleet.k8s, or add the release with tools/kubelet_types/generate.py"
            )
        )
    return Schema(minor)


class Schema:
    """What the kubelet of one minor knows. `types`: struct -> {field: kind}; a kind is as table.py writes it."""

    def __init__(self, minor: int) -> None:
        self.minor = minor
        self.types: dict[str, dict[str, str]] = {}
        for name, runs in _runs("FIELDS").items():
            kind = _at(runs, minor)
            if kind:
                owner, _dot, field = name.partition(".")
                self.types.setdefault(owner, {})[field] = kind
        self.defaults = {name: json.loads(text) for name, text in self._section("DEFAULTS")}
        self.gates = dict(self._section("GATES"))
        self.flags = dict(self._section("FLAGS"))
        self.options = dict(self._section("OPTIONS"))
        self.needs = {gate: value.split(",") for gate, value in self._section("DEPENDENCIES")}

    def _section(self, name: str) -> t.Iterator[tuple[str, str]]:
        for key, runs in _runs(name).items():
            value = _at(runs, self.minor)
            if value is not None:
                yield key, value

    def fields(self, kind: str) -> dict[str, str]:
        return self.types.get(kind.lstrip("?"), {})

    def kind(self, path: str) -> str:
        """The kind of the field at a path in dots."""
        kind = ROOT
        for part in path.split("."):
            kind = self.fields(kind)[part]
        return kind

    def problems(self, value: t.Any, kind: str = ROOT, path: str = "settings", program: str = "kubelet") -> t.Iterator[str]:
        """What this kubelet would not decode, or would silently ignore, one sentence each. None (JSON's null) fits any field.

        `program`: whose configuration it is, where not the kubelet's: kubeadm's and kube-proxy's are known from 1.34 on.
        """
        kind = kind.lstrip("?")
        if value is None or kind == "any":
            return
        if kind.startswith("[]"):
            if not isinstance(value, list):
                yield f"{path} must be a list, not {_shown(value, path)}"
                return
            for index, item in enumerate(value):
                if item is None:  # an empty entry to the kubelet
                    yield f"{path}[{index}] is null; leave the entry out"
                yield from self.problems(item, kind[2:], f"{path}[{index}]", program)
        elif kind.startswith("{}") or kind in self.types:
            if not isinstance(value, dict):
                yield f"{path} must be a dictionary, not {_shown(value, path)}"
                return
            fields = self.types.get(kind)
            for key, its in value.items():
                inner = kind[2:] if fields is None else fields.get(key)
                if not isinstance(key, str):
                    yield f"{path} has the key {json.dumps(key, default=str)}, which is no text; put it in quotes"
                elif inner is None:
                    yield self._unknown(kind, key, path, program)
                else:
                    yield from self.problems(its, inner, f"{path}.{key}", program)
        else:
            yield from _scalar_problems(value, kind, path)

    def _unknown(self, kind: str, key: str, path: str, program: str) -> str:
        runs = _runs("FIELDS").get(f"{kind}.{key}")
        close = difflib.get_close_matches(key, self.types[kind], 1, 0.6)
        hint = f" ({history(runs)})" if runs else f" (did you mean {close[0]}?)" if close else ""
        return f"{path}.{key} is no field of {kind} in {program} 1.{self.minor}, which would ignore it{hint}"

    def gate_problem(self, gate: str, value: t.Any) -> str | None:
        """Why this kubelet would not start with this feature gate, or None."""
        state = self.gates.get(gate)
        if state is None:
            runs = _runs("GATES").get(gate)
            close = difflib.get_close_matches(gate, self.gates, 1, 0.8)
            why = history(runs) if runs else f"did you mean {close[0]}?" if close else "no release from 1.28 on knows it"
            return f"kubelet 1.{self.minor} does not know it and would not start ({why}); remove it"
        locked = state[0].isupper()
        if state[0] in "pP" or (locked and value is not state.endswith("+")):
            fixed = str(state.endswith("+")).lower()
            return f"it is locked to {fixed} in kubelet 1.{self.minor}, which would not start with another value; remove it"
        return None

    def gate(self, gate: str, config: t.Mapping[str, t.Any]) -> bool:
        """Whether a feature gate is on under this configuration. A gate that is gone counts as on: its feature is stable."""
        gates = config.get("featureGates") or {}
        if gate in gates:
            return bool(gates[gate])
        state = self.gates.get(gate)
        if state is None:
            return _runs("GATES").get(gate, [(0, "")])[-1][1] == "-"
        everywhere = {"a": "AllAlpha", "b": "AllBeta"}.get(state[0])
        if everywhere in gates:
            return bool(gates[everywhere])
        return state.endswith("+")

    def is_zero(self, kind: str, value: t.Any) -> bool:
        """Whether Go takes this for the zero value, which JSON leaves out."""
        if kind.lstrip("?") == "duration" and isinstance(value, str):
            return _or_text(quantity.duration, value) == 0
        if isinstance(value, dict):
            return all(self.is_zero("", its) for its in value.values())
        return value in _ZEROS

    def same(self, wanted: t.Any, found: t.Any, kind: str = ROOT, subset: bool = True) -> bool:
        """Whether `found` is what `wanted` asks: a map's own keys, a list as a whole; 60s is 1m0s and absent is zero."""
        return next(self.differences(wanted, found, kind, subset), None) is None

    def differences(self, wanted: t.Any, found: t.Any, kind: str = ROOT, subset: bool = True, path: str = "") -> t.Iterator[str]:
        """Paths in dots at which `found` is not what `wanted` asks."""
        kind = kind.lstrip("?")
        if isinstance(wanted, dict) and (found is None or isinstance(found, dict)):
            found = found or {}
            inner = self.types.get(kind) or {}
            keys = wanted if subset else {**wanted, **found}
            for key in keys:
                its = inner.get(key, kind[2:] if kind.startswith("{}") else "any")
                yield from self.differences(wanted.get(key), found.get(key), its, subset, f"{path}.{key}" if path else key)
        elif isinstance(wanted, list) and isinstance(found, list):
            item = kind[2:] if kind.startswith("[]") else "any"
            if len(wanted) != len(found) or any(not self.same(one, other, item, False) for one, other in zip(wanted, found)):
                yield path
        elif not _equal(kind, wanted, found) and not (self.is_zero(kind, wanted) and self.is_zero(kind, found)):
            yield path


def _equal(kind: str, one: t.Any, other: t.Any) -> bool:
    if one is None or other is None:
        return one is other
    if kind == "duration":
        return _or_text(quantity.duration, one) == _or_text(quantity.duration, other)
    if kind == "quantity":
        return _or_text(quantity.quantity, one) == _or_text(quantity.quantity, other)
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _or_text(parse: t.Callable[[str], t.Any], value: t.Any) -> t.Any:
    try:
        return parse(str(value))
    except ValueError:
        return value


def _scalar_problems(value: t.Any, kind: str, path: str) -> t.Iterator[str]:
    wish, accepted = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        hint = ""
        if kind == "string" and isinstance(value, (int, float)):
            hint = "; put it in quotes"
        elif isinstance(value, str) and kind != "string":
            hint = "; without quotes"
        yield f"{path} must be {wish}, not {_shown(value, path)}{hint}"
        return
    if isinstance(value, int) and not _BOUNDS.get(kind, (value, 0))[0] <= value < _BOUNDS.get(kind, (0, value + 1))[1]:
        yield f"{path} is {value}, which is out of range for {kind}"
    try:
        if kind == "duration":
            quantity.duration(str(value))
        elif kind == "quantity":
            quantity.quantity(str(value))
    except ValueError as error:
        yield f"{path}: {error}"


def _shown(value: t.Any, path: str) -> str:
    if isinstance(value, dict):
        return "a dictionary"
    if isinstance(value, list):
        return "a list"
    kind = next((name for name, its in _SHOWN.items() if isinstance(value, its)), "a date")
    secret = path.rpartition(".")[2].partition("[")[0] in _SECRETS
    return f"{'what it is' if secret else json.dumps(value, default=str)} ({'not shown' if secret else kind})"
