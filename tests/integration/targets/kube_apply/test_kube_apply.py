# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube_apply on a real API server with real controllers: through ansible for the ladder, else its entry; judged by the API."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import typing as t
import urllib.error
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.resource import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError, PlanError, VerifyError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from kube_api import KubeApi, binary

Object = dict[str, t.Any]
Run = t.Callable[..., dict[str, t.Any]]
LIMIT_S = 60.0  # for what a controller does within a second


@pytest.fixture(scope="session")
def api() -> t.Iterator[KubeApi]:
    with KubeApi() as running:
        yield running


def validated(api: KubeApi, **options: t.Any) -> dict[str, t.Any]:
    rules = {key: value for key, value in SPEC.items() if key != "argument_spec"}
    given = {"kubeconfig": str(api.kubeconfig), "kubectl": binary("kubectl"), "wait_timeout": 20, **options}
    result = ArgumentSpecValidator(SPEC["argument_spec"], **rules).validate(given)
    assert not result.error_messages, result.error_messages
    return t.cast(dict[str, t.Any], result.validated_parameters)


@pytest.fixture
def run(api: KubeApi) -> Run:
    def run(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return entry(validated(api, **options), check)

    return run


@pytest.fixture
def ns(api: KubeApi, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own; nothing removes it, the server ends with the session."""
    name = request.node.name.replace("_", "-").partition("[")[0][:50].strip("-") + f"-{abs(hash(request.node.name)) % 10**6}"
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def config(name: str, namespace: str | None = None, **data: str) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def definition(group: str, kind: str = "Widget", **schema: t.Any) -> Object:
    plural = kind.lower() + "s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **schema}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural}, "versions": [version]},
    }


def deployment(namespace: str, name: str = "web", image: str = "registry.example/web:1") -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def exists(api: KubeApi, path: str) -> bool:
    try:
        api.call("GET", path)
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return False
    return True


def until(condition: t.Callable[[], t.Any], what: str) -> t.Any:
    deadline = time.monotonic() + LIMIT_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {LIMIT_S} s"
        time.sleep(0.1)
    return result


def actions(result: dict[str, t.Any]) -> dict[str, str]:
    return {f"{o['kind']}/{o['name']}": o["action"] for o in result["objects"]}


# the ladder, through ansible -----------------------------------------------------------------------------------------

MANIFEST = """
apiVersion: ladder.example/v1
kind: Widget
metadata: {name: w, namespace: ladder}
spec: {size: 1}
---
apiVersion: v1
kind: Namespace
metadata: {name: ladder}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: ladder}
stringData: {password: very-geheim}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: ladder}, data: {mode: "0644"}}
---
"""


def test_check_apply_check_apply(api: KubeApi, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/a.yaml").write_text(MANIFEST)
    (tmp_path / "m/b.json").write_text(json.dumps(definition("ladder.example")))
    options = {"name": "ladder", "manifests": [f"{tmp_path}/m"], "kubeconfig": str(api.kubeconfig), "kubectl": binary("kubectl")}
    environment = {**api.environment(), "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.tree"}
    results = []
    for arguments in (["--check", "--diff"], ["--diff"], ["--check"], []):
        command = ["ansible", "localhost", "-c", "local", "-m", "gpufleet.k8s.kube_apply", "-a", json.dumps(options)]
        subprocess.run([*command, "--tree", str(tmp_path / "r"), *arguments], env=environment, check=True, capture_output=True)
        text = (tmp_path / "r/localhost").read_text()
        assert "very-geheim" not in text
        assert base64.b64encode(b"very-geheim").decode() not in text
        results.append(json.loads(text))
        if len(results) == 1:
            assert not exists(api, "/api/v1/namespaces/ladder"), "check mode wrote something"
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["objects"] == results[1]["objects"]
    assert actions(results[0]) == {
        "Namespace/ladder": "created",
        "CustomResourceDefinition/widgets.ladder.example": "created",
        "Widget/w": "created",
        "Secret/s": "created",
        "ConfigMap/ladder": "created",
        "ConfigMap/gpufleet-set-ladder": "created",
    }
    assert set(actions(results[3]).values()) == {"unchanged"}
    assert api.call("GET", "/apis/ladder.example/v1/namespaces/ladder/widgets/w")["spec"] == {"size": 1}
    assert api.call("GET", "/api/v1/namespaces/default/configmaps/ladder")["data"] == {"mode": "0644"}
    secret = api.call("GET", "/api/v1/namespaces/ladder/secrets/s")
    assert base64.b64decode(secret["data"]["password"]) == b"very-geheim"
    assert {field["manager"] for field in secret["metadata"]["managedFields"]} == {"gpufleet"}


# what changes --------------------------------------------------------------------------------------------------------


def test_the_diff_has_only_what_differs_and_no_secret(run: Run, ns: str) -> None:
    def secret(value: str) -> Object:
        metadata = {"name": "s", "namespace": ns}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"kept": "same-value", "turned": value}}

    run(content=[config("c", ns, a="1", b="2"), secret("old-value")])
    result = run(content=[config("c", ns, a="1", b="3"), secret("new-value")], check=True)
    differences = {d["before_header"]: (json.loads(d["before"]), json.loads(d["after"])) for d in result["diff"]}
    assert differences == {
        f"ConfigMap {ns}/c": ({"data": {"b": "2"}}, {"data": {"b": "3"}}),
        f"Secret {ns}/s": ({"data": {"turned": "*** (before)"}}, {"data": {"turned": "*** (after)"}}),
    }
    for value in ("same-value", "old-value", "new-value"):
        assert value not in json.dumps(result)
        assert base64.b64encode(value.encode()).decode() not in json.dumps(result)


def test_a_status_that_moves_is_no_change(api: KubeApi, run: Run, ns: str) -> None:
    """kubectl diff reports it (fields of the status differ between its two requests), and that is why it is not used."""
    run(content=deployment(ns), wait=False)
    path = f"/apis/apps/v1/namespaces/{ns}/deployments/web/status"
    for replicas in (1, 2):
        api.call("PATCH", path, {"status": {"replicas": replicas, "observedGeneration": 1}}, "application/merge-patch+json")
        assert not run(content=deployment(ns), wait=False)["changed"]


def test_drift_is_put_right_and_foreign_fields_stay(api: KubeApi, run: Run, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps/c"
    run(content=config("c", ns, ours="1"))
    api.call("PATCH", path, {"data": {"ours": "2", "theirs": "x"}}, "application/merge-patch+json")
    assert run(content=config("c", ns, ours="1"))["changed"]
    assert api.call("GET", path)["data"] == {"ours": "1", "theirs": "x"}
    assert run(content=config("c", ns))["changed"], "a field that is no longer wished is given up"
    assert api.call("GET", path)["data"] == {"theirs": "x"}


def test_conflicts(api: KubeApi, run: Run, ns: str) -> None:
    api.kubectl("apply", "--server-side", "--field-manager=somebody", "-f", "-", stdin=json.dumps(config("c", ns, a="theirs")))
    with pytest.raises(PlanError, match=r"the API server refuses the manifests: .*conflict with \"somebody\".*\.data\.a"):
        run(content=config("c", ns, a="ours"), force_conflicts=False)
    run(content=config("c", ns, a="ours"))
    assert api.call("GET", f"/api/v1/namespaces/{ns}/configmaps/c")["data"] == {"a": "ours"}


def test_sources_and_overrides(api: KubeApi, run: Run, ns: str, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [cm.yaml]\nnameSuffix: -k\n")
    (tmp_path / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from}\ndata: {a: b}\n")
    run(
        manifests=[f"{tmp_path}/cm.yaml"],
        kustomize=str(tmp_path),
        content=[deployment(ns, image="registry.example/web:1")],
        namespace=ns,
        images={"registry.example/web": "mirror.example:5000/web"},
        patches=[
            {"kind": "ConfigMap", "name": "from-k", "patch": {"data": {"a": None, "c": "d"}}},
            {"kind": "Deployment", "patch": [{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["--x"]}]},
        ],
        wait=False,
    )
    assert api.call("GET", f"/api/v1/namespaces/{ns}/configmaps/from")["data"] == {"a": "b"}
    assert api.call("GET", f"/api/v1/namespaces/{ns}/configmaps/from-k")["data"] == {"c": "d"}
    container = api.call("GET", f"/apis/apps/v1/namespaces/{ns}/deployments/web")["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["args"]) == ("mirror.example:5000/web:1", ["--x"])


def test_cluster_scoped_custom_resources_need_no_care(run: Run, api: KubeApi, ns: str) -> None:
    crd = definition("scope.example", "Globe")
    crd["spec"]["scope"] = "Cluster"
    globe = {"apiVersion": "scope.example/v1", "kind": "Globe", "metadata": {"name": "g"}, "spec": {"a": 1}}
    assert run(name="scope", content=[globe, crd], namespace=ns)["changed"]
    assert not run(name="scope", content=[globe, crd], namespace=ns)["changed"]
    assert exists(api, "/apis/scope.example/v1/globes/g")
    assert actions(run(name="scope", content=[crd], namespace=ns))["Globe/g"] == "deleted"
    assert not exists(api, "/apis/scope.example/v1/globes/g")


def test_another_namespace_takes_nothing_that_is_still_wished(run: Run, api: KubeApi, ns: str) -> None:
    """Cluster-scoped objects are remembered with the namespace of their set."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "moves"}, "rules": []}
    crd, data = definition("moves.example"), config("moves", a="1")
    run(name="moves", content=[role, crd, data], namespace="default")
    options: dict[str, t.Any] = {"name": "moves", "content": [role, crd, data], "namespace": ns}
    predicted, result = run(check=True, **options), run(**options)
    assert predicted["actions"] == result["actions"]
    assert [(o["kind"], o["action"]) for o in result["objects"] if o["action"] == "deleted"] == [("ConfigMap", "deleted")]
    assert exists(api, "/apis/rbac.authorization.k8s.io/v1/clusterroles/moves")
    assert exists(api, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.moves.example")
    assert not exists(api, "/api/v1/namespaces/default/configmaps/moves")
    assert not run(**options)["changed"]
    assert run(name="moves", content=[role], namespace="default")["changed"]
    assert exists(api, "/apis/rbac.authorization.k8s.io/v1/clusterroles/moves")
    run(name="moves", state="absent")
    assert not exists(api, "/apis/rbac.authorization.k8s.io/v1/clusterroles/moves")


def test_large_definitions(run: Run, api: KubeApi) -> None:
    """Client-side apply stops at 256 KiB, a request of etcd at 1.5 MiB; a set may be much larger."""
    content = [definition(f"g{n}.big.example", description="x" * (1 << 20)) for n in range(6)]
    first = run(name="big", content=content)
    assert not run(name="big", content=content)["changed"]
    assert len(json.dumps(first["diff"])) < (1 << 20), "megabytes in a result"
    assert exists(api, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.g5.big.example")


# pruning and removal -------------------------------------------------------------------------------------------------


def test_prune(run: Run, api: KubeApi, ns: str) -> None:
    one, two, three = (config(name, ns, a="1") for name in ("one", "two", "three"))
    run(name="prune", content=[one, two, three])
    api.call("DELETE", f"/api/v1/namespaces/{ns}/configmaps/three")
    kept = run(name="prune", content=[one], prune=False)
    assert "ConfigMap/two" not in actions(kept)
    assert exists(api, f"/api/v1/namespaces/{ns}/configmaps/two")
    assert not run(name="prune", content=[one], prune=False)["changed"]

    predicted, result = run(name="prune", content=[one], check=True), run(name="prune", content=[one])
    assert (
        actions(predicted)
        == actions(result)
        == {
            "ConfigMap/one": "unchanged",
            "ConfigMap/two": "deleted",
            "ConfigMap/gpufleet-set-prune": "changed",
        }
    )
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/two")
    assert not run(name="prune", content=[one])["changed"]
    assert exists(api, f"/api/v1/namespaces/{ns}/configmaps/one")


def test_a_set_does_not_prune_what_another_applied(run: Run, api: KubeApi, ns: str) -> None:
    run(name="left", content=config("l", ns, a="1"))
    run(name="right", content=config("r", ns, a="1"))
    run(name="right", content=[])
    assert exists(api, f"/api/v1/namespaces/{ns}/configmaps/l")
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/r")


def test_a_set_without_sources_is_a_mistake(run: Run, api: KubeApi, ns: str) -> None:
    """Its name beside `wait_for`, or a forgotten `manifests`, would delete all of it."""
    run(name="kept", content=config("kept", ns, a="1"))
    for options in ({}, {"wait_for": [{"kind": "ConfigMap", "name": "kept", "namespace": ns}]}):
        with pytest.raises(PlanError, match="the set 'kept' has no source, which would delete all that it applied: give"):
            run(name="kept", **options)
    assert exists(api, f"/api/v1/namespaces/{ns}/configmaps/kept")


def test_absent(run: Run, api: KubeApi) -> None:
    content = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}},
        definition("gone.example"),
        {"apiVersion": "gone.example/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "gone"}},
        config("c", "gone", a="1"),
    ]
    with api.control("namespace-controller"):
        run(name="gone", content=content)
        predicted, result = run(name="gone", state="absent", check=True), run(name="gone", state="absent")
    assert predicted["actions"] == result["actions"]
    order = [o["name"] for o in result["objects"]]
    assert order == ["gone", "widgets.gone.example", "w", "c", "gpufleet-set-gone"]
    assert result["warnings"] == ["Namespace kube-system belongs to the API server and stays"]
    for path in (
        "/api/v1/namespaces/gone",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.gone.example",
        "/api/v1/namespaces/kube-system/configmaps/gpufleet-set-gone",
    ):
        assert not exists(api, path)
    assert exists(api, "/api/v1/namespaces/kube-system")
    assert not run(name="gone", state="absent")["changed"]
    assert not run(state="absent", content=content[2:])["changed"], "a kind that is no longer known is gone"
    stub = {key: content[2][key] for key in ("apiVersion", "kind", "metadata")}
    assert not run(state="absent", content=[stub])["changed"]
    run(content=content[2])
    assert run(state="absent", content=[stub])["changed"], "a name is enough to delete a definition"


