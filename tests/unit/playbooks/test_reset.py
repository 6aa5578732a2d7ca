# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No host is touched without a confirmation, whichever hosts --limit leaves."""

from __future__ import annotations

import typing as t

import pytest


@pytest.mark.parametrize("limit", [(), ("--limit=worker",), ("--limit=head",)])
def test_nobody_confirmed(play: t.Any, limit: tuple[str, ...]) -> None:
    said = play("gpufleet.k8s.reset", *limit)
    assert said.status == 2
    assert "Nothing was reset: hyperpod_reset_confirmed is not set and the question was not answered with yes" in said.text
    assert "Workers leave the cluster" not in said.text


def test_a_variable_that_says_no(play: t.Any) -> None:
    said = play("gpufleet.k8s.reset", hyperpod_reset_confirmed=False)
    assert "Nothing was reset: hyperpod_reset_confirmed is False" in said.text


@pytest.mark.parametrize(("dry", "variables"), [(("--check",), {}), ((), {"hyperpod_reset_confirmed": "yes"})])
def test_who_need_not_be_asked(play: t.Any, dry: tuple[str, ...], variables: dict[str, t.Any]) -> None:
    said = play("gpufleet.k8s.reset", *dry, "--limit=worker", **variables)
    assert said.status == 4  # it went on, to hosts that do not answer
    assert "Nothing was reset" not in said.text
