# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The merge as a model: laws of RFC 7396, order of files, flags. That a real kubelet agrees is in the scenario cpu_pinning."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import merge
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import FIRST, LAST, schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

KNOWN = schema(36)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_rfcs_examples(target: t.Any, patch: t.Any, result: t.Any) -> None:
    assert merge.merge_patch(target, patch) == result


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once_and_changes_no_argument(target: dict[str, t.Any], patch: dict[str, t.Any]) -> None:
    before = copy.deepcopy((target, patch))
    once = merge.merge_patch(target, patch)
    assert merge.merge_patch(once, patch) == once
    assert (target, patch) == before


FRAGMENTS = st.fixed_dictionaries(
    {},
    optional={
        "maxPods": st.sampled_from([0, 50, 110, None]),
        "kubeReserved": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2", None]), max_size=2),
        "clusterDNS": st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), max_size=2),
        "authentication": st.fixed_dictionaries({}, optional={"webhook": st.fixed_dictionaries({"enabled": st.booleans()})}),
        "syncFrequency": st.sampled_from(["0s", "60s", "2m"]),
    },
)


@given(st.lists(FRAGMENTS, max_size=4))
def test_effective_is_stable(drop_ins: list[dict[str, t.Any]]) -> None:
    """What a kubelet runs with, given to it as its file, is what it runs with."""
    config = merge.effective(KNOWN, {}, drop_ins)
    assert KNOWN.same(config, merge.effective(KNOWN, config, []), subset=False)


@given(st.lists(FRAGMENTS, min_size=1, max_size=4))
def test_the_last_file_has_the_last_word(drop_ins: list[dict[str, t.Any]]) -> None:
    config = merge.effective(KNOWN, {}, drop_ins)
    last = {key: value for key, value in drop_ins[-1].items() if value is not None and key in ("maxPods", "clusterDNS")}
    assert KNOWN.same({key: value for key, value in last.items() if value != 0}, config)


def test_maps_merge_lists_replace_and_null_puts_the_default_back() -> None:
    base = {"kubeReserved": {"cpu": "1"}, "clusterDNS": ["10.0.0.1"], "maxPods": 50}
    config = merge.effective(KNOWN, base, [{"kubeReserved": {"memory": "1Gi"}, "clusterDNS": ["10.0.0.2"], "maxPods": None}])
    assert config["kubeReserved"] == {"cpu": "1", "memory": "1Gi"}
    assert config["clusterDNS"] == ["10.0.0.2"]
    assert config["maxPods"] == 110


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        (["--max-pods=7"], "maxPods", 7),
        (["--max-pods", "7"], "maxPods", 7),
        (["--max_pods=7"], "maxPods", 7),
        (["--kube-reserved=cpu=1,memory=1Gi"], "kubeReserved", {"cpu": "1", "memory": "1Gi"}),
        (
            ["--eviction-hard=memory.available<1Gi,nodefs.available<5%"],
            "evictionHard",
            {"memory.available": "1Gi", "nodefs.available": "5%"},
        ),
        (["--anonymous-auth", "--max-pods=7"], "authentication.anonymous.enabled", True),
        (["--cluster-dns=10.0.0.1,10.0.0.2"], "clusterDNS", ["10.0.0.1", "10.0.0.2"]),
        (["--node-ip=10.0.0.1", "--sync-frequency=2m"], "syncFrequency", "2m"),
    ],
)
def test_flags(flags: list[str], path: str, value: t.Any) -> None:
    config, owners = merge.from_flags(KNOWN, flags)
    for part in path.split("."):
        config = config[part]
    assert config == value
    assert path in owners
    whole: t.Any = merge.effective(KNOWN, {"maxPods": 9}, [{"syncFrequency": "5m"}], flags)
    for part in path.split("."):
        whole = whole[part]
    assert whole == value


def test_a_flag_of_gates_adds_to_the_files_gates() -> None:
    config = merge.effective(KNOWN, {"featureGates": {"AllBeta": False}}, [], ["--feature-gates=AllAlpha=true"])
    assert config["featureGates"] == {"AllBeta": False, "AllAlpha": True}


def test_the_first_release_resets_what_a_drop_in_does_not_name() -> None:
    first = schema(28)
    assert merge.effective(first, {"maxPods": 50}, [{"kubeReserved": {"cpu": "1"}}])["maxPods"] == 110
    assert merge.effective(schema(29), {"maxPods": 50}, [{"kubeReserved": {"cpu": "1"}}])["maxPods"] == 50


@pytest.mark.parametrize("minor", range(FIRST, LAST + 1))
def test_every_release_in_the_table_has_its_parts(minor: int) -> None:
    known = schema(minor)
    assert {"cpuManagerPolicy", "reservedMemory", "featureGates"} <= known.fields("KubeletConfiguration").keys()
    assert known.flags["max-pods"] == "maxPods"
    assert known.options["cpu.full-pcpus-only"]
    assert not list(known.problems(known.defaults))
    for kind in known.types:
        for field in known.fields(kind).values():
            inner = field.lstrip("?").replace("[]", "").replace("{}", "")
            assert inner in known.types or inner[0].islower()


@pytest.mark.parametrize("minor", [FIRST - 1, LAST + 1])
def test_other_releases_are_refused(minor: int) -> None:
    with pytest.raises(PlanError, match=rf"kubelet 1\.{minor} is not among"):
        schema(minor)
