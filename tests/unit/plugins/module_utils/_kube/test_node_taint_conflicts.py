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
