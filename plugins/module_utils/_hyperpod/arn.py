# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The ARN of a HyperPod cluster, taken apart by splitting, so that every AWS partition works.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._plan import PlanError

SHAPE = "arn:PARTITION:sagemaker:REGION:ACCOUNT:cluster/ID"


@dataclass(frozen=True)
class ClusterArn:
    partition: str  # aws, aws-cn, aws-us-gov, ...
    region: str
    account: str
    cluster_id: str  # twelve characters on AWS, the last segment of the ARN


def parse_cluster_arn(text: str) -> ClusterArn:
    """`arn:aws-cn:sagemaker:cn-north-1:123456789012:cluster/kb8v11zrrpvr`. Raises PlanError for anything else."""
    parts = text.strip().split(":")
    if len(parts) == 6 and parts[0] == "arn" and parts[2] == "sagemaker" and all(parts):
        kind, _slash, cluster_id = parts[5].partition("/")
        if kind == "cluster" and re.fullmatch(r"[A-Za-z0-9-]+", cluster_id):
            return ClusterArn(partition=parts[1], region=parts[3], account=parts[4], cluster_id=cluster_id)
    raise PlanError(f"{text!r} is not the ARN of a HyperPod cluster, which looks like {SHAPE}")
