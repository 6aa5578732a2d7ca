# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a file is where the role writes: what is overwritten only when asked, what is kept before that, what a removal takes."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.grep_files import grep_files
from role_vars import evaluated

UNIT, MOUNT = "/etc/systemd/system/containerd.service", "/etc/systemd/system/var-lib-kubelet.mount"
PACKAGED = "/lib/systemd/system/containerd.service"
BASE, CRICTL, DROPIN = "/etc/containerd/config.toml", "/etc/crictl.yaml", "/etc/containerd/conf.d/10-gpufleet.toml"
HOSTS = "/etc/containerd/certs.d/docker.io/hosts.toml"
MARK = "# Managed by gpufleet.k8s (role containerd): changes here are lost."
EXPRESSIONS = {
    "foreign": "containerd__foreign_unit",
    "own_mount": "containerd__kubelet_own_mount",
    "kept": "containerd__to_keep",
    "ours": "containerd__ours | reject('eq', containerd__dropin_file) | list",  # that name is nobody else's
}
NOTHING = {"foreign": False, "own_mount": False, "kept": [], "ours": []}

#: name -> (lines that were read, FragmentPath of containerd.service and of the mount), what differs from NOTHING
CASES: dict[str, tuple[tuple[list[str], str, str], dict[str, t.Any]]] = {
    "bare": (([], "", ""), {}),
    "packaged": (([f"{BASE}:version = 2"], PACKAGED, ""), {"foreign": True, "kept": [BASE]}),
    "unit of somebody": (([f"{UNIT}:[Unit]"], UNIT, ""), {"foreign": True, "kept": [UNIT]}),
    "in use": (
        ([f"{UNIT}:{MARK}", f"{BASE}:{MARK}", f"{CRICTL}:{MARK}", f"{MOUNT}:{MARK}", f"{DROPIN}:{MARK}"], UNIT, MOUNT),
        {"ours": [BASE, CRICTL, MOUNT, UNIT]},  # in this order: the unit last
    ),
    "written anew by a tool": (([f"{UNIT}:{MARK}", f"{BASE}:version = 3"], UNIT, ""), {"ours": [BASE, UNIT]}),
    "removed while systemd does not know": (([], UNIT, MOUNT), {}),
    "kept by a run that was killed": (
        ([f"/kept:{BASE}.before-gpufleet", f"{BASE}:version = 2", f"{CRICTL}:timeout = 9"], PACKAGED, ""),
        {"foreign": True, "kept": [CRICTL]},
    ),
    "mount of somebody": (
        ([f"{UNIT}:{MARK}", f"{BASE}:{MARK}", f"{MOUNT}:[Unit]"], UNIT, MOUNT),
        {"own_mount": True, "ours": [BASE, UNIT]},
    ),
    "mount from fstab": (([], "", "/run/systemd/generator/var-lib-kubelet.mount"), {"own_mount": True}),
    "registries of somebody": (
        ([f"/others:{HOSTS}", "/others:/etc/containerd/certs.d/other.example/hosts.toml"], "", ""),
        {"kept": [HOSTS]},  # the other is not written
    ),
    "registries kept": (([f"/others:{HOSTS}", f"/kept:{HOSTS}.before-gpufleet"], "", ""), {}),
}


def test_whose_a_file_is(tmp_path: Path) -> None:
    def host(read: list[str], unit: str, mount: str) -> dict[str, t.Any]:
        states = {"containerd.service": unit, "kubelet.service": "", "var-lib-kubelet.mount": mount}
        shown = (
            f"Id={name}\nFragmentPath={path}\nActiveState={'active' if path else 'inactive'}" for name, path in states.items()
        )
        return {"containerd__observed": {"stdout": "\n".join(read)}, "containerd__units": {"stdout": "\n\n".join(shown)}}

    hosts = {
        name: {**host(*given), "containerd_registry_mirrors": {"docker.io": ["https://m.example"]}}
        for name, (given, _expected) in CASES.items()
    }
    found = evaluated(tmp_path, "containerd", EXPRESSIONS, hosts)
    assert found == {name: {**NOTHING, **expected} for name, (_given, expected) in CASES.items()}


@pytest.mark.parametrize(("now", "changed"), [("now", {BASE, DROPIN, UNIT}), ("1 hour ago", set())])
def test_what_changed_in_the_future_is_no_reason_to_restart(tmp_path: Path, now: str, changed: set[str]) -> None:
    """The clock was ahead when the files were written: each run would restart containerd until that time comes again."""
    host = {"containerd_registry_mirrors": {}, "containerd__observed": {"stdout": ""}, "containerd__units": {"stdout": ""}}
    argv = evaluated(tmp_path, "containerd", {"read": "containerd__read"}, {"host": host})["host"]["read"]
    root = tmp_path / "root"
    for name in (UNIT, BASE, DROPIN):
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / name[1:]).write_text(f"{MARK}\n")
    argv = [f"{root}{part}" if re.match(r"/(etc|usr)/", part) else now if part == "now" else part for part in argv]
    done = subprocess.run(argv, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    files = grep_files(done.stdout.replace(str(root), ""))
    assert {path for path in files if not path.startswith("/changed")} == {UNIT, BASE, DROPIN}
    assert {path.removeprefix("/changed") for path in files if path.startswith("/changed")} == changed
