# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_taint on a real kube-apiserver: through ansible where that matters, else by its entry, always judged by the API."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import node_taint, taints
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeClient, KubeError, connect
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, GpufleetError, PlanError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[2]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "unit/plugins/module_utils/_kube")]
from kube_api import KubeApi
from taint_cases import CASES

MERGE_PATCH = "application/merge-patch+json"
GPU = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
COMPARISONS = "--feature-gates=TaintTolerationComparisonOperators=true"  # tolerations may have Lt and Gt
READ = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}
PATCH = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[KubeApi]:
    folder = tmp_path_factory.mktemp("audit")
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "rules": [{"level": "Metadata", "omitStages": ["RequestReceived"]}],
    }
    (folder / "policy.yaml").write_text(json.dumps(policy))
    flags = [f"--audit-policy-file={folder}/policy.yaml", f"--audit-log-path={folder}/audit.log", COMPARISONS]
    with KubeApi(flags=flags) as running:
        running.audit_log = folder / "audit.log"
        yield running


@pytest.fixture
def nodes(api: KubeApi) -> t.Iterator[t.Callable[..., list[str]]]:
    """Makes nodes, `nodes(2, label="x")` or with given taints, and removes them after the test."""
    made: list[str] = []

    def make(count: int = 1, label: str = "none", with_taints: t.Sequence[t.Mapping[str, t.Any]] = ()) -> list[str]:
        names = [f"node-{len(made) + index}" for index in range(count)]
        for name in names:
            metadata = {"name": name, "labels": {"test": label}}
            api.call("POST", "/api/v1/nodes", {"metadata": metadata})
            # Admission adds node.kubernetes.io/not-ready to a new node, so the list is set afterwards.
            set_taints(api, name, with_taints)
        made.extend(names)
        return names

    yield make
    for name in made:
        with contextlib.suppress(urllib.error.HTTPError):
            api.call("DELETE", f"/api/v1/nodes/{name}")


