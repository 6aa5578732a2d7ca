# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kubeadm does not change in a running cluster."""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import only_zone_differs
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import parse_endpoint
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import Schema, schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._live_differences import live_differences

MOST = 8
RECONFIGURE = "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-reconfigure/"
#: What the others of these functions look at, or kubeadm_problems
ELSEWHERE = ("apiVersion", "kind", "kubernetesVersion", "networking", "controlPlaneEndpoint")


class _Document(t.NamedTuple):
    variable: str
    kind: str
    fact: str
    config_map: str
    unless: tuple[str, ...]  # actions with which this run writes the ConfigMap itself
    steps: str


_BEGINS = ("init ", "resume init of ")
_DOCUMENTS = (
    _Document(
        "kubeadm_cluster_configuration",
        "ClusterConfiguration",
        "cluster_configuration",
        "kubeadm-config",
        _BEGINS,
        "and what it is about, such as the files in /etc/kubernetes/manifests of each control plane",
    ),
    _Document(
        "kubeadm_kubelet_configuration",
        "KubeletConfiguration",
        "kubelet_configuration",
        "kubelet-config",
        _BEGINS,
        "then `kubeadm upgrade node phase kubelet-config` and `systemctl restart kubelet` on each node",
    ),
    _Document(
        "kubeadm_kube_proxy_configuration",
        "KubeProxyConfiguration",
        "kube_proxy_configuration",
        "kube-proxy",
        (*_BEGINS, "install the add-ons of "),
        "then `kubectl delete pod -n kube-system -l k8s-app=kube-proxy`",
    ),
)


def kubeadm_live_problems(
    wanted: t.Mapping[str, t.Any],
    *,
    host: str,
    found: t.Mapping[str, t.Any],
    version: str,
    live: t.Mapping[str, t.Any] | None = None,
    bootstrap: str = "",
    expected: t.Sequence[str] = (),
    endpoint: str = "",
    provider_id: str = "",
    kubelet: t.Mapping[str, t.Any] | None = None,
    kube_proxy: t.Mapping[str, t.Any] | None = None,
    name: str = "",
    registered: str = "",
) -> list[str]:
    """Sentences naming variable or host, the value and the remedy. Pure."""
    live = live or {}
    problems = []
    expected = [str(item) for item in expected] if isinstance(expected, (list, tuple)) else []  # kubeadm_problems says it
    pin, release = found.get("ca_cert_hash", ""), str(version).lstrip("v")
    if pin and expected and pin not in expected:
        problems.append(
            f"{host} is a node of another cluster ({found.get('server')}, CA {pin}); wanted is the one of "
            f"{bootstrap or 'kubeadm_join.ca_cert_hashes'} with {', '.join(expected)}. "
            "Reset the host first (kubeadm_state: absent)"
        )
    if pin and not expected and bootstrap and host != bootstrap:
        problems.append(
            f"{host} is a node of the cluster at {found.get('server')}, but {bootstrap}, which should begin the cluster, "
            f"has none. Reset {host} first (kubeadm_state: absent), or put the right host into kube_control_plane"
        )
    if pin and found.get("version") and found["version"] != release:
        problems.append(
            f"{host} runs Kubernetes {found['version']} and kubeadm_version is {version}: this role does not change the "
            f"version of a running node. Set kubeadm_version to {found['version']}"
        )
    problems += _provider_problems(host, name, found, provider_id, registered)
    if live.get("cluster_configuration") and host == bootstrap:
        running = yaml.safe_load(live["cluster_configuration"]) or {}
        problems += _network_problems(wanted, running) + _endpoint_problems(wanted, endpoint, running)
    if host == bootstrap and (known := _schema(release)):
        for document, wish in zip(_DOCUMENTS, (wanted, kubelet, kube_proxy)):
            problems += _document_problems(document, wish or {}, live, known)
    return problems


def _schema(release: str) -> Schema | None:
    """None where kubeadm_problems says that it is no version that the role knows."""
    try:
        return schema(int(release.split(".")[1]))
    except (IndexError, ValueError, PlanError):
        return None


