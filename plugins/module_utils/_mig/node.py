# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The Node around a change of its GPUs: no new pods come, pods that hold what goes are evicted, the device plugin makes room.

PRIVATE: this module util is for this collection only and may change without notice.

All of it is allowed to the kubelet's own certificate, except the cluster's lock: a kubelet may hold no Lease but its heartbeat's
(NodeRestriction), so that takes a token. What a killed run left is told by the annotation.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace
from pathlib import Path

from .._kube import drain, lease, nodes
from .._kubelet.api import NodeClient, identity
from .._plan import ApplyError, PlanError

ANNOTATION = "gpufleet.k8s/mig-parted"
#: DaemonSets that hold GPUs (roles/nvidia_device_plugin) have an affinity that keeps them off a Node with this label.
LABEL = "gpufleet.k8s/mig"
KUBECONFIGS = ("/etc/kubernetes/kubelet.conf", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig")
PAUSE_S = 0.5  # between two looks at pods that leave
#: Such pods stay until somebody deletes them. The kubelet's record may still name one as the holder of a slice.
_ENDED = ("Succeeded", "Failed")
_WAS_CORDONED = "was cordoned"


def kubeconfig(given: str | None) -> Path | None:
    """The kubelet's kubeconfig; None where no kubelet has joined a cluster."""
    return next((Path(path) for path in ([given] if given else KUBECONFIGS) if Path(path).exists()), None)


class Node:
    """One Node, by its kubelet's identity. Methods raise KubeError."""

    def __init__(self, name: str, path: Path, options: drain.Options) -> None:
        self.name = name
        self.options = options
        self.who = identity(path)
        self.client = NodeClient(self.who)
        self.impatient = NodeClient(self.who, patient=False)

    @property
    def holder(self) -> str:
        """Who has the lock. Not the Node's name alone, which is kubelet_config's: the same holder gets it while it is held."""
        return f"{self.name}/mig_parted"

    def turn(self, lock: t.Mapping[str, t.Any], token: str) -> t.ContextManager[t.Callable[[], None]]:
        """Holds the lock that kubelet_config holds too; gives what raises ApplyError once it was lost."""
        where = (NodeClient(self.who, token), lock["namespace"], lock["name"])
        return lease.held(*where, holder=self.holder, timeout=lock["timeout"])

    def forget_turn(self, lock: t.Mapping[str, t.Any], token: str) -> None:
        """Frees what a killed run left locked."""
        lease.forget(NodeClient(self.who, token), lock["namespace"], lock["name"], self.holder)

    def marked(self) -> bool:
        """Whether an earlier run was killed while it had the Node."""
        return self._mark(nodes.read(self.client, self.name)) is not None

    def cordon(self) -> None:
        node = nodes.read(self.client, self.name)
        mark = self._mark(node) or (_WAS_CORDONED if node["spec"].get("unschedulable") else "cordoned")
        self._set(schedulable=False, mark=mark, label="changing")

    def foresee(self, pods: t.Collection[str]) -> None:
        """Raises PlanError naming those of these pods (`namespace/name`) that a drain would refuse or wait for in vain."""
        _leave, stay = drain.candidates(drain.pods_of(self.client, self.name), replace(self.options, only=frozenset(pods)))
        stuck = [drain.name(pod) for pod in stay if drain.name(pod) in pods and not _keeps_off(pod)]
        if stuck:
            raise PlanError(
                f"{', '.join(stuck)} would not leave node {self.name}: no drain evicts pods of DaemonSets or static ones; give "
                f"the DaemonSet an affinity that keeps it off the label {LABEL}, or end these pods"
            )

    def drain(self, pods: t.Collection[str]) -> None:
        """Evicts these pods (`namespace/name`), and waits until they and the DaemonSets' that keep off LABEL are gone."""
        deadline = time.monotonic() + self.options.timeout
        drain.drain(self.impatient, self.name, replace(self.options, only=frozenset(pods)))
        while True:
            left = [
                drain.name(pod)
                for pod in drain.pods_of(self.client, self.name)
                if pod["status"].get("phase") not in _ENDED and (drain.name(pod) in pods or _keeps_off(pod))
            ]
            if not left:
                return
            if time.monotonic() > deadline:
                raise ApplyError(
                    f"{', '.join(left)} did not leave node {self.name} within {self.options.timeout} s; raise drain.timeout, or "
                    f"help these pods (a DaemonSet's pod leaves if its affinity keeps it off the label {LABEL})"
                )
            time.sleep(PAUSE_S)

    def uncordon(self) -> None:
        """Back to what it was before this or a killed run. Without the mark the cordon, if there is one, is somebody else's."""
        mark = self._mark(nodes.read(self.client, self.name))
        if mark is None:
            return
        self._set(schedulable=mark != _WAS_CORDONED, mark=None, label=None)

    def _set(self, schedulable: bool, mark: str | None, label: str | None) -> None:
        nodes.set_schedulable(self.client, self.name, schedulable, ANNOTATION, mark, labels={LABEL: label})

    @staticmethod
    def _mark(node: t.Mapping[str, t.Any]) -> str | None:
        return (node["metadata"].get("annotations") or {}).get(ANNOTATION)


def _keeps_off(pod: t.Mapping[str, t.Any]) -> bool:
    required = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (required.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    return any(rule["key"] == LABEL for term in terms for rule in term.get("matchExpressions") or ())