def test_absent_says_what_holds_on(run: Run, api: KubeApi, ns: str) -> None:
    held = config("held", ns, a="1")
    held["metadata"]["finalizers"] = ["example.org/never"]
    run(name="held", content=[held, config("free", ns, a="1")])
    with pytest.raises(
        GpufleetError, match=rf"still there: ConfigMap {ns}/held \(being deleted, finalizers: example.org/never\)"
    ):
        run(name="held", state="absent", wait_timeout=1)
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/free")
    path = f"/api/v1/namespaces/{ns}/configmaps/held"
    api.call("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    until(lambda: not exists(api, path), "the removal")
    assert run(name="held", state="absent")["changed"], "the inventory is still to be removed"
    assert not exists(api, "/api/v1/namespaces/kube-system/configmaps/gpufleet-set-held")


def test_a_strange_inventory_is_refused(run: Run, api: KubeApi, ns: str) -> None:
    api.kubectl(
        "create",
        "-f",
        "-",
        stdin=json.dumps(config("gpufleet-set-strange", "kube-system", objects="some words of somebody else's\n")),
    )
    with pytest.raises(PlanError, match="ConfigMap kube-system/gpufleet-set-strange should list what was applied"):
        run(name="strange", content=config("c", ns, a="1"))
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/c")


# kill and cost -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(tmp_path: Path) -> tuple[Path, Path]:
    """A kubectl that notes each call in a log and kills its caller before the call number $KILL_CALL."""
    program, log = tmp_path / "kubectl", tmp_path / "calls"
    kill = f'if [ "$(wc -l < {log})" = "$KILL_CALL" ]; then kill -9 $PPID; exit 1; fi'
    program.write_text(f'#!/bin/sh\necho "$1" >> {log}\n{kill}\nexec {binary("kubectl")} "$@"\n')
    program.chmod(0o755)
    return program, log


def test_killed_before_any_call_the_next_run_converges(run: Run, api: KubeApi, ns: str, counting: tuple[Path, Path]) -> None:
    program, log = counting
    kill_at, finished = 0, False
    while not finished:
        kill_at += 1
        log.unlink(missing_ok=True)
        name = f"kill-{kill_at}"
        group = f"k{kill_at}.kill.example"
        widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": ns}}
        old = [config(f"old-{kill_at}", ns, a="1"), config(f"both-{kill_at}", ns, a="1")]
        new = [config(f"both-{kill_at}", ns, a="2"), config(f"new-{kill_at}", ns, a="1"), definition(group), widget]
        run(name=name, content=old)
        options = {"name": name, "content": new, "kubeconfig": str(api.kubeconfig), "kubectl": str(program)}
        killed = subprocess.run(
            [sys.executable, HERE.parents[1] / "child.py", "_apply"],
            input=json.dumps(options),
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "KILL_CALL": str(kill_at)},
        )
        finished = killed.returncode == 0
        if not finished:
            assert killed.returncode == -9, killed.stderr
            run(name=name, content=new)
        assert not run(name=name, content=new)["changed"]
        names = {o["metadata"]["name"] for o in api.call("GET", f"/api/v1/namespaces/{ns}/configmaps")["items"]}
        assert {n for n in names if n.endswith(f"-{kill_at}")} == {f"both-{kill_at}", f"new-{kill_at}"}
        assert exists(api, f"/apis/{group}/v1/namespaces/{ns}/widgets/w")
    assert kill_at > 6, "the sweep did not reach the deletion"


