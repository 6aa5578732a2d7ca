# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs mig_parted's and mig_info's own code on a stand-in host, thousands of times: forked, without ansible in between.

Also builds the judge: NVIDIA's mig-parted, unmodified, from its own module (tests/testbed/go/mig-parted).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import args, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError
from fakegpu import HERE, Host

CACHE = Path(os.environ.get("GPUFLEET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpufleet")
MODULE = HERE.parent / "go" / "mig-parted"
COMMAND = "github.com/NVIDIA/mig-parted/cmd/nvidia-mig-parted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `signal` if it was killed, else its result; `ok` when it did not fail."""

    result: dict[str, t.Any]
    signal: int = 0

    @property
    def ok(self) -> bool:
        return not self.signal and not self.result.get("failed")

    @property
    def msg(self) -> str:
        return str(self.result.get("msg", ""))


def parted(
    host: Host, *, check_mode: bool = False, faults: str = "", trace: Path | None = None, uid: int = 0, **params: t.Any
) -> Outcome:
    """mig_parted on a host, in a process of its own."""
    return _forked(host, resource.parted, args.SPEC, params, check_mode=check_mode, faults=faults, trace=trace, uid=uid)


def info(host: Host, faults: str = "", **params: t.Any) -> Outcome:
    return _forked(host, resource.info, args.INFO_SPEC, params, faults=faults)


def shapes(host: Host) -> list[t.Any]:
    """Mode and slices of every GPU, without ids: what a test compares."""
    outcome = info(host)
    assert outcome.ok, outcome.msg
    return shapes_of(outcome.result["gpus"])


def shapes_of(gpus: list[dict[str, t.Any]]) -> list[t.Any]:
    """The same of GPUs that a run has told."""
    found = []
    for gpu in gpus:
        slices = [(i["start"], i["profile"], sorted(d["profile"] for d in i["devices"])) for i in gpu["instances"]]
        found.append((gpu["mig"], gpu["mig_pending"], slices))
    return found


def counts(host: Host) -> list[dict[str, int]]:
    """MIG devices by profile of every GPU."""
    return [_count(gpu) for gpu in info(host).result["gpus"]]


def _count(gpu: dict[str, t.Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for instance in gpu["instances"]:
        for device in instance["devices"]:
            found[device["profile"]] = found.get(device["profile"], 0) + 1
    return found


def uuids(host: Host) -> set[str]:
    return {d["uuid"] for gpu in info(host).result["gpus"] for i in gpu["instances"] for d in i["devices"]}


def _forked(
    host: Host,
    entry: t.Callable[..., dict[str, t.Any]],
    spec: dict[str, t.Any],
    params: dict[str, t.Any],
    *,
    check_mode: bool = False,
    faults: str = "",
    trace: Path | None = None,
    uid: int = 0,
) -> Outcome:
    validated = ArgumentSpecValidator(spec["argument_spec"]).validate(params)
    assert not validated.error_messages, validated.error_messages
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(read)
            os.dup2(write, 1)
            sys.stdout = os.fdopen(1, "w")
            os.environ.update(host.env())
            os.environ.update({"FAKE_NVML_FAULTS": faults} if faults else {})
            os.environ.update({"FAKE_NVML_TRACE": str(trace)} if trace else {})
            # The loader read LD_LIBRARY_PATH long ago; a library that is loaded already is found by its name.
            ctypes.CDLL(str(host.programs / "libnvidia-ml.so.1"), ctypes.RTLD_GLOBAL)
            if uid:
                os.setuid(uid)
            resource.STOPPED, resource.LOCK = host.directory / "stopped.json", host.directory / "lock"
            resource.STALE, resource.REFUSED = host.directory / "stale", host.directory / "refused.json"
            try:
                result = entry(validated.validated_parameters, check_mode)
            except GpufleetError as error:
                result = {"failed": True, "msg": error.message, **error.facts}
            except BaseException as error:  # noqa: BLE001 a defect must reach the test
                result = {"failed": True, "defect": True, "msg": repr(error)}
            sys.stdout.write(json.dumps(result))
            sys.stdout.flush()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        text = answers.read()
    _pid, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome({}, os.WTERMSIG(status))
    result = json.loads(text)
    assert not result.get("defect"), result["msg"]
    return Outcome(result)


KILLED = signal.SIGKILL


def judge() -> Path:
    """The unmodified nvidia-mig-parted, built once a go.sum."""
    digest = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    program = CACHE / "judges" / f"nvidia-mig-parted-{digest}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_name(f"{program.name}.{os.getpid()}")
        environment = {**os.environ, "CGO_ENABLED": "1", "GOFLAGS": "-buildvcs=false"}
        subprocess.run(["go", "build", "-o", str(fresh), COMMAND], cwd=MODULE, env=environment, check=True)
        fresh.rename(program)
    return program


def published() -> list[Path]:
    """mig-parted's own example and default configurations, where the Go tool keeps the module."""
    subprocess.run(["go", "mod", "download", "github.com/NVIDIA/mig-parted"], cwd=MODULE, check=True)
    listed = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/mig-parted"],
        cwd=MODULE,
        check=True,
        text=True,
        capture_output=True,
    )
    folder = Path(listed.stdout.strip())
    return sorted([*folder.glob("examples/*.yaml"), *folder.glob("deployments/**/*.yaml")])


def document(*layouts: dict[str, int] | None, label: str = "x") -> dict[str, t.Any]:
    """A v1 document with one entry a GPU; None: MIG off."""
    entries = [
        {"devices": [index], "mig-enabled": layout is not None, "mig-devices": layout or {}}
        for index, layout in enumerate(layouts)
    ]
    return {"version": "v1", "mig-configs": {label: entries}}
