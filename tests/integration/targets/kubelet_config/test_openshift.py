# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provider openshift on a real API server with OpenShift's resources. The operator is a stand-in: see openshift_api.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t
import urllib.error
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import openshift as subject
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from kube_api import KubeApi
from openshift_api import CRDS, ROOT, StandInOperator

STATIC = {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0-1", "systemReserved": {"memory": "2Gi"}}
ILL = {"maxPods": 13}
OURS = f"{ROOT}/kubeletconfigs/worker-gpufleet"
POOL = f"{ROOT}/machineconfigpools/worker"

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(scope="module")
def api() -> t.Iterator[KubeApi]:
    with KubeApi() as running:
        for crd in CRDS:
            running.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
            running.kubectl("wait", f"crd/{crd['metadata']['name']}", "--for=condition=Established", "--timeout=60s")
        for number in range(3):
            running.call(
                "POST", "/api/v1/nodes", {"metadata": {"name": f"w{number}", "labels": {"node-role.kubernetes.io/worker": ""}}}
            )
            info = {"status": {"nodeInfo": {"kubeletVersion": f"v1.33.{number}"}}}
            running.call("PATCH", f"/api/v1/nodes/w{number}/status", info, "application/merge-patch+json")
        yield running


@pytest.fixture
def operator(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[StandInOperator]:
    """The pool worker, without any KubeletConfig, and who looks after it."""
    monkeypatch.setattr(subject, "PAUSE", 0.05)
    pool = {
        "apiVersion": subject.GROUP,
        "kind": "MachineConfigPool",
        "metadata": {"name": "worker", "labels": {f"{subject.LABEL}worker": ""}},
        "spec": {"nodeSelector": {"matchLabels": {"node-role.kubernetes.io/worker": ""}}},
    }
    api.kubectl("create", "--filename=-", stdin=json.dumps(pool))
    with StandInOperator(api) as running:
        settle(api)
        yield running
        running.ill, running.stuck, running.refuses = lambda _conf: None, False, ""
        api.kubectl("delete", "kubeletconfigs", "--all", "--timeout=60s")
        api.kubectl("delete", "machineconfigpools,machineconfigs", "--all")


def settle(api: KubeApi) -> None:
    deadline = time.monotonic() + 60
    while not any(
        its["type"] == "Updated" and its["status"] == "True"
        for its in api.call("GET", POOL).get("status", {}).get("conditions", ())
    ):
        assert time.monotonic() < deadline, "the stand-in does not work"
        time.sleep(0.05)


@pytest.fixture
def run(api: KubeApi) -> Run:
    def call(settings: dict[str, t.Any] | None, check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        given = {"provider": "openshift", "pool": "worker", "kubeconfig": str(api.kubeconfig), "verify_timeout": 60, **more}
        given.update({"state": "absent"} if settings is None else {"settings": settings})
        result = ArgumentSpecValidator(**SPEC).validate(given)
        assert not result.error_messages
        return resource.entry(result.validated_parameters, check_mode)

    return call


def spec(api: KubeApi) -> t.Any:
    try:
        return api.call("GET", OURS)["spec"]
    except urllib.error.HTTPError:
        return None


@pytest.mark.usefixtures("operator")
def test_a_pool_changes_and_comes_back(api: KubeApi, run: Run) -> None:
    planned = run(STATIC, check_mode=True)
    assert spec(api) is None
    done = run(STATIC)
    assert done["changed"] and done["diff"] == planned["diff"] and done["actions"] == planned["actions"]
    assert done["actions"] == ["write KubeletConfig worker-gpufleet", "wait for MachineConfigPool worker"]
    assert done["kubelet_version"] == "v1.33.0"
    assert spec(api) == {"machineConfigPoolSelector": {"matchLabels": {f"{subject.LABEL}worker": ""}}, "kubeletConfig": STATIC}
    assert api.call("GET", POOL)["status"]["updatedMachineCount"] == 3
    assert not run(STATIC)["changed"] and not run(STATIC, check_mode=True)["changed"]

    # Other settings replace all of the former ones; what somebody else set beside them stays.
    api.call("PATCH", OURS, {"spec": {"logLevel": 4}}, "application/merge-patch+json")
    assert run({"maxPods": 100})["changed"] and not run({"maxPods": 100})["changed"]
    assert spec(api)["kubeletConfig"] == {"maxPods": 100} and spec(api)["logLevel"] == 4

    assert run(None, check_mode=True)["actions"] == ["delete KubeletConfig worker-gpufleet", "wait for MachineConfigPool worker"]
    assert run(None)["changed"] and spec(api) is None
    assert not run(None)["changed"]


@pytest.mark.parametrize("before", [None, {"maxPods": 100}])
def test_what_makes_the_pool_degraded_is_rolled_back(api: KubeApi, operator: StandInOperator, run: Run, before: t.Any) -> None:
    if before:
        run(before)
    operator.ill = lambda conf: "Node w1 is reporting: kubelet did not start" if conf["maxPods"] == 13 else None
    with pytest.raises(
        ApplyError, match=r"worker is degraded: NodeDegraded: Node w1 is reporting: kubelet did not start \(0 of 3"
    ) as error:
        run(ILL)
    assert error.value.facts["undone"] == ["write KubeletConfig worker-gpufleet"]
    assert (spec(api) or {}).get("kubeletConfig") == before
    settle(api)
    if before:
        assert not run(before)["changed"]


def test_without_roll_back_it_stays_for_a_look_and_the_next_run_cures(api: KubeApi, operator: StandInOperator, run: Run) -> None:
    operator.ill = lambda conf: "kubelet did not start" if conf["maxPods"] == 13 else None
    with pytest.raises(ApplyError, match="degraded"):
        run(ILL, rollback=False)
    assert spec(api)["kubeletConfig"] == ILL
    with pytest.raises(PlanError, match=r"degraded: NodeDegraded: kubelet did not start; repair it first"):
        run(ILL)
    with pytest.raises(PlanError, match="repair it first"):
        run({"maxPods": 100}, name="other")
    assert run({"maxPods": 100})["changed"]


def test_what_the_operator_refuses_is_told_in_its_words(api: KubeApi, operator: StandInOperator, run: Run) -> None:
    operator.refuses = "max number of supported kubelet config (10) has been reached"
    with pytest.raises(ApplyError, match=r"refuses KubeletConfig worker-gpufleet: Error: max number of supported kubelet config"):
        run(STATIC)
    assert spec(api) is None


def test_a_pool_that_does_not_move_is_given_up_with_what_was_seen_last(api: KubeApi, operator: StandInOperator, run: Run) -> None:
    operator.stuck = True
    with pytest.raises(
        ApplyError, match=r"not updated after 1 s: 0 of 3 machines updated, 1 unavailable, 0 degraded; .* lacks maxPods"
    ):
        run({"maxPods": 100}, verify_timeout=1)
    assert spec(api) is None


def test_a_run_that_was_killed_is_finished_by_the_next(api: KubeApi, operator: StandInOperator, run: Run) -> None:
    operator.stuck = True
    body = {"apiVersion": subject.GROUP, "kind": "KubeletConfig", "metadata": {"name": "worker-gpufleet"}}
    selector = {"matchLabels": {f"{subject.LABEL}worker": ""}}
    api.call("POST", f"{ROOT}/kubeletconfigs", {**body, "spec": {"machineConfigPoolSelector": selector, "kubeletConfig": STATIC}})
    assert run(STATIC, check_mode=True)["actions"] == ["wait for MachineConfigPool worker"]
    operator.stuck = False
    assert run(STATIC)["changed"] and not run(STATIC)["changed"]


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("settings", "more", "says"),
    [
        ({"featureGates": {"X": True}}, {}, r"settings\.featureGates is the machine config operator's own.*FeatureGate resource"),
        ({"clusterDNS": ["1.2.3.4"]}, {}, r"settings\.clusterDNS is the machine config operator's own"),
        ({"maxPods": None}, {}, r"settings\.maxPods is null"),
        ({"maxPod": 1}, {}, r"settings\.maxPod is no field of KubeletConfiguration in kubelet 1\.33.*did you mean maxPods"),
        ({"cpuManagerPolicy": "Static"}, {}, r"kubelet v1\.33\.0 would not work with these settings: cpuManagerPolicy"),
        (STATIC, {"pool": "nobody"}, r"has no MachineConfigPool nobody"),
    ],
)
def test_refused_before_anything_is_touched(api: KubeApi, run: Run, settings: t.Any, more: t.Any, says: str) -> None:
    with pytest.raises(PlanError, match=says + r".*Nothing was changed"):
        run(settings, **more)
    assert api.call("GET", f"{ROOT}/kubeletconfigs")["items"] == []


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"spec": {"paused": True}}, r"worker is paused and would never change"),
        ({"metadata": {"labels": {f"{subject.LABEL}worker": None}}}, r"oc label machineconfigpool worker pools\.operator"),
    ],
)
def test_a_pool_that_cannot_change_is_refused(api: KubeApi, run: Run, patch: t.Any, says: str) -> None:
    api.call("PATCH", POOL, patch, "application/merge-patch+json")
    with pytest.raises(PlanError, match=says):
        run(STATIC)
    assert spec(api) is None


