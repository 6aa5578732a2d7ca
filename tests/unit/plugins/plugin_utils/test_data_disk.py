# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""data_disk and systemd_units, on what `systemctl show` of systemd 252 printed."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.data_disk import data_disk
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.systemd_units import systemd_units

DISKS = ["/opt/dlami/nvme", "/opt/sagemaker"]
SERVICES = ["dlami-nvme.service"]
NONE = ("not-found", "inactive", "dead")


def show(nvme=NONE, sagemaker=NONE, service=NONE, job="", result="success"):
    """The text that systemctl prints. A mount point that it has never heard of has no Where."""
    blocks = []
    for name, where, (load, active, sub) in (
        ("opt-dlami-nvme.mount", DISKS[0], nvme),
        ("opt-sagemaker.mount", DISKS[1], sagemaker),
        ("dlami-nvme.service", None, service),
    ):
        lines = [] if where is None else [f"Where={where if load == 'loaded' else ''}"]
        own = (result, job) if where is None else ("success", "")
        lines += [
            f"Result={own[0]}",
            f"Id={name}",
            f"LoadState={load}",
            f"ActiveState={active}",
            f"SubState={sub}",
            f"Job={own[1]}",
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


MOUNTED = ("loaded", "active", "mounted")


@pytest.mark.parametrize(
    ("units", "path", "settled"),
    [
        (show(nvme=MOUNTED, sagemaker=MOUNTED), "/opt/dlami/nvme", True),
        (show(sagemaker=MOUNTED), "/opt/sagemaker", True),
        (show(), "", True),
        # The better disk is on its way, so the worse one is not taken yet; nor is none.
        (show(nvme=("loaded", "activating", "mounting"), sagemaker=MOUNTED), "/opt/sagemaker", False),
        (show(sagemaker=MOUNTED, service=("loaded", "activating", "start")), "/opt/sagemaker", False),
        (show(service=("loaded", "activating", "start")), "", False),
        (show(service=("loaded", "inactive", "dead"), job="212"), "", False),
        # The service failed, or ended without mounting anything.
        (show(sagemaker=MOUNTED, service=("loaded", "failed", "failed"), result="exit-code"), "/opt/sagemaker", True),
        (show(service=("loaded", "active", "exited")), "", True),
        # The best disk is there, so nobody waits for anything.
        (show(nvme=MOUNTED, service=("loaded", "activating", "start")), "/opt/dlami/nvme", True),
    ],
)
def test_the_first_mounted_disk_unless_a_better_one_is_coming(units, path, settled):
    found = data_disk(systemd_units(units), DISKS, SERVICES)
    assert (found["path"], found["settled"]) == (path, settled)


def test_the_states_are_told():
    units = show(sagemaker=MOUNTED, service=("loaded", "failed", "failed"), result="exit-code")
    assert data_disk(systemd_units(units), DISKS, SERVICES)["seen"] == (
        "/opt/dlami/nvme: unknown to systemd (not mounted, no such unit), /opt/sagemaker: active (mounted), "
        "dlami-nvme.service: failed (failed, exit-code)"
    )
    queued = show(service=("loaded", "inactive", "dead"), job="212")
    assert data_disk(systemd_units(queued), [], SERVICES)["seen"] == "dlami-nvme.service: inactive (dead, start queued)"


def test_without_disks_there_is_nothing_to_wait_for():
    found = data_disk(systemd_units(show(service=("loaded", "activating", "start"))), [], SERVICES)
    assert (found["path"], found["settled"]) == ("", True)
    assert data_disk({}, []) == {"path": "", "settled": True, "seen": "no disk was named"}


def test_a_trailing_slash_is_the_same_folder():
    assert data_disk(systemd_units(show(nvme=MOUNTED)), ["/opt/dlami/nvme/"])["path"] == "/opt/dlami/nvme"


def test_values_may_hold_equal_signs_and_blocks_without_id_are_left_out():
    assert systemd_units("Id=a.service\nExecStart={ argv[]=x y=z }\n\nResult=success\n") == {
        "a.service": {"Id": "a.service", "ExecStart": "{ argv[]=x y=z }"}
    }
