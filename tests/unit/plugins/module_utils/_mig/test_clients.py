# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a GPU, with real processes holding real files open below a root of our own."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.clients import Clients, who
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import Compute, Gpu, Holder, Instance, Profile

UID = "0a1b2c3d-1111-2222-3333-444455556666"
BOARD = known.KNOWN["A100-40GB"][0]


def gpu(**more: t.Any) -> Gpu:
    one = BOARD.find(Profile.parse("3g.20gb"))
    computes = (Compute(0, 1, "MIG-a"), Compute(1, 2, "MIG-b"))
    return Gpu(0, "GPU-0", "", 0x20B010DE, "A100", BOARD, True, True, (Instance(2, one, 4, computes),), **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's files; /proc is written by the tests, with the links that the real one has for open devices."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    (tmp_path / "proc/driver/nvidia-caps").mkdir(parents=True)
    minors = ["config 1", "monitor 2", "gpu0/gi2/access 30", "gpu0/gi2/ci0/access 31", "gpu0/gi2/ci1/access 32"]
    (tmp_path / "proc/driver/nvidia-caps/mig-minors").write_text("\n".join(minors) + "\n")
    return tmp_path


def process(root: Path, pid: int, *files: str, cgroup: str = "0::/user.slice\n") -> None:
    folder = root / f"proc/{pid}"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text("python3\n")
    (folder / "cgroup").write_text(cgroup)
    for number, file in enumerate(files):
        (folder / "fd" / str(number)).symlink_to(file)


def holders(root: Path, one: Gpu) -> tuple[list[str], list[list[str]]]:
    (found,) = Clients.scan(root).attach([one])
    return [str(h) for h in found.holders], [[str(h) for h in c.holders] for c in found.instances[0].computes]


def test_a_process_with_a_slice_open_holds_that_slice(root: Path) -> None:
    process(root, 500, "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap32")
    process(root, 501, "/dev/null")
    of_gpu, of_slices = holders(root, gpu())
    assert of_gpu == ["process python3 (pid 500)"]
    # gi2 as a whole (cap30) counts for both of its compute instances: it may use either.
    assert of_slices == [["process python3 (pid 500)"], ["process python3 (pid 500)"]]


def test_another_minor_is_another_gpu(root: Path) -> None:
    process(root, 500, "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap31")
    assert holders(root, gpu()) == ([], [["process python3 (pid 500)"], []])
    assert holders(root, gpu(minor=1)) == (["process python3 (pid 500)"], [[], []])


def test_monitoring_devices_hold_no_slice(root: Path) -> None:
    process(root, 500, "/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2", "/dev/nvidia-uvm")
    assert holders(root, gpu()) == ([], [[], []])


@pytest.mark.parametrize(
    "cgroup",
    [
        f"0::/kubepods.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/cri-containerd-ab.scope\n",
        f"11:devices:/kubepods/besteffort/pod{UID}/abcdef\n10:cpuset:/kubepods/besteffort/pod{UID}/abcdef\n",
    ],
)
def test_a_pod_is_named_by_its_log_directory(root: Path, cgroup: str) -> None:
    process(root, 500, "/dev/nvidia-caps/nvidia-cap31", cgroup=cgroup)
    assert holders(root, gpu())[1][0] == [f"process python3 (pid 500) of pod {UID}"]
    (root / f"var/log/pods/ml_train-0_{UID}").mkdir(parents=True)
    assert holders(root, gpu())[1][0] == ["process python3 (pid 500) of pod ml/train-0"]


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/system.slice/nvidia-dcgm.service\n",
        "0::/system.slice/nvidia-dcgm.service/inner\n",
        "9:name=systemd:/system.slice/nvidia-dcgm.service\n8:pids:/\n",
    ],
)
def test_a_unit_is_named(root: Path, cgroup: str) -> None:
    process(root, 500, "/dev/nvidia0", cgroup=cgroup)
    assert holders(root, gpu())[0] == ["process python3 (pid 500, unit nvidia-dcgm.service)"]


def checkpoint(root: Path, devices: t.Any) -> None:
    folder = root / "var/lib/kubelet/device-plugins"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"PodUID": UID, "ContainerName": "c", "ResourceName": "nvidia.com/gpu", "DeviceIDs": devices}
    (folder / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": {"PodDeviceEntries": [entry]}, "Checksum": 1}))


@pytest.mark.parametrize("devices", [{"-1": ["MIG-a"]}, {"0": ["MIG-a::3"]}, ["MIG-a"]])
def test_a_slice_given_to_a_pod_is_held_while_nothing_runs_on_it(root: Path, devices: t.Any) -> None:
    checkpoint(root, devices)
    assert holders(root, gpu()) == ([], [[], []])  # the kubelet has no such pod any more
    (root / "var/lib/kubelet/pods" / UID).mkdir(parents=True)
    (root / f"var/log/pods/ml_train-0_{UID}").mkdir(parents=True)
    assert holders(root, gpu())[1] == [["pod ml/train-0"], []]


def test_a_pod_that_also_runs_is_named_once(root: Path) -> None:
    checkpoint(root, {"-1": ["MIG-a"]})
    (root / "var/lib/kubelet/pods" / UID).mkdir(parents=True)
    process(root, 500, "/dev/nvidia-caps/nvidia-cap31", cgroup=f"0::/kubepods/pod{UID}/x\n")
    assert holders(root, gpu())[1][0] == [f"process python3 (pid 500) of pod {UID}"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Data": null}', '{"Data": {"PodDeviceEntries": [7]}}'])
def test_an_unreadable_record_of_the_kubelet_is_passed_over(root: Path, text: str) -> None:
    (root / "var/lib/kubelet/device-plugins").mkdir(parents=True)
    (root / "var/lib/kubelet/device-plugins/kubelet_internal_checkpoint").write_text(text)
    assert holders(root, gpu()) == ([], [[], []])


def test_processes_that_nvml_reports_get_their_names() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        # Popen returns when exec closes its pipe, a moment before the kernel changes the process's name.
        limit = time.monotonic() + 30
        while Path(f"/proc/{child.pid}/comm").read_text().strip() != "sleep" and time.monotonic() < limit:
            os.sched_yield()
        one = gpu(holders=(Holder(pid=child.pid),))
        (found,) = Clients({}, {}, {}).attach([one])
        assert found.holders[0].process == "sleep"
    finally:
        child.kill()
        child.wait()


def test_the_real_proc_can_be_read_and_names_this_process() -> None:
    Clients.scan()
    assert who(os.getpid()).process == Path("/proc/self/comm").read_text().strip()
