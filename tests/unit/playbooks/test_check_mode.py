# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where nothing is to be done, check mode looks whether the promise holds."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

NOT_READY = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-a"},
    "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no network"}]},
}


@pytest.mark.parametrize(
    ("part", "task"),
    [("preflight", "Look at what the host is now"), ("remove", "Undo what kubeadm, pods and their network left")],
)
def test_kubeadm_gathers_the_facts_that_it_needs(play: t.Any, part: str, task: str) -> None:
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.kubeadm", "tasks_from": part}}
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        "--check",
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        kubeadm_reset_confirmed=True,
    )
    assert re.search(rf"{task}\] \*+ (ok|changed): \[head\]", said.text), said.text


@pytest.mark.parametrize(
    ("role", "actions", "says"),
    [
        ("flannel", [], "not ready after 0 s: Node node-a"),
        ("flannel", ["join"], ""),  # a dry run does not bring the network
        ("kubeadm", [], "is not a node of the cluster at version"),
        ("kubeadm", ["join"], ""),
    ],
)
def test_verify(play: t.Any, tmp_path: Path, role: str, actions: list[str], says: str) -> None:
    kubectl, kubeconfig = tmp_path / "kubectl", tmp_path / "admin.conf"
    kubectl.write_text(f"#!/bin/sh\necho '{json.dumps({'kind': 'List', 'items': [NOT_READY]})}'\n")
    kubectl.chmod(0o755)
    kubeconfig.touch()
    task = {"ansible.builtin.import_role": {"name": f"gpufleet.k8s.{role}", "tasks_from": "verify"}}
    said = play(
        [{"name": "Verify", "hosts": "head", "gather_facts": False, "tasks": [task]}],
        "--check",
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        flannel_kubectl=str(kubectl),
        flannel_kubeconfig=str(kubeconfig),
        kubeadm_version="1.36.3",
        kubeadm_node_name="node-a",
        kubeadm__found={"actions": actions, "version": "1.36.3", "node": {}},
    )
    assert said.status == (2 if says else 0), said.text
    assert says in said.text


@pytest.mark.parametrize(
    ("registered", "says"),
    [("aws:///a/old", "Its Node is that of aws:///a/old, which had the name before aws:///a/new"), ("aws:///a/new", "")],
)
def test_verify_knows_a_node_of_another_instance(play: t.Any, registered: str, says: str) -> None:
    """It joined under the name of an instance that was replaced, and whose Node nobody deleted."""
    task = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.kubeadm", "tasks_from": "verify"}}
    joined = {"changed": True, "actions": ["join node-a"], "version": "1.36.3", "node": {"provider_id": registered}}
    said = play(
        [{"name": "Verify", "hosts": "head", "gather_facts": False, "tasks": [task]}],
        kubeadm_version="1.36.3",
        kubeadm_node_name="node-a",
        kubeadm_provider_id="aws:///a/new",
        kubeadm__found={"version": "1.36.3", "actions": ["join node-a"], "node": {}},
        kubeadm__joined=joined,
    )
    assert said.status == (2 if says else 0), said.text
    assert says in said.text
