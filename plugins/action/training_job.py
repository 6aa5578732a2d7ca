# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module training_job on a control plane host, a few seconds at a time: between them it shows how the training stands.

The logs that each look brings are kept on the controller, so that those of pods that are removed at the end are there too.
"""

from __future__ import annotations

import tempfile
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

SLICE_S = 10  # of a module run, after which what is seen is shown
PAUSE_S = 2  # after a look that failed in a way that passes
MODULE = "gpufleet.k8s.training_job"


class ActionModule(ActionBase):
    """See plugins/modules/training_job.py."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        folder, limit = arguments.pop("logs_dir", None), _seconds(arguments.pop("wait", None) or 0)
        if folder and not self._task.check_mode:
            _make(Path(folder))
        begun = time.monotonic()
        first: dict[str, t.Any] = {}
        files: set[str] = set()
        shown = ""
        while True:
            left = limit - (time.monotonic() - begun)
            arguments["wait"] = max(0, min(SLICE_S, int(left)))
            result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            arguments.update(rerun=False, create=False)  # what was made is looked at from here on
            arguments.pop("kustomize_dir", None)
            first = first or {key: result[key] for key in ("changed", "actions", "diff") if key in result and "actions" in result}
            result.update(first)
            if folder:
                files |= _keep(Path(folder), result.pop("logs", None) or {})
                result["log_files"] = sorted(files)
            again = bool(result.pop("passing", False) and first and left > 0)
            now = f"{result['msg']}; looking again" if again else _progress(result)
            if now != shown:
                display.display(f"[{time.monotonic() - begun:5.0f} s] {now}")
                shown = now
            if again:
                time.sleep(PAUSE_S)
                continue
            if result.get("failed") or self._task.check_mode or result.get("finished", True) or not limit:
                return result
            if left <= 0:
                seen = f"it goes on; seen last: {now}"
                return {**result, "failed": True, "msg": f"the training has not ended within wait = {limit} s; {seen}"}


def _seconds(value: t.Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise AnsibleActionFail(f"wait is {value!r}, which is no number of seconds. Nothing was changed") from None


def _make(folder: Path) -> None:
    """Before anything is created in the cluster: a job whose logs cannot be kept is not begun."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AnsibleActionFail(f"logs_dir {folder} on this machine: {error.strerror}. Nothing was changed") from None


def _progress(result: t.Mapping[str, t.Any]) -> str:
    """Phase, pods and the last line of the log."""
    if "phase" not in result:
        return ""
    pods = [" ".join(filter(None, [pod["name"], pod["phase"], pod["trouble"]])) for pod in result["pods"]]
    return " | ".join([result["phase"], ", ".join(pods) or "no pods yet", *filter(None, [result["last_line"]])])


def _keep(folder: Path, logs: t.Mapping[str, str]) -> set[str]:
    """Writes each log whole or not at all; returns the files."""
    files = set()
    for name, text in logs.items():
        path = folder / f"{name}.log"
        temporary = path.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        files.add(str(path))
    return files
