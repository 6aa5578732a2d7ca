# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role training_job makes of its variables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from role_vars import ROLES, evaluated


def test_the_environment_file_is_named_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the folder of the logs is; not from the playbook's, which lies in the collection."""
    here, elsewhere = tmp_path / "here", tmp_path / "playbook"
    for folder in (here, elsewhere):
        folder.mkdir()
        (folder / "mlops.env").write_text(f"WHERE={folder.name}\n")
    monkeypatch.chdir(here)
    (task,) = yaml.safe_load((ROLES / "training_job/tasks/train.yml").read_text())
    asked = {"content": task["gpufleet.k8s.training_job"]["environment_file"].strip("{} ")}
    hosts = {
        "relative": {"training_job_env_file": "mlops.env"},
        "absolute": {"training_job_env_file": str(elsewhere / "mlops.env")},
        "none": {},
    }
    found = evaluated(elsewhere, "training_job", asked, hosts)
    assert {name: values["content"] for name, values in found.items()} == {
        "relative": "WHERE=here",
        "absolute": "WHERE=playbook",
        "none": "",
    }
