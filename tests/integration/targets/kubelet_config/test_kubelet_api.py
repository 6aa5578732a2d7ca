# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cordon, drain and lock with the identities that a node has: a kubelet's certificate, and a token of the documented role.

The API server authorises as in a cluster (Node, RBAC, NodeRestriction). What needs a kubelet is in the scenario cpu_pinning.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import drain, lease, nodes
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.api import Identity, NodeClient, identity
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.planner import ANNOTATION
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import node as mig_node
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from kube_api import KubeApi

POLICY = HERE.parents[3] / "docs/policies/kubelet_config_clusterrole.yml"
MIG_POLICY = HERE.parents[3] / "docs/policies/mig_parted_role.yml"
PODS = "/api/v1/namespaces/default/pods"
NOW = drain.Options(timeout=20, grace_period=0)  # no kubelet is here that would end a pod


def openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA for clients, and the certificate of node n1's kubelet."""
    folder = tmp_path_factory.mktemp("pki")
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=clients", cwd=folder
    )
    subject = "/O=system:nodes/CN=system:node:n1"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "n1.key", "-out", "n1.csr", "-subj", subject, cwd=folder)
    openssl("x509", "-req", "-in", "n1.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "n1.crt", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def api(authority: Path) -> t.Iterator[KubeApi]:
    flags = (f"--client-ca-file={authority}/ca.crt", "--enable-admission-plugins=NodeRestriction")
    with KubeApi(flags=flags) as running, running.control("disruption"):
        for name in ("n1", "n2"):
            running.call("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
        for policy in (POLICY, MIG_POLICY):
            running.kubectl("apply", "--filename", str(policy))
        yield running


@pytest.fixture(scope="module")
def who(api: KubeApi, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Node n1's kubelet, by a kubeconfig as kubeadm writes it."""

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "default",
        "clusters": [{"name": "c", "cluster": {"server": api.server, "certificate-authority-data": data(api.ca)}}],
        "contexts": [{"name": "default", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"client-certificate": f"{authority}/n1.crt", "client-key": f"{authority}/n1.key"}}],
    }
    path = tmp_path_factory.mktemp("kubelet") / "kubelet.conf"
    path.write_text(yaml.safe_dump(config))
    return identity(path)


@pytest.fixture
def kubelet(who: Identity) -> NodeClient:
    return NodeClient(who, patient=False)


def token_of(api: KubeApi, account: str) -> str:
    path = f"/api/v1/namespaces/kube-system/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(api.call("POST", path, body)["status"]["token"])


@pytest.fixture
def token(api: KubeApi, who: Identity) -> NodeClient:
    """The documented account, and nothing more."""
    return NodeClient(who, token_of(api, "gpufleet-kubelet-config"))


@pytest.fixture
def pod(api: KubeApi) -> t.Iterator[t.Callable[..., None]]:
    """Makes pods on n1; all are gone after the test."""

    def make(
        name: str, owner: str | None = "ReplicaSet", node: str = "n1", annotations: dict[str, str] | None = None, **spec: t.Any
    ) -> None:
        metadata: dict[str, t.Any] = {"name": name, "labels": {"app": "precious"}, "annotations": annotations or {}}
        if owner:
            metadata["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "1", "controller": True}]
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "none"}], **spec}
        api.call("POST", PODS, {"metadata": metadata, "spec": spec})

    yield make
    api.kubectl("delete", "pods,pdb", "--all", "--namespace=default", "--grace-period=0", "--force", "--wait=false")
    for item in api.call("GET", PODS)["items"]:
        raise AssertionError(f"{item['metadata']['name']} is still there")


def left(api: KubeApi) -> set[str]:
    return {item["metadata"]["name"] for item in api.call("GET", PODS)["items"] if not item["metadata"].get("deletionTimestamp")}


def ready(api: KubeApi, name: str) -> None:
    """What a kubelet would report."""
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    api.call("PATCH", f"{PODS}/{name}/status", {"status": status}, "application/merge-patch+json")


