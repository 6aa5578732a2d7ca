# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other workflow controllers are in the way."""

from __future__ import annotations

import typing as t
from pathlib import Path

from role_vars import evaluated

IMAGE = "quay.io/argoproj/workflow-controller:v3.4.17"
OWN = f"argo/workflow-controller {IMAGE} []"
EVERYWHERE = f'kubeflow/workflow-controller {IMAGE} ["--configmap","workflow-controller-configmap"]'
ITS_OWN = f'team/workflow-controller {IMAGE} ["--namespaced"]'
OTHER = "default/web docker.io/library/nginx:1 []"


def test_rivals(tmp_path: Path) -> None:
    def host(scope: str, **config: t.Any) -> dict[str, t.Any]:
        seen = {"stdout_lines": [OWN, EVERYWHERE, ITS_OWN, OTHER]}
        return {"argo_workflows_scope": scope, "argo_workflows_config": config, "argo_workflows__seen": seen}

    hosts = {
        "cluster": host("cluster"),
        "namespace": host("namespace"),
        "named": host("cluster", instanceID="ours"),
        "unnamed": host("cluster", instanceID=""),
        "unnamed_namespace": host("namespace", instanceID=None),
    }
    asked = {"rivals": "argo_workflows__rivals | map('split') | map('first')", "labels": "argo_workflows__sample.metadata.labels"}
    found = evaluated(tmp_path, "argo_workflows", asked, hosts)
    both, one = ["kubeflow/workflow-controller", "team/workflow-controller"], ["kubeflow/workflow-controller"]
    rivals = {name: values["rivals"] for name, values in found.items()}
    assert rivals == {"cluster": both, "namespace": one, "named": [], "unnamed": both, "unnamed_namespace": one}
    labelled = {name: values["labels"] for name, values in found.items() if values["labels"]}
    assert labelled == {"named": {"workflows.argoproj.io/controller-instanceid": "ours"}}
