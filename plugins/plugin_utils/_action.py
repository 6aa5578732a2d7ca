# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins of API-only modules: the module's own code, in the controller's process.

PRIVATE: this plugin util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t

from ansible.constants import LOCALHOST
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import Entry, perform
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

display = Display()


class ApiAction(ActionBase):
    """Runs `ENTRY` in-process when the task's host is the controller, else sends the module to the host as usual.

    An API in a private subnet is often reachable only from the control plane, so the plugin never runs on the
    controller what was meant for a host. Subclasses set MODULE, ENTRY and SPEC.
    """

    MODULE: t.ClassVar[str]
    ENTRY: t.ClassVar[t.Callable[..., dict[str, t.Any]]]
    SPEC: t.ClassVar[dict[str, t.Any]]

    _supports_check_mode = True
    _supports_async = True

    def _become(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether the task is to run as somebody else.

        Where the controller is no host of the inventory, `ansible_become` of the group `all`, which it is in all the same, was
        meant for the others: only the keyword counts.
        """
        host = self._task.delegate_to or task_vars.get("inventory_hostname")
        implicit = host in LOCALHOST and host not in task_vars.get("groups", {}).get("all", [])
        return bool(self._play_context.become and (self._task.become or not implicit))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        environment = any(self._task.environment or ())
        if self._connection.transport != "local" or self._task.async_val or environment or self._become(task_vars or {}):
            return self._execute_module(
                module_name=self.MODULE, module_args=self._task.args, task_vars=task_vars, wrap_async=self._task.async_val
            )
        spec = dict(self.SPEC)
        options = spec.pop("argument_spec")
        try:
            validated = ArgumentSpecValidator(options, **spec).validate(self._task.args)
        except TypeError as error:  # it takes keys for text
            said = next(_no_text(self._task.args, ""), f"the options of {self.MODULE} cannot be checked: {error}")
            return {"failed": True, "changed": False, "msg": said}
        if validated.error_messages:
            # Not raised, which `failed_when` cannot catch and `no_log` hides
            complaints = [
                f"Unsupported parameters for {self.MODULE}: {error.msg}" if isinstance(error, UnsupportedError) else error.msg
                for error in validated.errors
            ]
            return {"failed": True, "changed": False, "msg": "; ".join(complaints)}
        entry: Entry = type(self).ENTRY
        try:
            result = perform(entry, options, validated.validated_parameters, self._task.check_mode)
        except GpufleetError as error:
            return {"failed": True, "changed": False, "msg": error.message, **error.facts}
        for warning in result.pop("warnings", []):
            display.warning(warning)
        return result


def _no_text(value: t.Any, where: str) -> t.Iterator[str]:
    """A sentence for each key of a dictionary that is no text."""
    if isinstance(value, t.Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where or 'the options'} has the key {key!r}, which is no text: put it in quotes"
            yield from _no_text(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _no_text(item, f"{where}[{number}]")