def set_taints(api: KubeApi, name: str, wanted: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    api.call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": list(wanted)}}, MERGE_PATCH)


def get_taints(api: KubeApi, name: str) -> list[dict[str, t.Any]]:
    return api.call("GET", f"/api/v1/nodes/{name}")["spec"].get("taints", [])


def parameters(api: KubeApi, **task: t.Any) -> dict[str, t.Any]:
    spec = ArgumentSpecValidator(**node_taint.SPEC)
    validated = spec.validate({"kubeconfig": str(api.kubeconfig), "taints": [GPU], **task})
    assert not validated.error_messages
    return validated.validated_parameters


def run(api: KubeApi, check: bool = False, **task: t.Any) -> dict[str, t.Any]:
    return node_taint.entry(parameters(api, **task), check)


def ansible(folder: Path, *flags: str, task: dict[str, t.Any], **keywords: t.Any) -> tuple[dict[str, t.Any], str]:
    """Runs the task by ansible-playbook; returns its registered result and ansible's output."""
    result = folder / "result.json"
    save = {"copy": {"content": "{{ result | to_json }}", "dest": str(result)}, "check_mode": False}
    tasks = [{"gpufleet.k8s.node_taint": task, "register": "result", "ignore_errors": True, **keywords}, {**save, "diff": False}]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]))
    command = ["ansible-playbook", "-i", "localhost,", *flags, str(folder / "play.yml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH_", "KUBE"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(result.read_text()), done.stdout


# --- through ansible -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["action plugin", "module"])
def test_ladder(api: KubeApi, nodes: t.Any, tmp_path: Path, how: str) -> None:
    names = nodes(3, label="ladder", with_taints=[{"key": "foreign", "effect": "PreferNoSchedule"}])
    task: dict[str, t.Any] = {"selector": "test=ladder", "taints": [GPU]}
    keywords = {}
    if how == "action plugin":
        task["kubeconfig"] = str(api.kubeconfig)
    else:  # only the module sees the task's environment
        keywords["environment"] = {"K8S_AUTH_KUBECONFIG": str(api.kubeconfig)}
    changed = []
    for flags in (["--check", "--diff"], ["--diff"], ["--check"], []):
        result, output = ansible(tmp_path, *flags, task=task, **keywords)
        changed.append(result["changed"])
        if "--diff" in flags:
            assert output.count("+dedicated=gpu:NoSchedule") == 3
            assert list(result["nodes"]) == names
        else:
            assert "+dedicated" not in output
            assert (result["nodes"], result["unchanged"]) == ({}, names)
        assert result["failures"] == {}
        expected = [GPU] if flags != ["--check", "--diff"] else []
        assert [get_taints(api, name)[1:] for name in names] == [expected] * 3
    assert changed == [True, True, False, False]


def test_no_permission_to_list(api: KubeApi, nodes: t.Any, tmp_path: Path) -> None:
    nodes()
    task = {"kubeconfig": str(api.token_kubeconfig("nobody")), "selector": "", "taints": [GPU]}
    result, _output = ansible(tmp_path, task=task)
    assert result["failed"]
    assert result["msg"].startswith(f'{api.server} refused GET /api/v1/nodes with 403: nodes is forbidden: User "nobody"')
    assert result["msg"].endswith("; grant nobody a ClusterRole with verb list on nodes")
    assert (result["status"], result["reason"]) == (403, "Forbidden")


def test_a_partial_permission_does_what_it_allows(api: KubeApi, nodes: t.Any, tmp_path: Path) -> None:
    names = nodes(3, label="partial")
    rules = [READ, {**PATCH, "resourceNames": names[:2]}]
    api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "two-nodes"}, "rules": rules})
    api.call(
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {
            "metadata": {"name": "two-nodes"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "two-nodes"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tainter"}],
        },
    )
    task = {"kubeconfig": str(api.token_kubeconfig("tainter")), "selector": "test=partial", "taints": [GPU]}
    result, _output = ansible(tmp_path, task=task)
    assert result["failed"]
    assert result["changed"]
    assert list(result["nodes"]) == names[:2]
    assert list(result["failures"]) == names[2:]
    assert "1 nodes could not be set" in result["msg"]
    assert "grant tainter a ClusterRole with verb patch on nodes (2 nodes were changed, 0 are as wished)" in result["msg"]
    assert [get_taints(api, name) for name in names] == [[GPU], [GPU], []]


def test_an_unreachable_server(tmp_path: Path) -> None:
    task = {"host": "https://127.0.0.1:9", "api_key": "x", "selector": "", "taints": [GPU]}
    result, _output = ansible(tmp_path, task=task)
    assert result["failed"]
    assert result["msg"].startswith("https://127.0.0.1:9 gave no answer to GET /api/v1/nodes: ")
    assert "Connection refused" in result["msg"]


def test_an_expired_token(api: KubeApi, tmp_path: Path) -> None:
    result, _output = ansible(tmp_path, task={"kubeconfig": str(expired_kubeconfig(api)), "selector": "", "taints": [GPU]})
    assert result["failed"]
    assert result["msg"].startswith(f"{api.server} refused GET /api/v1/nodes with 401: Unauthorized; the credentials are wrong")
    assert "(the token expired at 2001-09-09T01:46:40Z): identity from kubeconfig" in result["msg"]


def expired_kubeconfig(api: KubeApi) -> Path:
    """A kubeconfig with a service account's token that this server signed, but long ago."""
    account = api.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"generateName": "old-"}})["metadata"]
    claims = {
        "iss": "https://kubernetes.default.svc",
        "aud": ["https://kubernetes.default.svc"],
        "sub": f"system:serviceaccount:default:{account['name']}",
        "iat": 10**9 - 600,
        "nbf": 10**9 - 600,
        "exp": 10**9,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": account["name"], "uid": account["uid"]}},
    }
    signed = f"{encoded(json.dumps({'alg': 'RS256'}).encode())}.{encoded(json.dumps(claims).encode())}"
    sign = ["openssl", "dgst", "-sha256", "-sign", str(api.service_account_key)]
    signature = subprocess.run(sign, input=signed.encode(), capture_output=True, check=True).stdout
    return api.token_kubeconfig("expired", token=f"{signed}.{encoded(signature)}")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


# --- what the API server accepts -----------------------------------------------------------------------------------------


def server_accepts(api: KubeApi, *wanted: t.Mapping[str, t.Any]) -> bool:
    try:
        body = {"spec": {"taints": wanted}}
        api.call("PATCH", "/api/v1/nodes/node-0?dryRun=All", body, MERGE_PATCH)
    except urllib.error.HTTPError as error:
        assert error.code == 422, error.read()
        return False
    return True


