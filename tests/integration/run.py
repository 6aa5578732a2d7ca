# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one target of tests/integration/targets: the real modules, through ansible, on this machine.

Targets have the layout of ansible-test. One with an executable `runme.sh` runs that; any other is a role that a play on
localhost runs. A line `needs/kube_api` in its `aliases` starts an API server of its own (KUBECONFIG, K8S_AUTH_KUBECONFIG).
Each target gets an empty folder as `output_dir` and OUTPUT_DIR.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "testbed")]
from bedlib import local


def prepare(target: Path, folder: Path, aliases: list[str], stack: contextlib.ExitStack) -> dict[str, str]:
    variables = {**local.environment(), "OUTPUT_DIR": str(folder), "ANSIBLE_ROLES_PATH": str(HERE / "targets")}
    # The interpreter of this very environment also plays the node.
    variables["ANSIBLE_PYTHON_INTERPRETER"] = sys.executable
    variables["ANSIBLE_LOCALHOST_WARNING"] = variables["ANSIBLE_INVENTORY_UNPARSED_WARNING"] = "False"
    if "needs/kube_api" in aliases:
        from kube_api import KubeApi  # noqa: PLC0415 only such targets need its binaries

        api = stack.enter_context(KubeApi())
        variables["KUBECONFIG"] = variables["K8S_AUTH_KUBECONFIG"] = str(api.kubeconfig)
    return variables


def command_for(target: Path, folder: Path) -> tuple[list[t.Any], Path]:
    if (target / "runme.sh").exists():
        return [target / "runme.sh"], target
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [target.name]}]
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps(play))
    return ["ansible-playbook", "-i", "localhost,", "-e", json.dumps({"output_dir": str(folder)}), playbook], folder


def main(name: str) -> int:
    target = HERE / "targets" / name
    if not target.is_dir():
        sys.exit(f"no such target: {name}; there are: {', '.join(sorted(path.name for path in (HERE / 'targets').iterdir()))}")
    aliases = (target / "aliases").read_text().split() if (target / "aliases").exists() else []
    with tempfile.TemporaryDirectory(prefix=f"gpufleet-{name}-") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        variables = prepare(target, folder, aliases, stack)
        command, where = command_for(target, folder)
        return subprocess.run(command, cwd=where, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