def _document_problems(
    document: _Document, wish: t.Mapping[str, t.Any], live: t.Mapping[str, t.Any], known: Schema
) -> t.Iterator[str]:
    """Neither a later run nor a node that joins brings what was written into a cluster that runs."""
    text = live.get(document.fact)
    if not text or any(str(action).startswith(document.unless) for action in live.get("actions") or []):
        return
    try:
        running = yaml.safe_load(text)
    except yaml.YAMLError:
        return  # whoever put it there does not run what kubeadm wrote
    if not isinstance(running, dict) or running.get("kind") != document.kind:
        return
    written = {key: value for key, value in wish.items() if key not in ELSEWHERE}
    found = live_differences(written, running, document.kind, known)
    if not found:
        return
    parts = [f"{document.variable}.{path} is {wished} (there: {there or 'nothing'})" for path, wished, there in found[:MOST]]
    if len(found) > MOST:
        parts.append(f"{len(found) - MOST} more")
    yield (
        f"the running cluster does not have what was written, and neither a run nor a join changes it: {', '.join(parts)}. Write "
        f"what is there, or nothing; or change the cluster (`kubectl edit cm -n kube-system {document.config_map}`, "
        f"{document.steps}; see {RECONFIGURE}) and run again"
    )


def _provider_problems(host: str, name: str, found: t.Mapping[str, t.Any], wish: str, registered: str) -> t.Iterator[str]:
    """`registered`: lines of the name and the provider ID of Nodes that are there although their hosts have yet to join."""
    node = found.get("node") or {}
    there = node.get("provider_id")
    if not wish or wish == there:
        return
    if there:
        delete = f"`kubectl delete node {node.get('name') or name}`"
        reset = f"reset the host (kubeadm_state: absent), delete its Node ({delete}) and run again"
        of_zone = only_zone_differs(wish, there)
        if found.get("control_plane"):  # which takes the cluster with it
            remedy = "Set it back, or reset the cluster and begin anew"
        else:
            remedy = f"Set it back; or {reset}" if of_zone else f"If the instance was replaced, {reset}; if not, set it back"
        yield (
            f"{host} is registered with the provider ID {there} and kubeadm_provider_id is {wish}"
            f"{' (hyperpod_zone_id is the zone in it)' if of_zone else ''}: it cannot change while the Node exists. {remedy}"
        )
        return
    other = dict(line.split(maxsplit=1) for line in registered.splitlines() if len(line.split()) == 2).get(name)
    if other and other not in ("<none>", wish):
        changed = ", or hyperpod_zone_id (the zone in it) was changed" if only_zone_differs(wish, other) else ""
        yield (
            f"{host} is to join as {name} with the provider ID {wish}, and the cluster has a Node of that name with {other}: the "
            f"instance was replaced{changed}. Delete the Node with `kubectl delete node {name}`, then run again"
        )


def _endpoint_problems(wanted: t.Mapping[str, t.Any], endpoint: str, live: t.Mapping[str, t.Any]) -> list[str]:
    variable, wish = "kubeadm_control_plane_endpoint", str(endpoint or "")
    if wanted.get("controlPlaneEndpoint"):  # it counts before the other
        variable, wish = "kubeadm_cluster_configuration.controlPlaneEndpoint", str(wanted["controlPlaneEndpoint"])
    there = live.get("controlPlaneEndpoint") or ""
    if not wish or _same_endpoint(wish, there):
        return []
    return [
        f"{variable} is {wish}, the running cluster has {there or 'none'}: it cannot be changed in a running cluster, whose "
        f"certificates and nodes are made for what it has. {'Set it back' if there else 'Leave it empty'}, or reset the cluster "
        "and begin anew"
    ]


def _same_endpoint(wish: str, there: str) -> bool:
    """kubeadm adds a port to one that has none: that of the first API server."""
    try:
        wished, is_there = parse_endpoint(wish), parse_endpoint(there)
    except ValueError:
        return wish == there
    with_port = wish.count(":") == 1 or "]:" in wish
    return wished == is_there if with_port else wished.rpartition(":")[0] == is_there.rpartition(":")[0]


def _network_problems(wanted: t.Mapping[str, t.Any], live: t.Mapping[str, t.Any]) -> list[str]:
    wishes, found = (document.get("networking") or {} for document in (wanted, live))
    if not isinstance(wishes, t.Mapping):
        return []  # kubeadm_problems says it
    return [
        f"kubeadm_cluster_configuration.networking.{field} is {wish}, the running cluster has {there}: it cannot be changed in a "
        "running cluster. Set it back, or reset the cluster and begin anew"
        for field in ("podSubnet", "serviceSubnet", "dnsDomain")
        for wish, there in [(wishes.get(field), found.get(field))]
        if wish and there and wish != there
    ]