@pytest.mark.usefixtures("operator")
def test_what_is_missing_is_said(run: Run, api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(PlanError, match=r"does not know the kind KubletConfig of machineconfiguration"),
        subject._resources({"kubeconfig": str(api.kubeconfig)}) as (found, server),
    ):
        subject.PoolConfig({"pool": "p", "name": "n", "settings": {}, "state": "present"}, found, server).get("KubletConfig", "x")
    with pytest.raises(
        resource.GpufleetError,
        match=r"refused to get MachineConfigPool worker with 403: .*ClusterRole with verb get on machineconfigpools",
    ):
        run(STATIC, kubeconfig=str(api.token_kubeconfig("nobody")))
    monkeypatch.setitem(sys.modules, "openshift.dynamic", None)
    with pytest.raises(resource.GpufleetError, match=r"cannot import openshift\.dynamic; install .* 'openshift>=0\.13'"):
        run(STATIC)


@pytest.mark.usefixtures("operator")
def test_through_ansible(api: KubeApi) -> None:
    arguments = {"provider": "openshift", "pool": "worker", "settings": {"maxPods": 90}, "kubeconfig": str(api.kubeconfig)}
    command = [
        "ansible",
        "localhost",
        "--module-name=gpufleet.k8s.kubelet_config",
        f"--args={json.dumps(arguments)}",
        "--one-line",
    ]
    for changed in ("CHANGED", "SUCCESS"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"| {changed} =>" in done.stdout, done.stdout + done.stderr
