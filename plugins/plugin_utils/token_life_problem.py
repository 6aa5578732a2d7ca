# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hyperpod_token would refuse about the life of its tokens, before there is a cluster to ask for one."""

from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.duration import parse_duration
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.planner import check_lives
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError


def token_life_problem(ttl: str, renew_before: str) -> str:
    """One sentence that names the option and its value, or "". Durations as in Go: `48h`, `1h30m`."""
    try:
        check_lives(parse_duration("ttl", str(ttl)), parse_duration("renew_before", str(renew_before)))
    except PlanError as error:
        return error.message
    return ""
