# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kubeadm cannot serve, told from variables alone."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import parse_endpoint
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.taints import key_problem, value_problem
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import rules
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import Schema, schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.topology import Machine

VERSION = re.compile(r"v?(\d+\.\d+)\.\d+")
TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
CA_HASH = re.compile(r"sha256:[0-9a-f]{64}")
JOIN_KEYS = ("endpoint", "token", "ca_cert_hashes", "certificate_key")


def kubeadm_problems(
    configuration: t.Mapping[str, t.Any],
    *,
    version: str,
    minors: t.Sequence[str],
    control_planes: t.Sequence[str],
    endpoint: str = "",
    join: t.Mapping[str, t.Any] | None = None,
    labels: t.Mapping[str, t.Any] | None = None,
    kubelet: t.Mapping[str, t.Any] | None = None,
    init: t.Mapping[str, t.Any] | None = None,
    join_configuration: t.Mapping[str, t.Any] | None = None,
    kube_proxy: t.Mapping[str, t.Any] | None = None,
) -> list[str]:
    """Sentences naming variable, value and remedy; never a token. Pure."""
    problems = []
    matched = VERSION.fullmatch(str(version))
    if not matched or matched[1] not in minors:
        what = "of a release unknown to this role" if matched else "not a version such as 1.36.3"
        problems.append(f"kubeadm_version {version!r} is {what}; it knows {', '.join(f'{minor}.x' for minor in minors)}")
    named = str(configuration.get("kubernetesVersion") or "").lstrip("v")
    if named and named != str(version).lstrip("v"):
        problems.append(
            f"kubeadm_cluster_configuration.kubernetesVersion is {named!r} and kubeadm_version is {version!r}: "
            "say it once, with kubeadm_version"
        )
    if not control_planes and not join:
        problems.append(
            "the inventory group kube_control_plane has no host: put the host there that should begin the cluster, or give "
            "kubeadm_join to join one that exists"
        )
    if len(control_planes) > 1 and not endpoint and not configuration.get("controlPlaneEndpoint"):
        problems.append(
            f"kube_control_plane has {len(control_planes)} hosts ({', '.join(control_planes)}) and "
            "kubeadm_control_plane_endpoint is empty: several control planes need one "
            "address in front of them, which cannot be added later"
        )
    for variable, address in (
        ("kubeadm_control_plane_endpoint", endpoint),
        ("kubeadm_cluster_configuration.controlPlaneEndpoint", configuration.get("controlPlaneEndpoint")),
    ):
        if address and isinstance(address, str) and not _is_endpoint(address):
            problems.append(
                f"{variable} is {str(address)!r}, which kubeadm does not take: write HOST or HOST:PORT without https://, HOST "
                "being a name in small letters or an IP address, an IPv6 address with a port in brackets"
            )
    if matched and matched[1] in minors:
        known = schema(int(matched[1].partition(".")[2]))
        for variable, kind, wish, program in (
            ("kubeadm_cluster_configuration", "ClusterConfiguration", configuration, "kubeadm"),
            ("kubeadm_init_configuration", "InitConfiguration", init, "kubeadm"),
            ("kubeadm_join_configuration", "JoinConfiguration", join_configuration, "kubeadm"),
            ("kubeadm_kube_proxy_configuration", "KubeProxyConfiguration", kube_proxy, "kube-proxy"),
        ):
            problems += known.problems(wish or {}, kind, variable, program)
        if kubelet:
            problems += _kubelet_problems(kubelet, known)
    return problems + _label_problems(labels or {}) + _join_problems(join or {})


def _is_endpoint(text: str) -> bool:
    """Whether kubeadm takes it (ParseHostPort in cmd/kubeadm/app/util)."""
    try:
        host = parse_endpoint(text).rpartition(":")[0]
    except ValueError:
        return False
    name = not host.startswith("[")
    return "//" not in text and not text.endswith("]") and not (name and (host != host.lower() or host.endswith(".")))


def _kubelet_problems(kubelet: t.Mapping[str, t.Any], known: Schema) -> list[str]:
    settings = {key: value for key, value in kubelet.items() if key not in ("apiVersion", "kind")}
    where = "kubeadm_kubelet_configuration"
    return rules.of_settings(known, settings, where) or [
        f"{where}.{problem}" for problem in rules.of_values(rules.Case(settings, known, Machine()))
    ]


def _label_problems(labels: t.Mapping[str, t.Any]) -> list[str]:
    problems = []
    for key, value in labels.items():
        if problem := key_problem(str(key)):
            problems.append(f"kubeadm_node_labels: {key!r} {problem}")
        elif problem := value_problem(str(value)):
            problems.append(f"kubeadm_node_labels.{key}: {str(value)!r} {problem}")
    return problems


def _join_problems(join: t.Mapping[str, t.Any]) -> list[str]:
    problems = []
    unknown = sorted(map(str, set(join) - set(JOIN_KEYS)))
    if unknown:
        problems.append(f"kubeadm_join has the unknown key(s) {', '.join(unknown)}; it knows {', '.join(JOIN_KEYS)}")
    if join.get("token") and not TOKEN.fullmatch(str(join["token"])):
        problems.append("kubeadm_join.token is not of the form abcdef.0123456789abcdef (it is not shown)")
    if join and not join.get("endpoint"):
        problems.append("kubeadm_join has no endpoint (host:port of the API server)")
    hashes = join.get("ca_cert_hashes") or []
    if not isinstance(hashes, (list, tuple)):
        return [*problems, "kubeadm_join.ca_cert_hashes must be a list, of entries of sha256: and 64 hexadecimal digits"]
    wrong = [str(item) for item in hashes if not CA_HASH.fullmatch(str(item))]
    if wrong:
        problems.append(f"kubeadm_join.ca_cert_hashes has {', '.join(wrong)}; an entry is sha256: and 64 hexadecimal digits")
    if join and not hashes:
        problems.append("kubeadm_join has no ca_cert_hashes: a host that joins without them cannot tell a false control plane")
    return problems
