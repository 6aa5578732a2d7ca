# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No host is touched without a confirmation, whichever hosts --limit leaves; a cluster that is gone keeps nothing."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

LEAVE = Path(__file__).resolve().parents[3] / "roles" / "kubeadm" / "tasks" / "leave.yml"
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
SECRET = "hyperpod-k8s-kb8v11zrrpvr"


@pytest.mark.parametrize("limit", [(), ("--limit=worker",), ("--limit=head",)])
def test_nobody_confirmed(play: t.Any, limit: tuple[str, ...]) -> None:
    said = play("gpufleet.k8s.reset", *limit)
    assert said.status == 2
    assert "Nothing was reset: hyperpod_reset_confirmed is not set and the question was not answered with yes" in said.text
    assert "Workers leave the cluster" not in said.text


def test_a_variable_that_says_no(play: t.Any) -> None:
    said = play("gpufleet.k8s.reset", hyperpod_reset_confirmed=False)
    assert "Nothing was reset: hyperpod_reset_confirmed is False" in said.text


@pytest.mark.parametrize(("dry", "variables"), [(("--check",), {}), ((), {"hyperpod_reset_confirmed": "yes"})])
def test_who_need_not_be_asked(play: t.Any, dry: tuple[str, ...], variables: dict[str, t.Any]) -> None:
    said = play("gpufleet.k8s.reset", *dry, "--limit=worker", **variables)
    assert said.status == 4  # it went on, to hosts that do not answer
    assert "Nothing was reset" not in said.text


def test_a_control_plane_that_is_a_worker_too_goes_after_the_secret(play: t.Any) -> None:
    said = play("gpufleet.k8s.reset", "--list-hosts", groups={"kube_control_plane": ["head"], "kube_node": ["head", "worker"]})
    assert re.search(r"Workers leave the cluster TAGS: \[\] pattern: \[.*?\] hosts \(1\): worker play #3", said.text), said.text


@pytest.fixture
def leave(play: t.Any, tmp_path: Path) -> t.Any:
    """Workers leave; then each makes a file. kubectl's script is what the cluster answers, none: the head does not."""

    def run(kubectl: str, *arguments: str) -> tuple[t.Any, list[str]]:
        script = tmp_path / "kubectl"
        script.write_text(f"#!/bin/sh\n{kubectl}\n")
        script.chmod(0o755)
        tasks = yaml.safe_load(LEAVE.read_text())
        delete = next(task for task in tasks if task["name"] == "Delete the Nodes")
        delete["ansible.builtin.command"]["removes"] = str(script)
        go_on = {"name": "Go on", "ansible.builtin.file": {"path": f"{tmp_path}/{{{{ inventory_hostname }}}}", "state": "touch"}}
        said = play(
            [{"name": "Leave", "hosts": "kube_node", "gather_facts": False, "tasks": [*tasks, {**go_on, "check_mode": False}]}],
            *arguments,
            groups={"kube_control_plane": ["head"], "kube_node": ["a", "b"]},
            each={"a": HERE, "b": HERE, **({"head": HERE} if kubectl else {})},
            kubeadm_bin_dir=str(tmp_path),
            kubeadm_node_name="node-{{ inventory_hostname }}",
            kubeadm__bootstrap="head",
        )
        return said, [name for name in ("a", "b") if (tmp_path / name).exists()]

    return run


@pytest.mark.parametrize(
    ("kubectl", "says"),
    [
        ("", "The API did not delete the Nodes: head did not answer: "),
        ("echo refused >&2; exit 1", "the Nodes: refused. They are gone"),
    ],
)
def test_a_cluster_that_does_not_answer_keeps_no_worker(leave: t.Any, kubectl: str, says: str) -> None:
    said, freed = leave(kubectl)
    assert (said.status, freed) == (0, ["a", "b"]), said.text
    assert says in said.text


@pytest.mark.parametrize(
    ("flags", "found", "changed"),
    [
        (["--check"], "echo node/node-b", True),
        (["--check"], "true", False),
        ([], "echo 'node \"node-b\" deleted'", True),
        ([], "true", False),
    ],
)
def test_nodes_that_are_there_are_deleted_and_a_dry_run_only_says_so(
    leave: t.Any, tmp_path: Path, flags: list[str], found: str, changed: bool
) -> None:
    said, freed = leave(f"echo $* > {tmp_path}/asked; {found}", *flags)
    assert (said.status, freed) == (0, ["a", "b"]), said.text
    assert (re.search(r"Delete the Nodes\] \*+ changed:", said.text) is not None) == changed, said.text
    asked = (tmp_path / "asked").read_text()
    assert ("get node" if flags else "delete node") in asked
    assert ("delete" in asked) == (not flags)
    assert "node-a node-b" in asked


@pytest.mark.parametrize(
    ("token_host", "wrong", "stays"),
    [
        ("localhost", {}, ""),
        ("localhost", {"endpoint_url": "http://127.0.0.1:9", "retry_budget": 0}, "http://127.0.0.1:9 gave no usable answer"),
        ("head", {}, "head (hyperpod_token_host) has no Python with boto3 and kubernetes in /nowhere"),
    ],
)
def test_the_secret_of_a_cluster_that_is_gone(
    play: t.Any, aws: t.Any, token_host: str, wrong: dict[str, t.Any], stays: str
) -> None:
    aws.client().create_secret(Name=SECRET, SecretString="{}")
    role = {"name": "Role", "ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": "unpublish"}}
    said = play(
        [{"name": "Remove", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        **HERE,
        gpufleet_node={"cluster_arn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"},
        hyperpod_token_host=token_host,
        hyperpod_venv="/nowhere",
        hyperpod_aws={"endpoint_url": aws.url, "access_key": "testing", "secret_key": "testing", **wrong},
    )
    assert said.status == 0, said.text
    assert ("DeletedDate" in aws.client().describe_secret(SecretId=SECRET)) == (not stays)
    assert ("no token was revoked" in said.text) == (not stays), said.text
    if stays:
        assert f"The secret {SECRET} in us-west-2 STAYS, if there is one" in said.text
        assert stays in said.text
        assert f"aws secretsmanager delete-secret --secret-id {SECRET} --region us-west-2" in said.text
    else:
        assert "STAYS" not in said.text
