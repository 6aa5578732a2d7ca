# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Node around a change, on a model of the API server that knows one Node and its pods."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from mig_cases import Api, node_of, pod


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.mark.parametrize("cordoned_before", [False, True])
def test_it_is_as_it_was_after_cordon_and_uncordon(api: Api, cordoned_before: bool) -> None:
    api.unschedulable = cordoned_before
    node = node_of(api)
    node.cordon()
    assert api.unschedulable and node.marked() and api.labels == {"gpufleet.k8s/mig": "changing"}
    node.uncordon()
    assert (api.unschedulable, node.marked(), api.labels) == (cordoned_before, False, {})


@pytest.mark.parametrize("cordoned_before", [False, True])
def test_a_second_uncordon_leaves_somebody_elses_cordon(api: Api, cordoned_before: bool) -> None:
    """A failed verification undoes the cordon that the last step has already taken back."""
    api.unschedulable = cordoned_before
    node = node_of(api)
    node.cordon()
    node.uncordon()
    api.unschedulable = True
    node.uncordon()
    assert api.unschedulable


KEEPS_OFF = {"matchExpressions": [{"key": "gpufleet.k8s/mig", "operator": "DoesNotExist"}]}
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [KEEPS_OFF]}}}


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (pod("alone", owner=""), r"ml/alone has no controller .*drain.force"),
        (
            pod("scratch", volumes=[{"name": "s", "emptyDir": {}}]),
            r"ml/scratch keeps data in an emptyDir .*drain.delete_emptydir_data",
        ),
        (pod("exporter", owner="DaemonSet"), r"ml/exporter would not leave node n1: .*gpufleet.k8s/mig"),
    ],
)
def test_pods_that_would_not_leave_are_foretold_and_only_if_they_have_to(there: dict[str, t.Any], says: str) -> None:
    node = node_of(Api(there, pod("other")))
    with pytest.raises(PlanError, match=says):
        node.foresee([f"ml/{there['metadata']['name']}"])
    node.foresee(["ml/other"])


def test_pods_that_may_leave_are_no_problem() -> None:
    scratch = pod("scratch", owner="", volumes=[{"name": "s", "emptyDir": {}}])
    node = node_of(Api(scratch, pod("plugin", owner="DaemonSet", affinity=AFFINITY)), force=True, delete_emptydir_data=True)
    node.foresee(["ml/scratch", "ml/plugin", "ml/gone"])


def test_a_drain_does_not_wait_for_a_pod_that_has_ended() -> None:
    ended, running = pod("job", owner="Job"), pod("server")
    ended["status"]["phase"] = "Succeeded"
    api = Api(ended, running)
    node_of(api, timeout=1).drain(["ml/job", "ml/server"])
    assert api.pods == [ended]
