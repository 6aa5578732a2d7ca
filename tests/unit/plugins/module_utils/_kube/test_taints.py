# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of taints: tables for the rules, properties for what no table lists."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import taints
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import assume, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from taint_cases import CASES


def wish(*wanted: dict[str, t.Any], **params: t.Any) -> taints.Wish:
    return taints.wish(
        {"taints": wanted, "state": "present", "exclusive": False, "owned_keys": [], "owned_prefixes": [], **params}
    )


def taint(text: str, **fields: t.Any) -> dict[str, t.Any]:
    """From kubectl's notation: key[=value]:effect."""
    name, _colon, effect = text.rpartition(":")
    key, _equals, value = name.partition("=")
    return {"key": key, **({"value": value} if value else {}), "effect": effect, **fields}


@pytest.mark.parametrize(("key", "value", "effect", "accepted"), CASES)
def test_validates_as_the_api_server(key: str, value: str, effect: str, accepted: bool) -> None:
    ours = effect in taints.EFFECTS and not taints.key_problem(key) and not taints.value_problem(value)
    assert ours is accepted


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"taints": [{"key": "a b", "effect": "NoSchedule"}]}, "taints[0].key 'a b' must have a name"),
        ({"taints": [{"key": "A/b", "effect": "NoSchedule"}]}, "taints[0].key 'A/b' must have a DNS name"),
        ({"taints": [{"key": "a", "value": "ü", "effect": "NoSchedule"}]}, "taints[0].value 'ü' must be"),
        # As text these would be True and 1.1
        ({"taints": [{"key": "a", "value": True, "effect": "NoSchedule"}]}, "taints[0].value is True, which YAML made of a word"),
        ({"taints": [{"key": "a", "value": 1.10, "effect": "NoSchedule"}]}, "taints[0].value is 1.1, which YAML made of a word"),
        ({"taints": [{"key": "a"}]}, "taints[0] (a) needs an effect: NoSchedule, PreferNoSchedule, NoExecute"),
        ({"taints": [{"key": "a", "value": "v"}], "state": "absent"}, "taints[0] has a value but no effect"),
        (
            {"taints": [{"key": "a", "value": value, "effect": "NoSchedule"} for value in ("1", "2")]},
            "taints[1] is the second a:NoSchedule",
        ),
        ({"exclusive": True}, "exclusive needs owned_keys or owned_prefixes"),
        ({"exclusive": True, "state": "absent", "owned_keys": ["a"]}, "exclusive goes with state present"),
        ({"owned_keys": ["a/"]}, "owned_keys: 'a/' must have"),
        ({"owned_prefixes": [""]}, "owned_prefixes: an empty prefix would own every taint"),
    ],
)
def test_refuses(params: dict[str, t.Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        wish(*params.pop("taints", []), **params)
    assert refused.value.message.startswith(message)


ROLE = "node-role.kubernetes.io/control-plane:NoSchedule"
NOT_READY = taint("node.kubernetes.io/not-ready:NoExecute", timeAdded="2026-01-02T03:04:05Z")
PLANE = taint(ROLE)


@pytest.mark.parametrize(
    ("before", "wanted", "params", "after"),
    [
        ([], ["a=1:NoSchedule"], {}, ["a=1:NoSchedule"]),
        (["a=1:NoSchedule"], ["a=2:NoSchedule"], {}, ["a=2:NoSchedule"]),
        (["a=1:NoSchedule"], ["a:NoSchedule"], {}, ["a:NoSchedule"]),
        (["a=1:NoSchedule"], ["a=1:NoExecute"], {}, ["a=1:NoSchedule", "a=1:NoExecute"]),
        (
            ["z:NoSchedule", "a=1:NoSchedule", "y:NoExecute"],
            ["a=2:NoSchedule"],
            {},
            ["z:NoSchedule", "a=2:NoSchedule", "y:NoExecute"],
        ),
        (
            ["x/a:NoSchedule", "b:NoSchedule"],
            ["x/c:NoSchedule"],
            {"exclusive": True, "owned_prefixes": ["x/"]},
            ["b:NoSchedule", "x/c:NoSchedule"],
        ),
        (["x/a:NoSchedule", "x/a:NoExecute"], ["x/a:NoExecute"], {"exclusive": True, "owned_keys": ["x/a"]}, ["x/a:NoExecute"]),
        (["x/a:NoSchedule", "b:NoSchedule"], [], {"exclusive": True, "owned_keys": ["x/a"]}, ["b:NoSchedule"]),
        # A prefix does not reach what belongs to Kubernetes, a key does.
        ([ROLE], [], {"exclusive": True, "owned_prefixes": ["node"]}, [ROLE]),
        ([ROLE], [], {"exclusive": True, "owned_keys": [ROLE.partition(":")[0]]}, []),
    ],
)
def test_present(before: list[str], wanted: list[str], params: dict[str, t.Any], after: list[str]) -> None:
    made = wish(*map(taint, wanted), **params).applied(list(map(taint, before)))
    assert [taints.describe(one) for one in made] == after


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        ({"key": "a"}, ["b=1:NoSchedule"]),
        ({"key": "a", "effect": "NoSchedule"}, ["b=1:NoSchedule", "a:NoExecute"]),
        ({"key": "a", "effect": "NoExecute", "value": ""}, ["a=1:NoSchedule", "b=1:NoSchedule"]),
        ({"key": "a", "effect": "NoSchedule", "value": "2"}, ["a=1:NoSchedule", "b=1:NoSchedule", "a:NoExecute"]),
        ({"key": "c"}, ["a=1:NoSchedule", "b=1:NoSchedule", "a:NoExecute"]),
    ],
)
def test_absent(selector: dict[str, str], left: list[str]) -> None:
    before = [taint(text) for text in ("a=1:NoSchedule", "b=1:NoSchedule", "a:NoExecute")]
    assert [taints.describe(one) for one in wish(selector, state="absent").applied(before)] == left


