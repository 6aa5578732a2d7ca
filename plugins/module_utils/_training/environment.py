# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The environment of a training: a file like mlops.env, and what a task gives. Pure: no I/O."""

from __future__ import annotations

import re
import typing as t

from .._plan import PlanError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What the original's file has where the user is to write: `ROOT/<package dir>/output`. Anything else may mean what it says.
_PLACEHOLDER = re.compile(r"<[^<>/]+>|^ROOT(?=/|$)")
_ORIGINALS = ("REGISTRY", "DATASET_DIR", "MODEL_DIR", "OUTPUT_DIR")


def parse(text: str) -> dict[str, str]:
    """The variables of a file with lines `NAME=value`, as kustomize reads them: no quoting, `#` begins a comment line.

    Raises PlanError naming the line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip(" \t\ufeff")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise PlanError(f"environment_file line {number}: {stripped!r} is not NAME=value")
        if name in found:
            raise PlanError(f"environment_file line {number}: {name} is there a second time")
        found[name] = value
    return checked(found, "environment_file")


def checked(variables: t.Mapping[str, t.Any], where: str) -> dict[str, str]:
    """The variables as text; booleans as YAML writes them. Raises PlanError naming the one that cannot be."""
    result = {}
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise PlanError(f"{where}: {name!r} is no name of a variable: letters, digits and _, not beginning with a digit")
        if value is None or isinstance(value, (dict, list)):
            raise PlanError(f"{where}: {name} is {value!r}: a variable is text or a number, '' where it is to be empty")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\n" in text:
            raise PlanError(f"{where}: the value of {name} has more than one line")
        match = _PLACEHOLDER.search(text) if name in _ORIGINALS else None
        if match:
            raise PlanError(f"{where}: {name} is {text!r}: {match.group()} stands for something of yours, write that instead")
        result[name] = text
    return result
