# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files that the role containerd writes, from what the user wants and what the role promises."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError

RUNTIME = "io.containerd.cri.v1.runtime"
IMAGES = "io.containerd.cri.v1.images"
RUNC_V2 = "io.containerd.runc.v2"
#: Top-level keys that the role decides, and what to use instead.
DECIDED = {
    "version": "it follows from containerd_version",
    "imports": "put files into conf.d instead; all of them are imported",
    "root": "use containerd_root or containerd_data_disks, so that the folder is checked before it is used",
}


def containerd_config(  # noqa: PLR0917 - a filter's options are named in playbooks
    user: t.Any,
    version: str,
    root: str,
    sandbox_image: str,
    conf_dir: str = "/etc/containerd/conf.d",
    certs_dir: str = "/etc/containerd/certs.d",
    runc: str = "/usr/local/sbin/runc",
) -> dict[str, dict[str, t.Any]]:
    """`{base, dropin}`. Raises AnsibleFilterError naming the key of containerd_config that cannot be."""
    if not isinstance(user, t.Mapping):
        raise _refused("", f"is a {type(user).__name__}, not a dictionary")
    for key, instead in DECIDED.items():
        if key in user:
            raise _refused(f".{key}", f"= {user[key]!r} is not yours to set here; {instead}")
    plugins = user.get("plugins")
    if isinstance(plugins, t.Mapping) and "io.containerd.grpc.v1.cri" in plugins:
        raise _refused(
            ".plugins['io.containerd.grpc.v1.cri']",
            f"is the name that containerd 1.x used and that 2.x would ignore; write {RUNTIME!r} "
            f"(runtimes, CNI, CDI) or {IMAGES!r} (registry, snapshotter)",
        )
    schema = _schema(version)
    if not isinstance(root, str) or not root.startswith("/") or not root.strip("/"):
        raise AnsibleFilterError(f"containerd_root: {root!r} is no absolute path of a folder for containerd alone")
    ours = {
        "plugins": {
            IMAGES: {"pinned_images": {"sandbox": sandbox_image}, "registry": {"config_path": certs_dir}},
            RUNTIME: {
                "enable_cdi": True,
                "containerd": {
                    "default_runtime_name": "runc",
                    "runtimes": {"runc": {"runtime_type": RUNC_V2, "options": {"BinaryName": runc, "SystemdCgroup": True}}},
                },
            },
        },
    }
    merged = _merge(ours, _plain(user), "")
    for name, runtime in merged["plugins"][RUNTIME]["containerd"]["runtimes"].items():
        where = f".plugins['{RUNTIME}'].containerd.runtimes[{name!r}]"
        if not isinstance(runtime, dict):
            raise _refused(where, "is not a dictionary")
        if runtime.setdefault("runtime_type", RUNC_V2) != RUNC_V2:
            continue
        if not isinstance(runtime.setdefault("options", {}), dict):
            raise _refused(f"{where}.options", "is not a dictionary")
        if runtime["options"].setdefault("SystemdCgroup", True) is not True:
            raise _refused(
                f"{where}.options.SystemdCgroup",
                f"= {runtime['options']['SystemdCgroup']!r}; it must be true on every runtime, because the kubelet uses "
                "the systemd cgroup driver",
            )
    return {
        "base": {"version": schema, "root": root, "imports": [f"{conf_dir}/*.toml"]},
        "dropin": {"version": schema, **merged},
    }


def _schema(version: str) -> int:
    match = re.match(r"v?(\d+)\.(\d+)(?:\.|$)", str(version))
    if not match:
        raise AnsibleFilterError(f"containerd_version: {version!r} is not a version such as 2.3.5")
    number = (int(match[1]), int(match[2]))
    if number < (2, 0):
        raise AnsibleFilterError(f"containerd_version: {version} is not supported; use 2.0 or newer, as Kubernetes 1.36 needs it")
    return 4 if number >= (2, 3) else 3


def _merge(ours: t.Any, user: t.Any, where: str) -> t.Any:
    if not isinstance(ours, dict):
        return user
    if not isinstance(user, dict):
        raise _refused(where, f"= {user!r} is not a dictionary")
    return {**ours, **user, **{key: _merge(ours[key], user[key], f"{where}[{key!r}]") for key in ours if key in user}}


def _plain(value: t.Any) -> t.Any:
    """A deep copy in plain containers: Ansible's own template their items when they are read, not when they are copied."""
    if isinstance(value, t.Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _refused(where: str, why: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"containerd_config{where} {why}")
