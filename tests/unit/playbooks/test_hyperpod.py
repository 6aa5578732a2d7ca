# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hyperpod.yml refuses before a host is asked anything, the files that it fetches before any change, and the daily run."""

from __future__ import annotations

import json
import os
import socket
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

PLAYBOOK = Path(__file__).resolve().parents[3] / "playbooks" / "hyperpod.yml"
UNITS = ["containerd.service", "kubelet.service", "var-lib-kubelet.mount"]
STATE = """FragmentPath=
LoadState=not-found
UnitFileState=
ActiveState=inactive
ActiveEnterTimestamp=
SubState=dead
Result=success
Job="""


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"kube_node": ["worker"]}, "The inventory group kube_control_plane has no host"),
        ({"kube_control_plane": ["a", "b"]}, "The inventory group kube_control_plane has 2 hosts (a, b)"),
    ],
)
def test_refused(play: t.Any, groups: dict[str, list[str]], says: str) -> None:
    said = play("gpufleet.k8s.hyperpod", groups=groups)
    assert said.status == 2
    assert says in said.text
    assert "unreachable=1" not in said.text


@pytest.mark.parametrize(
    ("limit", "control_planes", "refused"),
    [
        ("all", [], ["b"]),
        ("b", [], ["b"]),  # the play on localhost is left out
        ("all", ["a"], ["b"]),
        ("all", ["b"], ["a"]),
        ("all", ["a", "b"], []),  # made by somebody
        ("b", ["b"], []),
        ("worker", [], []),
    ],
)
def test_a_further_control_plane_is_refused_with_a_limit_too(
    play: t.Any, limit: str, control_planes: list[str], refused: list[str]
) -> None:
    phase = next(part for part in yaml.safe_load(PLAYBOOK.read_text()) if part["name"].startswith("Preflight | refuse"))
    task = next(task for task in phase["tasks"] if task["name"].startswith("Refuse to prepare a further"))
    role = {
        "name": "Variables",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.kubeadm", "tasks_from": "preflight"},
        "when": False,
    }
    hosts = {host: {"kubeadm__found": {"control_plane": host in control_planes}} for host in ("a", "b", "worker")}
    said = play(
        [{"name": "Look", "hosts": "all", "gather_facts": False, "tasks": [task, role]}],
        "--limit",
        limit,
        groups={"kube_control_plane": ["a", "b"], "kube_node": ["worker"]},
        each=hosts,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )
    assert [host for host in hosts if f"{host} is no control plane yet" in said.text] == refused, said.text
    assert said.status == (2 if refused else 0), said.text


def test_all_files_come_from_their_roles_mirrors(play: t.Any, tmp_path: Path) -> None:
    """The task that fetches all of them, with a module that tells what it was given."""
    phase = next(part for part in yaml.safe_load(PLAYBOOK.read_text()) if part["name"].startswith("Phase 1"))
    fetch, refuse = phase["tasks"][2:4]
    given = tmp_path / "given.json"
    artifacts = fetch["gpufleet.k8s.artifact"]["artifacts"]
    tell = {
        "name": "Tell",
        "ansible.builtin.copy": {"content": "{{ given | to_json }}", "dest": f"{given}.{{{{ inventory_hostname }}}}"},
        "vars": {"given": artifacts},
    }
    # Like a module that failed: the next task says which variables are behind it.
    failed = {"name": "Fail", "ansible.builtin.set_fact": {"hyperpod_files": {"msg": "it has a wrong checksum"}}}
    roles = [
        {"name": name, "ansible.builtin.import_role": {"name": f"gpufleet.k8s.{name}", "tasks_from": part}, "when": False}
        for name, part in (("containerd", "install"), ("kubeadm", "install"))
    ]
    said = play(
        [
            {
                "name": "Files",
                "hosts": "all",
                "gather_facts": True,
                "gather_subset": "platform",
                "tasks": [tell, failed, refuse, *roles],
            }
        ],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        gpufleet_mirror="http://all",
        kubeadm_mirror="http://kubernetes",
        kubeadm_mirror_checksums="mirror",
        kubeadm_checksums={"1.36.3": {"amd64": {"kubelet": "f" * 64}, "arm64": {"kubelet": "f" * 64}}},
    )
    assert said.status == 2
    assert (
        "it has a wrong checksum. Variables behind it: gpufleet_mirror 'http://all', gpufleet_mirror_checksums pinned"
        in said.text
    )
    assert ", kubeadm_mirror http://kubernetes, kubeadm_mirror_checksums mirror, kubeadm_version 1.36.3" in said.text
    assert "kubeadm_checksums (1.36.3), containerd_version" in said.text
    for host in ("head", "worker"):
        files = yaml.safe_load(Path(f"{given}.{host}").read_text())
        from_where = list(dict.fromkeys((file["url"].split("/")[2], file["mirror"], file["checksums"]) for file in files))
        assert from_where == [("github.com", "http://all", "pinned"), ("dl.k8s.io", "http://kubernetes", "mirror")]
        assert [file["checksum"] for file in files if file["url"].endswith("/kubelet")] == ["f" * 64]


