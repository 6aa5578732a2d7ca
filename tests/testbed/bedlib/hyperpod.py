# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a HyperPod host has before any lifecycle script runs. Pure."""

from __future__ import annotations

import hashlib
import json

REGION, ACCOUNT = "us-west-2", "123456789012"
DATA_DISK = "/opt/dlami/nvme"
RESOURCE_CONFIG = "/opt/ml/config/resource_config.json"
# On the AMI this unit assembles and mounts the instance's NVMe disks; here the disk is mounted before systemd starts.
NVME_UNIT = f"""[Unit]
Description=Mount of the instance's NVMe disks (test bed)
RequiresMountsFor={DATA_DISK}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/findmnt {DATA_DISK}

[Install]
WantedBy=multi-user.target
"""


def cluster_id(site: str) -> str:
    """Twelve lower-case letters and digits, the same for a site each time."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(alphabet[byte % 36] for byte in hashlib.sha256(site.encode()).digest()[:12])


def resource_config(site: str, addresses: list[str], control_planes: int) -> str:
    """resource_config.json: the control plane in one group, the workers in another; instances as the API numbers them."""

    def instances(group: str, part: list[str], first: int) -> list[dict[str, str]]:
        return [
            {
                "InstanceName": f"{group}-{index}",
                "AgentIpAddress": f"172.16.100.{first + index}",  # the service's own side; nothing here listens on it
                "CustomerIpAddress": address,
                "InstanceId": f"i-0{hashlib.sha256(f'{site}/{address}'.encode()).hexdigest()[:16]}",
            }
            for index, address in enumerate(part, start=1)
        ]

    groups = [("controller-machine", "ml.m5.2xlarge", addresses[:control_planes])]
    groups.append(("worker-group-1", "ml.p5.48xlarge", addresses[control_planes:]))
    first, described = 0, []
    for name, kind, part in groups:
        described.append({"Name": name, "InstanceType": kind, "Instances": instances(name, part, first) or None})
        first += len(part)
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:cluster/{cluster_id(site)}"
    return json.dumps({"ClusterConfig": {"ClusterName": site, "ClusterArn": arn}, "InstanceGroups": described}, indent=1) + "\n"