def test_each_case_of_the_table_is_what_the_server_says(api: KubeApi, nodes: t.Any) -> None:
    nodes()
    wrong = [
        (key, value, effect)
        for key, value, effect, accepted in CASES
        if server_accepts(api, {"key": key, "value": value, "effect": effect}) is not accepted
    ]
    assert not wrong
    twice = [{"key": "a", "value": value, "effect": "NoSchedule"} for value in "12"]
    assert not server_accepts(api, *twice)
    assert server_accepts(api, twice[0], {**twice[1], "effect": "NoExecute"})


EDGE = st.text(alphabet="aZ0-_./é \n", max_size=6)
LONG = st.builds(lambda text, count, end: text * count + end, st.sampled_from(["a", "a.", "-"]), st.integers(60, 130), EDGE)


def test_generated_keys_and_values_are_judged_as_by_the_server(api: KubeApi, nodes: t.Any) -> None:
    nodes()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(EDGE, LONG), st.one_of(EDGE, LONG))
    def judge(key: str, value: str) -> None:
        for one in ({"key": key}, {"key": "k", "value": value}):
            ours = not taints.key_problem(one["key"]) and not taints.value_problem(one.get("value", ""))
            assert server_accepts(api, {**one, "effect": "NoSchedule"}) is ours

    judge()


# --- what happens to the nodes -------------------------------------------------------------------------------------------


def test_foreign_taints_survive_byte_for_byte(api: KubeApi, nodes: t.Any) -> None:
    foreign = [
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
        {"key": "z.example.com/last", "value": "1", "effect": "NoSchedule"},
        {"key": "a.example.com/first", "effect": "PreferNoSchedule", "timeAdded": "2025-12-31T23:59:59Z"},
    ]
    (name,) = nodes(with_taints=foreign)
    before = json.dumps(get_taints(api, name))
    mine = [GPU, {**GPU, "effect": "NoExecute"}]
    run(api, nodes=[name], taints=mine)
    after = get_taints(api, name)
    assert after[3:] == mine
    assert json.dumps(after[:3]) == before
    run(api, nodes=[name], taints=[{"key": "dedicated"}], state="absent")
    assert json.dumps(get_taints(api, name)) == before


def test_exclusive(api: KubeApi, nodes: t.Any) -> None:
    mine = {"key": "fleet.example.com/old", "effect": "NoSchedule"}
    theirs = {"key": "other.example.com/x", "effect": "NoSchedule"}
    protected = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    (name,) = nodes(with_taints=[protected, mine, theirs])
    wanted = {"key": "fleet.example.com/new", "effect": "NoSchedule"}
    task: dict[str, t.Any] = {"nodes": [name], "exclusive": True, "owned_prefixes": ["fleet.example.com/", "node"]}
    run(api, taints=[wanted], **task)
    assert get_taints(api, name) == [protected, theirs, wanted]
    run(api, taints=[], **task, owned_keys=["node.kubernetes.io/not-ready"])
    assert get_taints(api, name) == [theirs]
    assert run(api, taints=[], **task)["changed"] is False


def test_invalid_wishes_are_refused_before_any_call(api: KubeApi) -> None:
    closed = {"kubeconfig": None, "host": "https://127.0.0.1:9", "api_key": "x"}
    for task in ({"taints": [{"key": "-"}]}, {"nodes": ["a/../b"]}, {"parallel": 0}, {"nodes": [""]}):
        with pytest.raises(PlanError):
            run(api, **{"nodes": ["n"], **closed, **task})


def test_a_named_node_that_is_not_there(api: KubeApi, nodes: t.Any) -> None:
    (name,) = nodes()
    for check in (True, False):
        with pytest.raises(ApplyError, match=f"1 nodes could not be set: there is no node gone on {api.server}") as failed:
            run(api, check, nodes=["gone", name])
        assert list(failed.value.facts["nodes"]) == [name]
        assert get_taints(api, name) == ([] if check else [GPU])
    result = run(api, nodes=["gone", name], state="absent")
    assert (result["vanished"], list(result["nodes"])) == (["gone"], [name])


def test_names_and_selector_are_added_up(api: KubeApi, nodes: t.Any) -> None:
    labelled, others = nodes(2, label="sum"), nodes(15)
    result = run(api, True, selector="test=sum", nodes=[others[0], labelled[0]])
    assert list(result["nodes"]) == sorted([*labelled, others[0]])
    many = run(api, True, nodes=others[:12])  # more than are asked for one by one
    assert list(many["nodes"]) == sorted(others[:12])
    assert run(api, nodes=[])["changed"] is False
    assert "no node matches selector 'test=typo'" in run(api, selector="test=typo")["warnings"][0]
    with pytest.raises(KubeError, match="400: unable to parse"):
        run(api, selector="!!")


