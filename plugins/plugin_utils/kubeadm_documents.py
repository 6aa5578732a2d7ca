# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's configuration documents from the dictionaries that the user already knows."""

from __future__ import annotations

import typing as t

KUBEADM = "kubeadm.k8s.io/v1beta4"
KUBELET = "kubelet.config.k8s.io/v1beta1"
KUBE_PROXY = "kubeproxy.config.k8s.io/v1alpha1"
#: The token that `kubeadm init` insists on making is not used; it should not outlive the run.
UNUSED_TTL = "5m0s"
#: What a kubelet may set of the labels with these domains in their prefix (k8s.io/kubelet/pkg/apis/well_known_labels.go); it does
#: not start with another one.
RESERVED = ("kubernetes.io", "k8s.io")
KUBELET_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
KUBELET_LABELS = {
    *(f"kubernetes.io/{name}" for name in ("hostname", "os", "arch")),
    *(f"topology.kubernetes.io/{name}" for name in ("zone", "region")),
    *(f"failure-domain.beta.kubernetes.io/{name}" for name in ("zone", "region")),
    *(f"beta.kubernetes.io/{name}" for name in ("instance-type", "os", "arch")),
}
Document = dict[str, t.Any]


def kubeadm_documents(
    parts: t.Mapping[str, Document],
    *,
    join: bool,
    name: str,
    address: str,
    version: str,
    control_plane: bool = False,
    labels: t.Mapping[str, t.Any] | None = None,
    provider_id: str = "",
    endpoint: str = "",
    ca_cert_hashes: t.Sequence[str] = (),
    ignore_preflight_errors: t.Sequence[str] = (),
) -> list[Document]:
    """InitConfiguration, ClusterConfiguration and component configurations, or JoinConfiguration."""
    flags = {"node-ip": address}
    own = {str(key): value for key, value in (labels or {}).items() if kubelet_may_set(str(key))}
    if own:
        flags["node-labels"] = ",".join(f"{key}={value}" for key, value in sorted(own.items()))
    if provider_id:
        flags["provider-id"] = provider_id
    registration: Document = {"name": name}
    if ignore_preflight_errors:
        registration["ignorePreflightErrors"] = _list(ignore_preflight_errors)
    local = {"advertiseAddress": address.split(",", maxsplit=1)[0]}

    if join:
        discovery: Document = {"apiServerEndpoint": endpoint, "caCertHashes": _list(ca_cert_hashes)}
        defaults: Document = {"nodeRegistration": registration}
        wished = (parts.get("join") or {}).get("discovery")
        if not isinstance(wished, dict) or wished.get("file") is None:
            defaults["discovery"] = {"bootstrapToken": discovery}
        if control_plane:
            defaults["controlPlane"] = {"localAPIEndpoint": local}
        return [_with_flags(_document(KUBEADM, "JoinConfiguration", parts.get("join"), defaults), flags)]

    init: Document = {"nodeRegistration": registration, "localAPIEndpoint": local, "bootstrapTokens": [{"ttl": UNUSED_TTL}]}
    cluster: Document = {"kubernetesVersion": f"v{version.lstrip('v')}"}
    if endpoint:
        cluster["controlPlaneEndpoint"] = str(endpoint)
    documents = [
        _with_flags(_document(KUBEADM, "InitConfiguration", parts.get("init"), init), flags),
        _document(KUBEADM, "ClusterConfiguration", parts.get("cluster"), cluster),
    ]
    if parts.get("kubelet"):
        documents.append(_document(KUBELET, "KubeletConfiguration", parts["kubelet"], {}))
    if parts.get("kube_proxy"):
        documents.append(_document(KUBE_PROXY, "KubeProxyConfiguration", parts["kube_proxy"], {}))
    return documents


def kubelet_may_set(label: str) -> bool:
    """Whether a kubelet starts with this label in --node-labels."""
    prefix = label.rpartition("/")[0]

    def within(domains: t.Sequence[str]) -> bool:
        return any(prefix == domain or prefix.endswith("." + domain) for domain in domains)

    return not within(RESERVED) or label in KUBELET_LABELS or within(KUBELET_PREFIXES)


def _list(wished: t.Any) -> t.Any:
    """Whatever else it is, kubeadm_problems refuses."""
    return list(wished) if isinstance(wished, (list, tuple)) else wished


def _document(api_version: str, kind: str, wished: Document | None, defaults: Document) -> Document:
    return {"apiVersion": api_version, "kind": kind, **_over(defaults, wished or {})}


def _over(defaults: t.Any, wished: t.Any) -> t.Any:
    """`wished` over `defaults`, dictionary by dictionary; null is as if absent, as it is to Go.

    Shares what is below with both: nothing here changes it.
    """
    if isinstance(defaults, dict) and isinstance(wished, dict):
        return {**defaults, **{key: _over(defaults.get(key), value) for key, value in wished.items()}}
    return defaults if wished is None else wished


def _with_flags(document: Document, flags: dict[str, str]) -> Document:
    registration = document["nodeRegistration"]
    given = (registration.get("kubeletExtraArgs") or []) if isinstance(registration, dict) else ""
    if not isinstance(given, list) or not all(isinstance(flag, dict) for flag in given):
        return document  # kubeadm_problems says what is wrong with it
    wished, flags = list(given), dict(flags)
    for position, flag in enumerate(wished):
        ours = flags.pop(str(flag.get("name")), None)
        if ours is not None and flag["name"] == "node-labels" and isinstance(flag.get("value"), str):
            keys = {label.partition("=")[0] for label in flag["value"].split(",")}
            added = [label for label in ours.split(",") if label.partition("=")[0] not in keys]
            wished[position] = {**flag, "value": ",".join([flag["value"], *added])}
    wished += [{"name": name, "value": value} for name, value in flags.items()]
    document["nodeRegistration"] = {**registration, "kubeletExtraArgs": wished}
    return document