def test_an_unchanged_run_costs_two_calls(run: Run, ns: str, counting: tuple[Path, Path]) -> None:
    program, log = counting
    content = [config(f"c{n}", ns, a="1") for n in range(20)]
    run(name="cost", content=content)
    run(name="cost", content=content, kubectl=str(program))
    assert log.read_text().split() == ["get", "apply"]


# waiting -------------------------------------------------------------------------------------------------------------


def pods(api: KubeApi, ns: str) -> list[Object]:
    return t.cast("list[Object]", api.call("GET", f"/api/v1/namespaces/{ns}/pods")["items"])


def set_pod(api: KubeApi, pod: Object, ready: bool, **waiting: str) -> None:
    """What a kubelet would say."""
    state = {"waiting": waiting} if waiting else {"running": {}}
    container = {
        "name": "main",
        "image": pod["spec"]["containers"][0]["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2020-01-01T00:00:00Z"}
    status = {"phase": "Running" if ready else "Pending", "containerStatuses": [container], "conditions": [condition]}
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
    api.call("PATCH", path, {"status": status}, "application/merge-patch+json")


def test_rollout(run: Run, api: KubeApi, ns: str) -> None:
    with api.control("deployment-controller", "replicaset-controller"):
        run(content=deployment(ns), wait=False)
        pod = until(lambda: pods(api, ns), "a pod")[0]
        set_pod(api, pod, ready=False, reason="ImagePullBackOff", message='Back-off pulling image "registry.example/web:1"')
        event = {
            "metadata": {"name": "e", "namespace": ns},
            "involvedObject": {"kind": "Pod", "namespace": ns, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "type": "Warning",
            "reason": "Failed",
            "message": "dial tcp: no such host",
        }
        api.call("POST", f"/api/v1/namespaces/{ns}/events", event)
        with pytest.raises(VerifyError) as caught:
            run(content=deployment(ns), wait_timeout=1)
        message = caught.value.message
        assert message.startswith(f"not ready after 1 s: Deployment {ns}/web: 0 of 1 pods are available (pod web-")
        assert (
            'container main (registry.example/web:1): ImagePullBackOff: Back-off pulling image "registry.example/web:1"'
            in message
        )
        assert "last event: Failed: dial tcp: no such host" in message
        assert caught.value.facts["not_ready"] == [{"object": f"Deployment {ns}/web", "reason": "0 of 1 pods are available"}]

        set_pod(api, pod, ready=True)
        assert not run(content=deployment(ns))["changed"], "the next run waits, although there is nothing to change"

        run(content=deployment(ns, image="registry.example/web:2"), wait=False)
        with pytest.raises(VerifyError, match=r"web: 1 old replicas have not ended yet .*Pending, not ready"):
            run(content=deployment(ns, image="registry.example/web:2"), wait_timeout=1)


def test_without_controllers_nothing_is_ready(run: Run, ns: str) -> None:
    with pytest.raises(VerifyError, match=r"web: its controller has not seen the change yet \(it has no pods\)"):
        run(content=deployment(ns), wait_timeout=1)


def test_wait_for(run: Run, api: KubeApi, ns: str) -> None:
    def wait(**wish: str) -> dict[str, t.Any]:
        return run(wait_for=[{"kind": "ConfigMap", **wish}], namespace=ns, wait_timeout=1)

    with pytest.raises(VerifyError, match="ConfigMap c: there is none"):
        wait(name="c")
    content = config("c", ns, state="waiting")
    content["metadata"]["labels"] = {"app": "c"}
    run(content=content)
    assert not wait(name="c")["changed"]
    assert not wait(name="c", field="data.state", value="waiting")["changed"]
    with pytest.raises(VerifyError, match=rf"ConfigMap {ns}/c: data.state is waiting"):
        wait(selector="app=c", field="data.state", value="done")
    with pytest.raises(VerifyError, match=rf"ConfigMap {ns}/c: it has no condition Ready yet"):
        wait(condition="Ready")
    with pytest.raises(VerifyError, match="Unheard x: its kind is not known to the API server"):
        run(wait_for=[{"kind": "Unheard", "name": "x"}], wait_timeout=1)
    for name, status in (("n1", "True"), ("n2", "False")):
        api.call("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        conditions = [{"type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "cni plugin not initialized"}]
        api.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"conditions": conditions}}, "application/merge-patch+json")
    with pytest.raises(VerifyError, match=r"after 1 s: Node n2: Ready is False \(KubeletNotReady: cni plugin not initialized\)$"):
        run(wait_for=[{"kind": "Node"}], wait_timeout=1)
    run(wait_for=[{"kind": "Node", "name": "n1"}, {"kind": "Node", "name": "n2", "condition": "ready=false"}], wait_timeout=1)


