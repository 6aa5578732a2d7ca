# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import find_instance
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError

ARN = "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"
CONFIG: dict[str, t.Any] = {
    "ClusterConfig": {"ClusterName": "gpu-train-1", "ClusterArn": ARN},
    "InstanceGroups": [
        {"Name": "controller", "InstanceType": "ml.m5.2xlarge", "Instances": [
            {"InstanceName": "controller-1", "AgentIpAddress": "172.16.102.203", "CustomerIpAddress": "10.1.113.28",
             "InstanceId": "i-07259dd159a1c7130"}]},
        {"Name": "workers", "InstanceType": "ml.p5.48xlarge", "Instances": [
            {"InstanceName": "workers-1", "AgentIpAddress": "172.16.100.157", "CustomerIpAddress": "10.1.38.128",
             "InstanceId": "i-0cbbe3075137ffa1d"},
            {"InstanceName": "workers-2", "AgentIpAddress": "172.16.98.182", "CustomerIpAddress": "fd00::16",
             "InstanceId": "i-0cc2532921ec06344"}]},
        {"Name": "login", "InstanceType": "ml.m5.xlarge", "Instances": None},
        {"Name": "empty", "InstanceType": "ml.m5.xlarge"},
    ],
}  # fmt: skip


def test_the_whole_answer() -> None:
    assert find_instance(CONFIG, "10.1.38.128") == {
        "cluster_arn": ARN,
        "cluster_id": "kb8v11zrrpvr",
        "partition": "aws",
        "region": "us-west-2",
        "instance_group": "workers",
        "instance_id": "i-0cbbe3075137ffa1d",
        "instance_name": "workers-1",
        "instance_type": "p5.48xlarge",
        "ml_instance_type": "ml.p5.48xlarge",
        "node_name": "ip-10-1-38-128",
        "provider_id": "aws:////sagemaker/cluster/hyperpod-kb8v11zrrpvr-i-0cbbe3075137ffa1d",
    }


def test_provider_id_with_the_zone() -> None:
    found = find_instance(CONFIG, "10.1.113.28", "usw2-az1")
    assert found["provider_id"] == "aws:///usw2-az1/sagemaker/cluster/hyperpod-kb8v11zrrpvr-i-07259dd159a1c7130"


def test_an_ipv6_address_in_any_spelling() -> None:
    found = find_instance(CONFIG, "FD00:0:0::16")
    assert (found["instance_name"], found["node_name"]) == ("workers-2", "ip-fd00--16")


@pytest.mark.parametrize("ip", ["10.1.38.129", "172.16.100.157"])  # the second is the service's side
def test_an_unknown_address_names_the_known_ones(ip: str) -> None:
    with pytest.raises(PlanError, match=f"no instance has the address {ip} .* which knows 10.1.113.28, 10.1.38.128, fd00::16"):
        find_instance(CONFIG, ip)


def test_a_cluster_without_instances() -> None:
    with pytest.raises(PlanError, match="which knows none at all"):
        find_instance({**CONFIG, "InstanceGroups": [{"Name": "x", "InstanceType": "ml.m5.large", "Instances": None}]}, "10.0.0.1")


def test_not_an_address() -> None:
    with pytest.raises(PlanError, match="'localhost' is not an IP address"):
        find_instance(CONFIG, "localhost")


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("ClusterConfig"),
        lambda config: config.pop("InstanceGroups"),
        lambda config: config["InstanceGroups"][1].pop("InstanceType"),
        lambda config: config["InstanceGroups"][1]["Instances"][0].pop("CustomerIpAddress"),
        lambda config: config["InstanceGroups"][1]["Instances"][0].update(CustomerIpAddress="x"),
        lambda config: config.update(InstanceGroups="x"),
        lambda config: config.update(InstanceGroups=[{"Instances": 7}]),
    ],
)
def test_another_file(change: t.Callable[[dict[str, t.Any]], object]) -> None:
    config = copy.deepcopy(CONFIG)
    change(config)
    with pytest.raises(PlanError, match=r"resource_config\.json is not as HyperPod writes it"):
        find_instance(config, "10.1.38.128")


@pytest.mark.parametrize("config", [None, "", [], 7])
def test_no_file_at_all(config: t.Any) -> None:
    with pytest.raises(PlanError, match=r"resource_config\.json is not as HyperPod writes it"):
        find_instance(config, "10.1.38.128")


def test_a_wrong_arn_is_named() -> None:
    config = {**CONFIG, "ClusterConfig": {"ClusterArn": "gpu-train-1"}}
    with pytest.raises(PlanError, match="'gpu-train-1' is not the ARN of a HyperPod cluster"):
        find_instance(config, "10.1.38.128")
