# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that there are not are refused; they were passed over in silence."""

from __future__ import annotations

import json
import typing as t

import pytest


@pytest.mark.parametrize("operators", [["mpi-operator"], "mpi_operator", ["argo_workflows", "kubeflow"], 5])
def test_refused(play: t.Any, operators: object) -> None:
    said = play("gpufleet.k8s.jobs", "--tags=remove", jobs_operators=operators)
    assert said.status == 2
    assert "and must be a list of mpi_operator, argo_workflows or both" in said.text
    assert "unreachable=1" not in said.text


@pytest.mark.parametrize("operators", [[], ["mpi_operator"], ["argo_workflows", "mpi_operator"]])
def test_taken(play: t.Any, operators: list[str]) -> None:
    said = play("gpufleet.k8s.jobs", "--extra-vars", json.dumps({"jobs_operators": operators}))
    assert "must be a list of" not in said.text
