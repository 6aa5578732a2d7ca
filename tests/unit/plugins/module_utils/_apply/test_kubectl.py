# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubectl writes, as text; the rest is in the integration targets."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.kubectl import Kubectl
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.resource import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError


def test_a_log_may_hold_anything(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nprintf 'loss 1 \\377 \\303\\251\\n'\n")
    program.chmod(0o755)
    assert Kubectl(str(program), str(program)).run("logs", "x") == "loss 1 \ufffd é\n"


def test_a_kubeconfigs_text_is_no_path() -> None:
    missing = Kubectl("true", "apiVersion: v1, token: hunter2, " * 20).missing()
    assert missing == "kubeconfig is no path that can be looked at (File name too long) on this host"


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("text", ["{kind: Secret, stringData: {a: hunter2}} " * 20, "kind: Secret\n# hunter2", "a\0b"])
@pytest.mark.parametrize("option", ["manifests", "kustomize"])
def test_the_text_of_manifests_is_no_path(option: str, text: str, check_mode: bool) -> None:
    params = {
        "kubectl": "kubectl",
        "kubeconfig": "/k",
        "state": "present",
        "manifests": None,
        "kustomize": None,
        "content": None,
        "wait_for": None,
    }
    params[option] = [text] if option == "manifests" else text
    with pytest.raises(PlanError, match=rf"^{option}(\[0\])? is no path .*goes into `content`$") as caught:
        entry(params, check_mode)
    assert "hunter2" not in caught.value.message
