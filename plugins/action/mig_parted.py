# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module mig_parted: finds and parses its configuration here, so that the node needs no YAML library.

Everything that can be said without the GPUs is said before the node is touched, with the line at fault.
"""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._mig import parse


class ActionModule(ActionBase):
    """See plugins/modules/mig_parted.py."""

    _supports_check_mode = True
    _supports_async = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        text, name = self._document(arguments, task_vars)
        try:
            if text is not None:
                data, lines = parse(text, name)
                config.load(data, config.Source(name, lines), arguments.get("selected"))
                arguments.update(config=data, config_name=name, config_lines=lines)
        except GpufleetError as error:
            return {"failed": True, "changed": False, "msg": error.message, **error.facts}
        return self._execute_module(
            module_name="gpufleet.k8s.mig_parted",
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=self._task.async_val,
        )

    def _document(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> tuple[str | None, str]:
        """The YAML text to parse and what to call it; no text where there is none. Takes `src` out of the arguments."""
        if "src" in arguments and not {"config", "layout"} & set(arguments):
            src = str(arguments.pop("src"))
            if boolean(arguments.pop("remote_src", False), strict=False):
                return self._slurp(src, task_vars), src
            try:
                return Path(self._find_needle("files", src)).read_text(encoding="utf-8"), src
            except (AnsibleError, OSError, UnicodeDecodeError) as error:
                raise AnsibleActionFail(f"src: {src} cannot be read on the controller: {error}") from error
        if isinstance(arguments.get("config"), str):
            return str(arguments["config"]), "config"
        return None, ""

    def _slurp(self, src: str, task_vars: dict[str, t.Any] | None) -> str:
        result = self._execute_module(module_name="ansible.builtin.slurp", module_args={"src": src}, task_vars=task_vars)
        if result.get("failed"):
            raise AnsibleActionFail(f"src: {src} cannot be read on the node: {result.get('msg')}")
        return base64.b64decode(result["content"]).decode("utf-8", errors="replace")