def test_wait_for_some_nodes(run: Run, api: KubeApi, ns: str) -> None:
    """Of a DaemonSet with a pod on each of two Nodes, one of which is down; as the controller sees it."""

    def wait(*wishes: Object) -> list[str]:
        return t.cast(list[str], run(wait_for=list(wishes), namespace=ns, wait_timeout=0).get("warnings", []))

    for name, status in (("up", "True"), ("down", "Unknown")):
        api.call("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"of": ns}}})
        status_of = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
        api.call("PATCH", f"/api/v1/nodes/{name}/status", status_of, "application/merge-patch+json")
    assert wait({"kind": "Node", "selector": f"of={ns}", "nodes": ["up"]}) == ["1 other Node is not ready: down"]
    assert wait({"kind": "nodes", "selector": f"of={ns}", "nodes": ["up", "up"], "condition": "Ready"}) == [
        "1 other Node is not ready: down"
    ]
    with pytest.raises(VerifyError, match=r"s: Node down: Ready is Unknown; Node --selector=of=.*: there is no gone$"):
        wait({"kind": "Node", "selector": f"of={ns}", "nodes": ["up", "down", "gone"]})
    for wish, says in (
        ({"kind": "ConfigMap"}, "ConfigMap has no `nodes`"),
        ({"kind": "ds", "condition": "x"}, "`condition` and `field` are of a whole"),
    ):
        with pytest.raises(PlanError, match=says):
            wait({**wish, "nodes": ["up"]})

    def daemons(image: str) -> Object:
        labels = {"app": "d"}
        template = {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {"of": ns},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": image}],
            },
        }
        spec = {"selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": ns}, "spec": spec}

    def on(node: str) -> list[Object]:
        return [pod for pod in pods(api, ns) if pod["spec"].get("nodeName") == node]

    ours = {"kind": "DaemonSet", "namespace": ns, "nodes": ["up"]}
    with api.control("daemonset-controller"):
        run(content=daemons("registry.example/d:1"), wait=False)
        for pod in until(lambda: len(pods(api, ns)) == 2 and pods(api, ns), "two pods"):
            terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            node = terms[0]["matchFields"][0]["values"][0]
            binding = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": node}}
            api.call("POST", f"/api/v1/namespaces/{ns}/pods/{pod['metadata']['name']}/binding", binding)
        with pytest.raises(
            VerifyError, match=rf"s: Pod {ns}/d-\S+ on up: it has no condition Ready yet \(Pending, not ready: .*\)$"
        ):
            wait(ours)
        set_pod(api, on("up")[0], ready=True)
        until(lambda: not wait(ours), "readiness")
        assert not wait({"kind": "Pod", "namespace": ns, "nodes": ["up"]})
        for kind, says in (("Pod", "it has no condition Ready yet"), ("DaemonSet", "1 of 2 pods are available")):
            with pytest.raises(VerifyError, match=says):
                wait({"kind": kind, "namespace": ns})
        with pytest.raises(VerifyError, match=r"Pod: there is none on gone$"):
            wait({"kind": "Pod", "namespace": ns, "nodes": ["up", "gone"]})

        run(content=daemons("registry.example/d:2"), wait=False)
        until(lambda: any(pod["metadata"].get("deletionTimestamp") for pod in on("down")), "a pod that is replaced")
        with pytest.raises(VerifyError, match=rf"s: Pod {ns}/d-\S+ on up: it is of an older template, and not replaced yet$"):
            wait(ours)
        run(content=daemons("registry.example/d:1"), wait=False)
        until(lambda: not wait(ours), "that nothing is to be replaced on it")


