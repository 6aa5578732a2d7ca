# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a dictionary as TOML; the standard library only reads it."""

from __future__ import annotations

import datetime
import json
import math
import re
import typing as t

from ansible.errors import AnsibleFilterError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INT64_MAX = 2**63 - 1


def to_toml(document: t.Any) -> str:
    """A mapping as TOML. Raises AnsibleFilterError naming the key of a value that TOML cannot hold."""
    if not isinstance(document, t.Mapping):
        raise AnsibleFilterError(f"to_toml: the input is a {type(document).__name__}, not a dictionary")
    return "\n".join(_table(document, ())) + "\n" if document else ""


def _table(table: t.Mapping[t.Any, t.Any], path: tuple[str, ...]) -> list[str]:
    keys = {_name(key, path): value for key, value in table.items()}
    tables = {key: value for key, value in keys.items() if isinstance(value, t.Mapping)}
    lines = [f"{_key(key)} = {_value(value, (*path, key))}" for key, value in sorted(keys.items()) if key not in tables]
    if path and (lines or not tables):
        lines.insert(0, f"[{'.'.join(_key(key) for key in path)}]")
    for key, value in sorted(tables.items()):
        lines += [*([""] if lines else []), *_table(value, (*path, key))]
    return lines


def _value(value: t.Any, path: tuple[str, ...]) -> str:  # noqa: PLR0911 - one for each type
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:  # not a range: Ansible's ints are a subclass, which it would count through
            raise _refused(path, f"{value} does not fit into 64 bits")
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return _string(value, path)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, t.Mapping):  # inside a list
        pairs = sorted((_name(key, path), item) for key, item in value.items())
        return "{" + ", ".join(f"{_key(key)} = {_value(item, (*path, key))}" for key, item in pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item, (*path, str(number))) for number, item in enumerate(value)) + "]"
    raise _refused(path, f"TOML has no {'null' if value is None else type(value).__name__}; leave the key out or give it a value")


def _string(text: str, path: tuple[str, ...]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _refused(path, f"it is no valid text ({error.reason})") from error
    # A JSON string is a TOML basic string, but for one control character that only TOML wants escaped.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key, ())


def _name(key: t.Any, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise _refused(path, f"its key {key!r} is a {type(key).__name__}; TOML keys are strings, so put it in quotes")
    return str(key)


def _refused(path: tuple[str, ...], why: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"to_toml: {'.'.join(_key(key) for key in path) or 'the document'}: {why}")
