# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reset removes the Python environment that the role made, and no other folder that hyperpod_venv names."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

FACT = {"name": "No package is installed here", "ansible.builtin.set_fact": {"os_family": "None", "cacheable": True}}
CLUSTER = {"cluster_arn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/abcdefghijkl"}


def role(part: str, venv: Path, own: str = "/nowhere") -> dict[str, t.Any]:
    return {
        "name": part,
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": part},
        "vars": {"hyperpod_venv": str(venv), "hyperpod__own_venv": own},
    }


def run(play: t.Any, *tasks: dict[str, t.Any]) -> t.Any:
    return play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [FACT, *tasks]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        hyperpod_packages=["pip"],  # which is there
        gpufleet_node=CLUSTER,
    )


def test_what_is_removed(play: t.Any, tmp_path: Path) -> None:
    made, foreign, default = tmp_path / "made", tmp_path / "foreign", tmp_path / "default"
    for folder in (foreign, default):  # the default one is of a version that left no mark
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/pip").write_text("#!/bin/sh\n")
        (folder / "bin/pip").chmod(0o755)
    said = run(play, role("python", made), role("python", foreign))
    assert said.status == 0, said.text
    assert (made / "bin/pip").exists()
    said = run(play, role("unpublish", made), role("unpublish", foreign), role("unpublish", default, str(default)))
    assert said.status == 0, said.text
    assert (made.exists(), default.exists(), [*foreign.iterdir()]) == (False, False, [foreign / "bin"])


def test_what_is_made(play: t.Any, tmp_path: Path) -> None:
    """One that was being made when the run was killed is finished; nothing is put among other things."""
    half, other = tmp_path / "half", tmp_path / "other"
    for folder, file in ((half, ".made-by-gpufleet.k8s"), (half, "pyvenv.cfg"), (other, "python")):
        folder.mkdir(exist_ok=True)
        (folder / file).touch()
    said = run(play, role("python", half), role("python", other))
    assert (half / "bin/pip").exists(), said.text
    assert said.status == 2
    assert f"hyperpod_venv is {other}, where other things are" in said.text
    assert [path.name for path in other.iterdir()] == ["python"]