def test_an_unchanged_run_is_one_paged_list(api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(7, label="quiet", with_taints=[GPU])
    size = api.audit_log.stat().st_size
    run(api, selector="test=quiet", eviction_preview=True)
    calls = audited(api, size)
    assert [(verb, url.partition("?")[0]) for verb, url in calls] == [("list", "/api/v1/nodes")]
    size = api.audit_log.stat().st_size
    run(api, selector="test=quiet", taints=[{**GPU, "value": "2"}])
    assert sorted(verb for verb, _url in audited(api, size)) == ["list", *["patch"] * 7]


def audited(api: KubeApi, offset: int) -> list[tuple[str, str]]:
    """The calls that our client made since then."""
    with api.audit_log.open() as log:
        log.seek(offset)
        events = [json.loads(line) for line in log]
    return [(event["verb"], event["requestURI"]) for event in events if event.get("userAgent") == "gpufleet.k8s"]


def test_a_list_longer_than_its_snapshot_lives() -> None:
    """Kubernetes forgets its past after five minutes, here after a second: the next page's token has expired (410)."""
    with KubeApi(flags=["--etcd-compaction-interval=1s"]) as forgetful:
        names = [f"node-{index}" for index in range(9)]
        for name in names:
            forgetful.call("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        listing = connect({"kubeconfig": str(forgetful.kubeconfig)}).list("/api/v1/nodes", limit=2)
        seen = [next(listing), next(listing)]
        token = forgetful.call("GET", "/api/v1/nodes?limit=2")["metadata"]["continue"]

        def expired() -> bool:
            set_taints(forgetful, names[0], [{"key": "now", "value": str(int(time.time())), "effect": "NoSchedule"}])
            try:
                forgetful.call("GET", f"/api/v1/nodes?limit=2&continue={token}")
            except urllib.error.HTTPError as error:
                return error.code == 410
            return False

        wait_until(expired)
        assert [node["metadata"]["name"] for node in [*seen, *listing]] == names


# --- somebody else writes at the same time -------------------------------------------------------------------------------


class Interrupted(node_taint.NodeTaints):
    """Something happens after the nodes were read and before they are written."""

    between: t.ClassVar[t.Callable[[], object]]

    def observe(self) -> node_taint.Observed:
        observed = super().observe()
        type(self).between()
        return observed


def interrupted(monkeypatch: pytest.MonkeyPatch, between: t.Callable[[], object]) -> None:
    monkeypatch.setattr(Interrupted, "between", staticmethod(between), raising=False)
    monkeypatch.setattr(node_taint, "NodeTaints", Interrupted)


def test_a_conflict_is_planned_again(api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = nodes(with_taints=[{"key": "a", "effect": "NoSchedule"}])
    theirs = [{"key": "b", "effect": "NoSchedule"}, {"key": "c", "value": "1", "effect": "NoExecute"}]
    interrupted(monkeypatch, lambda: set_taints(api, name, theirs))
    result = run(api, nodes=[name])
    assert get_taints(api, name) == [*theirs, GPU]
    assert result["nodes"] == {name: {"before": theirs, "after": [*theirs, GPU]}}


def test_a_node_that_is_written_all_the_time_is_left_to_whoever_does(
    api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = nodes(2)
    request, count = KubeClient.request, itertools.count()

    def outrun(self: KubeClient, method: str, path: str, **more: t.Any) -> t.Any:
        if method == "PATCH" and path.endswith(first):
            set_taints(api, first, [{"key": "theirs", "value": str(next(count)), "effect": "NoSchedule"}])
        return request(self, method, path, **more)

    monkeypatch.setattr(KubeClient, "request", outrun)
    with pytest.raises(ApplyError, match=rf"taints of node {first} changed 5 times while .* \[\] to \['theirs=4:NoSchedule'\]"):
        run(api, nodes=[first, second])
    assert get_taints(api, first) == [{"key": "theirs", "value": "4", "effect": "NoSchedule"}]
    assert get_taints(api, second) == [GPU]


def test_a_conflict_that_fulfils_the_wish_is_no_change(api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = nodes()
    interrupted(monkeypatch, lambda: set_taints(api, name, [GPU]))
    result = run(api, nodes=[name])
    assert (result["changed"], result["unchanged"], result["nodes"]) == (False, [name], {})


def test_other_changes_of_the_node_cost_one_more_round(api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = nodes()
    heartbeat = {"metadata": {"annotations": {"heart": "beat"}}}
    interrupted(monkeypatch, lambda: api.call("PATCH", f"/api/v1/nodes/{name}", heartbeat, MERGE_PATCH))
    size = api.audit_log.stat().st_size
    assert run(api, nodes=[name])["changed"]
    assert [verb for verb, _url in audited(api, size)] == ["list", "patch", "get", "patch"]


@pytest.mark.parametrize("how", ["named", "selected"])
def test_a_node_that_vanishes(api: KubeApi, nodes: t.Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    first, second, third = nodes(3, label="vanish")
    interrupted(monkeypatch, lambda: api.call("DELETE", f"/api/v1/nodes/{second}"))
    if how == "named":
        with pytest.raises(ApplyError, match=f"1 nodes could not be set: node {second} was deleted meanwhile") as failed:
            run(api, nodes=[first, second, third])
        result: t.Mapping[str, t.Any] = failed.value.facts
    else:
        result = run(api, selector="test=vanish")
    assert (list(result["nodes"]), result["vanished"]) == ([first, third], [second])
    assert get_taints(api, first) == get_taints(api, third) == [GPU]


def test_nobody_loses_an_update(api: KubeApi, nodes: t.Any, tmp_path: Path) -> None:
    """Another controller counts in a taint of its own, as fast as it can, while ansible sets and removes ours."""
    names = nodes(4, label="busy")
    stop, written, rejected = threading.Event(), dict.fromkeys(names, 0), [0]

    def write(name: str) -> None:
        while not stop.is_set():
            node = api.call("GET", f"/api/v1/nodes/{name}")
            kept = [one for one in node["spec"].get("taints", []) if one["key"] != "counter"]
            count = {"key": "counter", "value": str(written[name] + 1), "effect": "NoSchedule"}
            node["spec"]["taints"] = [*kept, count]
            try:
                api.call("PUT", f"/api/v1/nodes/{name}", node)  # guarded by its resourceVersion
            except urllib.error.HTTPError as error:
                assert error.code == 409
                rejected[0] += 1
            else:
                written[name] += 1
            time.sleep(0.05)

    writers = [threading.Thread(target=write, args=(name,)) for name in names]
    for writer in writers:
        writer.start()
    try:
        task = {"kubeconfig": str(api.kubeconfig), "selector": "test=busy", "taints": [GPU]}
        result, _output = ansible(tmp_path, task=task)
        assert (result["failures"], list(result["nodes"])) == ({}, names)
        for _round in range(25):
            assert run(api, selector="test=busy", state="absent")["changed"]
            assert run(api, selector="test=busy")["changed"]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for name in names:
        found = {one["key"]: one.get("value") for one in get_taints(api, name)}
        assert found == {"dedicated": "gpu", "counter": str(written[name])}
    print(f"writes of the other side: {written}, of which rejected because of ours: {rejected[0]}")


def test_a_server_that_dies_between_reading_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    with KubeApi() as mortal:
        for index in range(30):
            mortal.call("POST", "/api/v1/nodes", {"metadata": {"name": f"n{index}"}})

        def die() -> None:
            mortal._processes[-1].kill()
            mortal._processes[-1].wait()

        interrupted(monkeypatch, die)
        started = time.monotonic()
        with pytest.raises(ApplyError, match="30 nodes could not be set") as failed:
            run(mortal, selector="", parallel=4)
        assert time.monotonic() - started < 20
        failures = failed.value.facts["failures"]
        assert sum("gave no answer to PATCH" in failure for failure in failures.values()) == 4
        assert sum("not tried" in failure for failure in failures.values()) == 26
        assert failed.value.facts["changed"] is False


def test_a_node_that_the_server_refuses_holds_up_no_other(api: KubeApi, nodes: t.Any) -> None:
    """An admission policy refuses one node for good: that is told from a conflict, and the others are done."""
    first, second = nodes(2)
    group = "/apis/admissionregistration.k8s.io/v1"
    policy = {
        "metadata": {"name": "frozen"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}]
            },
            "validations": [{"expression": f"object.metadata.name != '{first}'", "message": "this node is frozen"}],
        },
    }
    binding = {"metadata": {"name": "frozen"}, "spec": {"policyName": "frozen", "validationActions": ["Deny"]}}
    api.call("POST", f"{group}/validatingadmissionpolicies", policy)
    api.call("POST", f"{group}/validatingadmissionpolicybindings", binding)
    try:
        wait_until(lambda: not server_allows_update(api, first))
        with pytest.raises(ApplyError, match=r"1 nodes could not be set: .*this node is frozen"):
            run(api, nodes=[first, second])
        assert (get_taints(api, first), get_taints(api, second)) == ([], [GPU])
    finally:
        api.call("DELETE", f"{group}/validatingadmissionpolicybindings/frozen")
        wait_until(lambda: server_allows_update(api, first))


def test_a_server_that_accepts_the_taints_but_stores_others(api: KubeApi, nodes: t.Any) -> None:
    foreign = {"key": "foreign", "effect": "NoSchedule"}
    first, second = nodes(2, with_taints=[foreign])
    group = "/apis/admissionregistration.k8s.io/v1"
    policy = {
        "metadata": {"name": "stubborn"},
        "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}]
            },
            "matchConditions": [{"name": "one", "expression": f"object.metadata.name == '{first}'"}],
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {
                        "expression": "[JSONPatch{op: 'replace', path: '/spec/taints', value: [{'key': 'foreign', 'effect': "
                        "'NoSchedule'}]}]"
                    },
                }
            ],
        },
    }
    api.call("POST", f"{group}/mutatingadmissionpolicies", policy)
    binding = {"metadata": {"name": "stubborn"}, "spec": {"policyName": "stubborn"}}
    api.call("POST", f"{group}/mutatingadmissionpolicybindings", binding)
    try:
        wait_until(lambda: not taints_change(api, first))
        with pytest.raises(ApplyError, match=rf"taints of node {first} but stored others \(foreign:NoSchedule\): look for an"):
            run(api, nodes=[first, second])
        assert (get_taints(api, first), get_taints(api, second)) == ([foreign], [foreign, GPU])
    finally:
        api.call("DELETE", f"{group}/mutatingadmissionpolicybindings/stubborn")
        wait_until(lambda: taints_change(api, first))


