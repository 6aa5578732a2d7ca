# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The options of hyperpod_token and hyperpod_token_info, for the modules and their action plugins.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import re
import typing as t

from .._kube.client import AUTH_SPEC
from .._plan import PlanError
from .arn import parse_cluster_arn
from .aws import AWS_RULES, AWS_SPEC

SECRET_PREFIX = "hyperpod-k8s-"  # noqa: S105  the original's name for the secret
_SECRET = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")  # CreateSecret in the API reference of Secrets Manager

_WHICH: dict[str, dict[str, t.Any]] = {
    "cluster_arn": {"type": "str"},
    "cluster_id": {"type": "str"},
    "secret_name": {"type": "str", "no_log": False},
}

TOKEN_SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **_WHICH,
        "endpoint": {"type": "str"},
        "ttl": {"type": "str", "default": "48h"},
        "renew_before": {"type": "str", "default": "24h"},
        "grace": {"type": "str", "default": "15m"},
        "certificate_key": {"type": "str", "no_log": True},
        "kms_key_id": {"type": "str", "no_log": False},
        "force_delete": {"type": "bool", "default": False},
        **AWS_SPEC,
        **AUTH_SPEC,
    },
    **AWS_RULES,
    "required_one_of": [("cluster_arn", "cluster_id", "secret_name")],
}
TOKEN_SPEC["mutually_exclusive"] = [*AWS_RULES["mutually_exclusive"], ("cluster_arn", "cluster_id")]

INFO_SPEC: dict[str, t.Any] = {
    "argument_spec": {
        **_WHICH,
        "ca_cert_hash": {"type": "str"},
        "min_life": {"type": "str", "default": "1m"},
        "wait_timeout": {"type": "int", "default": 300},
        **AWS_SPEC,
        "retry_budget": {"type": "int", "default": 0},  # wait_timeout is for the same
    },
    **AWS_RULES,
    "required_one_of": [("cluster_arn", "cluster_id", "secret_name")],
    "mutually_exclusive": TOKEN_SPEC["mutually_exclusive"],
}


class Which(t.NamedTuple):
    """Which secret is meant, and where."""

    secret_name: str
    cluster_id: str  # "" where only the secret's name was given
    region: str | None


def secret_name_problem(name: str) -> str:
    """Why AWS would not take it as the name of a secret, or ""."""
    rule = "cannot be the name of a secret, which has at most 512 ASCII letters, digits and /_+=.@-"
    return "" if _SECRET.fullmatch(name) else f"{name!r} {rule}"


def which(params: t.Mapping[str, t.Any]) -> Which:
    """Raises PlanError for an ARN or a name that AWS cannot have, and where an empty value leaves neither name nor id."""
    arn = parse_cluster_arn(params["cluster_arn"]) if params["cluster_arn"] else None
    cluster_id = arn.cluster_id if arn else params["cluster_id"] or ""
    if "/" in cluster_id or ":" in cluster_id:
        raise PlanError(f"cluster_id: {cluster_id!r} is not the id of a HyperPod cluster; give an ARN as cluster_arn")
    if not params["secret_name"] and not cluster_id:
        empty = " and ".join(option for option in _WHICH if params[option] is not None)
        raise PlanError(
            f"{empty}: empty, so it is not known which secret is meant; give the ARN or id of the cluster, or secret_name"
        )
    name = params["secret_name"] or SECRET_PREFIX + cluster_id
    if problem := secret_name_problem(name):
        raise PlanError(f"secret_name: {problem}")
    return Which(name, cluster_id, params["region"] or (arn.region if arn else None))
