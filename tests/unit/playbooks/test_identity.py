# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role hyperpod refuses before other roles take their defaults from it."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "hyperpod_resource_config is {path}: "),
        ("{{", "hyperpod_resource_config is {path} on head, and that is not JSON"),
        ("{}", "hyperpod_zone_id is 'usw2 az1', which is no id"),
    ],
)
def test_refused(play: t.Any, tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "resource_config.json"
    if content is not None:
        path.write_text(content)
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": "identity"}}
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        hyperpod_resource_config=str(path),
        hyperpod_zone_id="usw2 az1",
    )
    assert said.status == 2
    assert says.format(path=path) in said.text, said.text
    assert "Nothing was changed." in said.text