def test_a_kubelet_drains_its_own_node(api: KubeApi, kubelet: NodeClient, pod: t.Callable[..., None]) -> None:
    pod("one")
    pod("two")
    pod("daemon", owner="DaemonSet")
    pod("elsewhere", node="n2")
    pod("finished", owner=None)
    api.call("PATCH", f"{PODS}/finished/status", {"status": {"phase": "Succeeded"}}, "application/merge-patch+json")
    outcome = drain.drain(kubelet, "n1", NOW)
    assert outcome.evicted == ["default/one", "default/two"]
    assert outcome.kept == ["default/daemon"]
    assert left(api) == {"daemon", "elsewhere", "finished"}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"owner": None}, r"default/lonely has no controller .*drain\.force"),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, r"default/lonely keeps data in an emptyDir .*drain\.delete_emptydir_data"),
    ],
)
def test_what_would_be_lost_is_refused_first(
    api: KubeApi, kubelet: NodeClient, pod: t.Callable[..., None], how: dict[str, t.Any], says: str
) -> None:
    pod("fine")
    pod("lonely", **how)
    with pytest.raises(PlanError, match=says):
        drain.drain(kubelet, "n1", NOW)
    assert left(api) == {"fine", "lonely"}
    drain.drain(kubelet, "n1", drain.Options(timeout=20, grace_period=0, force=True, delete_emptydir_data=True))
    assert left(api) == set()


def budget(api: KubeApi, pods: int) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "precious"}}}
    api.call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", {"metadata": {"name": "keep-it"}, "spec": spec})
    deadline = time.monotonic() + 60
    while (
        api.call("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/keep-it").get("status", {}).get("currentHealthy")
        != pods
    ):
        assert time.monotonic() < deadline, "the disruption controller did not count the pods"
        time.sleep(0.1)


def test_a_budget_that_stays_in_the_way_is_named(api: KubeApi, kubelet: NodeClient, pod: t.Callable[..., None]) -> None:
    pod("one")
    ready(api, "one")
    budget(api, 1)
    with pytest.raises(ApplyError, match=r"within 2 s .*default/one: The disruption budget keep-it needs 1 healthy pods"):
        drain.drain(kubelet, "n1", drain.Options(timeout=2, grace_period=0))
    assert left(api) == {"one"}


def test_a_budget_that_gives_way_is_waited_for(api: KubeApi, kubelet: NodeClient, pod: t.Callable[..., None]) -> None:
    pod("one")
    ready(api, "one")
    budget(api, 1)

    def replace() -> None:
        """The controller's work: another pod, ready, elsewhere."""
        pod("another", node="n2")
        ready(api, "another")

    helper = threading.Timer(1.0, replace)
    helper.start()
    try:
        assert drain.drain(kubelet, "n1", drain.Options(timeout=60, grace_period=0)).evicted == ["default/one"]
    finally:
        helper.join()
    assert left(api) == {"another"}


def test_pods_that_do_not_end_are_named(kubelet: NodeClient, pod: t.Callable[..., None]) -> None:
    pod("slow")
    with pytest.raises(ApplyError, match=r"still terminating: default/slow"):
        drain.drain(kubelet, "n1", drain.Options(timeout=2, grace_period=30))


def test_a_kubelet_cordons_its_own_node_and_says_so(api: KubeApi, kubelet: NodeClient) -> None:
    nodes.set_schedulable(kubelet, "n1", False, ANNOTATION, "cordoned")
    node = api.call("GET", "/api/v1/nodes/n1")
    assert node["spec"]["unschedulable"] is True and node["metadata"]["annotations"][ANNOTATION] == "cordoned"
    nodes.set_schedulable(kubelet, "n1", True, ANNOTATION, None)
    node = api.call("GET", "/api/v1/nodes/n1")
    assert "unschedulable" not in node["spec"] and ANNOTATION not in node["metadata"].get("annotations", {})
    with pytest.raises(KubeError, match=r"403"):
        nodes.set_schedulable(kubelet, "n2", False, ANNOTATION, "cordoned")


