# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of NVIDIA's software are too old for MIG in Kubernetes."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: nvidia_version_problems
short_description: Says which NVIDIA software is too old
version_added: 0.1.0
author:
  - The gpufleet.k8s authors
description:
  - Compares versions with the oldest that work, the driver's also with what each GPU needs.
positional: _input
options:
  _input:
    description: Versions by name, for example C(driver) or C(toolkit). An empty one is not compared.
    type: dict
    required: true
  minimums:
    description: The oldest versions that work, by the same names.
    type: dict
    required: true
  gpus:
    description: Names of GPUs.
    type: list
    elements: str
    default: []
  gpu_minimums:
    description: Regular expressions for names of GPUs, each with the oldest C(driver) that cuts them. The first that fits counts.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say what is too old
  ansible.builtin.debug:
    msg: >-
      {{ {'driver': '470.256.02', 'toolkit': '1.20.0'} | gpufleet.k8s.nvidia_version_problems(
           {'driver': '450.80.02', 'toolkit': '1.3.3'}, ['NVIDIA H100 80GB HBM3'], {'H100': '525.85.12'}) }}
"""

RETURN = r"""
_value:
  description: One sentence for each that is too old.
  type: list
  elements: str
"""


def nvidia_version_problems(
    found: t.Mapping[str, t.Any],
    minimums: t.Mapping[str, t.Any],
    gpus: t.Iterable[str] = (),
    gpu_minimums: t.Mapping[str, t.Any] | None = None,
) -> list[str]:
    """Sentences. Pure. Raises AnsibleFilterError for what is no version."""
    problems = [
        f"{name} {version} is older than {minimums[name]}"
        for name, version in found.items()
        if version and name in minimums and _version(version) < _version(minimums[name])
    ]
    driver = found.get("driver")
    for gpu in dict.fromkeys(gpus if driver else ()):
        needed = next((least for name, least in (gpu_minimums or {}).items() if re.search(name, gpu)), None)
        if needed and _version(driver) < _version(needed):
            problems.append(f"driver {driver} is older than {needed}, which {gpu} needs to be cut")
    return problems


def _version(text: t.Any) -> list[int]:
    match = re.fullmatch(r"v?(\d+(?:\.\d+)*)(?:[-+~].*)?", str(text))
    if not match:
        raise AnsibleFilterError(f"{text!r} is not a version such as 580.65.06")
    return [int(part) for part in match[1].split(".")]


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nvidia_version_problems": nvidia_version_problems}
