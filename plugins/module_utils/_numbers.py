# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Whole numbers that an option cannot mean: a wait of -5 seconds would end before it began, and look like a cluster that fails.

PRIVATE: this module util is for this collection only and may change without notice.

An argument spec has a place for choices, not for a range. What is not named here may be 0 and more, and an option's default is
always allowed.
"""

from __future__ import annotations

import re
import typing as t

#: Module options of which 0 is too little. Of `wait_timeout` it is one look.
POSITIVE = ("timeout", "verify_timeout", "start_timeout", "time_limit", "replicas", "slots_per_worker", "ssh_port")
RANGED = ("parallel", "priority")  # there is a most of these too, and their modules tell both
SECONDS = re.compile(r"(timeout|time_limit|grace_period|retry_budget|ttl_after_finished|(^|_)wait)$")


def number_problem(name: str, option: t.Mapping[str, t.Any], value: t.Any, where: str = "") -> str | None:
    """Why a number is too small for `option` (as in an argument spec), as a sentence; None also for what is no number."""
    default = option.get("default")
    least = int(name in POSITIVE)
    if isinstance(default, int):
        least = min(least, default)
    if (
        option.get("type") != "int"
        or name in RANGED
        or isinstance(value, bool)
        or not re.fullmatch(r"\s*[+-]?\d+\s*", str(value))
    ):
        return None
    if int(value) >= least:
        return None
    return f"{where}{name} is {int(value)}; choose {least} or more{' seconds' if SECONDS.search(name) else ''}"


def number_problems(spec: t.Mapping[str, t.Mapping[str, t.Any]], params: t.Mapping[str, t.Any], where: str = "") -> list[str]:
    """The same of all options that were given, also of suboptions (`drain.timeout`, `artifacts[0].strip_components`)."""
    problems = []
    for name, option in spec.items():
        value = params.get(name)
        if problem := number_problem(name, option, value, where):
            problems.append(problem)
        inner = option.get("options")
        if inner and isinstance(value, dict):
            problems += number_problems(inner, value, f"{where}{name}.")
        elif inner and isinstance(value, list):
            for index, item in enumerate(value):
                problems += number_problems(inner, item, f"{where}{name}[{index}].")
    return problems
