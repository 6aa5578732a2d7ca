# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sees of a site: hosts.yml and group_vars. Pure."""

from __future__ import annotations

import json
import re
import shlex
import typing as t
from dataclasses import dataclass
from pathlib import Path

from . import hyperpod
from .serve import AWS_PORT, MIRROR_PORT, REGISTRY_PORT

# Sites are 10.112.S.0/24. Not below: kube-proxy drops what goes to 10.96.0.0 - 10.111.255.255, kubeadm's Service addresses.
PREFIX = "10.112"
DISK_SIGNALS = ("nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")
_YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # keys that YAML 1.1 reads as something else


@dataclass(frozen=True)
class Site:
    name: str
    network: str  # the first three numbers of its /24
    nodes: int
    control_planes: int
    plain: bool

    def addresses(self) -> list[str]:
        return [f"{self.network}.{11 + index}" for index in range(self.nodes)]

    def hosts(self) -> dict[str, str]:
        """Host name -> address, as EC2 names hosts."""
        return {f"ip-{address.replace('.', '-')}": address for address in self.addresses()}

    @property
    def services(self) -> str:
        return f"{self.network}.2"


def ssh_options(folder: Path) -> list[str]:
    """ssh that keeps connections and host keys inside the site's folder, and reads nobody's ~/.ssh/config."""
    options = {
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        "ControlPath": f'"{folder}/ssh/%h"',  # a HOME may have a blank
        "UserKnownHostsFile": f'"{folder}/known_hosts"',
        "StrictHostKeyChecking": "accept-new",
        "LogLevel": "ERROR",
    }
    return ["-F", "/dev/null", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def hosts(site: Site, folder: Path, key: Path) -> str:
    names = site.hosts()
    first = list(names)[: site.control_planes]
    described = {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(key),
                "ansible_ssh_args": shlex.join(ssh_options(folder)),
                "ansible_pipelining": True,
                "ansible_python_interpreter": "/usr/bin/python3",
            },
            "hosts": {name: {"ansible_host": address} for name, address in names.items()},
            "children": {
                "kube_control_plane": {"hosts": {name: {} for name in first}},
                "kube_node": {"hosts": {name: {} for name in names if name not in first}},
            },
        }
    }
    return f"# Written by `bed up {site.name}`.\n" + to_yaml(described)


def group_vars(site: Site, registries: list[str], *, pinned: bool, cgroup_v2: bool, can_lower_oom_score: bool) -> str:
    """Where the site's artifacts are, and what only a node inside a container needs."""
    services = f"http://{site.services}"
    kubelet: dict[str, t.Any] = {
        "failSwapOn": False,  # the host's swap shows in every node
        # So does the fill of the host's disk, which no pod of the site can free.
        "evictionHard": {"memory.available": "100Mi", **dict.fromkeys(DISK_SIGNALS, "0%")},
        "imageGCHighThresholdPercent": 100,
    }
    ignored = ["FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"]  # a node's network namespace may lack it
    if not cgroup_v2:
        kubelet["failCgroupV1"] = False
        ignored.insert(0, "SystemVerification")
    variables: dict[str, t.Any] = {
        "gpufleet_mirror": f"{services}:{MIRROR_PORT}",
        # sums pinned in roles are upstream's; what was built here has the mirror's own
        "gpufleet_mirror_checksums": "pinned" if pinned else "mirror",
        "gpufleet_registry_mirrors": {host: [f"{services}:{REGISTRY_PORT}"] for host in registries},
        "testbed_aws_environment": {
            "AWS_ENDPOINT_URL": f"{services}:{AWS_PORT}",
            "AWS_DEFAULT_REGION": hyperpod.REGION,
            "AWS_REGION": hyperpod.REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        },
        "testbed_plain": site.plain,
        "node_base_swap": "keep",  # nodes share the host's swap, which is not theirs to turn off
        "kubeadm_kubelet_configuration": kubelet,
        "kubeadm_kube_proxy_configuration": {"mode": "nftables", "conntrack": {"maxPerCore": 0, "min": 0}},
        "kubeadm_ignore_preflight_errors": ignored,
    }
    if not site.plain:
        # From this machine both the API server and the stand-in for AWS can be reached.
        variables["hyperpod_token_host"] = "localhost"
        variables["hyperpod_aws"] = {"endpoint_url": f"{services}:{AWS_PORT}", "access_key": "testing", "secret_key": "testing"}
        variables["hyperpod_zone"] = f"{hyperpod.REGION}a"
        variables["gpufleet_data_disks"] = ["/opt/dlami/nvme"]
    if not can_lower_oom_score:
        variables["containerd_config"] = {"plugins": {"io.containerd.cri.v1.runtime": {"restrict_oom_score_adj": True}}}
    head = f"# Written by `bed up {site.name}`: the site's services, and what only nodes inside containers need.\n"
    return head + to_yaml(variables)


def to_yaml(value: dict[str, t.Any], indent: int = 0) -> str:
    """Nested dicts and lists of scalars; scalars, and keys that are no plain words, in JSON's form, which is YAML as well."""
    lines = []
    for name, entry in value.items():
        pad = "  " * indent
        plain = re.fullmatch(r"[A-Za-z_][\w./-]*", name) and name.lower() not in _YAML_WORDS
        key = name if plain else json.dumps(name)
        if isinstance(entry, dict) and entry:
            lines.append(f"{pad}{key}:\n{to_yaml(entry, indent + 1)}")
        elif isinstance(entry, list) and entry:
            lines.append(f"{pad}{key}:\n" + "".join(f"{pad}  - {json.dumps(item)}\n" for item in entry))
        else:
            lines.append(f"{pad}{key}: {json.dumps(entry)}\n")
    return "".join(lines)
