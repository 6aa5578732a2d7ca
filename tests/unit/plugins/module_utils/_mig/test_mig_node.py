# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Node around a change, on a model of the API server that knows one Node and its pods."""

from __future__ import annotations

import pytest
from mig_cases import Api, node_of


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
