# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A node's own entry in resource_config.json, the file that HyperPod writes before any lifecycle script runs.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._plan import PlanError
from .arn import parse_cluster_arn

_PROVIDER_ID = re.compile(r"aws:///[^/]*/(sagemaker/.+)")


def only_zone_differs(one: str, other: str) -> bool:
    """Whether two provider IDs are of one instance, with different zones."""
    instances = [match[1] for match in map(_PROVIDER_ID.fullmatch, (one, other)) if match]
    return one != other and len(instances) == 2 and instances[0] == instances[1]


def find_instance(resource_config: t.Any, ip: str, availability_zone_id: str = "") -> dict[str, str]:
    """The entry whose CustomerIpAddress is `ip` (AgentIpAddress is the service's side), with names for Kubernetes.

    Raises PlanError that names what is missing, or the addresses that the file knows.
    """
    try:
        address = ipaddress.ip_address(str(ip))
    except ValueError as error:
        raise PlanError(f"{ip!r} is not an IP address") from error
    try:
        arn_text = _text(resource_config["ClusterConfig"]["ClusterArn"], "ClusterArn")
        # A group without instances has null or no list.
        entries = [
            (group, instance) for group in resource_config["InstanceGroups"] or () for instance in group.get("Instances") or ()
        ]
        known = {ipaddress.ip_address(instance["CustomerIpAddress"]): (group, instance) for group, instance in entries}
        if address not in known:
            addresses = ", ".join(map(str, known)) or "none at all"
            raise PlanError(f"no instance has the address {ip} in resource_config.json, which knows {addresses}")
        group, instance = known[address]
        ml_type, instance_id = _text(group["InstanceType"], "InstanceType"), instance["InstanceId"]
        found = {"instance_group": group["Name"], "instance_id": instance_id, "instance_name": instance["InstanceName"]}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PlanError(
            f"resource_config.json is not as HyperPod writes it ({type(error).__name__}: {error}); it has"
            " ClusterConfig.ClusterArn and InstanceGroups[] with Name, InstanceType and Instances[] of InstanceName, InstanceId"
            " and CustomerIpAddress"
        ) from error
    arn = parse_cluster_arn(arn_text)
    return {
        **found,
        "cluster_arn": arn_text,
        "cluster_id": arn.cluster_id,
        "partition": arn.partition,
        "region": arn.region,
        "ml_instance_type": ml_type,
        "instance_type": ml_type[len("ml.") :] if ml_type.startswith("ml.") else ml_type,
        "node_name": "ip-" + str(address).replace(".", "-").replace(":", "-"),
        "provider_id": f"aws:///{availability_zone_id}/sagemaker/cluster/hyperpod-{arn.cluster_id}-{instance_id}",
    }


def _text(value: t.Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value