@pytest.mark.parametrize(("limit", "went_on"), [("all", []), ("worker", ["worker"])])
def test_a_manifest_that_cannot_be_had_stops_all_hosts(play: t.Any, tmp_path: Path, limit: str, went_on: list[str]) -> None:
    """Only the head asks for it; the worker, which would go on to its own files, stops as well, unless it is alone."""
    phase = next(part for part in yaml.safe_load(PLAYBOOK.read_text()) if part["name"].startswith("Phase 1"))
    role = {
        "name": "Variables",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.flannel", "tasks_from": "fetch"},
        "when": False,
    }
    go_on = {"name": "Go on", "ansible.builtin.file": {"path": f"{tmp_path}/{{{{ inventory_hostname }}}}", "state": "touch"}}
    said = play(
        [{**phase, "tasks": [*phase["tasks"][:2], go_on, role]}],
        "--limit",
        limit,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        gpufleet_mirror="http://127.0.0.1:9",
    )
    assert [name for name in ("head", "worker") if (tmp_path / name).exists()] == went_on, said.text
    if not went_on:
        assert said.status == 2
        assert "cannot fetch http://127.0.0.1:9/" in said.text
        assert "flannel_mirror 'http://127.0.0.1:9'" in said.text


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine need not be one that could be a node."""
    folder = tmp_path / "bin"
    folder.mkdir()
    units = "\n\n".join(f"Id={name}\n{STATE}" for name in UNITS)
    for name, says in {"modprobe": "", "systemctl": units}.items():
        (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def daily(play: t.Any, aws: t.Any, tmp_path: Path, programs: None) -> t.Any:
    """The daily run of a site whose worker does not answer, as a dry run: up to what asks the cluster, which is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.connect(("192.0.2.1", 9))  # sends nothing
        address = outside.getsockname()[0]
    instance = {"InstanceName": "controller-1", "InstanceId": "i-07259dd159a1c7130", "CustomerIpAddress": address}
    config = {
        "ClusterConfig": {"ClusterName": "a", "ClusterArn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"},
        "InstanceGroups": [{"Name": "controller", "InstanceType": "ml.m5.2xlarge", "Instances": [instance]}],
    }
    (tmp_path / "resource_config.json").write_text(json.dumps(config))

    def run(**options: t.Any) -> t.Any:
        return play(
            "gpufleet.k8s.hyperpod",
            "--check",
            "--tags=token",
            "--limit=kube_control_plane",
            each={"head": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
            hyperpod_resource_config=str(tmp_path / "resource_config.json"),
            hyperpod_token_host="localhost",
            hyperpod_aws={"endpoint_url": aws.url, "access_key": "AKIAtesting", "secret_key": "verysecret", **options},
        )

    return run


def test_a_dead_worker_does_not_stop_the_daily_run(daily: t.Any, aws: t.Any) -> None:
    said = daily()
    assert said.status == 0, said.text
    assert "Say that the secret follows the cluster] *" in said.text
    assert [call.action for call in aws.calls] == ["secretsmanager:GetSecretValue"]


def test_an_option_for_aws_that_there_is_not_is_named_before_anybody_is_asked(daily: t.Any, aws: t.Any) -> None:
    said = daily(regoin="us-east-1")
    assert said.status == 2
    assert "hyperpod_aws.regoin. Supported parameters include: access_key, aws_ca_bundle, endpoint_url, kms_key_id," in said.text
    assert not any(value in said.text for value in ("us-east-1", "verysecret", "AKIAtesting"))
    assert not aws.calls


NODES = {
    "kind": "List",
    "items": [
        {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }
        for name, ready in (("node-a", "True"), ("node-b", "Unknown"))
    ],
}
DAEMONS = {
    "kind": "DaemonSet",
    "apiVersion": "apps/v1",
    "metadata": {"name": "d", "namespace": "kube-flannel", "uid": "d"},
    "spec": {},
    "status": {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1},
}
PODS = {
    "kind": "List",
    "items": [
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": node["metadata"]["name"],
                "namespace": "kube-flannel",
                "uid": "p",
                "ownerReferences": [{"uid": "d"}],
            },
            "spec": {"nodeName": node["metadata"]["name"]},
            "status": node["status"],
        }
        for node in NODES["items"]
    ],
}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--limit=head"], 0, "1 other Node is not ready: node-b"),
        (["--limit=head", "--check"], 0, "1 other Node is not ready: node-b"),
        ([], 2, "Node node-b: Ready is Unknown; Pod kube-flannel/node-b on node-b: Ready is Unknown"),
    ],
)
def test_only_nodes_of_the_runs_hosts_are_waited_for(
    play: t.Any, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    answers = {
        "Node": NODES,
        "DaemonSet": DAEMONS,
        "pods,controllerrevisions.apps": PODS,
        "events": {"kind": "List", "items": []},
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(json.dumps(answer))
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\ncat "{tmp_path}/$2"\n')
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "admin.conf").touch()
    phase = yaml.safe_load(PLAYBOOK.read_text())[-1]
    nodes = {"head": {"kubeadm__found": {"actions": [], "node": {"name": "node-a"}}}}
    nodes["worker"] = {"kubeadm__found": {"actions": [], "node": {}}, "kubeadm__joined": {"node": {"name": "node-b"}}}
    said = play(
        [{**phase, "tasks": phase["tasks"][-1:]}],
        *arguments,
        each=nodes,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        flannel_kubectl=str(tmp_path / "kubectl"),
        flannel_kubeconfig=str(tmp_path / "admin.conf"),
        flannel_wait_timeout=0,
    )
    assert said.status == status, said.text
    assert says in said.text, said.text
