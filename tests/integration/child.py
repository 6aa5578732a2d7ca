# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module's entry in a process that can be killed or measured: options as JSON in, result as JSON out.

python child.py _SUBJECT [--check]: the entry of module_utils/_SUBJECT. $KILL_AT: dies before that file operation.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError


def read_so_far() -> int:
    """Bytes that this process has read, from /proc."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


# Each of the deadly operations is one system call, so there is no half of it.
moments = 0


def deadly(operation: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def counted(*args: t.Any, **kwargs: t.Any) -> t.Any:
        global moments  # noqa: PLW0603
        moments += 1
        if moments == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*args, **kwargs)

    return counted


if "KILL_AT" in os.environ:
    for owner, names in ((os, ["link", "chown"]), (Path, ["replace", "unlink", "chmod", "rmdir", "mkdir"])):
        for name in names:
            setattr(owner, name, deadly(getattr(owner, name)))

subject = f"ansible_collections.gpufleet.k8s.plugins.module_utils.{sys.argv[1]}"
SPEC = importlib.import_module(f"{subject}.args").SPEC
entry = importlib.import_module(f"{subject}.resource").entry
rules = {key: value for key, value in SPEC.items() if key != "argument_spec"}
validated = ArgumentSpecValidator(SPEC["argument_spec"], **rules).validate(json.load(sys.stdin))
before = read_so_far()
try:
    result = {"failed": bool(validated.error_messages), "msg": "; ".join(validated.error_messages)}
    if not validated.error_messages:
        result = entry(validated.validated_parameters, "--check" in sys.argv)
except GpufleetError as error:
    result = {"failed": True, "msg": error.message, **error.facts}
json.dump({**result, "bytes_read": read_so_far() - before}, sys.stdout)
