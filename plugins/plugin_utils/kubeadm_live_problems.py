# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kubeadm does not change in a running cluster."""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import only_zone_differs
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import parse_endpoint


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
    registered = (found.get("node") or {}).get("provider_id")
    if provider_id and registered and registered != provider_id:
        of_zone = " (hyperpod_zone_id is the zone in it)" if only_zone_differs(provider_id, registered) else ""
        problems.append(
            f"{host} is registered with the provider ID {registered} and kubeadm_provider_id is {provider_id}{of_zone}: it "
            "cannot change while the Node exists. Set it back; or reset the host (kubeadm_state: absent), delete its Node and "
            "let it join again"
        )
    if live.get("cluster_configuration") and host == bootstrap:
        running = yaml.safe_load(live["cluster_configuration"]) or {}
        problems += _network_problems(wanted, running) + _endpoint_problems(wanted, endpoint, running)
    return problems


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
