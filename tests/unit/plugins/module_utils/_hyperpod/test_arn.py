# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.arn import ClusterArn, parse_cluster_arn
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws", "us-west-2"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-iso-b", "us-isob-east-1")],
)
def test_every_partition(partition: str, region: str) -> None:
    arn = f"arn:{partition}:sagemaker:{region}:123456789012:cluster/kb8v11zrrpvr"
    assert parse_cluster_arn(arn) == ClusterArn(partition, region, "123456789012", "kb8v11zrrpvr")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kb8v11zrrpvr",
        "arn:aws:sagemaker:us-west-2:123456789012:cluster/",
        "arn:aws:sagemaker:us-west-2:123456789012:cluster/a/b",
        "arn:aws:sagemaker:us-west-2:123456789012:endpoint/kb8v11zrrpvr",
        "arn:aws:eks:us-west-2:123456789012:cluster/kb8v11zrrpvr",
        "arn:aws:sagemaker::123456789012:cluster/kb8v11zrrpvr",
        "arn:aws:sagemaker:us-west-2:123456789012:cluster:kb8v11zrrpvr",
    ],
)
def test_refused_with_the_shape(text: str) -> None:
    with pytest.raises(PlanError, match="not the ARN of a HyperPod cluster, which looks like arn:PARTITION"):
        parse_cluster_arn(text)
