# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, plan
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.allocatable_problems import allocatable_problems
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.mig_resources import mig_resources


def planned(*layouts: t.Any) -> list[dict[str, t.Any]]:
    """GPUs as mig_parted plans them for A100s with these layouts."""
    gpus = resource.assumed(["A100-40GB"] * len(layouts))
    entries = config.from_layout(dict(enumerate(layouts)))
    after: list[dict[str, t.Any]] = plan(gpus, config.resolve(entries, gpus, True), Options()).facts["after"]
    return after


MIXED = ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"]


@pytest.mark.parametrize(
    ("layouts", "strategy", "resources"),
    [
        (["all-disabled", "all-disabled"], "none", {"nvidia.com/gpu": 2}),
        (["all-disabled"], "single", {"nvidia.com/gpu": 1}),
        (["all-1g.5gb"], "single", {"nvidia.com/gpu": 7}),
        (["all-3g.20gb", "all-3g.20gb"], "single", {"nvidia.com/gpu": 4}),
        (["all-disabled"], "mixed", {"nvidia.com/gpu": 1}),
        ([MIXED], "mixed", {"nvidia.com/mig-1g.5gb": 2, "nvidia.com/mig-2g.10gb": 1, "nvidia.com/mig-3g.20gb": 1}),
        (["all-disabled", ["1g.5gb+me"]], "mixed", {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.5gb.me": 1}),
    ],
)
def test_what_nodes_will_offer(layouts: list[t.Any], strategy: str, resources: dict[str, int]) -> None:
    assert mig_resources(planned(*layouts), strategy) == resources


@pytest.mark.parametrize(
    ("layouts", "strategy", "why"),
    [
        (["all-1g.5gb"], "none", "GPU 0 in MIG mode would be offered whole; say single or mixed"),
        ([MIXED], "single", "slices of different sizes (1g.5gb, 2g.10gb, 3g.20gb); say mixed"),
        (["all-1g.5gb", "all-disabled"], "single", "GPU 0 is cut and GPU 1 is not; say mixed"),
        (["all-1g.5gb", "all-enabled"], "single", "GPU 1 has no slice"),
        ([["1c.3g.20gb"]], "mixed", "GPU 0 has a 1c.3g.20gb, which the device plugin does not offer"),
        (["all-1g.5gb"], "both", "knows none, single and mixed"),
    ],
)
def test_what_no_strategy_can_serve(layouts: list[t.Any], strategy: str, why: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        mig_resources(planned(*layouts), strategy)
    assert why in str(error.value)


def test_nodes_that_offer_something_else_are_named() -> None:
    text = 'a\t{"cpu":"2","nvidia.com/gpu":"7","nvidia.com/mig-1g.5gb":"0"}\nb\t{"cpu":"2"}\n'
    seven = {"nvidia.com/gpu": 7}
    assert allocatable_problems(text, {"a": seven}) == []
    assert allocatable_problems(text, {"a": {"nvidia.com/gpu": 2}, "b": seven, "c": {}}) == [
        "a: offers 7 nvidia.com/gpu instead of 2 nvidia.com/gpu",
        "b: offers nothing instead of 7 nvidia.com/gpu",
        "c: there is no such Node",
    ]
