# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""From what a host is to what it should be: the steps, or the reason why not. Pure.

PRIVATE: this module util is for this collection only and may change without notice.

What decides is the state found, never a marker: a kubeadm that was killed is resumed, or undone where nothing can be
lost, and a host that belongs to something else is refused.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._plan import HIDDEN, Difference, Plan, PlanError, Step
from .host import ADDONS, CLUSTER_OBJECTS, Kubeconfig, Observed

#: What is left to do on a node without kubectl, as far as that can be known. A dry run before the programs are installed says
#: so, the look after that finds what there is to do, if anything; with no kubectl even then, it cannot be done.
LOOK_AGAIN = "look again, with a kubectl, at"

#: Under this name, which nobody else uses, the role kubeadm applies the labels of Nodes
LABEL_MANAGER = "gpufleet-kubeadm"


@dataclass(frozen=True)
class Wish:
    """`config` holds kubeadm documents by kind: with JoinConfiguration the host joins, otherwise it is initialised."""

    name: str
    config: t.Mapping[str, t.Mapping[str, t.Any]]
    labels: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def joins(self) -> bool:
        return "JoinConfiguration" in self.config

    @property
    def control_plane(self) -> bool:
        return not self.joins or self.config["JoinConfiguration"].get("controlPlane") is not None

    @property
    def external_etcd(self) -> bool:
        return _dictionary(_dictionary(self.config, "ClusterConfiguration"), "etcd").get("external") is not None

    @property
    def ca_cert_hashes(self) -> list[str]:
        discovery = _dictionary(_dictionary(self.config, "JoinConfiguration"), "discovery")
        return _list(_dictionary(discovery, "bootstrapToken"), "caCertHashes")

    def absent_addons(self) -> set[str]:
        """Add-ons that the configuration says kubeadm should not install."""
        cluster = _dictionary(self.config, "ClusterConfiguration")
        skipped = _list(_dictionary(self.config, "InitConfiguration"), "skipPhases")
        options = {"coredns": "dns", "kube-proxy": "proxy"}
        return {
            addon
            for addon, option in options.items()
            if _dictionary(cluster, option).get("disabled") or {"addon", f"addon/{addon}"}.intersection(skipped)
        }


