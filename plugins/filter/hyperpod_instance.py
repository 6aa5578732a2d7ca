# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: hyperpod_instance
short_description: A HyperPod node's own entry in the platform's resource_config.json
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Finds the instance with an IP address in the file that SageMaker HyperPod puts on each node as
    C(/opt/ml/config/resource_config.json), and gives what Kubernetes wants to know of it.
options:
  _input:
    description: The parsed file.
    type: dict
    required: true
  ip:
    description: The node's own address in the VPC; C(CustomerIpAddress) in the file.
    type: str
    required: true
  availability_zone_id:
    description: Id of the zone (such as V(usw2-az1)) for RV(_value.provider_id); the file does not know it.
    type: str
    default: ""
positional: ip
"""

EXAMPLES = r"""
- name: Find out which instance this is
  ansible.builtin.set_fact:
    hyperpod: "{{ config.content | b64decode | from_json | gpufleet.k8s.hyperpod_instance(ansible_default_ipv4.address) }}"
  # {"instance_group": "worker-group-1", "instance_type": "p5.48xlarge", "node_name": "ip-10-1-38-128", ...}
"""

RETURN = r"""
_value:
  description: What is known of the instance.
  type: dict
  contains:
    cluster_id: {description: Last segment of the cluster's ARN., type: str}
    cluster_arn: {description: The cluster's ARN., type: str}
    region: {description: The cluster's region., type: str}
    partition: {description: The AWS partition of the cluster., type: str}
    instance_group: {description: Name of the instance group., type: str}
    instance_type: {description: The instance type as Kubernetes labels it; without C(ml.)., type: str}
    ml_instance_type: {description: The instance type as SageMaker writes it., type: str}
    instance_id: {description: Id of the instance. A replacement has the same name and address but another id., type: str}
    instance_name: {description: Group and number., type: str}
    node_name: {description: Name of the node; C(ip-) and the address with dashes., type: str}
    provider_id: {description: For the kubelet's C(--provider-id); the same shape as on HyperPod with EKS., type: str}
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import find_instance
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError


def hyperpod_instance(resource_config: t.Any, ip: str, availability_zone_id: str = "") -> dict[str, str]:
    try:
        return find_instance(resource_config, ip, availability_zone_id)
    except GpufleetError as error:
        raise AnsibleFilterError(f"gpufleet.k8s.hyperpod_instance: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"hyperpod_instance": hyperpod_instance}
