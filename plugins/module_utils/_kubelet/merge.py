# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kubelet makes of its configuration file, its drop-ins and its flags: cmd/kubelet/app/server.go as pure functions.

PRIVATE: this module util is for this collection only and may change without notice.

Drop-ins: KEP-3983. A configuration is the JSON of a v1beta1 KubeletConfiguration, without `apiVersion` and `kind`.
"""

from __future__ import annotations

import copy
import re
import typing as t

from .schema import ROOT, Schema

Config = t.Dict[str, t.Any]  # noqa: UP006  evaluated at run time on Python 3.8 syntax checkers too

#: Fields that have a default only with a feature gate.
GATED = {
    "crashLoopBackOff": "KubeletCrashLoopBackOffMax",
    "imagePullCredentialsVerificationPolicy": "KubeletEnsureSecretPulledImages",
}

#: pkg/kubelet/eviction/defaults_linux.go; filled in when the configuration file names no thresholds.
EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


def merge_patch(target: t.Any, patch: t.Any) -> t.Any:
    """RFC 7396: maps merge, everything else replaces, null removes. Neither argument is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def effective(
    schema: Schema, base: t.Mapping[str, t.Any], drop_ins: t.Sequence[t.Mapping[str, t.Any]], flags: t.Sequence[str] = ()
) -> Config:
    """What configz shows for a kubelet that starts with this file, these drop-ins (in the order of reading) and these flags.

    Defaults of the kubelet's own are filled in; a default that it computes from the machine is not.
    """
    config = with_defaults(schema, base)
    if drop_ins:  # it is written out to be merged, and that leaves empty lists out
        config = with_defaults(schema, {key: value for key, value in config.items() if value != []})
    if "evictionHard" not in config:
        config["evictionHard"] = dict(EVICTION_HARD)
    elif config.get("mergeDefaultEvictionSettings"):
        config["evictionHard"] = {**EVICTION_HARD, **config["evictionHard"]}
    for drop_in in drop_ins:
        fragment = {key: value for key, value in drop_in.items() if key not in ("apiVersion", "kind")}
        if schema.minor < 29:
            # The first release read a drop-in as a whole configuration: its defaults override, its zeros do not count.
            fragment = _without_zeros(with_defaults(schema, fragment))
        config = merge_patch(config, fragment)
    config = with_defaults(schema, config)
    by_flag, _shadowed = from_flags(schema, flags)
    gates = {**config.get("featureGates", {}), **by_flag.get("featureGates", {})}
    for key, value in by_flag.items():
        # A flag of a map replaces the map, except for feature gates.
        config[key] = (
            merge_patch(config.get(key), value) if isinstance(config.get(key), dict) and _is_struct(schema, key) else value
        )
    if gates:
        config["featureGates"] = gates
    return config


def with_defaults(schema: Schema, config: t.Mapping[str, t.Any]) -> Config:
    """`config` with the kubelet's defaults for what is missing, empty or zero where the kubelet treats it as missing."""
    filled = {
        key: copy.deepcopy(value) for key, value in config.items() if value is not None and key not in ("apiVersion", "kind")
    }
    # pkg/kubelet/apis/config/v1beta1/defaults.go: the defaults that depend on something else
    defaults = {key: value for key, value in schema.defaults.items() if key not in GATED or schema.gate(GATED[key], filled)}
    defaults["serializeImagePulls"] = (filled.get("maxParallelImagePulls") or 0) < 2
    return _fill(schema, ROOT, filled, defaults)


def _fill(schema: Schema, kind: str, value: Config, defaults: t.Mapping[str, t.Any]) -> Config:
    fields = schema.fields(kind)
    for key, default in defaults.items():
        its = fields.get(key, "any")
        if its in schema.types and isinstance(default, dict):
            value[key] = _fill(schema, its, dict(value.get(key) or {}), default)
        elif value.get(key) is None or (not its.startswith(("?", "[]", "{}")) and schema.is_zero(its, value[key])):
            # Only pointers, lists and maps can tell "set to zero" from "not set".
            value[key] = copy.deepcopy(default)
    return value


def _without_zeros(value: Config) -> Config:
    return {
        key: _without_zeros(its) if isinstance(its, dict) else its
        for key, its in value.items()
        if its not in (None, "", 0, False, [], {}, "0s")
    }


def _is_struct(schema: Schema, key: str) -> bool:
    return schema.fields(ROOT).get(key, "") in schema.types


def parse_flags(flags: t.Sequence[str], switches: t.Container[str] = ()) -> list[tuple[str, str]]:
    """(name, value) of each flag on a command line; `switches` are those that take no separate value (bool).

    Not every switch is known here, and what begins with -- is the next flag: no flag of a kubelet has such a value.
    """
    found = []
    taken = False
    for word, following in zip(flags, [*flags[1:], "--"]):
        if taken or not word.startswith("-"):
            taken = False
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("_", "-")
        if not equals:
            taken = name not in switches and not following.startswith("--")
            value = following if taken else "true" if name in switches else ""
        found.append((name, value))
    return found


def from_flags(schema: Schema, flags: t.Sequence[str]) -> tuple[Config, dict[str, str]]:
    """The configuration that flags set, and which flag sets which field (path in dots)."""
    config: Config = {}
    owners: dict[str, str] = {}
    switches = {flag for flag, path in schema.flags.items() if schema.kind(path).lstrip("?") == "bool"} | _SWITCHES
    for name, text in parse_flags(flags, switches):
        path = schema.flags.get(name)
        if path is None:
            continue
        kind = schema.kind(path).lstrip("?")
        value = _value(kind, text, "<" if name.startswith("eviction-") and name in ("eviction-hard", "eviction-soft") else "=")
        *parents, last = path.split(".")
        inside = config
        for parent in parents:
            inside = inside.setdefault(parent, {})
        if isinstance(value, dict) and isinstance(inside.get(last), dict):
            value = {**inside[last], **value}  # a repeated flag adds to its map
        inside[last] = value
        owners[path] = "--" + name
    return config, owners


#: Flags without a field that take no value when written alone.
_SWITCHES = {
    "exit-on-lock-contention",
    "experimental-allocatable-ignore-eviction",
    "version",
    "help",
    "keep-terminated-pod-volumes",
}


def _value(kind: str, text: str, separator: str) -> t.Any:
    if kind == "bool":
        return text.lower() in ("true", "t", "1")
    if kind.startswith(("int", "uint")):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if kind == "float64":
        return float(text)
    parts = [part for part in text.split(",") if part]
    if kind.startswith("{}"):
        pairs = (part.partition(separator) for part in parts)
        return {key.strip(): value.strip() == "true" if kind == "{}bool" else value.strip() for key, _sep, value in pairs}
    return parts if kind == "[]string" else text
