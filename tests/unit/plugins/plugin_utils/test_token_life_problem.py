# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.token_life_problem import token_life_problem


@pytest.mark.parametrize(
    ("ttl", "renew_before", "says"),
    [
        ("48h", "24h", ""),
        ("1h30m", "90s", ""),
        ("3 bananas", "24h", "ttl: '3 bananas' is not a duration"),
        ("48h", "", "renew_before: '' is not a duration"),
        ("24h", "24h", "renew_before (24h) must be more than 0 and less than ttl (24h)"),
        ("24h", "0", "renew_before (0s) must be more than 0"),
    ],
)
def test_what_the_module_would_refuse(ttl: str, renew_before: str, says: str) -> None:
    found = token_life_problem(ttl, renew_before)
    assert (says in found) if says else found == ""
