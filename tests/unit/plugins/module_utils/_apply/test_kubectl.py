# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubectl writes, as text; the rest is in the integration targets."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.kubectl import Kubectl


def test_a_log_may_hold_anything(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nprintf 'loss 1 \\377 \\303\\251\\n'\n")
    program.chmod(0o755)
    assert Kubectl(str(program), str(program)).run("logs", "x") == "loss 1 \ufffd é\n"
