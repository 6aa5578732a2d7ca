# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[4] / "integration"))


@pytest.fixture(scope="session")
def aws_server() -> t.Iterator[t.Any]:
    from aws_api import AwsApi  # noqa: PLC0415 the path is set above

    with AwsApi() as api:
        yield api


@pytest.fixture
def aws(aws_server: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """An empty AWS that the environment points to, as for a user."""
    aws_server.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws_server.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return aws_server
