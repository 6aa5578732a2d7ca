# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hyperpod_token would refuse about the life of its tokens, before there is a cluster to ask for one."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.duration import parse_duration
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.planner import check_lives
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError

DOCUMENTATION = r"""
name: token_life_problem
short_description: Says what cannot be about the life of join tokens
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Tells beforehand what M(gpufleet.k8s.hyperpod_token) would refuse about its O(gpufleet.k8s.hyperpod_token#module:ttl) and
    O(gpufleet.k8s.hyperpod_token#module:renew_before).
positional: _input, renew_before
options:
  _input:
    description: How long a new token lives.
    type: str
    required: true
  renew_before:
    description: A token with less life than this is replaced.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot be
  ansible.builtin.assert:
    that: hyperpod_token_ttl | gpufleet.k8s.token_life_problem(hyperpod_token_renew_before) == ''
"""

RETURN = r"""
_value:
  description: One sentence, empty if nothing is wrong.
  type: str
"""


def token_life_problem(ttl: str, renew_before: str) -> str:
    """One sentence that names the option and its value, or "". Durations as in Go: `48h`, `1h30m`."""
    try:
        check_lives(parse_duration("ttl", str(ttl)), parse_duration("renew_before", str(renew_before)))
    except PlanError as error:
        return error.message
    return ""


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"token_life_problem": token_life_problem}
