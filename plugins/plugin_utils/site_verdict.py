# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One answer from everything that was found on a site."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import only_zone_differs

Json = dict[str, t.Any]


def site_verdict(
    hosts: t.Sequence[Json],
    *,
    expected: t.Sequence[str],
    cluster: t.Sequence[Json],
    now: str,
    min_certificate_days: int = 30,
    join: Json | None = None,
    failures: t.Mapping[str, str] | None = None,
    lost: t.Mapping[str, str] | None = None,
) -> Json:
    """`{ok, failures, facts}`. Pure; every failure says which host or object, what is so and what should be."""
    nodes = {item["metadata"]["name"]: item for item in cluster if item["kind"] == "Node"}
    missing = sorted(set(expected) - {host["host"] for host in hosts})
    asked = not (failures or {}).get("api")
    certificates = {f"{host['host']}:{path}": expiry for host in hosts for path, expiry in host["certificates"].items()}
    faults = [
        *(("hosts", host, (lost or {}).get(host) or "it did not answer") for host in missing),
        *((check, "cluster", message) for check, message in (failures or {}).items() if message),
        *((check, host["host"], message) for host in hosts for check, message in host["failures"].items() if message),
        *(("nodes", host["node"], fault) for host in hosts if asked for fault in _node_faults(nodes.get(host["node"]), host)),
        *(
            ("nodes", name, "it is a Node of no host in the inventory, and not ready: delete it if its host is gone")
            for name in sorted(set(nodes) - {host["node"] for host in hosts})
            if not _ready(nodes[name])
        ),
        *(("workloads", _subject(item), _lacking(item)) for item in cluster if _lacking(item)),
        *_expiring(certificates, _time(now), int(min_certificate_days)),
        *_join_faults(join or {}),
    ]
    return {
        "ok": not faults,
        "failures": [
            {"check": check, "subject": subject, "message": f"{subject}: {message}"} for check, subject, message in faults
        ],
        "facts": {
            "nodes": [_shown(nodes.get(host["node"], {}), host) for host in sorted(hosts, key=lambda host: str(host["node"]))],
            "first_certificate_to_expire": dict(
                zip(("expires", "certificate"), min(((expiry, path) for path, expiry in certificates.items()), default=()))
            ),
            "join_secret": {key: join.get(key) for key in ("secret_name", "token_id", "expires")} if join else {},
        },
    }


def _node_faults(node: Json | None, host: Json) -> t.Iterator[str]:
    if node is None:
        yield f"there is no such Node, wished for {host['host']}"
        return
    ready = _condition(node, "Ready")
    if not _ready(node):
        yield f"it is not ready ({ready.get('reason', 'no condition yet')}: {ready.get('message', '')})"
    kubelet = node["status"].get("nodeInfo", {}).get("kubeletVersion", "")
    if kubelet.lstrip("v") != host["version"]:
        yield f"its kubelet is {kubelet}, wished is v{host['version']}"
    labels = node["metadata"].get("labels", {})
    for key, value in sorted(host["labels"].items()):
        if labels.get(key) != value:
            yield f"its label {key} is {labels.get(key)}, wished is {value}"
    registered = node["spec"].get("providerID") or ""
    if only_zone_differs(registered, host["provider_id"]):
        yield (
            f"its providerID is {registered}, wished is {host['provider_id']}: the zone in it is hyperpod_zone_id, and cannot "
            "change while the Node exists. Set it back; or reset the host, delete its Node and let it join again"
        )
    elif host["provider_id"] and registered != host["provider_id"]:
        yield (
            f"its providerID is {registered or 'empty'}, the platform says {host['provider_id']}: "
            "the host was replaced by another of the same name. Delete the Node and let the host join again"
        )
    addresses = [address["address"] for address in node["status"].get("addresses", [])]
    if not set(host["address"].split(",")) <= set(addresses):
        yield f"its addresses are {', '.join(addresses)}, without {host['address']}"
    if not node["spec"].get("podCIDR"):
        yield "it has no pod CIDR: the pod range may be used up"


def _expiring(certificates: t.Mapping[str, str], now: datetime.datetime, days: int) -> t.Iterator[tuple[str, str, str]]:
    for path, expiry in sorted(certificates.items()):
        if _time(expiry) < now + datetime.timedelta(days=days):
            yield "certificates", path, f"it expires at {expiry}, in less than {days} days"


def _join_faults(join: Json) -> t.Iterator[tuple[str, str, str]]:
    if join.get("reason", "none") != "none":
        yield "join", join.get("secret_name", "secret"), f"workers cannot join with it for long, it needs: {join['reason']}"


def _subject(item: Json) -> str:
    return f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def _lacking(item: Json) -> str:
    if item["kind"] not in ("Deployment", "DaemonSet"):
        return ""
    status = item.get("status", {})
    if item["kind"] == "DaemonSet":
        wanted, there = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted, there = item["spec"].get("replicas", 1), status.get("availableReplicas", 0)
    return "" if there >= wanted else f"{there} of {wanted} pods are available"


def _condition(item: Json, kind: str) -> Json:
    return next((condition for condition in item["status"].get("conditions", []) if condition["type"] == kind), {})


def _ready(node: Json) -> bool:
    return bool(_condition(node, "Ready").get("status") == "True")


def _shown(node: Json, host: Json) -> Json:
    info = node.get("status", {}).get("nodeInfo", {})
    return {
        "name": host["node"],
        "ready": bool(node) and _ready(node),
        "version": info.get("kubeletVersion", ""),
        "runtime": info.get("containerRuntimeVersion", ""),
        "os": info.get("osImage", ""),
        "kernel": info.get("kernelVersion", ""),
        "address": host["address"],
        "pod_cidr": node.get("spec", {}).get("podCIDR", ""),
        "data_root": host["data_root"],
        "labels": {key: node.get("metadata", {}).get("labels", {}).get(key) for key in sorted(host["labels"])},
        "provider_id": node.get("spec", {}).get("providerID", ""),
    }


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
