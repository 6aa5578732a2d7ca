# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of the API server for the tests of mig_parted: one Node, its pods, and Leases."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import drain
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.node import Node


class Api:
    """What KubeClient is asked for by node.py, drain.py and lease.py.

    `effect` is called with the name of each change before it, except of Leases.
    """

    def __init__(self, *pods: dict[str, t.Any], effect: t.Callable[[str], None] = lambda _name: None) -> None:
        self.unschedulable = False
        self.annotations: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.pods = list(pods)
        self.leases: dict[str, dict[str, t.Any]] = {}
        self.effect = effect

    def request(self, method: str, path: str, *, body: t.Any = None, content_type: str = "") -> dict[str, t.Any]:
        if "/leases" in path:
            return self._lease(method, path.rpartition("/")[2], body)
        if method == "GET":
            return {"metadata": {"annotations": dict(self.annotations)}, "spec": {"unschedulable": self.unschedulable}}
        self.effect(f"{method} {path.rpartition('/')[2]}")
        if method == "PATCH":
            assert content_type == "application/merge-patch+json"
            self.unschedulable = bool(body["spec"]["unschedulable"])
            for mine, change in ((self.annotations, body["metadata"]["annotations"]), (self.labels, body["metadata"]["labels"])):
                mine.update(change)
                for key in [key for key, value in mine.items() if value is None]:
                    del mine[key]
        else:
            assert (method, body["kind"]) == ("POST", "Eviction")
            self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != body["metadata"]["name"]]
        return {}

    def _lease(self, method: str, name: str, body: t.Any) -> dict[str, t.Any]:
        if method == "POST":
            self.leases[body["metadata"]["name"]] = {**body, "metadata": {**body["metadata"], "resourceVersion": "1"}}
        elif name not in self.leases:
            raise KubeError("no such lease", status=404)
        elif method == "PUT":
            self.leases[name] = {**body, "metadata": {**body["metadata"], "resourceVersion": "2"}}
        elif method == "DELETE":
            return self.leases.pop(name)
        return self.leases.get(name, {})

    def list(self, _path: str, **_query: str) -> t.Iterator[dict[str, t.Any]]:
        yield from self.pods


def node_of(api: Api, **options: t.Any) -> Node:
    """The Node `n1` behind that model, without a kubeconfig."""
    node = Node.__new__(Node)
    node.name, node.options = "n1", drain.Options(**options)
    node.client = node.impatient = t.cast("t.Any", api)
    return node


def pod(name: str, owner: str = "ReplicaSet", **spec: t.Any) -> dict[str, t.Any]:
    """A running pod of the namespace `ml`; `owner` is the kind of its controller, empty for none."""
    owners = [{"kind": owner, "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "ml", "uid": name, "ownerReferences": owners}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}}
