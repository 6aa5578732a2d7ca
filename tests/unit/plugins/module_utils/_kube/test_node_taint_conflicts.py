# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_taint where an API server would have to fail at the right moment. All else is in the integration target node_taint."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import node_taint, taints
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import run

TAINT = {"key": "a", "value": "b", "effect": "NoSchedule"}


class Server:
    """One node. Its first PATCH conflicts, and by then it has the taint."""

    server = "https://s"

    def __init__(self, unsure: bool) -> None:
        self.unsure = unsure
        self.taints: list[t.Any] = []

    def node(self) -> dict[str, t.Any]:
        return {"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"taints": self.taints}}

    def list(self, _path: str, **_query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        yield self.node()

    def request(self, method: str, _path: str, **_more: t.Any) -> dict[str, t.Any]:
        if method == "PATCH":
            self.taints = [TAINT]
            error = KubeError("the object has been modified", status=409, reason="Conflict")
            error.unsure = self.unsure
            raise error
        return self.node()


@pytest.mark.parametrize("unsure", [True, False])
def test_a_change_whose_answer_was_lost_is_a_change(unsure: bool) -> None:
    params = {"nodes": ["n"], "selector": None, "eviction_preview": False, "refuse_if_evicts": False, "parallel": 4}
    wish = taints.Wish((TAINT,))
    result = run(node_taint.NodeTaints(t.cast(t.Any, Server(unsure)), params, wish), check_mode=False)
    assert result["changed"] is unsure
    assert result["nodes"] == ({"n": {"before": [], "after": [TAINT]}} if unsure else {})
    assert result["unchanged"] == ([] if unsure else ["n"])


OUT = {"key": "out", "value": "", "effect": "NoExecute"}
OTHER = {"key": "other", "value": "", "effect": "NoExecute"}


class Busy(Server):
    """Its node is written by somebody else between plan and patch."""

    def __init__(self, before: list[t.Any], meanwhile: list[t.Any]) -> None:
        super().__init__(unsure=False)
        self.taints, self.meanwhile = before, meanwhile
        self.patches = 0

    def list(self, path: str, **_query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        if path == node_taint.NODES:
            yield self.node()

    def request(self, method: str, _path: str, *, body: t.Any = None, **_more: t.Any) -> dict[str, t.Any]:
        if method == "PATCH":
            self.patches += 1
            if self.patches == 1:
                self.taints = self.meanwhile
                raise KubeError("the object has been modified", status=409, reason="Conflict")
            self.taints = body[-1]["value"]
        return self.node()


@pytest.mark.parametrize(
    ("before", "meanwhile", "refused"),
    [
        ([OUT], [], True),  # the plan did not ask its pods: the taint was there
        ([], [TAINT], False),  # the plan has asked them about this very taint
        ([OUT, OTHER], [OUT], True),
        ([OTHER], [], True),  # asked about one, not about both
    ],
)
def test_what_the_plan_did_not_know_to_evict_is_refused(before: list[t.Any], meanwhile: list[t.Any], refused: bool) -> None:
    params = {"nodes": ["n"], "selector": None, "eviction_preview": False, "refuse_if_evicts": True, "parallel": 4}
    wish = taints.Wish((TAINT, OUT, *([OTHER] if OTHER in before else [])))
    server = Busy(before, meanwhile)
    result = run(node_taint.NodeTaints(t.cast(t.Any, server), params, wish), check_mode=False)
    assert bool(result["failures"]) is refused and (server.taints == meanwhile) is refused
    if refused:
        assert "refused because of refuse_if_evicts: the taints of node n changed meanwhile" in result["failures"]["n"]
        assert server.patches == 1 and not result["changed"]


class Many(Server):
    """Some nodes with a pod each, and pods elsewhere."""

    def __init__(self, nodes: int) -> None:
        super().__init__(unsure=False)
        self.nodes = [f"n{number}" for number in range(nodes)]
        self.asked: list[str] = []

    def list(self, path: str, **query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        if path == node_taint.NODES:
            for name in self.nodes:
                yield {"metadata": {"name": name, "resourceVersion": "1"}, "spec": {}}
            return
        self.asked.append(query["fieldSelector"])
        for name in [*self.nodes, "elsewhere"]:
            if query["fieldSelector"] in (f"spec.nodeName={name}", "spec.nodeName!="):
                yield {"metadata": {"namespace": "ns", "name": f"on-{name}"}, "spec": {"nodeName": name}}


@pytest.mark.parametrize("nodes", [node_taint.FEW, node_taint.FEW + 1])
def test_pods_of_many_nodes_are_listed_once(nodes: int) -> None:
    params = {"nodes": None, "selector": "", "eviction_preview": True, "refuse_if_evicts": False, "parallel": 4}
    server = Many(nodes)
    result = run(node_taint.NodeTaints(t.cast(t.Any, server), params, taints.Wish((OUT,))), check_mode=True)
    assert sorted(one["pod"] for one in result["evictions"]) == sorted(f"on-{name}" for name in server.nodes)
    few = nodes <= node_taint.FEW
    assert sorted(server.asked) == (sorted(f"spec.nodeName={name}" for name in server.nodes) if few else ["spec.nodeName!="])
