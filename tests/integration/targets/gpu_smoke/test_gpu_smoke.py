# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods and the workflow of role gpu_smoke, judged by a real API server with Argo's own, full schema."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
ROLE = ROOT / "roles" / "gpu_smoke"
sys.path[:0] = [str(HERE.parents[1]), str(ROOT / "tests" / "testbed")]
from bedlib.build import Builder
from bedlib.table import load
from kube_api import KubeApi

CRD = "argo-workflows: github.com/argoproj/argo-workflows/v4: manifests/base/crds/full/argoproj.io_workflows.yaml"


@pytest.fixture(scope="module")
def api() -> t.Iterator[KubeApi]:
    with KubeApi() as running:
        running.kubectl("apply", "--server-side", "--filename", str(Builder(load()).module_file(CRD)))
        runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
        running.kubectl("apply", "--filename=-", stdin=json.dumps(runtime))
        deadline = time.monotonic() + 60
        while not served(running):
            assert time.monotonic() < deadline, "the API server does not serve workflows"
            time.sleep(0.5)
        yield running


def served(api: KubeApi) -> bool:
    return "workflows" in api.kubectl("api-resources", "--api-group=argoproj.io", "--output=name", "--cached=false")


def rendered(folder: Path, **variables: t.Any) -> list[dict[str, t.Any]]:
    """What the role applies."""
    (folder / "templates").symlink_to(ROLE / "templates")
    task = {"ansible.builtin.template": {"src": "pods.yml.j2", "dest": str(folder / "out.yml"), "mode": "0644"}}
    files = [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files, "tasks": [task]}
    (folder / "play.yml").write_text(json.dumps([play]))
    command = ["ansible-playbook", "-i", "localhost,", "-e", json.dumps(variables), str(folder / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [document for document in yaml.safe_load_all((folder / "out.yml").read_text()) if document]


def accepted(api: KubeApi, objects: t.Sequence[dict[str, t.Any]]) -> None:
    """Unknown fields and wrong types are refused, as they are not with `kubectl create` of a schema-less definition."""
    text = "\n---\n".join(map(json.dumps, objects))
    api.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)


def test_pods_and_workflow_fit_the_schema(api: KubeApi, tmp_path: Path) -> None:
    selector = {"nvidia.com/gpu.product": "A100-PCIE-40GB-MIG-3g.20gb"}
    made = rendered(
        tmp_path, gpu_smoke_workflow_steps=2, gpu_smoke_node_selector=selector, gpu_smoke_command=["sh", "-c", "true"]
    )
    assert [entry["kind"] for entry in made] == ["Pod", "Pod", "Workflow"]
    accepted(api, made)
    (_steps, vectoradd) = made[2]["spec"]["templates"]
    assert vectoradd["container"]["resources"] == {"limits": {"nvidia.com/gpu": 1}} and vectoradd["nodeSelector"] == selector


def test_the_schema_would_find_a_mistake(api: KubeApi, tmp_path: Path) -> None:
    workflow = rendered(tmp_path, gpu_smoke_pods=0, gpu_smoke_workflow_steps=2)[0]
    workflow["spec"]["templates"][1]["retryStrategy"]["retrypolicy"] = "Always"
    with pytest.raises(subprocess.CalledProcessError):
        accepted(api, [workflow])
