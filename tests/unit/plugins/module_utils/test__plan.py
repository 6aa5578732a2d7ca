# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract itself, on a toy world: a dict of name -> value that a resource makes equal to the wish."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import (
    HIDDEN,
    ApplyError,
    Difference,
    GpufleetError,
    Plan,
    PlanError,
    Resource,
    Step,
    VerifyError,
    run,
)
from hypothesis import given
from hypothesis import strategies as st

World = dict[str, int]


class Toy(Resource[World]):
    """Sets each wished key. Can be told to fail at a step, to undo badly, or to have its work reverted by someone."""

    def __init__(self, world: World, wished: World, **faults: str) -> None:
        self.world, self.wished, self.faults = world, wished, faults

    def observe(self) -> World:
        return dict(self.world)

    def plan(self, observed: World) -> Plan:
        if any(value < 0 for value in self.wished.values()):
            raise PlanError("wished: values must not be negative")
        differing = {key: value for key, value in self.wished.items() if observed.get(key) != value}
        return Plan(
            differences=tuple(Difference(key, observed.get(key), value) for key, value in differing.items()),
            steps=tuple(Step("set", key, {"value": value}) for key, value in differing.items()),
            facts={"size": len(observed)},
        )

    def apply(self, step: Step) -> t.Callable[[], None]:
        if self.faults.get("fail_at") == step.subject:
            raise GpufleetError("the disk is full", disk="/dev/sda")
        if self.faults.get("crash_at") == step.subject:
            raise RuntimeError("a defect")
        before = self.world.get(step.subject)
        if self.faults.get("reverted") != step.subject:
            self.world[step.subject] = step.args["value"]

        def undo() -> None:
            if self.faults.get("undo_fails") == step.subject:
                raise OSError("read-only file system")
            if before is None:
                self.world.pop(step.subject, None)
            else:
                self.world[step.subject] = before

        return undo


worlds = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9))


@given(worlds, worlds)
def test_check_predicts_apply_and_the_second_run_does_nothing(world: World, wished: World) -> None:
    untouched = dict(world)
    predicted = run(Toy(world, wished), check_mode=True)
    assert world == untouched
    applied = run(Toy(world, wished), check_mode=False)
    assert {key: predicted[key] for key in ("changed", "diff", "actions")} == {
        key: applied[key] for key in ("changed", "diff", "actions")
    }
    assert world == {**untouched, **wished}
    assert run(Toy(world, wished), check_mode=True)["changed"] is False
    assert run(Toy(world, wished), check_mode=False)["changed"] is False


@given(worlds, st.dictionaries(st.sampled_from("abcdef"), st.integers(10, 19), min_size=1), st.data())
def test_a_failing_step_leaves_the_world_as_it_was(world: World, wished: World, data: st.DataObject) -> None:
    untouched, victim = dict(world), data.draw(st.sampled_from(sorted(wished)))
    with pytest.raises(ApplyError) as caught:
        run(Toy(world, wished, fail_at=victim), check_mode=False)
    assert world == untouched
    assert f"could not set {victim}: the disk is full" in caught.value.message
    assert caught.value.facts["disk"] == "/dev/sda"
    assert caught.value.facts["undone"] == list(reversed(caught.value.facts["done"]))


def test_facts_after_an_apply_are_those_of_the_new_world() -> None:
    assert run(Toy({"a": 1}, {"b": 2}), check_mode=True)["size"] == 1
    assert run(Toy({"a": 1}, {"b": 2}), check_mode=False)["size"] == 2


def test_bad_input_is_refused_before_anything_is_touched() -> None:
    world = {"a": 1}
    with pytest.raises(PlanError, match="must not be negative"):
        run(Toy(world, {"a": 2, "b": -1}), check_mode=False)
    assert world == {"a": 1}


def test_work_that_does_not_last_is_no_success() -> None:
    world = {"a": 1}
    with pytest.raises(VerifyError, match="still there: b") as caught:
        run(Toy(world, {"a": 2, "b": 3}, reverted="b"), check_mode=False)
    assert caught.value.facts["remaining_actions"] == ["set b"]
    assert world == {"a": 1}


def test_a_failing_undo_is_reported_and_the_others_still_run() -> None:
    world = {"a": 1}
    with pytest.raises(ApplyError, match="rolling back failed too: set b: read-only file system") as caught:
        run(Toy(world, {"a": 2, "b": 3, "c": 4}, fail_at="c", undo_fails="b"), check_mode=False)
    assert world == {"a": 1, "b": 3}
    assert caught.value.facts["undone"] == ["set a"]


def test_a_defect_is_not_disguised_but_the_world_is_put_back() -> None:
    world = {"a": 1}
    with pytest.raises(RuntimeError, match="a defect"):
        run(Toy(world, {"a": 2, "b": 3}, crash_at="b"), check_mode=False)
    assert world == {"a": 1}


@pytest.mark.parametrize(
    ("difference", "before", "after"),
    [
        (Difference("f", None, "x"), "", "x\n"),
        (Difference("f", "x\n", None), "x\n", ""),
        (Difference("f", {"b": 1, "a": 2}, 3), '{\n  "a": 2,\n  "b": 1\n}\n', "3\n"),
        (Difference("f", None, "hunter2", secret=True), "", f"{HIDDEN} (new)"),
        (Difference("f", "hunter1", "hunter2", secret=True), HIDDEN, f"{HIDDEN} (new)"),
        (Difference("f", "hunter1", None, secret=True), HIDDEN, ""),
    ],
)
def test_what_diff_shows(difference: Difference, before: str, after: str) -> None:
    assert difference.as_ansible_diff() == {"before_header": "f", "after_header": "f", "before": before, "after": after}


def test_warnings_are_only_there_when_there_are_any() -> None:
    assert "warnings" not in Plan().result()
    assert Plan(warnings=("mind the gap",)).result()["warnings"] == ["mind the gap"]