def keeps_off(label: str) -> dict[str, t.Any]:
    rule = {"key": label, "operator": "NotIn", "values": ["changing"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def test_room_for_a_change_of_gpus_takes_only_the_pods_that_have_to_go(
    api: KubeApi, who: Identity, pod: t.Callable[..., None]
) -> None:
    node = mig_node.Node("n1", Path(who.path), NOW)
    pod("slice-that-stays")
    pod("slice-that-goes")
    pod("device-plugin", owner="DaemonSet", affinity=keeps_off(mig_node.LABEL))
    pod("logs", owner="DaemonSet")
    assert not node.marked()
    node.cordon()
    found = api.call("GET", "/api/v1/nodes/n1")
    assert found["spec"]["unschedulable"] and found["metadata"]["labels"][mig_node.LABEL] == "changing" and node.marked()

    # What the DaemonSet controller does when a Node no longer fits.
    leave = ("delete", "pod/device-plugin", "--namespace=default", "--grace-period=0", "--force")
    controller = threading.Timer(1.0, api.kubectl, leave)
    controller.start()
    node.drain(["default/slice-that-goes"])
    controller.join()
    assert left(api) == {"slice-that-stays", "logs"}
    node.uncordon()
    found = api.call("GET", "/api/v1/nodes/n1")
    assert "unschedulable" not in found["spec"] and mig_node.LABEL not in found["metadata"]["labels"] and not node.marked()


def test_who_does_not_leave_the_gpus_is_named_and_a_foreign_cordon_stays(
    api: KubeApi, who: Identity, pod: t.Callable[..., None]
) -> None:
    node = mig_node.Node("n1", Path(who.path), drain.Options(timeout=1, grace_period=0))
    api.kubectl("cordon", "n1")
    pod("exporter", owner="DaemonSet")
    node.cordon()
    node.cordon()  # a run that was killed, and the next
    with pytest.raises(ApplyError, match=r"default/exporter did not leave node n1 within 1 s"):
        node.drain(["default/exporter"])
    node.uncordon()
    assert api.call("GET", "/api/v1/nodes/n1")["spec"]["unschedulable"] and not node.marked()
    api.kubectl("uncordon", "n1")


def test_a_heartbeat_from_before_does_not_count(api: KubeApi, kubelet: NodeClient) -> None:
    def beat(seconds: float) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
        condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": at, "reason": "R", "message": "ready"}
        api.call("PATCH", "/api/v1/nodes/n1/status", {"status": {"conditions": [condition]}}, "application/merge-patch+json")

    since = time.time()
    beat(since - 60)
    with pytest.raises(ApplyError, match=r"Ready is True .ready., last heartbeat"):
        nodes.wait_ready(kubelet, "n1", since=since, deadline=time.monotonic() + 1, alive=lambda: None)
    helper = threading.Timer(0.5, lambda: beat(time.time()))
    helper.start()
    nodes.wait_ready(kubelet, "n1", since=since, deadline=time.monotonic() + 20, alive=lambda: None)
    helper.join()


def holder(api: KubeApi) -> str | None:
    try:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/gpufleet-kubelet-config"
        return str(api.call("GET", path)["spec"]["holderIdentity"])
    except urllib.error.HTTPError:
        return None


WHERE = ("kube-system", "gpufleet-kubelet-config")


def test_the_lock_has_one_holder_at_a_time(api: KubeApi, token: NodeClient) -> None:
    with lease.held(token, *WHERE, holder="n1", timeout=5):
        assert holder(api) == "n1"
        with (
            pytest.raises(ApplyError, match=r"n1 has held the lock \(Lease kube-system/gpufleet-kubelet-config\)"),
            lease.held(token, *WHERE, holder="n2", timeout=1),
        ):
            raise AssertionError("two at once")
    assert holder(api) is None


def test_the_lock_is_renewed_and_passed_on(api: KubeApi, token: NodeClient) -> None:
    order = []

    def second() -> None:
        with lease.held(token, *WHERE, holder="n2", timeout=30, duration=3):
            order.append("n2")

    with lease.held(token, *WHERE, holder="n1", timeout=5, duration=3):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(7)  # longer than the lease: only renewing keeps it
        order.append("n1")
    waiting.join()
    assert order == ["n1", "n2"]
    assert holder(api) is None


def test_a_holder_learns_that_another_has_its_lock(api: KubeApi, token: NodeClient) -> None:
    with lease.held(token, *WHERE, holder="n1", timeout=5, duration=3) as check:
        check()
        lease.forget(token, *WHERE, "n1")  # as if it had expired
        lease._Lock(token, *WHERE, "n2", 60).acquire(time.monotonic() + 5, 5)
        deadline = time.monotonic() + 20
        with pytest.raises(ApplyError, match="n1 has lost the lock"):
            while time.monotonic() < deadline:
                check()
                time.sleep(0.1)
    assert holder(api) == "n2"
    lease.forget(token, *WHERE, "n2")


def test_a_dead_holders_lock_is_free_after_its_time(api: KubeApi, token: NodeClient) -> None:
    lease._Lock(token, *WHERE, "dead", 2).acquire(time.monotonic() + 5, 5)
    begin = time.monotonic()
    with lease.held(token, *WHERE, holder="n2", timeout=30, duration=2):
        assert holder(api) == "n2"
    assert 1 < time.monotonic() - begin < 15
    lease._Lock(token, *WHERE, "n1", 60).acquire(time.monotonic() + 5, 5)
    begin = time.monotonic()
    with lease.held(token, *WHERE, holder="n1", timeout=30):  # the same node's next run does not wait for itself
        assert time.monotonic() - begin < 5
    lease._Lock(token, *WHERE, "n1", 60).acquire(time.monotonic() + 5, 5)
    lease.forget(token, *WHERE, "n2")
    assert holder(api) == "n1"
    lease.forget(token, *WHERE, "n1")
    assert holder(api) is None


def test_a_change_of_gpus_holds_the_same_lock_with_an_account_of_its_own(
    api: KubeApi, who: Identity, token: NodeClient, kubelet: NodeClient
) -> None:
    node, mine = mig_node.Node("n1", Path(who.path), NOW), token_of(api, "gpufleet-mig-parted")
    lock = {"namespace": WHERE[0], "name": WHERE[1], "timeout": 5}
    with node.turn(lock, mine) as check:
        check()
        assert holder(api) == "n1/mig_parted"
        # Not even the kubelet of the same node is changed meanwhile.
        with pytest.raises(ApplyError, match="n1/mig_parted has held"), lease.held(token, *WHERE, holder="n1", timeout=1):
            raise AssertionError("two at once")
    assert holder(api) is None
    with (
        lease.held(token, *WHERE, holder="n2", timeout=5),
        pytest.raises(ApplyError, match="n2 has held"),
        node.turn({**lock, "timeout": 1}, mine),
    ):
        raise AssertionError("two at once")
    client = NodeClient(who, mine)
    for path in ("/api/v1/nodes/n1", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/other", "/api/v1/pods"):
        with pytest.raises(KubeError) as error:
            client.request("GET", path)
        assert error.value.status == 403
    with pytest.raises(KubeError) as error, lease.held(kubelet, *WHERE, holder="n1", timeout=1):
        raise AssertionError("with the kubelet's own certificate")
    assert error.value.status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/nodes/n1"),
        ("GET", "/api/v1/nodes/n1/proxy/configz"),
        ("GET", "/api/v1/namespaces/kube-system/secrets"),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/other"),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"),
    ],
)
def test_the_token_may_do_nothing_else(token: NodeClient, method: str, path: str) -> None:
    with pytest.raises(KubeError) as error:
        token.request(method, path)
    assert error.value.status == 403


def test_the_token_may_read_configz(api: KubeApi, token: NodeClient) -> None:
    """Asked as a kubelet asks: a SubjectAccessReview with the subresource of fine-grained authorization."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:kube-system:gpufleet-kubelet-config",
            "resourceAttributes": {"verb": "get", "resource": "nodes", "subresource": "configz", "name": "n1", "version": "v1"},
        },
    }
    assert api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"] is True
    attributes = t.cast("dict[str, t.Any]", review["spec"])["resourceAttributes"]
    attributes["subresource"] = "proxy"
    answer = api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", json.loads(json.dumps(review)))
    assert answer["status"]["allowed"] is False
