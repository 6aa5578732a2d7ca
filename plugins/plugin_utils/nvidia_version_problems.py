# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of NVIDIA's software are too old for MIG in Kubernetes."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError


def nvidia_version_problems(
    found: t.Mapping[str, t.Any],
    minimums: t.Mapping[str, t.Any],
    gpus: t.Iterable[str] = (),
    gpu_minimums: t.Mapping[str, t.Any] | None = None,
) -> list[str]:
    """Sentences. Pure. Raises AnsibleFilterError for what is no version."""
    for what, minimums_given in (("minimums", minimums), ("gpu_minimums", gpu_minimums or {})):
        if not isinstance(minimums_given, t.Mapping):
            raise AnsibleFilterError(f"{what} is a {type(minimums_given).__name__}, not a dictionary of versions")
    problems = [
        f"{name} {version} is older than {minimums[name]}"
        for name, version in found.items()
        if version and name in minimums and _version(version) < _version(minimums[name])
    ]
    driver = found.get("driver")
    for gpu in dict.fromkeys(gpus if driver else ()):
        needed = next((least for name, least in (gpu_minimums or {}).items() if _fits(name, gpu)), None)
        if needed and _version(driver) < _version(needed):
            problems.append(f"driver {driver} is older than {needed}, which {gpu} needs to be cut")
    return problems


def _version(text: t.Any) -> list[int]:
    match = re.fullmatch(r"v?(\d+(?:\.\d+)*)(?:[-+~].*)?", str(text))
    if not match:
        raise AnsibleFilterError(f"{text!r} is not a version such as 580.65.06")
    return [int(part) for part in match[1].split(".")]


def _fits(pattern: t.Any, gpu: str) -> bool:
    try:
        return bool(re.search(str(pattern), gpu))
    except re.error as error:
        raise AnsibleFilterError(f"{str(pattern)!r} is no regular expression for names of GPUs: {error}") from None
