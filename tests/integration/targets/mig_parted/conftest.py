# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with stand-in GPUs for these tests."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fakegpu import Host, build


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def make(tmp_path: Path, programs: Path) -> t.Callable[..., Host]:
    def host(*boards: str, name: str = "host") -> Host:
        return Host.make(tmp_path / name, boards, programs)

    return host
