# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop around the module: slices, progress, logs. The module itself is in the scenario training."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.gpufleet.k8s.plugins.action import training_job as action
from ansible_collections.gpufleet.k8s.plugins.doc_fragments.training import ModuleDocFragment
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.modules import training_job as module

Result = dict[str, t.Any]


def look(phase: str, line: str = "", **more: t.Any) -> Result:
    pod = {"name": "t-launcher", "role": "launcher", "node": "n", "phase": "Running", "trouble": ""}
    return {"changed": False, "actions": [], "phase": phase, "pods": [pod], "last_line": line, "finished": False, **more}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[Result, list[Result], list[str]]]:
    def run(looks: list[Result], **arguments: t.Any) -> tuple[Result, list[Result], list[str]]:
        asked: list[Result] = []
        shown: list[str] = []
        monkeypatch.setattr(action.ActionBase, "run", lambda *_: {})
        monkeypatch.setattr(action.display, "display", shown.append)
        plugin = object.__new__(action.ActionModule)
        plugin._task = SimpleNamespace(args=arguments, check_mode=False)

        def execute(module_name: str, module_args: Result, task_vars: t.Any) -> Result:
            asked.append(dict(module_args))
            return looks[len(asked) - 1]

        monkeypatch.setattr(plugin, "_execute_module", execute)
        return plugin.run(), asked, shown

    return run


def test_looks_until_it_ends(run: t.Any, tmp_path: Path) -> None:
    looks = [
        look("pending", changed=True, actions=["create MPIJob default/t"]),
        look("running", "step 1", logs={"t-launcher": "step 1\n", "t-workers": "w\n"}),
        look("running", "step 1", logs={"t-launcher": "step 1\n"}),
        look("succeeded", "step 2", finished=True, logs={"t-launcher": "step 1\nstep 2\n"}),
    ]
    result, asked, shown = run(looks, name="t", rerun=True, wait=60, logs_dir=str(tmp_path / "logs"))
    assert (result["changed"], result["actions"]) == (True, ["create MPIJob default/t"])
    assert [arguments["rerun"] for arguments in asked] == [True, False, False, False]
    assert [arguments.get("create", True) for arguments in asked] == [True, False, False, False]  # deleted meanwhile: stays so
    assert [line.split("] ")[1] for line in shown] == [
        "pending | t-launcher Running",
        "running | t-launcher Running | step 1",
        "succeeded | t-launcher Running | step 2",
    ]
    assert result["log_files"] == [str(tmp_path / "logs" / f"t-{name}.log") for name in ("launcher", "workers")]
    assert (tmp_path / "logs" / "t-launcher.log").read_text() == "step 1\nstep 2\n"
    assert "logs" not in result


def test_a_failure_ends_it(run: t.Any) -> None:
    result, asked, _shown = run([look("running"), {"failed": True, "msg": "no", "logs": {}}], name="t", wait=60)
    assert (result["failed"], result["msg"], len(asked)) == (True, "no", 2)


def test_a_look_that_fails_in_passing_does_not_end_it(run: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(action.time, "sleep", slept.append)
    lost = {"failed": True, "msg": "the API server does not answer", "passing": True}
    begun = {**lost, "changed": True, "actions": ["create MPIJob default/t"], "diff": []}
    looks = [begun, look("running"), dict(lost), dict(lost), look("succeeded", finished=True)]
    result, asked, shown = run(looks, name="t", wait=60, kustomize_dir="/srv/k")
    assert (result["changed"], result["phase"], "failed" in result, "passing" in result) == (True, "succeeded", False, False)
    assert [arguments.get("kustomize_dir") for arguments in asked] == ["/srv/k", None, None, None, None]  # written once
    assert len(slept) == 3
    assert [line.split("] ")[1] for line in shown].count("the API server does not answer; looking again") == 2
    for first, wait in ((lost, 60), (begun, 0)):  # nothing was begun; nothing is waited for
        result, asked, _shown = run([dict(first)], name="t", wait=wait)
        assert (result["failed"], result.get("changed", False), len(asked)) == (True, wait == 0, 1)


def test_without_wait_it_looks_once(run: t.Any) -> None:
    result, asked, _shown = run([look("pending")], name="t")
    assert (result["phase"], len(asked), "failed" in result) == ("pending", 1, False)


def test_what_the_controller_cannot_do_is_said_before_anything_is_created(run: t.Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong, says in (({"wait": "soon"}, "wait is 'soon'"), ({"logs_dir": f"{tmp_path}/file/logs"}, "Not a directory")):
        with pytest.raises(AnsibleActionFail, match=says):
            run([], name="t", **wrong)


def test_the_limit_says_what_was_seen_last(run: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(action, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result, _asked, _shown = run([look("running", "step 1")] * 9, name="t", wait=60)
    assert result["failed"]
    assert result["msg"] == (
        "the training has not ended within wait = 60 s; it goes on; seen last: running | t-launcher Running | step 1"
    )


def test_the_documented_options_are_the_specs() -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    documented.update(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"])
    assert set(documented) == set(SPEC["argument_spec"])
    for name, option in documented.items():
        spec = SPEC["argument_spec"][name]
        for field in ("type", "elements", "default", "choices", "required"):
            assert option.get(field) == spec.get(field), (name, field)
