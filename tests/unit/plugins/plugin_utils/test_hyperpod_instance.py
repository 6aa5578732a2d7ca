# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter is its entry in Ansible; what it finds is in module_utils/_hyperpod/test_instance.py."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.hyperpod_instance import hyperpod_instance

CONFIG = {
    "ClusterConfig": {"ClusterArn": "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:cluster/kb8v11zrrpvr"},
    "InstanceGroups": [
        {"Name": "w", "InstanceType": "ml.p5.48xlarge", "Instances": [
            {"InstanceName": "w-1", "CustomerIpAddress": "10.1.38.128", "InstanceId": "i-0cbbe3075137ffa1d"}]}
    ],
}  # fmt: skip


def test_finds() -> None:
    found = hyperpod_instance(CONFIG, "10.1.38.128", availability_zone_id="usgw1-az1")
    assert (found["partition"], found["region"], found["instance_type"]) == ("aws-us-gov", "us-gov-west-1", "p5.48xlarge")
    assert found["provider_id"].startswith("aws:///usgw1-az1/")


def test_errors_carry_the_filters_name() -> None:
    with pytest.raises(AnsibleFilterError, match=r"gpufleet\.k8s\.hyperpod_instance: no instance has the address 10\.0\.0\.1"):
        hyperpod_instance(CONFIG, "10.0.0.1")
