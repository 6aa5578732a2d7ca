# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenShift's machine configuration as far as its API goes: three CRDs, and a STAND-IN for the machine config operator.

The stand-in does what the operator does to these objects (machineconfiguration.openshift.io/v1, and what the operator's
controllers kubelet-config, render and node are documented to do), and refuses what the operator refuses. Its machines are
numbers that count up; no kubelet is behind them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import typing as t
import urllib.error

import yaml
from kube_api import KubeApi

GROUP = "machineconfiguration.openshift.io"
ROOT = f"/apis/{GROUP}/v1"
FORBIDDEN = ("cgroupDriver", "clusterDNS", "clusterDomain", "failSwapOn", "featureGates", "staticPodPath")
#: What kubelet.conf has without any KubeletConfig.
BASE = {"maxPods": 250, "cgroupDriver": "systemd", "clusterDomain": "cluster.local", "serializeImagePulls": False}
FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def crd(kind: str, spec: dict[str, t.Any]) -> dict[str, t.Any]:
    plural = kind.lower() + "s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": FREE}}},
    }
    return {
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": {"kind": kind, "plural": plural}, "versions": [version]},
    }


SELECTOR = {"type": "object", "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}}}
CRDS = (
    crd(
        "KubeletConfig",
        {
            "type": "object",
            "properties": {"kubeletConfig": FREE, "machineConfigPoolSelector": SELECTOR, "logLevel": {"type": "integer"}},
        },
    ),
    crd(
        "MachineConfigPool",
        {"type": "object", "properties": {"configuration": FREE, "nodeSelector": SELECTOR, "paused": {"type": "boolean"}}},
    ),
    crd("MachineConfig", FREE),
)


class StandInOperator:
    """Changes the `machines` of each pool, one at a time. `ill` says why they do not come up with a kubelet.conf.

    `stuck`: they wait. `refuses`: what it says of every KubeletConfig.
    """

    def __init__(self, api: KubeApi, machines: int = 3) -> None:
        self.api = api
        self.machines = machines
        self.ill: t.Callable[[dict[str, t.Any]], str | None] = lambda _conf: None
        self.stuck = False
        self.refuses = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> StandInOperator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error:
            raise self.error

    def _work(self) -> None:
        while not self._stop.wait(0.05):
            try:
                for config in self._all("kubeletconfigs"):
                    self._kubelet_config(config)
                for pool in self._all("machineconfigpools"):
                    self._pool(pool)
            except urllib.error.HTTPError as error:
                if error.code not in (404, 409, 429):  # changed meanwhile, or too early: the next round sees it
                    self.error = error
                    return

    def _all(self, plural: str) -> list[dict[str, t.Any]]:
        return list(self.api.call("GET", f"{ROOT}/{plural}")["items"])

    def _put(self, plural: str, item: dict[str, t.Any], subresource: str = "") -> None:
        self.api.call("PUT", f"{ROOT}/{plural}/{item['metadata']['name']}{subresource}", item)

    def _selected(self, config: dict[str, t.Any]) -> list[str]:
        wanted = config["spec"]["machineConfigPoolSelector"]["matchLabels"].items()
        return [
            pool["metadata"]["name"] for pool in self._all("machineconfigpools") if wanted <= pool["metadata"]["labels"].items()
        ]

    def _kubelet_config(self, config: dict[str, t.Any]) -> None:
        """Controller kubelet-config: one generated MachineConfig a pool, held by a finalizer."""
        metadata, status = config["metadata"], config.setdefault("status", {})
        generated = [f"99-{pool}-generated-kubelet" for pool in self._selected(config)]
        if metadata.get("deletionTimestamp"):
            for name in metadata.get("finalizers", ()):
                self.api.call("DELETE", f"{ROOT}/machineconfigs/{name}")
            self._put("kubeletconfigs", {**config, "metadata": {**metadata, "finalizers": []}})
            return
        if status.get("observedGeneration") == metadata["generation"]:
            return
        settings = config["spec"]["kubeletConfig"]
        forbidden = next((key for key in FORBIDDEN if key in settings), None)
        why = f"KubeletConfiguration: {forbidden} is not allowed to be set" if forbidden else self.refuses
        if not why:
            for name in generated:
                self._machine_config(name, settings)
            self._put("kubeletconfigs", {**config, "metadata": {**metadata, "finalizers": generated}})
            config = self.api.call("GET", f"{ROOT}/kubeletconfigs/{metadata['name']}")
            status = config.setdefault("status", {})
        condition = (
            {"type": "Failure", "status": "False", "message": f"Error: {why}"}
            if why
            else {"type": "Success", "status": "True", "message": "Success"}
        )
        status["conditions"] = [*status.get("conditions", ())[-2:], condition]
        status["observedGeneration"] = metadata["generation"]
        self._put("kubeletconfigs", config, "/status")

    def _machine_config(self, name: str, conf: dict[str, t.Any]) -> None:
        text = base64.b64encode(yaml.safe_dump({"kind": "KubeletConfiguration", **conf}).encode()).decode()
        file = {"path": "/etc/kubernetes/kubelet.conf", "contents": {"source": f"data:text/plain;charset=utf-8;base64,{text}"}}
        body = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "MachineConfig",
            "metadata": {"name": name},
            "spec": {"config": {"storage": {"files": [file]}}},
        }
        try:
            self.api.call("POST", f"{ROOT}/machineconfigs", body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            self.api.call("PATCH", f"{ROOT}/machineconfigs/{name}", body, "application/merge-patch+json")

    def _conf(self, name: str) -> dict[str, t.Any]:
        found = self.api.call("GET", f"{ROOT}/machineconfigs/{name}")["spec"]["config"]["storage"]["files"][0]["contents"][
            "source"
        ]
        conf: dict[str, t.Any] = yaml.safe_load(base64.b64decode(found.partition(",")[2]))
        return conf

    def _pool(self, pool: dict[str, t.Any]) -> None:
        """Controllers render and node: the rendered configuration first, then one machine after the other."""
        name, status = pool["metadata"]["name"], pool.setdefault("status", {})
        there = {item["metadata"]["name"] for item in self._all("machineconfigs")}
        generated = f"99-{name}-generated-kubelet"
        conf = {**BASE, **(self._conf(generated) if generated in there else {})}
        digest = hashlib.sha256(json.dumps(conf, sort_keys=True).encode()).hexdigest()[:12]
        rendered = f"rendered-{name}-{digest}"
        if pool["spec"].get("configuration", {}).get("name") != rendered and not pool["spec"].get("paused"):
            self._machine_config(rendered, conf)
            sources = [{"kind": "MachineConfig", "name": generated}] if generated in there else []
            configuration = {"name": rendered, "source": sources}
            self._put("machineconfigpools", {**pool, "spec": {**pool["spec"], "configuration": configuration}})
            return
        wanted = pool["spec"].get("configuration", {}).get("name")
        if status.get("target") != wanted:
            done = 0 if wanted != status.get("configuration", {}).get("name") else self.machines
            status.update(target=wanted, updatedMachineCount=done)
        ill = self.ill(self._conf(wanted)) if wanted else None
        if status["updatedMachineCount"] < self.machines and not ill and not self.stuck:
            status["updatedMachineCount"] += 1
        updated = status["updatedMachineCount"] == self.machines and not ill
        status.update(
            machineCount=self.machines,
            unavailableMachineCount=0 if updated else 1,
            degradedMachineCount=1 if ill else 0,
            observedGeneration=pool["metadata"]["generation"],
            conditions=[
                {"type": "Updated", "status": str(updated)},
                {"type": "Updating", "status": str(not updated)},
                {"type": "NodeDegraded", "status": str(bool(ill)), "message": ill or ""},
                {"type": "RenderDegraded", "status": "False", "message": ""},
                {"type": "Degraded", "status": str(bool(ill)), "message": ""},
            ],
        )
        if updated:
            status["configuration"] = pool["spec"]["configuration"]
        self._put("machineconfigpools", pool, "/status")
