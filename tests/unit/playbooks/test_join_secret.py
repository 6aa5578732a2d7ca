# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with AWS or the join secret is said, though the tasks that hold the token say nothing."""

from __future__ import annotations

import json
import sys
import typing as t

import pytest

KEYS = {"access_key": "AKIAtesting", "secret_key": "verysecret"}
AWS = {"endpoint_url": "http://127.0.0.1:9", "retry_budget": 0, **KEYS}
# Who runs Ansible needs no rights of others, and there is nobody who would give them.
BECOME = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/nowhere/sudo"}
THEIRS = {"token": "abcdef.0123456789abcdef", "master_addr_port": "h:1", "discovery_token_ca_cert_hash": "a" * 64}


@pytest.fixture
def ask(play: t.Any) -> t.Any:
    """Runs a part of the role on both hosts, which are here."""

    def run(part: str, *flags: str, hosts: str = "all", joining: bool = True, **variables: t.Any) -> t.Any:
        role = {
            "name": "Role",
            "ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": part},
            "vars": {"hyperpod__joining": joining},
            "tags": ["always"],
        }
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "gpufleet_node": {"cluster_arn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"},
            "hyperpod_wait_timeout": 0,
            "hyperpod_token_host": "localhost",
            "hyperpod_venv": "/nowhere",
        }
        said = play([{"name": "Ask", "hosts": hosts, "gather_facts": False, "tasks": [role]}], *flags, **{**common, **variables})
        assert "verysecret" not in said.text
        return said

    return run


@pytest.mark.parametrize(
    ("part", "token_host", "says"),
    [
        ("fetch", "localhost", "secretsmanager:GetSecretValue for secret hyperpod-k8s-kb8v11zrrpvr"),
        ("reach", "localhost", "secretsmanager:GetSecretValue for secret hyperpod-k8s-kb8v11zrrpvr"),
        ("reach", "head", "http://127.0.0.1:9 gave no answer"),
    ],
)
def test_an_aws_that_does_not_answer(ask: t.Any, part: str, token_host: str, says: str) -> None:
    become = BECOME if token_host == "localhost" else {}
    said = ask(part, hosts="worker", hyperpod_token_host=token_host, hyperpod_aws=AWS, **become)
    assert said.status == 2
    assert says in said.text
    assert f"hyperpod_token_host ({token_host})" in said.text
    assert "hyperpod_aws {'endpoint_url': 'http://127.0.0.1:9'}" in said.text


@pytest.mark.parametrize("part", ["reach", "fetch"])
def test_every_option_for_aws_may_be_there(ask: t.Any, aws: t.Any, part: str) -> None:
    aws.client().create_secret(Name="join", SecretString=json.dumps(THEIRS))
    options = {"endpoint_url": aws.url, "retry_budget": 120, "kms_key_id": "alias/join", **KEYS}
    said = ask(part, hyperpod_secret_name="join", hyperpod_aws=options)
    assert said.status == 0, said.text


@pytest.mark.parametrize("part", ["reach", "fetch"])
def test_an_option_that_there_is_not_is_named_though_the_task_is_silent(ask: t.Any, part: str) -> None:
    said = ask(part, hyperpod_aws={**AWS, "regoin": "us-east-1"})
    assert said.status == 2
    assert "regoin. Supported parameters include:" in said.text
    assert "us-east-1" not in said.text


def test_the_authorities_for_aws_are_those_of_the_first_question(ask: t.Any) -> None:
    said = ask(
        "reach", hyperpod_token_host="head", hyperpod_aws={"endpoint_url": "https://127.0.0.1:9", "aws_ca_bundle": "/nowhere/ca"}
    )
    assert said.status == 2
    assert "/nowhere/ca" in said.text or "No such file" in said.text, said.text


@pytest.mark.parametrize(
    ("flags", "asked"), [([], True), (["--check"], True), (["--tags=token"], True), (["--tags=containerd"], False)]
)
def test_a_live_site_asks_too_before_anything_is_changed(ask: t.Any, aws: t.Any, flags: list[str], asked: bool) -> None:
    """Nobody joins, but the secret is published."""
    aws.client().create_secret(Name="theirs", SecretString=json.dumps({**THEIRS, "cluster_id": "otherone1234"}))
    aws.calls.clear()
    said = ask("preflight", *flags, joining=False, hyperpod_secret_name="theirs", hyperpod_aws={"endpoint_url": aws.url, **KEYS})
    assert said.status == (2 if asked else 0), said.text
    assert ("it is of the HyperPod cluster otherone1234" in said.text) == asked
    assert [call.action for call in aws.calls] == ["secretsmanager:GetSecretValue"] * asked