def taints_change(api: KubeApi, name: str) -> bool:
    answer = api.call("PATCH", f"/api/v1/nodes/{name}?dryRun=All", {"spec": {"taints": [GPU]}}, MERGE_PATCH)
    return bool(answer["spec"].get("taints") == [GPU])


def server_allows_update(api: KubeApi, name: str) -> bool:
    try:
        api.call("PATCH", f"/api/v1/nodes/{name}?dryRun=All", {"metadata": {"annotations": {"x": "y"}}}, MERGE_PATCH)
    except urllib.error.HTTPError:
        return False
    return True


def wait_until(true: t.Callable[[], bool], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


# --- evictions -----------------------------------------------------------------------------------------------------------

TOLERATIONS: dict[str, list[dict[str, t.Any]]] = {
    "none": [],
    "all": [{"operator": "Exists"}],
    "equal": [{"key": "drain", "value": "5"}],
    "other-value": [{"key": "drain", "value": "6"}],
    "exists": [{"key": "drain", "operator": "Exists"}],
    "other-effect": [{"key": "drain", "operator": "Exists", "effect": "NoSchedule"}],
    "two-seconds": [{"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}],
    "zero-seconds": [{"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
    "an-hour": [{"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}],
    "first-counts": [
        {"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2},
        {"operator": "Exists"},
    ],
    "first-is-for-ever": [
        {"operator": "Exists"},
        {"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2},
    ],
    "less-than": [{"key": "drain", "operator": "Lt", "value": "6"}],
    "not-less-than": [{"key": "drain", "operator": "Lt", "value": "5"}],
    "greater-than": [{"key": "drain", "operator": "Gt", "value": "4"}],
}


def test_predicted_evictions_are_those_of_the_eviction_controller(api: KubeApi, nodes: t.Any) -> None:
    (name,) = nodes()
    for pod, tolerations in TOLERATIONS.items():
        spec = {
            "nodeName": name,
            "containers": [{"name": "c", "image": "i"}],
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": 0,
        }
        api.call("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": pod}, "spec": spec})
    drain = {"key": "drain", "value": "5", "effect": "NoExecute"}

    for check in (True, False):
        with pytest.raises(PlanError, match="refuse_if_evicts: 8 pods would be evicted: default/") as refused:
            run(api, check, nodes=[name], taints=[drain], refuse_if_evicts=True)
    assert get_taints(api, name) == []
    predicted = {one["pod"]: one["after_seconds"] for one in refused.value.facts["evictions"]}

    preview = run(api, True, nodes=[name], taints=[drain], eviction_preview=True)
    assert {one["pod"]: one["after_seconds"] for one in preview["evictions"]} == predicted
    assert run(api, nodes=[name], taints=[{**drain, "effect": "NoSchedule"}], refuse_if_evicts=True)["evictions"] == []

    soon = {pod for pod, seconds in predicted.items() if seconds <= 2}
    gone: dict[str, float] = {}

    def all_gone() -> bool:
        for pod in TOLERATIONS.keys() - gone.keys() - pods(api):
            gone[pod] = time.monotonic() - begun
        return soon <= gone.keys()

    # The eviction controller uses an index of the lifecycle controller, which finds no reason to act within the hour.
    grace = ["--node-startup-grace-period=2h", "--node-monitor-grace-period=1h", COMPARISONS]
    with api.control("taint-eviction-controller", "node-lifecycle-controller", flags=grace):
        wait_until(lambda: "Caches are synced" in (api.folder / "kube-controller-manager.log").read_text())
        begun = time.monotonic()
        run(api, nodes=[name], taints=[drain])
        wait_until(all_gone)
        # Whoever was to stay is still there well after the last one left.
        time.sleep(2)
        all_gone()
    assert gone.keys() == soon
    for pod, after in gone.items():
        assert predicted[pod] <= after < predicted[pod] + 1.9
    assert predicted["an-hour"] == 3600
    api.call("DELETE", "/api/v1/namespaces/default/pods")


def pods(api: KubeApi) -> set[str]:
    return {pod["metadata"]["name"] for pod in api.call("GET", "/api/v1/namespaces/default/pods")["items"]}


# --- identities ----------------------------------------------------------------------------------------------------------


def test_certificates_inside_a_kubeconfig_leave_no_file_behind(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = json.loads(api.kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    cluster["certificate-authority-data"] = base64.b64encode(Path(cluster.pop("certificate-authority")).read_bytes()).decode()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _twice in range(2):
        assert list(connect({"kubeconfig": content}).list("/api/v1/nodes")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_nobody_vouches_for(api: KubeApi) -> None:
    started = time.monotonic()
    with pytest.raises(KubeError, match=r"certificate verify failed.*give the cluster's CA in ca_cert"):
        connect({"host": api.server, "api_key": "admin-token"}).request("GET", "/version")
    assert time.monotonic() - started < 2  # it would not heal, so it is not tried again
    for trusting in ({"ca_cert": str(api.ca)}, {"validate_certs": False}):
        assert connect({"host": api.server, "api_key": "admin-token", **trusting}).request("GET", "/version")["major"]


def test_a_pod_uses_its_service_account(api: KubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kubernetes.config import incluster_config  # noqa: PLC0415

    account = {"metadata": {"name": "in-a-pod"}}
    api.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    token = api.call("POST", "/api/v1/namespaces/default/serviceaccounts/in-a-pod/token", {"spec": {}})["status"]["token"]
    (tmp_path / "token").write_text(token)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(api.ca))
    host, _colon, port = api.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    kube = connect({})
    assert kube.request("POST", review, body={})["status"]["userInfo"]["username"] == "system:serviceaccount:default:in-a-pod"
    with pytest.raises(
        KubeError, match=r"403.*grant system:serviceaccount:default:in-a-pod a ClusterRole with verb list on nodes"
    ):
        list(kube.list("/api/v1/nodes"))


def test_impersonation(api: KubeApi) -> None:
    kube = connect({"kubeconfig": str(api.kubeconfig), "impersonate_user": "somebody", "impersonate_groups": ["one", "two"]})
    info = kube.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body={})["status"]["userInfo"]
    assert (info["username"], info["groups"][:2]) == ("somebody", ["one", "two"])


def test_a_context_that_does_not_exist(api: KubeApi) -> None:
    with pytest.raises(GpufleetError, match=r"kubeconfig .* cannot be used: ConfigException: .*nowhere"):
        connect({"kubeconfig": str(api.kubeconfig), "context": "nowhere"})
