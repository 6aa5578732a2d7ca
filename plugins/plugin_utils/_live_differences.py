# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a document that a cluster holds is not what the user wrote.

PRIVATE: this plugin util is for this collection only and may change without notice.

What is written in another way is the same: `24h` and `24h0m0s`, `1Gi` and `1024Mi`, a list in another order, and what Go cannot
tell from a field that was not written, in whose place kubeadm puts its own default. What the document has beyond that is not
looked at.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import quantity
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import Schema

#: Lists that can have more than was written, each entry of which counts for itself
_ADDED_TO = ("certSANs", "serverCertSANs", "peerCertSANs")
#: Lists that are dictionaries by `name`
_NAMED = ("Arg", "EnvVar", "HostPathMount")
_SECRET = re.compile(
    r"extraEnvs|staticPodURLHeader|(?:token|password|secret)(?!.*(?:file|ttl|expiration|duration))", re.IGNORECASE
)
_PASSWORD = re.compile(r"(?<=://)[^/@\s\"]+@")
_MOST = 200


class Difference(t.NamedTuple):
    path: str
    wish: str
    there: str  # empty: nothing


def live_differences(wanted: t.Mapping[str, t.Any], live: t.Mapping[str, t.Any], kind: str, known: Schema) -> list[Difference]:
    """For each field that was written and is not so in `live`. Pure; nothing that may be a secret is in it."""
    return [
        Difference(path, _shown(path, wish), _shown(path, there)) for path, wish, there in _walk(known, wanted, live, kind, "")
    ]


_Found = t.Iterator[t.Tuple[str, t.Any, t.Any]]  # noqa: UP006  evaluated at run time


def _walk(known: Schema, wish: t.Any, there: t.Any, kind: str, path: str) -> _Found:
    kind = kind.lstrip("?")
    if wish is None:
        return
    if isinstance(wish, t.Mapping):
        found = there if isinstance(there, t.Mapping) else {}
        fields = known.types.get(kind)
        for key, its in wish.items():
            inner = (fields or {}).get(key) or (kind[2:] if kind.startswith("{}") else "any")
            unwritten = fields is not None and not inner.startswith("?") and not isinstance(its, t.Mapping)
            if not (unwritten and known.is_zero(inner, its)):
                yield from _walk(known, its, found.get(key), inner, f"{path}.{key}" if path else str(key))
    elif isinstance(wish, list):
        yield from _walk_list(known, wish, there, kind[2:] if kind.startswith("[]") else "any", path)
    elif there is None or not (known.same(wish, there, kind) or _same_amount(wish, there)):
        yield path, wish, there


def _walk_list(known: Schema, wish: list[t.Any], there: t.Any, item: str, path: str) -> _Found:
    if item in _NAMED:
        if isinstance(there, t.Mapping):  # as it was in v1beta3
            there = [{"name": name, "value": value} for name, value in there.items()]
        wished, found = _by_name(wish), _by_name(there)
        for name, entries in wished.items():
            if item == "Arg":  # a flag may be there several times
                values, others = ([entry.get("value") for entry in its] for its in (entries, found.get(name, [])))
                if sorted(map(str, values)) != sorted(map(str, others)):
                    yield f"{path}.{name}", _alone(values), _alone(others)
            elif name not in found:
                yield f"{path}.{name}", entries[-1], None
            else:
                yield from _walk(known, entries[-1], found[name][-1], item, f"{path}.{name}")
        return
    left = list(there) if isinstance(there, list) else []
    more = path.rpartition(".")[2] in _ADDED_TO
    for entry in wish:
        fits = next((other for other in left if next(_walk(known, entry, other, item, ""), None) is None), _NOTHING)
        if fits is _NOTHING:
            yield path, wish, there
            return
        if not more:
            left.remove(fits)
    if left and not more:
        yield path, wish, there


_NOTHING = object()


def _alone(values: list[t.Any]) -> t.Any:
    return values[0] if len(values) == 1 else values or None


def _by_name(entries: t.Any) -> dict[str, list[t.Mapping[str, t.Any]]]:
    found: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, t.Mapping):
            found.setdefault(str(entry.get("name")), []).append(entry)
    return found


def _same_amount(wish: t.Any, there: t.Any) -> bool:
    """Of texts that hold a quantity, such as containerLogMaxSize and what is in evictionHard."""
    try:
        return quantity.quantity(str(wish)) == quantity.quantity(str(there))
    except ValueError:
        return False


def _shown(path: str, value: t.Any) -> str:
    if value is None:
        return ""
    if _SECRET.search(path):
        return "(not shown)"
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    text = _PASSWORD.sub("(not shown)@", text)
    return text if len(text) <= _MOST else text[:_MOST] + "..."
