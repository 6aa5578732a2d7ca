# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes take a Node, and so need a token for the lock."""

from __future__ import annotations

import typing as t
from pathlib import Path

from role_vars import evaluated


def test_a_token_is_got_only_where_the_node_will_be_taken(tmp_path: Path) -> None:
    def host(*actions: str, **more: t.Any) -> dict[str, t.Any]:
        return {"mig__plan": {"actions": actions}, **more}

    hosts = {
        "differs": host("cordon gpu-1", "drain gpu-1", "checkpoint GPU 0", "uncordon gpu-1"),
        "no-cluster": host("checkpoint GPU 0", "create GPU instance GPU 0 7g.40gb:0"),
        "left-cordoned": host("uncordon gpu-1"),
        "same": host(),
        "unknown": {"mig__plan": {"skipped": True}},
        "unlocked": host("cordon gpu-1", mig_lock={"enabled": False}),
    }
    answers = evaluated(tmp_path, "mig", {"locks": "mig__locks | bool"}, hosts)
    assert [name for name, answer in answers.items() if answer["locks"]] == ["differs"]