def test_what_is_hopeless_is_not_waited_for(run: Run, api: KubeApi, ns: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": ns}, "spec": {"template": template}}
    run(content=job, wait=False)
    moment = "2020-01-01T00:00:00Z"
    conditions = [
        {
            "type": name,
            "status": "True",
            "reason": "BackoffLimitExceeded",
            "message": "it failed too often",
            "lastTransitionTime": moment,
        }
        for name in ("FailureTarget", "Failed")
    ]
    status = {"conditions": conditions, "startTime": moment}
    api.call("PATCH", f"/apis/batch/v1/namespaces/{ns}/jobs/j/status", {"status": status}, "application/merge-patch+json")
    started = time.monotonic()
    with pytest.raises(VerifyError, match=r"Job .*/j: Failed is True \(BackoffLimitExceeded: it failed too often\)"):
        run(content=job, wait_timeout=600)
    assert time.monotonic() - started < 300


def test_a_webhook_that_starts_late_is_waited_for(run: Run, api: KubeApi, ns: str) -> None:
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "late"},
        "webhooks": [
            {
                "name": "late.example.org",
                "clientConfig": {"url": "https://127.0.0.1:1/x"},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": f"{ns}-new"}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    run(content=webhook)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{ns}-new"}}
    try:
        with pytest.raises(GpufleetError, match=r'failed calling webhook "late\.example\.org"'):
            run(content=[namespace, config("c", f"{ns}-new", a="1")], wait_timeout=2)
    finally:
        run(content=webhook, state="absent")
    run(content=[namespace, config("c", f"{ns}-new", a="1")])
    assert exists(api, f"/api/v1/namespaces/{ns}-new/configmaps/c")


