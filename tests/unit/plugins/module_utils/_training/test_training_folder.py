# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder with the kustomization: written when it differs, and never more removed than was written."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan, PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training import args, folder, render, resource


def wanted(name: str = "train", **given: t.Any) -> dict[str, str]:
    options = {"name": name, "image": "i", "command": ["c"], **given}
    wish = render.wished(ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options).validated_parameters)
    return render.kustomization(wish, render.objects(wish))


def done(plan: Plan) -> list[t.Callable[[], None] | None]:
    return [folder.apply(step.args["folder"], step.args["files"]) for step in plan.steps]


def written(path: Path, **given: t.Any) -> Plan:
    return folder.plan_present(folder.look(str(path)), wanted(**given))


def removed(path: Path, name: str = "train") -> Plan:
    return folder.plan_absent(folder.look(str(path)), name)


def test_the_ladder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert not removed(path).changed
    done(written(path))
    assert {file.name: file.read_text() for file in path.iterdir()} == wanted()
    assert not written(path).changed
    changed = written(path, environment={"STEPS": 5})
    assert [str(step) for step in changed.steps] == [f"write kustomization {path}"]
    assert [each.subject.rpartition("/")[2] for each in changed.differences] == ["mlops.env", "job.yaml"]
    done(changed)
    assert not written(path, environment={"STEPS": 5}).changed
    done(removed(path))
    assert not path.exists()
    assert path.parent.exists()
    assert not removed(path).changed


def test_what_else_is_in_the_folder_stays(tmp_path: Path) -> None:
    done(written(tmp_path))
    (tmp_path / "notes").write_text("mine")
    done(removed(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]
    assert not removed(tmp_path).changed


def test_somebody_elses_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mlops.env").write_text("STEPS=1\n")
    with pytest.raises(PlanError, match=r"has a mlops.env that this module did not write.*Nothing was changed"):
        written(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [job.yaml]\n")
    with pytest.raises(PlanError, match=r"has a kustomization.yaml, mlops.env that"):
        written(tmp_path)
    plan = removed(tmp_path)
    assert (plan.changed, plan.warnings) == (
        False,
        (f"kustomize_dir {tmp_path} was not written for the training train: its files were left as they are",),
    )
    with pytest.raises(PlanError, match="Not a directory"):
        folder.look(str(tmp_path / "mlops.env"))


def test_another_trainings_folder_is_overwritten_but_not_removed(tmp_path: Path) -> None:
    done(written(tmp_path, name="other"))
    assert not removed(tmp_path).changed
    done(written(tmp_path))
    assert removed(tmp_path).changed


def test_killed_half_way(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.mkdir()
    (path / ".kustomization.yaml.new").write_text("half")
    done(written(path))
    (path / "job.yaml").unlink()  # of a removal
    (path / ".mlops.env.new").write_text("half")
    done(removed(path))
    assert not path.exists()


def test_undone_when_the_job_cannot_be_created(tmp_path: Path) -> None:
    path = tmp_path / "k"
    for undo in done(written(path)):
        assert undo
        undo()
    assert not path.exists()
    done(written(path))
    for plan in (written(path, environment={"STEPS": 5}), removed(path)):
        for undo in done(plan):
            assert undo
            undo()
        assert not written(path).changed


def test_written_before_the_job_begins_and_removed_after_it(tmp_path: Path) -> None:
    def planned(state: str, *jobs: dict[str, t.Any], **given: t.Any) -> list[str]:
        options = {"name": "train", "image": "i", "command": ["c"], "kustomize_dir": str(tmp_path / "k"), "state": state, **given}
        training = resource.Training(
            ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(options).validated_parameters, True
        )
        seen = resource.Observed(jobs, missing="no kubectl", folder=folder.look(str(tmp_path / "k")))
        return [step.action for step in training.plan(seen).steps]

    assert planned("present") == ["write", "create"]
    assert planned("present", create=False) == ["create"]
    done(written(tmp_path / "k"))
    assert planned("present") == ["create"]
    wish = render.wished(
        ArgumentSpecValidator(args.SPEC["argument_spec"])
        .validate({"name": "train", "image": "i", "command": ["c"]})
        .validated_parameters
    )
    assert planned("absent", render.objects(wish)[-1]) == ["remove", "remove"]
