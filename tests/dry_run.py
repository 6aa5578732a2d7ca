# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook on the ansible-core of this environment: python3 tests/dry_run.py NAME (of the site that it makes and removes).

Scenarios run on one ansible-core only. Here all playbooks are read by this one, and those that need no cluster are run in check
mode on one bare host, which has every expression on the way evaluated: what is a string to one release is an error to another.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BED = ROOT / "tests" / "testbed" / "bed"
#: Tasks of hyperpod.yml that a dry run on a bare host must name as changes.
TOLD = (
    "All files at once",
    "Write the configuration and the units",
    "Describe the kubelet to systemd",
    "Begin the cluster",
    "Say that the secret follows the cluster",
)


def run(*command: str | Path) -> tuple[int, str]:
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print("$", *command, f"(exit {done.returncode})", flush=True)
    return done.returncode, done.stdout


def expect(right: bool, what: str, said: str) -> None:
    if not right:
        sys.exit(f"{said[-6000:]}\n{what}")


def syntax() -> None:
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        site = "a100_mig" if path.stem == "a100_mig" else "hyperpod"
        status, said = run("ansible-playbook", "--syntax-check", "--inventory", f"inventory/{site}", f"gpufleet.k8s.{path.stem}")
        expect(status == 0, f"{path.name} is not read", said)


def told(said: str) -> set[str]:
    """Names of the tasks that say that they change something."""
    parts = re.split(r"^TASK \[(?:gpufleet\.k8s\.\w+ : )?(.*)\] \*+$", said, flags=re.MULTILINE)
    return {name for name, results in zip(parts[1::2], parts[2::2]) if re.search(r"^changed: ", results, re.MULTILINE)}


def dry_runs(inventory: str) -> None:
    playbook: t.Final = ("ansible-playbook", "--check", "--diff", "--inventory", inventory)
    status, said = run(*playbook, "gpufleet.k8s.hyperpod")
    expect(status == 0, "a dry run on a bare host fails", said)
    missing = [name for name in TOLD if not any(task.startswith(name) for task in told(said))]
    expect(not missing, f"a dry run on a bare host does not tell of: {missing}", said)

    status, said = run(*playbook, "gpufleet.k8s.verify")
    expect(status == 2 and "check(s) failed: " in said, "there is no verdict about a bare host", said)

    status, said = run(*playbook, "gpufleet.k8s.reset")
    expect(status == 0, "a dry run of the reset of a bare host fails", said)


def main(site: str) -> None:
    syntax()
    try:
        status, said = run(BED, "up", site, "--nodes", "1")
        expect(status == 0, "there is no host", said)
        dry_runs(run(BED, "inventory", site)[1].strip())
    finally:
        run(BED, "down", site)


if __name__ == "__main__":
    main(sys.argv[1])