# refusals ------------------------------------------------------------------------------------------------------------


def test_what_the_server_refuses_changes_nothing(run: Run, api: KubeApi, ns: str) -> None:
    bad = deployment(ns)
    bad["spec"]["selector"]["matchLabels"] = {"app": "other"}
    for check in (True, False):
        with pytest.raises(PlanError, match=r"refuses the manifests: The Deployment \"web\" is invalid: .*selector"):
            run(content=[config("first", ns, a="1"), bad], check=check)
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/first")


def test_unknown_kind_and_namespace(run: Run, api: KubeApi, ns: str) -> None:
    unknown = {"apiVersion": "nowhere.example/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": ns}}
    stray = config("stray", "no-such-namespace", a="1")
    predicted = run(content=[config("c", ns, a="1"), unknown, stray], check=True)
    assert actions(predicted) == {"ConfigMap/c": "created", "Thing/t": "created", "ConfigMap/stray": "created"}
    assert "does not know the kind Thing (nowhere.example/v1)" in predicted["warnings"][0]
    assert "there is no namespace no-such-namespace" in predicted["warnings"][1]
    with pytest.raises(PlanError, match=r"does not know the kind Thing .* install that first"):
        run(content=[config("c", ns, a="1"), unknown])
    with pytest.raises(PlanError, match='namespaces "no-such-namespace" not found'):
        run(content=[config("c", ns, a="1"), stray])
    assert not exists(api, f"/api/v1/namespaces/{ns}/configmaps/c")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": "a: [b"}, "content cannot be read: "),
        ({"content": "just words"}, "content cannot be read: "),
        ({"content": ["words"]}, "content: 'words' is not a Kubernetes object"),
        ({"content": {"apiVersion": "v1", "metadata": {"name": "x"}}}, "document 1 is no Kubernetes object"),
        (
            {"content": {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x"}}},
            "document 1 (Pod) has no metadata.name",
        ),
        ({"content": [config("c"), config("c", "default")]}, "ConfigMap c is there twice"),
        ({"manifests": ["/nonexistent/x.yaml"]}, "manifests: /nonexistent/x.yaml does not exist on this host"),
        ({"manifests": ["https://h/x.yaml"]}, "manifests: 'https://h/x.yaml' is a URL; fetch it with gpufleet.k8s.artifact"),
        ({"content": config("c"), "images": {"nginx": "x"}}, "images: no container uses 'nginx'; the manifests have no images"),
        (
            {"content": config("c"), "patches": [{"kind": "ConfigMap", "name": "d", "patch": {}}]},
            "patches[0]: the manifests have no ConfigMap d",
        ),
        ({"content": config("c"), "kubeconfig": "/nonexistent/conf"}, "kubeconfig /nonexistent/conf does not exist on this host"),
        ({"content": config("c"), "kubectl": "kubectl-of-nobody"}, "kubectl ('kubectl-of-nobody') is not installed on this host"),
    ],
)
def test_bad_input(run: Run, options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(GpufleetError) as caught:
        run(**options)
    assert message in caught.value.message


def test_the_api_server_says_no(run: Run, api: KubeApi) -> None:
    content = config("c", "default", a="1")
    dead = api.token_kubeconfig("dead", server="https://127.0.0.1:1")
    with pytest.raises(
        GpufleetError, match=rf"the API server in {dead} does not answer \(.*connection refused\); is the control plane up\?"
    ):
        run(content=content, kubeconfig=str(dead))
    expired = api.token_kubeconfig("expired", token="nonsense")
    with pytest.raises(GpufleetError, match=rf"the API server does not accept the credentials in {expired}"):
        run(content=content, kubeconfig=str(expired))
    viewer = api.token_kubeconfig("viewer")
    with pytest.raises(GpufleetError, match=r'configmaps "c" is forbidden: User "viewer" cannot get resource'):
        run(content=content, kubeconfig=str(viewer))
    other = json.loads(Path(api.kubeconfig).read_text())
    stranger = Path(api.folder, "stranger.pem")
    subject = ["-subj", "/CN=stranger", "-keyout", f"{stranger}.key", "-out", str(stranger)]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True)
    other["clusters"][0]["cluster"]["certificate-authority"] = str(stranger)
    path = Path(api.folder, "other.kubeconfig")
    path.write_text(json.dumps(other))
    with pytest.raises(GpufleetError, match=r"do not fit the API server .*x509"):
        run(content=content, kubeconfig=str(path))


@pytest.mark.parametrize("missing", ["kubectl", "kubeconfig", "manifests"])
def test_on_a_bare_host_check_mode_says_what_would_be(run: Run, missing: str) -> None:
    bare: dict[str, t.Any] = {
        "kubectl": "kubectl-of-nobody",
        "kubeconfig": "/nonexistent/conf",
        "manifests": ["/nonexistent/x.yaml"],
    }
    result = run(check=True, **{"content": config("c"), missing: bare[missing]})
    assert result["changed"]
    assert "taken as: an earlier task would make it" in result["warnings"][0]
    assert not run(check=True, wait_for=[{"kind": "Node"}], kubeconfig="/nonexistent/conf")["changed"]
    assert not run(check=True, name="x", state="absent", kubeconfig="/nonexistent/conf")["changed"]
