# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/real_gpu.py, which waits for a machine with a real GPU, on stand-ins: it works, and nothing can change under it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pynvml
import pytest
from fakegpu import HERE, Host
from onhost import parted

SCRIPT = HERE.parents[1] / "real_gpu.py"


def real_gpu(host: Host, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = host.env(FAKE_NVML_TRACE=str(host.trace), **more)
    return subprocess.run([sys.executable, SCRIPT, folder], env=environment, text=True, capture_output=True, check=False)


def test_it_reads_and_plans_and_changes_nothing(tmp_path: Path) -> None:
    host = Host.make(tmp_path / "host", ["A100-40", "H100-80", "RTX-PRO-6000", "T4"])
    assert parted(host, layout={0: ["3g.20gb:4", "2g.10gb:0"], 1: "all-1g.10gb"}).ok
    child = subprocess.Popen(["sleep", "600"])
    host.busy(f"0 -1 -1 {child.pid}")
    before = (host.directory / "state").read_bytes()
    try:
        done = real_gpu(host, tmp_path / "out")
    finally:
        child.kill()
        child.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((tmp_path / "out" / "real_gpu.json").read_text())
    assert (host.directory / "state").read_bytes() == before
    assert not any(word in name for name in host.calls() for word in ("Set", "Create", "Destroy"))
    names = [check["check"] for check in kept["checks"]]
    assert "GPU 1: the table of known boards agrees with the driver" in names
    assert "GPU 2: all-1g.24gb.gfx is planned" in names and not any("GPU 3" in name for name in names)
    (refused,) = [check for check in kept["checks"] if check["check"] == "GPU 0: all-1g.5gb is planned"]
    assert f"(pid {child.pid})" in refused["said"]
    assert len(kept["mig_info"]["gpus"]) == 4 and kept["nvidia_smi"]["nvidia-smi -L"].startswith("GPU 0")


def test_without_a_driver_it_says_so(tmp_path: Path) -> None:
    host = Host.make(tmp_path / "host", ["A100-40"])
    done = real_gpu(host, tmp_path / "out", LD_LIBRARY_PATH="")
    assert done.returncode == 2 and "libnvidia-ml.so.1 is not there" in done.stderr, done.stdout + done.stderr


def test_what_would_change_something_is_refused() -> None:
    spec = importlib.util.spec_from_file_location("real_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    guard = script.Guard(pynvml)
    for name in dir(pynvml):
        changes = any(word in name for word in ("Set", "Create", "Destroy", "Reset", "Clear", "Register", "Modify", "Write"))
        if name.startswith("nvml") and isinstance(getattr(pynvml, name), types.FunctionType) and changes and "Get" not in name:
            with pytest.raises(script.Refused):
                getattr(guard, name)
    assert guard.nvmlDeviceGetMigMode is pynvml.nvmlDeviceGetMigMode and guard.calls == {"nvmlDeviceGetMigMode": 1}
    assert guard.NVMLError is pynvml.NVMLError
