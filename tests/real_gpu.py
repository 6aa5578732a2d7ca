# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be tested of mig_info and mig_parted on a machine with a real NVIDIA GPU without changing anything of it.

    python3 tests/real_gpu.py [FOLDER]      writes FOLDER/real_gpu.json (FOLDER: $OUT, else the present one)

Needs root, the driver, and nvidia-ml-py for this Python (PYTHONPATH may name a folder with pynvml.py); neither Ansible nor a
network. Every NVML call goes through a guard that lets only readings pass, and systemctl and GPU resets are refused here, so
no fault of the modules can change a setting either. Exit status: 0 if all checks hold, 1 if one does not, 2 without a GPU.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import types
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Calls that only read, of those that the modules make.
READING = re.compile(r"nvml(Init|Shutdown|ErrorString|SystemGet|Device(Get|IsMig)|GpuInstanceGet|ComputeInstanceGet)\w*")

#: NVIDIA's own words about the same, kept to compare by eye. All of them only list.
LISTINGS = (["nvidia-smi", "-L"], ["nvidia-smi", "mig", "-lgip"], ["nvidia-smi", "mig", "-lgipp"], ["nvidia-smi", "mig", "-lgi"])

Result = dict[str, t.Any]


class Refused(BaseException):
    """Something was about to change. Not an Exception, so that nobody takes it for a failure that may be handled."""


class Guard(types.ModuleType):
    """pynvml without what changes anything. `calls`: names and how often."""

    def __init__(self, nvml: types.ModuleType) -> None:
        super().__init__("pynvml")
        self.real = nvml
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> t.Any:
        found = getattr(self.real, name)
        if not name.startswith("nvml"):
            return found  # types, constants, exceptions
        if not READING.fullmatch(name):
            raise Refused(f"{name} was about to be called")
        self.calls[name] = self.calls.get(name, 0) + 1
        return found


def collection() -> None:
    """This checkout as a collection on sys.path, with or without Ansible."""
    above = Path(tempfile.mkdtemp(prefix="gpufleet-real-gpu-")) / "ansible_collections" / "gpufleet"
    above.mkdir(parents=True)
    (above / "k8s").symlink_to(ROOT)
    sys.path.insert(0, str(above.parent.parent))


