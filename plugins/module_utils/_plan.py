# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The contract every module of this collection keeps: observe, plan, apply, verify.

PRIVATE: this module util is for this collection only and may change without notice.

A module is a subclass of `Resource`. `run()` drives it:

    observed = resource.observe()      # reads the real state, decides nothing
    plan = resource.plan(observed)     # pure: the same input gives the same plan, bad input raises GpufleetError
    resource.apply(step)               # for each step; returns how to undo it, or None
    resource.verify(plan)              # observes again; by default: a new plan must have nothing left to do

Check mode stops after the plan, so `changed`, the diff and the list of actions are the same objects in both modes.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

HIDDEN = "(secret, not shown)"

Observed = t.TypeVar("Observed")
Undo = t.Callable[[], None]


class GpufleetError(Exception):
    """Anything this collection refuses or fails at, as one sentence that names the culprit and what to do.

    `facts` go into the module result beside `msg`; they must be JSON-serialisable and hold no secret.
    """

    def __init__(self, message: str, **facts: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class PlanError(GpufleetError):
    """The wish cannot be fulfilled. Raised before anything was touched."""


class ApplyError(GpufleetError):
    """A step failed. `facts` tell which steps were done and undone."""


class VerifyError(GpufleetError):
    """The steps ran, but the world is not what was asked."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as wished. `before`/`after` are JSON-serialisable or text; None means absent."""

    subject: str
    before: t.Any
    after: t.Any
    secret: bool = False

    def as_ansible_diff(self) -> dict[str, str]:
        """The shape `ansible --diff` prints: before, after and their headers."""
        before, after = _as_text(self.before), _as_text(self.after)
        if self.secret:
            before, after = (HIDDEN if before else ""), (HIDDEN + " (new)" if after else "")
        return {
            "before_header": self.subject,
            "after_header": self.subject,
            "before": before,
            "after": after,
        }


@dataclass(frozen=True)
class Step:
    """One thing to do, as data: `action` is a verb for people and for the dispatch in `Resource.apply`."""

    action: str
    subject: str
    args: t.Mapping[str, t.Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


@dataclass(frozen=True)
class Plan:
    """What differs and what will be done about it. A plan changes something exactly when it has steps."""

    differences: tuple[Difference, ...] = ()
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    def result(self) -> dict[str, t.Any]:
        """The part of a module's result that is known once the plan is made."""
        result: dict[str, t.Any] = {
            "changed": self.changed,
            "actions": [str(step) for step in self.steps],
            "diff": [difference.as_ansible_diff() for difference in self.differences],
        }
        if self.warnings:
            result["warnings"] = list(self.warnings)
        result.update(self.facts)
        return result


class Resource(t.Generic[Observed]):
    """What a module manages. Subclasses give the four words their meaning."""

    def observe(self) -> Observed:
        raise NotImplementedError

    def plan(self, observed: Observed) -> Plan:
        raise NotImplementedError

    def apply(self, step: Step) -> Undo | None:
        """Executes one step. Returns a function that undoes it, or None where there is nothing to undo."""
        raise NotImplementedError

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        """Observes again and raises VerifyError if the plan's promise does not hold. Returns facts for the result.

        The default asks the planner itself: after an apply it must find nothing left to do.
        """
        left = self.plan(self.observe())
        if left.changed:
            raise VerifyError(
                "after all steps these differences are still there: "
                + ", ".join(difference.subject for difference in left.differences)
                + "; something else changes the same thing, or the change did not take effect",
                remaining_actions=[str(step) for step in left.steps],
            )
        return left.facts


def run(resource: Resource[t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Observe, plan, and unless in check mode apply and verify; returns the module's result.

    When a step or the verification fails, the steps already done are undone in reverse order, and the error's
    facts say which (`done`, `undone`, `undo_failed`). Raises GpufleetError.
    """
    plan = resource.plan(resource.observe())
    result = plan.result()
    if check_mode or not plan.changed:
        return result

    done: list[tuple[Step, Undo | None]] = []
    step: Step | None = None
    try:
        for step in plan.steps:
            done.append((step, resource.apply(step)))
        step = None
        result.update(resource.verify(plan))
    except GpufleetError as error:
        facts = _undo(done)
        where = f"could not {step}: " if step is not None else ""
        kind = type(error) if isinstance(error, (ApplyError, VerifyError)) else ApplyError
        raise kind(f"{where}{error.message}{_undo_sentence(facts)}", **{**error.facts, **facts}) from error
    except BaseException:
        # A defect or a signal: put things back, let the original through.
        _undo(done)
        raise
    return result


def _undo(done: list[tuple[Step, Undo | None]]) -> dict[str, list[str]]:
    undone: list[str] = []
    failed: list[str] = []
    for step, undo in reversed(done):
        if undo is None:
            continue
        try:
            undo()
            undone.append(str(step))
        except Exception as error:  # noqa: BLE001 the remaining steps still deserve their undo; the error is reported
            failed.append(f"{step}: {error}")
    return {"done": [str(step) for step, _undo_step in done], "undone": undone, "undo_failed": failed}


def _undo_sentence(facts: t.Mapping[str, list[str]]) -> str:
    if facts["undo_failed"]:
        return f" (rolling back failed too: {'; '.join(facts['undo_failed'])})"
    if facts["undone"]:
        return f" (rolled back: {', '.join(facts['undone'])})"
    return ""


def _as_text(value: t.Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value if value.endswith("\n") or not value else value + "\n"
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
