# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The ten lines that every module's main() would otherwise repeat.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._numbers import number_problems
from ._plan import GpufleetError, PlanError

#: What a module does with its validated parameters: `(params, check_mode) -> result`. Raises GpufleetError.
#: The same function serves the action plugin of the same name (plugin_utils/_action.py).
Entry = t.Callable[[t.Mapping[str, t.Any], bool], dict[str, t.Any]]


def run_module(entry: Entry, **spec: t.Any) -> None:
    """Runs `entry` as an Ansible module; `spec` is what AnsibleModule takes (argument_spec, required_if, ...)."""
    module = AnsibleModule(supports_check_mode=True, **spec)
    try:
        result = perform(entry, module.argument_spec, module.params, module.check_mode)
    except GpufleetError as error:
        module.fail_json(msg=error.message, **error.facts)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


def perform(entry: Entry, spec: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Calls `entry` with what `spec` validated, unless a number in it is none that its option can mean. Raises GpufleetError."""
    if problems := number_problems(spec, params):
        raise PlanError("; ".join(problems) + ". Nothing was changed.")
    return entry(params, check_mode)