def test_a_new_value_keeps_the_other_fields() -> None:
    before = [taint("a=1:NoExecute", timeAdded="2026-01-02T03:04:05Z", future="field")]
    after = wish(taint("a=2:NoExecute")).applied(before)
    assert after == [{"key": "a", "value": "2", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z", "future": "field"}]


KEYS = st.sampled_from(["a", "b", "x/a", "x/b", "y/a", "node.kubernetes.io/not-ready", "node-role.kubernetes.io/control-plane"])
TAINT = st.builds(
    lambda key, value, effect, extra: {"key": key, **({"value": value} if value else {}), "effect": effect, **extra},
    KEYS,
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(taints.EFFECTS),
    st.sampled_from([{}, {"timeAdded": "2026-01-02T03:04:05Z"}, {"unknown": {"deep": [1]}}]),
)
NODE = st.lists(TAINT, max_size=8, unique_by=lambda one: (one["key"], one["effect"]))
WANTED = st.lists(
    st.builds(lambda one: {name: one.get(name) for name in ("key", "value", "effect")}, TAINT),
    max_size=4,
    unique_by=lambda one: (one["key"], one["effect"]),
)
PRESENT = st.builds(
    lambda wanted, keys, prefixes, exclusive: wish(
        *wanted, owned_keys=keys, owned_prefixes=prefixes, exclusive=exclusive and bool(keys or prefixes)
    ),
    WANTED,
    st.lists(KEYS, max_size=2),
    st.lists(st.sampled_from(["x/", "node", "node-role.kubernetes.io/"]), max_size=2),
    st.booleans(),
)
ABSENT = st.builds(
    lambda wanted, depth: wish(*({name: one[name] for name in fields} for one in wanted for fields in (depth,)), state="absent"),
    WANTED,
    st.sampled_from([("key",), ("key", "effect"), ("key", "value", "effect")]),
)


@given(NODE, st.one_of(PRESENT, ABSENT))
def test_a_second_application_changes_nothing(before: list[taints.Taint], wanted: taints.Wish) -> None:
    after = wanted.applied(before)
    assert wanted.applied(after) == after


@given(NODE, PRESENT)
def test_foreign_taints_are_the_same_objects_in_the_same_order(before: list[taints.Taint], wanted: taints.Wish) -> None:
    named = {(one["key"], one["effect"]) for one in wanted.taints}
    foreign = [
        one for one in before if (one["key"], one["effect"]) not in named and not (wanted.exclusive and wanted.owns(one["key"]))
    ]
    after = wanted.applied(before)
    assert [id(one) for one in after if any(one is other for other in foreign)] == [id(one) for one in foreign]
    # Nothing else is there than what is foreign and what was wished.
    assert {(one["key"], one["effect"]) for one in after} == named | {(one["key"], one["effect"]) for one in foreign}


@given(NODE, PRESENT)
def test_present_has_every_wanted_taint_with_its_value_once(before: list[taints.Taint], wanted: taints.Wish) -> None:
    after = [(one["key"], one["effect"], one.get("value", "")) for one in wanted.applied(before)]
    for one in wanted.taints:
        assert after.count((one["key"], one["effect"], one.get("value", ""))) == 1


@given(NODE, PRESENT)
def test_exclusive_removes_only_what_is_owned(before: list[taints.Taint], wanted: taints.Wish) -> None:
    kept = {(one["key"], one["effect"]) for one in wanted.applied(before)}
    for one in before:
        if (one["key"], one["effect"]) in kept:
            continue
        assert wanted.exclusive
        key = one["key"]
        assert key in wanted.owned_keys or (
            any(key.startswith(prefix) for prefix in wanted.owned_prefixes) and "kubernetes.io/" not in key
        )


@given(NODE, ABSENT)
def test_absent_only_removes(before: list[taints.Taint], wanted: taints.Wish) -> None:
    after = wanted.applied(before)
    removed = [one for one in before if not any(one is other for other in after)]
    assert [id(one) for one in after] == [id(one) for one in before if any(one is other for other in after)]
    for one in removed:
        assert any(one["key"] == selector["key"] for selector in wanted.taints)
    for selector in wanted.taints:
        assert not any(all((one.get(name) or "") == value for name, value in selector.items()) for one in after)


def pod(*tolerations: dict[str, t.Any], **metadata: t.Any) -> dict[str, t.Any]:
    return {"metadata": metadata, "spec": {"tolerations": list(tolerations)}}


FOR_60 = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
NEW = [taint("a=5:NoExecute")]


@pytest.mark.parametrize(
    ("tolerations", "before", "after", "seconds"),
    [
        ([], [], NEW, 0),
        ([], [], [taint("a:NoSchedule")], None),
        ([], NEW, NEW, None),  # not this change evicts it
        ([], NEW, [], None),
        ([FOR_60], [], NEW, 60),
        ([{**FOR_60, "tolerationSeconds": -5}], [], NEW, 0),
        ([{**FOR_60, "tolerationSeconds": 0}], [], NEW, 0),
        ([FOR_60], NEW, [*NEW, taint("b:NoExecute")], 0),  # in 60 s before, at once now
        ([{"operator": "Exists"}], [], [*NEW, taint("b:NoExecute")], None),
        ([{"key": "a", "value": "5"}], [], NEW, None),
        ([{"key": "a", "operator": "Equal", "value": "5", "effect": "NoExecute"}], [], NEW, None),
        ([{"key": "a", "value": "6"}], [], NEW, 0),
        ([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}], [], NEW, 0),
        ([{"key": "a", "operator": "Lt", "value": "6"}], [], NEW, None),
        ([{"key": "a", "operator": "Lt", "value": "5"}], [], NEW, 0),
        ([{"key": "a", "operator": "Gt", "value": "4"}], [], NEW, None),
        ([{"key": "a", "operator": "Gt", "value": "04"}], [], NEW, 0),
        # The first toleration that matches counts, not the most generous one.
        ([FOR_60, {"operator": "Exists"}], [], NEW, 60),
        ([{"operator": "Exists"}, FOR_60], [], NEW, None),
        ([FOR_60, {**FOR_60, "key": "b", "tolerationSeconds": 30}], [], [*NEW, taint("b:NoExecute")], 30),
    ],
)
def test_eviction(tolerations: list[t.Any], before: list[t.Any], after: list[t.Any], seconds: int | None) -> None:
    assert taints.eviction(pod(*tolerations), before, after) == seconds
    assert taints.eviction(pod(*tolerations, deletionTimestamp="2026-01-02T03:04:05Z"), before, after) is None


@given(NODE, NODE, st.lists(st.sampled_from([FOR_60, {"operator": "Exists"}, {"key": "b", "value": "1"}]), max_size=3))
def test_only_nodes_that_expose_evict(before: list[t.Any], after: list[t.Any], tolerations: list[t.Any]) -> None:
    assume(not taints.exposes(before, after))
    assert taints.eviction(pod(*tolerations), before, after) is None


def test_text_is_kubectls() -> None:
    assert taints.as_text([NOT_READY, PLANE, taint("a=1:NoSchedule")]) == (
        "node.kubernetes.io/not-ready:NoExecute\nnode-role.kubernetes.io/control-plane:NoSchedule\na=1:NoSchedule\n"
    )


@pytest.mark.parametrize(
    ("name", "good"), [("gpu-1", True), ("ip-10-0-0-1.ec2.internal", True), ("", False), ("../x", False), ("A", False)]
)
def test_node_names(name: str, good: bool) -> None:
    assert (taints.node_name_problem(name) is None) is good
