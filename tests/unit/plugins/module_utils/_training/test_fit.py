# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Would the pods find nodes: tables for the reasons, a brute-force search as judge of the answer."""

from __future__ import annotations

import itertools
import typing as t
from fractions import Fraction

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import fit
from hypothesis import given
from hypothesis import strategies as st


def node(name: str, cpu: str = "2", labels: dict[str, str] | None = None, **more: t.Any) -> dict[str, t.Any]:
    ready = more.pop("ready", "True")
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {key: more.pop(key) for key in ("taints", "unschedulable") if key in more},
        "status": {
            "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110", **more},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def pod(where: str, cpu: str = "1", phase: str = "Running") -> dict[str, t.Any]:
    container = {"resources": {"requests": {"cpu": cpu}}}
    return {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": where, "containers": [container]},
        "status": {"phase": phase},
    }


def want(count: int, apart: bool = False, **requests: str) -> fit.Want:
    amounts = {name: fit.quantity(value) for name, value in requests.items()}
    return fit.Want("worker" if count == 1 else "workers", count, amounts, apart=apart)


def affine(*terms: list[dict[str, t.Any]], fields: list[dict[str, t.Any]] | None = None) -> fit.Want:
    listed = [{"matchExpressions": term, **({"matchFields": fields} if fields else {})} for term in terms]
    return fit.Want("worker", 1, {}, terms=tuple(listed))


GPU = [{"key": "gpu", "operator": "In", "values": ["a100", "h100"]}]
LAUNCHER = fit.Want("launcher", 1, {"cpu": Fraction(1, 10)})
HEAD = node("head", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])


def test_places_workers_apart_and_beside_what_runs() -> None:
    nodes = fit.nodes([HEAD, node("a"), node("b"), pod("a"), pod("b", "2", "Succeeded")])
    assert fit.place(want(2, apart=True, cpu="900m"), LAUNCHER, nodes) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("workers", "objects", "says"),
    [
        (want(2, apart=True, cpu="1"), [HEAD, node("a")], "head: has the taint node-role.kubernetes.io/control-plane:NoSchedule"),
        (want(2, apart=True, cpu="1"), [HEAD, node("a")], "room for 1 now; the job would stay Pending for ever"),
        (want(1, cpu="4"), [node("a")], "a: cpu 2 of 2 free, asked 4"),
        (want(1, cpu="2"), [node("a"), pod("a")], "would stay Pending until other pods end. a: cpu 1 of 2 free, asked 2"),
        (want(1, **{"nvidia.com/gpu": "1"}), [node("a")], "a: nvidia.com/gpu 0 of 0 free, asked 1"),
        (want(1, memory="8Gi", cpu="3"), [node("a")], "memory 4096Mi of 4096Mi free, asked 8192Mi and cpu 2 of 2 free, asked 3"),
        (want(1, cpu="1"), [node("a", unschedulable=True)], "a: is cordoned"),
        (want(1, cpu="1"), [node("a", ready="Unknown")], "a: is not ready"),
        (fit.Want("worker", 1, {}, {"gpu": "a100"}), [node("a")], "a: has not the label gpu=a100"),
        (affine(GPU, [{"key": "zone", "operator": "Exists"}]), [node("a")], "(gpu In a100,h100 or zone Exists)"),
        (affine(), [node("a")], "a: meets no term of the required nodeAffinity (there is none)"),
        (want(1), [], "There are no nodes"),
        (want(99, apart=True), [node(f"n{i}") for i in range(9)], "9 nodes: has room for 1 (one worker a node)"),
    ],
)
def test_says_why_not(workers: fit.Want, objects: list[dict[str, t.Any]], says: str) -> None:
    with pytest.raises(PlanError) as error:
        fit.place(workers, None, fit.nodes(objects))
    assert says in error.value.message


def test_a_gang_counts_its_launcher() -> None:
    nodes = fit.nodes([node("a", "1")])
    assert fit.place(want(1, cpu="1"), None, nodes) == {"a": 1}
    with pytest.raises(PlanError, match="1 worker is asked for and the cluster has room for 0 now"):
        fit.place(want(1, cpu="1"), LAUNCHER, nodes)
    with pytest.raises(PlanError, match="1 launcher is asked for"):
        fit.place(want(1), LAUNCHER, fit.nodes([node("a", "50m")]))


def test_tolerated_taints_do_not_count() -> None:
    gpu = node("a", taints=[{"key": "gpu", "effect": "NoSchedule"}, {"key": "old", "effect": "PreferNoSchedule"}])
    workers = fit.Want("workers", 1, {}, tolerations=({"key": "gpu", "operator": "Exists"},))
    assert fit.place(workers, None, fit.nodes([gpu])) == {"a": 1}


