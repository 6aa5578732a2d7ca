# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with AWS or the join secret is said, though the tasks that hold the token say nothing."""

from __future__ import annotations

import sys
import typing as t

import pytest

AWS = {"endpoint_url": "http://127.0.0.1:9", "access_key": "AKIAtesting", "secret_key": "verysecret"}


@pytest.mark.parametrize(
    ("part", "token_host", "says"),
    [
        ("fetch", "localhost", "secretsmanager:GetSecretValue for secret hyperpod-k8s-kb8v11zrrpvr"),
        ("reach", "localhost", "secretsmanager:GetSecretValue for secret hyperpod-k8s-kb8v11zrrpvr"),
        ("reach", "head", "http://127.0.0.1:9 gave no answer"),
    ],
)
def test_an_aws_that_does_not_answer(play: t.Any, part: str, token_host: str, says: str) -> None:
    role: dict[str, t.Any] = {
        "name": "Role",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": part},
    }
    role["vars"] = {"hyperpod__joining": True}
    said = play(
        [{"name": "Ask", "hosts": "worker", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        gpufleet_node={"cluster_arn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"},
        hyperpod_wait_timeout=0,
        hyperpod_token_host=token_host,
        hyperpod_venv="/nowhere",
        hyperpod_aws=AWS,
    )
    assert said.status == 2
    assert says in said.text
    assert f"hyperpod_token_host ({token_host})" in said.text
    assert "hyperpod_aws {'endpoint_url': 'http://127.0.0.1:9'}" in said.text
    assert "verysecret" not in said.text
