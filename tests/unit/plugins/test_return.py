# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules say in RETURN about failures that _plan.run() and the API clients describe: all in the same words."""

from __future__ import annotations

import typing as t
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan, Resource, Step, VerifyError, run

MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins/modules").glob("*.py"))
READ_ONLY = {"cpu_pinning_info", "hyperpod_token_info", "mig_info"}
ALONE = {"node_taint"}  # each node's failure is in `failures`: no step of it fails


def returned(module: str) -> dict[str, t.Any]:
    text = import_module(f"ansible_collections.gpufleet.k8s.plugins.modules.{module}").RETURN
    return t.cast("dict[str, t.Any]", yaml.safe_load(text))


class Stubborn(Resource[None]):
    def observe(self) -> None:
        return None

    def plan(self, observed: None) -> Plan:
        return Plan(steps=(Step("set", "it"),))

    def apply(self, step: Step) -> None:
        return None


@pytest.mark.parametrize("module", sorted({*MODULES} - READ_ONLY - ALONE))
def test_steps_that_fail_are_documented(module: str) -> None:
    with pytest.raises(VerifyError) as caught:
        run(Stubborn(), check_mode=False)
    facts = set(caught.value.facts)
    assert facts == {"done", "undone", "undo_failed", "remaining_actions"}
    told, usual = returned(module), returned("artifact")
    assert facts - {"remaining_actions"} <= set(told)
    assert {key: told[key] for key in facts & set(told)} == {key: usual[key] for key in facts & set(told)}


@pytest.mark.parametrize("key", ["aws_error", "nvml_code", "status"])
def test_one_failure_has_one_description(key: str) -> None:
    told = [document[key] for document in map(returned, MODULES) if key in document]
    assert len(told) > 1
    assert all(each == told[0] for each in told)


@pytest.mark.parametrize("module", MODULES)
def test_no_result_is_promised_always(module: str) -> None:
    """A refusal has nothing but `msg` and what is about it."""
    assert not [key for key, value in returned(module).items() if value["returned"] == "always"]
