# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""There is a verdict whatever is broken, and none, which is a failure, of a site that is not there."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# The task needs no rights of others, and there is nobody who would give them.
BECOME = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/nowhere/sudo"}
KUBECTL = """#!/usr/bin/env python3
import json, sys

arguments = sys.argv[1:]
space = next((a[12:] for a in arguments if a.startswith("--namespace=")), "")
kind = "DaemonSet" if space else "Node"
metadata = {"name": "some", "namespace": space}
status = {"desiredNumberScheduled": 1, "numberAvailable": 0}
print(json.dumps({"items": [{"kind": kind, "metadata": metadata, "spec": {}, "status": status}]}))
"""


def report(path: Path) -> tuple[bool, list[str]]:
    verdict = json.loads(path.read_text())
    return verdict["ok"], [failure["message"] for failure in verdict["failures"]]


@pytest.mark.parametrize("variables", [{}, BECOME])
def test_no_host_answers(play: t.Any, tmp_path: Path, variables: dict[str, t.Any]) -> None:
    said = play("gpufleet.k8s.verify", verdict_report=str(tmp_path / "verdict.json"), **variables)
    assert said.status == 2
    assert "3 check(s) failed" in said.text
    ok, messages = report(tmp_path / "verdict.json")
    assert not ok
    assert messages == [
        "head: it did not answer",
        "worker: it did not answer",
        "cluster: nobody asked the API, since head did not answer",
    ]


def test_a_host_without_the_platforms_file(play: t.Any, tmp_path: Path) -> None:
    where = {"hyperpod_resource_config": str(tmp_path / "none.json"), "verdict_kubectl": "/nowhere/kubectl"}
    play(
        "gpufleet.k8s.verify",
        "--check",
        verdict_report=str(tmp_path / "verdict.json"),
        hyperpod_venv="/nowhere",
        **LOCAL,
        **where,
    )
    ok, messages = report(tmp_path / "verdict.json")
    assert not ok
    assert [message.split(":")[0] for message in messages] == ["head", "worker", "cluster", "cluster"]
    assert all(str(tmp_path / "none.json") in message for message in messages[:2])
    assert "/nowhere/kubectl" in messages[2]


@pytest.mark.parametrize("flags", [[], ["--check"]])
@pytest.mark.parametrize(
    ("token_host", "says"),
    [
        ("head", "The join secret was not read: head (hyperpod_token_host) has no Python with boto3 and kubernetes in /nowhere"),
        ("localhost", "There is no cluster on head that workers could join"),
    ],
)
def test_a_secret_that_was_not_read_is_a_fault_and_nothing_is_installed(
    play: t.Any, tmp_path: Path, token_host: str, says: str, flags: list[str]
) -> None:
    roles = [
        {"ansible.builtin.import_role": {"name": "gpufleet.k8s.verdict", "tasks_from": part}, "name": part.capitalize()}
        for part in ("join", "verdict")
    ]
    plays = [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": roles}]
    where = {"hyperpod_token_host": token_host, "hyperpod_venv": "/nowhere"}
    said = play(plays, *flags, verdict_report=str(tmp_path / "verdict.json"), **where, **LOCAL)
    _ok, messages = report(tmp_path / "verdict.json")
    assert any(says in message for message in messages), messages
    assert "Install" not in said.text and "changed=0" in said.text


def test_workloads_of_the_network_are_looked_at(play: t.Any, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    roles = [
        {"ansible.builtin.import_role": {"name": "gpufleet.k8s.verdict", "tasks_from": part}, "name": part.capitalize()}
        for part in ("cluster", "verdict")
    ]
    plays = [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": roles}]
    play(plays, "--check", verdict_report=str(tmp_path / "verdict.json"), verdict_kubectl=str(kubectl), **LOCAL)
    _ok, messages = report(tmp_path / "verdict.json")
    assert "DaemonSet kube-system/some: 0 of 1 pods are available" in messages
    assert "DaemonSet kube-flannel/some: 0 of 1 pods are available" in messages


def test_input_of_a_wrong_type_is_named_and_not_judged(play: t.Any, tmp_path: Path) -> None:
    said = play("gpufleet.k8s.verify", verdict_report=str(tmp_path / "verdict.json"), verdict_namespaces="kube-system")
    assert said.status == 2
    assert "verdict_namespaces is the text 'kube-system' and must be a list" in said.text
    assert not (tmp_path / "verdict.json").exists()


@pytest.mark.parametrize(
    ("groups", "limit", "says"),
    [
        ({"kube_node": ["worker"]}, [], "the inventory group kube_control_plane has no host"),
        ({"other": ["worker"]}, [], "the inventory group kube_control_plane has no host"),
        ({"other": []}, [], "the inventory group kube_control_plane has no host"),
        (None, ["--limit=worker"], "head, which is asked what the cluster is like, is not among the hosts of this run (worker)"),
        (
            {"kube_control_plane": ["head"], "other": ["else"]},
            ["--limit=else"],
            "head, which is asked what the cluster is like, is not among the hosts of this run (else)",
        ),
        (
            {"kube_control_plane": ["head", "second"], "kube_node": ["worker"]},
            ["--limit=second,worker"],
            "head, which is asked what the cluster is like, is not among the hosts of this run (second, worker)",
        ),
    ],
)
def test_no_control_plane_is_no_good_verdict(
    play: t.Any, tmp_path: Path, groups: dict[str, list[str]] | None, limit: list[str], says: str
) -> None:
    said = play("gpufleet.k8s.verify", *limit, groups=groups, verdict_report=str(tmp_path / "verdict.json"))
    assert said.status == 2, said.text
    assert f"There is no verdict: {says}" in said.text
    assert "unreachable=1" not in said.text
    assert not (tmp_path / "verdict.json").exists()


def test_a_control_plane_that_does_not_answer_is_a_verdict_under_a_limit_too(play: t.Any, tmp_path: Path) -> None:
    said = play("gpufleet.k8s.verify", "--limit=kube_control_plane", verdict_report=str(tmp_path / "verdict.json"))
    assert said.status == 2
    assert "head: it did not answer" in report(tmp_path / "verdict.json")[1]
