# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories that hyperpod.yml cannot serve are refused before a host is asked anything."""

from __future__ import annotations

import typing as t

import pytest


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"kube_node": ["worker"]}, "The inventory group kube_control_plane has no host"),
        ({"kube_control_plane": ["a", "b"]}, "The inventory group kube_control_plane has 2 hosts (a, b)"),
    ],
)
def test_refused(play: t.Any, groups: dict[str, list[str]], says: str) -> None:
    said = play("gpufleet.k8s.hyperpod", groups=groups)
    assert said.status == 2
    assert says in said.text
    assert "unreachable=1" not in said.text
