# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's name, labels and provider ID cannot be made of."""

from __future__ import annotations

import base64
import json
import re
import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.taints import key_problem, value_problem

ZONE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def hyperpod_problems(
    content: str, *, path: str, host: str, zone: t.Any = "", zone_id: t.Any = "", label_prefix: t.Any
) -> list[str]:
    """Sentences naming variable, value and remedy. Pure. `content`: the platform's file in base64."""
    problems = []
    if what := _file_problem(content):
        problems.append(f"hyperpod_resource_config is {path} on {host}, and that is {what}: name the file that HyperPod writes")
    if zone and (problem := value_problem(str(zone))):
        problems.append(f"hyperpod_zone is {str(zone)!r}; it {problem}, such as us-west-2a")
    if zone_id and not ZONE_ID.fullmatch(str(zone_id)):
        problems.append(f"hyperpod_zone_id is {str(zone_id)!r}, which is no id of an availability zone such as usw2-az1")
    if problem := key_problem(f"{label_prefix or ''}/instance-group"):
        problems.append(
            f"hyperpod_label_prefix is {str(label_prefix or '')!r}; the label {label_prefix or ''}/instance-group {problem}"
        )
    return problems


def _file_problem(content: str) -> str:
    try:
        document = json.loads(base64.b64decode(content))
    except ValueError as error:  # also of what is not UTF-8
        return f"not JSON ({error})"
    return "" if isinstance(document, dict) else "JSON, but not an object"
