# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a pool of OpenShift. The calls are in the integration target kubelet_config."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import openshift
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError

SETTINGS = {"maxPods": 100, "systemReserved": {"memory": "2Gi"}}
LABELS = {f"{openshift.LABEL}worker": ""}
SPEC = {"machineConfigPoolSelector": {"matchLabels": LABELS}, "kubeletConfig": SETTINGS}
POOL = openshift.Pool(labels=LABELS, machines=2, versions=("v1.33.5", "v1.32.9"), running={"maxPods": 250})
DONE = replace(POOL, spec=SPEC, running={"maxPods": 100})
WRITE, DELETE, WAIT = "write KubeletConfig worker-x", "delete KubeletConfig worker-x", "wait for MachineConfigPool worker"


@pytest.mark.parametrize(
    ("pool", "settings", "actions"),
    [
        (POOL, SETTINGS, [WRITE, WAIT]),
        (DONE, SETTINGS, []),
        (replace(DONE, spec={**SPEC, "logLevel": 4}), SETTINGS, []),
        (replace(DONE, updated=False), SETTINGS, [WAIT]),
        (replace(DONE, running={"maxPods": 250}), SETTINGS, [WAIT]),
        (DONE, {"maxPods": 90}, [WRITE, WAIT]),
        (replace(DONE, degraded="ill"), {"maxPods": 90}, [WRITE, WAIT]),
        (DONE, None, [DELETE, WAIT]),
        (replace(DONE, leaving=True), None, [WAIT]),
        (POOL, None, []),
        (replace(POOL, updated=False), None, [WAIT]),
    ],
)
def test_plan(pool: openshift.Pool, settings: t.Any, actions: list[str]) -> None:
    plan = openshift.plan(pool, "worker", "worker-x", settings)
    assert [str(step) for step in plan.steps] == actions
    assert plan.facts["kubelet_version"] == "v1.32.9"


@pytest.mark.parametrize(
    ("pool", "settings", "says"),
    [
        (replace(POOL, paused=True), SETTINGS, "is paused"),
        (replace(POOL, degraded="ill"), SETTINGS, "is degraded: ill"),
        (replace(DONE, degraded="ill"), SETTINGS, "is degraded: ill"),
        (replace(POOL, labels={}), SETTINGS, "no label by which"),
        (POOL, {"staticPodPath": "/x"}, "machine config operator's own"),
        (POOL, {"maxPods": None}, "settings.maxPods is null"),
        (POOL, {"maxPods": -1}, "would not work with these settings: maxPods"),
        (POOL, {"crashLoopBackOff": {"no": 1}}, r"settings.crashLoopBackOff.no is no field .* in kubelet 1\.32"),
    ],
)
def test_refused(pool: openshift.Pool, settings: t.Any, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        openshift.plan(pool, "worker", "worker-x", settings)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """The client asks it for its version as soon as it is made."""
    pytest.importorskip("openshift.dynamic")
    kubeconfig = tmp_path / "kubeconfig"
    cluster, context = {"server": "https://127.0.0.1:9"}, {"cluster": "c", "user": "u"}
    named = {"clusters": ("cluster", "c", cluster), "users": ("user", "u", {}), "contexts": ("context", "x", context)}
    parts = {what: [{"name": name, key: value}] for what, (key, name, value) in named.items()}
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", **parts}))
    with pytest.raises(KubeError, match=r"https://127.0.0.1:9 gave no answer when asked to tell its version: "):
        openshift.entry({"kubeconfig": str(kubeconfig), "provider": "openshift", "pool": "worker"}, True)