class Checks:
    """Runs the modules' own entries in check mode and keeps what they say."""

    def __init__(self) -> None:
        from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import (  # noqa: PLC0415 after collection()
            known,
            nvml,
            resource,
        )
        from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError  # noqa: PLC0415

        if nvml.pynvml is None:
            sys.exit("real_gpu: nvidia-ml-py is not here; pip install nvidia-ml-py, or put pynvml.py on PYTHONPATH")
        self.guard = nvml.pynvml = Guard(nvml.pynvml)
        resource._systemctl = self.refuse
        nvml.Nvml.reset = self.refuse
        self.known, self.resource, self.error = known, resource, GpufleetError
        self.found: list[Result] = []

    @staticmethod
    def refuse(*what: t.Any, **_more: t.Any) -> t.NoReturn:
        raise Refused(f"about to be done: {what}")

    def info(self, placement: bool = False) -> Result:
        found: Result = self.resource.info({"label": "now", "placement": placement, "timeout": 60}, True)
        return found

    def plan(self, **wish: t.Any) -> Result:
        """mig_parted in check mode. A refusal is a result with `msg`."""
        given = dict.fromkeys(("config", "src", "selected", "layout", "boot", "api_key"))
        given.update(allow_busy=False, reset=True, stop_services=[], refresh_cdi=False, assume_gpus=[], timeout=60)
        given.update(config_name="config", config_lines={}, drain={"enabled": False}, lock={"enabled": False}, **wish)
        try:
            planned: Result = self.resource.parted(given, True)
        except self.error as error:
            return {"failed": True, "msg": error.message}
        return planned

    def note(self, name: str, ok: bool, **seen: t.Any) -> None:
        self.found.append({"check": name, "ok": ok, **seen})
        print(f"{'ok  ' if ok else 'FAIL'} {name}{'' if ok else f': {json.dumps(seen, default=str)[:600]}'}", flush=True)

    # ---- the checks ----

    def export_is_what_is(self) -> None:
        """The present state as a wish leaves nothing to do."""
        for placement in (False, True):
            again = self.plan(config=self.info(placement)["config"])
            ok = not again.get("failed") and not again["changed"]
            self.note(f"the export {'with' if placement else 'without'} placements is what is", ok, said=again)

    def named_layouts(self, gpu: Result) -> None:
        """Each is planned, or refused because somebody holds the GPU."""
        for name in gpu["layouts"]:
            planned = self.plan(layout={gpu["index"]: name})
            refused = planned.get("msg", "")
            ok = not refused or " in use by " in refused or " held by " in refused
            counted = planned.get("operations", {})
            self.note(
                f"GPU {gpu['index']}: {name} is planned", ok, said=refused, operations=counted, actions=planned.get("actions")
            )

    def impossible(self, gpu: Result) -> None:
        planned = self.plan(layout={gpu["index"]: ["9g.999gb"]})
        self.note(
            f"GPU {gpu['index']}: a profile that it lacks is refused", "has no profile" in planned.get("msg", ""), said=planned
        )

    def table(self, gpu: Result) -> None:
        """The table of known boards has what the driver offers, where it has this board at all."""
        offered = {p["name"]: [p["id"], p["starts"], p["slices"], p["size"], p["limit"]] for p in gpu["profiles"]}
        rows = {
            board.name: {k.name: [k.id, list(k.starts), k.profile.g, k.size, k.limit] for k in board.profiles}
            for board in self.known.boards(int(gpu["pci_id"], 16))
        }
        name = f"GPU {gpu['index']}: the table of known boards agrees with the driver"
        self.note(name, not rows or not offered or offered in rows.values(), offered=offered, table=rows)

    def all(self) -> Result:
        before = self.info()
        self.export_is_what_is()
        for gpu in before["gpus"]:
            if gpu["mig"] is not None:
                self.table(gpu)
                self.named_layouts(gpu)
                self.impossible(gpu)
        after = self.info()
        shapes = [[(gpu["mig"], gpu["mig_pending"], gpu["instances"]) for gpu in told["gpus"]] for told in (before, after)]
        self.note("nothing has changed", shapes[0] == shapes[1], before=shapes[0], after=shapes[1])
        return after


def listings() -> dict[str, str]:
    """What nvidia-smi lists, as it comes."""
    said = {}
    for command in LISTINGS:
        try:
            done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
            said[" ".join(command)] = done.stdout + done.stderr
        except (OSError, subprocess.TimeoutExpired) as error:
            said[" ".join(command)] = str(error)
    return said


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else os.environ.get("OUT", "."))
    folder.mkdir(parents=True, exist_ok=True)
    collection()
    checks = Checks()
    try:
        told = checks.all()
    except checks.error as error:
        print(f"real_gpu: {error.message}", file=sys.stderr)
        return 2
    machine = {"python": platform.python_version(), "kernel": platform.release(), "root": os.geteuid() == 0}
    kept = {
        "machine": machine,
        "checks": checks.found,
        "nvml_calls": checks.guard.calls,
        "mig_info": told,
        "nvidia_smi": listings(),
    }
    (folder / "real_gpu.json").write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")
    failed = [check["check"] for check in checks.found if not check["ok"]]
    names = ", ".join(gpu["name"] for gpu in told["gpus"]) or "no GPU"
    print(f"{names}, driver {told['driver']}: {len(checks.found) - len(failed)} checks hold, {len(failed)} do not")
    print(f"all of it is in {folder}/real_gpu.json")
    return 1 if failed else 0 if told["gpus"] else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