@pytest.mark.parametrize(
    ("key", "operator", "values", "meets"),
    [
        ("gpu", "In", ["a100", "h100"], True),
        ("gpu", "In", ["h100"], False),
        ("gpu", "NotIn", ["h100"], True),
        ("gpu", "NotIn", ["a100"], False),
        ("zone", "NotIn", ["x"], True),  # a node without the label is not in it
        ("zone", "In", ["x"], False),
        ("gpu", "Exists", None, True),
        ("zone", "Exists", None, False),
        ("zone", "DoesNotExist", None, True),
        ("gpu", "DoesNotExist", None, False),
        ("count", "Gt", ["7"], True),
        ("count", "Gt", ["8"], False),
        ("count", "Lt", ["9"], True),
        ("gpu", "Lt", ["9"], False),  # no number
        ("zone", "Gt", ["0"], False),
    ],
)
def test_a_required_node_affinity(key: str, operator: str, values: list[str] | None, meets: bool) -> None:
    (there,) = fit.nodes([node("a", labels={"gpu": "a100", "count": "8"})])
    expression = {"key": key, "operator": operator, **({"values": values} if values else {})}
    assert (there.refusal(affine([expression])) is None) is meets
    assert (there.refusal(affine([expression, *GPU])) is None) is meets  # all of a term
    assert there.refusal(affine([expression], GPU)) is None  # one of the terms


def test_a_node_affinity_by_name() -> None:
    def named(name: str) -> list[dict[str, t.Any]]:
        return [{"key": "metadata.name", "operator": "In", "values": [name]}]

    (there,) = fit.nodes([node("a")])
    assert there.refusal(affine([], fields=named("a"))) is None
    assert "metadata.name In b" in str(there.refusal(affine([], fields=named("b"))))
    assert "an empty one" in str(there.refusal(affine([])))  # holds for no node


@pytest.mark.parametrize(
    ("hard", "used", "says"),
    [
        ({"requests.cpu": "4", "pods": "3", "limits.memory": "2Gi", "services": "0"}, {}, None),
        ({"requests.cpu": "4"}, {"requests.cpu": "1500m"}, "leaves requests.cpu 2500m of 4, and the job's pods ask 3 in all"),
        ({"cpu": "4"}, {"cpu": "1500m"}, "leaves cpu 2500m of 4"),
        ({"cpu": "2"}, {"cpu": "3"}, "leaves cpu 0 of 2, and the job's pods ask 3 in all; the job would stay Pending for ever"),
        ({"pods": "3"}, {"pods": "1"}, "leaves pods 2 of 3, and the job's pods ask 3 in all; the job would stay Pending until"),
        ({"limits.memory": "1Gi"}, {}, "leaves limits.memory 1024Mi of 1024Mi, and the job's pods ask 2048Mi"),
        ({"requests.nvidia.com/gpu": "8"}, {}, "leaves requests.nvidia.com/gpu 8 of 8, and the job's pods ask 16"),
    ],
)
def test_quotas_count_all_pods(hard: dict[str, str], used: dict[str, str], says: str | None) -> None:
    asked = {"cpu": Fraction(1), "nvidia.com/gpu": Fraction(8)}
    wants = [fit.Want("workers", 2, asked, limits={"memory": Fraction(1 << 30)}), fit.Want("launcher", 1, {"cpu": fit.ONE})]
    quota = {"metadata": {"name": "team"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    found = fit.over_quota(wants, [quota])
    assert (found is None) if says is None else (found is not None and says in found), found
    assert fit.over_quota(wants, [{**quota, "spec": {"hard": hard, "scopes": ["BestEffort"]}}]) is None


def test_pods_that_go_give_back_what_they_took() -> None:
    quota = {"metadata": {"name": "team"}, "spec": {}, "status": {"hard": {"cpu": "2"}, "used": {"cpu": "2"}}}
    assert fit.over_quota([want(1, cpu="2")], [quota], [pod("a", "2")]) is None
    assert fit.over_quota([want(1, cpu="2")], [quota], [pod("a", "2", "Succeeded")])


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, "2"),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}, {}]}, "1"),
        (
            {
                "initContainers": [{"resources": {"requests": {"cpu": "3"}}}],
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
            },
            "3",
        ),
        (
            {
                "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}],
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
                "overhead": {"cpu": "250m"},
            },
            "2250m",
        ),
        ({"resources": {"requests": {"cpu": "4"}}, "containers": [{"resources": {"requests": {"cpu": "1"}}}]}, "4"),
    ],
)
def test_counts_a_pod_as_the_scheduler_does(spec: dict[str, t.Any], cpu: str) -> None:
    assert fit.requests(spec)["cpu"] == fit.quantity(cpu)


@given(
    free=st.lists(st.integers(0, 4), max_size=4),
    count=st.integers(1, 5),
    each=st.integers(1, 3),
    launcher=st.integers(0, 3),
    apart=st.booleans(),
)
def test_finds_room_exactly_when_there_is_some(free: list[int], count: int, each: int, launcher: int, apart: bool) -> None:
    nodes = fit.nodes([node(f"n{number}", str(cpus)) for number, cpus in enumerate(free)])
    workers = want(count, apart, cpu=str(each))

    def room(homes: t.Sequence[int], home: int | None) -> bool:
        used = [homes.count(number) * each + (launcher if number == home else 0) for number in range(len(free))]
        return all(u <= f for u, f in zip(used, free)) and not (apart and len(set(homes)) < len(homes))

    possible = any(
        room(homes, home)
        for homes in itertools.combinations_with_replacement(range(len(free)), count)
        for home in (range(len(free)) if launcher else [None])
    )
    head = fit.Want("launcher", 1, {"cpu": Fraction(launcher)}) if launcher else None
    try:
        placed = fit.place(workers, head, nodes)
    except PlanError:
        assert not possible
    else:
        assert possible
        assert sum(placed.values()) == count