def _dictionary(document: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any]:
    """Empty where it is null, or of a type that kubeadm would not take either."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _list(document: t.Mapping[str, t.Any], name: str) -> list[str]:
    value = document.get(name)
    return [str(item) for item in value] if isinstance(value, list) else []


def plan(observed: Observed, wish: Wish) -> Plan:
    """What to do on this host. Raises PlanError where doing it could destroy something, or would not help."""
    steps, before = _present(observed, wish)
    known = facts(observed, wish.labels)
    if not steps:
        return Plan(facts=known)
    what = "joined" if wish.joins else "initialised"
    return Plan(
        (Difference(f"kubeadm: {wish.name}", {"state": before}, {"state": what, "config": shown(wish.config)}),),
        tuple(Step(action, subject) for action, subject in steps),
        facts=known,
    )


def plan_absent(observed: Observed, name: str) -> Plan:
    """Everything that kubeadm, pods and their network left on this host goes."""
    here = [*sorted(observed.traces), *observed.leftovers]
    if not here:
        return Plan(facts=facts(observed))
    steps = [Step("reset", name)] if observed.traces else []
    steps += [Step("remove", leftover) for leftover in observed.leftovers]
    if observed.traces:
        steps.append(Step("sweep", "what running pods leave"))
    return Plan((Difference(f"kubeadm: {name}", here, None),), tuple(steps), facts=facts(observed))


def facts(observed: Observed, labels: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """What the rest of a site run needs to know about this host. `labels`: the wished ones."""
    config, node = observed.kubeconfig, observed.api.node or {}
    wished = {key: str(value) for key, value in (labels or {}).items()}
    unlabel = sorted(_applied_labels(node) - wished.keys())
    relabel = unlabel or (node and not wished.items() <= node.get("metadata", {}).get("labels", {}).items())
    return {
        "version": observed.version,
        "service": {"enabled": observed.service.enabled, "outdated": observed.service.outdated},
        "server": config.server if config else "",
        "ca_cert_hash": config.ca_cert_hash if config else "",
        "control_plane": observed.has("kubelet.conf", "admin.conf"),
        "node": {
            "name": node.get("metadata", {}).get("name", ""),
            "labels": node.get("metadata", {}).get("labels", {}),
            "pod_cidrs": node.get("spec", {}).get("podCIDRs", []),
            "provider_id": node.get("spec", {}).get("providerID", ""),
            "ready": any(
                condition.get("type") == "Ready" and condition.get("status") == "True"
                for condition in node.get("status", {}).get("conditions", [])
            ),
        }
        if node
        else {},
        "relabel": wished if relabel else {},
        "unlabel": unlabel,
        "cluster_configuration": observed.api.cluster_configuration,
        "kubelet_configuration": observed.api.kubelet_configuration,
        "kube_proxy_configuration": observed.api.kube_proxy_configuration,
        "certificates": dict(observed.certificates),
    }


def _applied_labels(node: t.Mapping[str, t.Any]) -> set[str]:
    """Those that the role applied, and that nobody else (the kubelet that registered them, a person) has set as well."""
    ours: set[str] = set()
    others: set[str] = set()
    for entry in node.get("metadata", {}).get("managedFields") or ():
        labels = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
        names = {name[2:] for name in labels if name.startswith("f:")}
        if (entry.get("manager"), entry.get("operation")) == (LABEL_MANAGER, "Apply"):
            ours |= names
        else:
            others |= names
    return ours - others


def shown(config: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The configuration as a diff may show it: without tokens and keys that the user wrote into it."""

    def scrub(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {
                key: HIDDEN if key in ("token", "certificateKey", "tlsBootstrapToken") else scrub(item)
                for key, item in value.items()
            }
        return [scrub(item) for item in value] if isinstance(value, list) else value

    return {kind: scrub(dict(document)) for kind, document in config.items()}


def _present(observed: Observed, wish: Wish) -> tuple[list[tuple[str, str]], str]:
    """The steps as (action, subject), and in words what was found."""
    if observed.kubeconfig is None:
        return _without_kubeconfig(observed, wish)
    _check_same_cluster(observed.kubeconfig, wish)
    if wish.control_plane:
        return _control_plane(observed, observed.kubeconfig, wish)
    return _worker(observed, observed.kubeconfig, wish)


def _without_kubeconfig(observed: Observed, wish: Wish) -> tuple[list[tuple[str, str]], str]:
    make = ("join" if wish.joins else "init", wish.name)
    if observed.etcd_data:
        raise PlanError(
            f"{observed.etcd_data} on {wish.name} holds the data of an etcd, but the host has no usable "
            "/etc/kubernetes/kubelet.conf: kubeadm would wipe that data. Restore /etc/kubernetes, or "
            "move the directory away if its cluster is gone"
        )
    if not observed.traces:
        return [make], "clean"
    return [("reset the unfinished kubeadm on", wish.name), make], "unfinished"


def _check_same_cluster(config: Kubeconfig, wish: Wish) -> None:
    if wish.ca_cert_hashes and config.ca_cert_hash not in wish.ca_cert_hashes:
        raise PlanError(
            f"{wish.name} belongs to another cluster: its /etc/kubernetes/kubelet.conf points to {config.server} with the CA "
            f"{config.ca_cert_hash}, wanted is {', '.join(wish.ca_cert_hashes)}. Reset it first (kubeadm_state: absent)"
        )


def _control_plane(observed: Observed, config: Kubeconfig, wish: Wish) -> tuple[list[tuple[str, str]], str]:
    api = observed.api
    if not observed.has("ca.key") and not observed.has("kube-apiserver.yaml") and (config.finalised or api.node):
        raise PlanError(
            f"{wish.name} is in kube_control_plane but has joined {config.server} as a worker. Reset it first "
            "(kubeadm_state: absent), or move it to kube_node"
        )
    if not observed.etcd_data and not wish.external_etcd:
        if config.finalised:
            raise PlanError(
                f"{wish.name} is a control plane whose etcd data is gone (no member directory): restore a snapshot, or reset it "
                "(kubeadm_state: absent) if the cluster is given up"
            )
        return [("reset the unfinished kubeadm on", wish.name), ("join" if wish.joins else "init", wish.name)], "unfinished"
    if not config.finalised and not wish.joins:
        return [("resume init of", wish.name)], "unfinished"
    if api.unasked:
        return [(LOOK_AGAIN, wish.name)], "unknown: " + api.error
    if api.error:
        raise PlanError(
            f"{wish.name} is a control plane, but its API does not answer ({config.server}: {api.error}). Look at "
            "`crictl ps -a` and `journalctl -u kubelet` there; nothing was changed"
        )
    addons = {ADDONS[addon] for addon in set(ADDONS) - wish.absent_addons()}
    if not wish.joins and not api.objects.issuperset(CLUSTER_OBJECTS):
        return [("resume init of", wish.name)], "unfinished"
    if not wish.joins and not api.objects.issuperset(addons):
        return [("install the add-ons of", wish.name)], "without " + ", ".join(sorted(addons - api.objects))
    return _registered(observed, wish)


def _worker(observed: Observed, config: Kubeconfig, wish: Wish) -> tuple[list[tuple[str, str]], str]:
    api = observed.api
    if observed.has("kube-apiserver.yaml") or observed.has("admin.conf"):
        raise PlanError(
            f"{wish.name} is in kube_node but is a control plane of {config.server}. Reset it first "
            "(kubeadm_state: absent), or move it to kube_control_plane"
        )
    if api.forbidden:
        raise PlanError(
            f"{config.server} no longer accepts the credentials of {wish.name} ({api.error}): the cluster was rebuilt, the host "
            "was off for longer than its certificate lives, or the disk with /var/lib/kubelet is lost or not mounted. Mount "
            "that, or reset the host (kubeadm_state: absent) and run again"
        )
    if api.unasked:
        return [(LOOK_AGAIN, wish.name)], "unknown: " + api.error
    if api.error:
        raise PlanError(f"{wish.name} has joined {config.server}, which does not answer: {api.error}")
    return _registered(observed, wish)


def _registered(observed: Observed, wish: Wish) -> tuple[list[tuple[str, str]], str]:
    steps = []
    if observed.api.node is None:
        steps.append(("restart the kubelet of", wish.name))
    if observed.has("bootstrap-kubelet.conf"):
        # Its token is a secret, and kubeadm removes the file itself when it gets that far.
        steps.append(("forget the bootstrap token of", wish.name))
    return steps, "joined, but not registered" if observed.api.node is None else "joined"
