# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: a HyperPod site on real Kubernetes nodes in a sandbox on this machine, and how to leave it again.

python3 tools/demo.py up       makes it, or brings an existing one to the same state
python3 tools/demo.py train    trains ResNet-50 on it, over both workers; trains anew each time
python3 tools/demo.py untrain  removes that training and the operator that it needs
python3 tools/demo.py down     removes the site, keeps the caches
python3 tools/demo.py clean    removes every site of the test bed and the caches

GPUFLEET_DEMO_SITE: the name of the site (demo), for a second one beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import env as environments

ROOT = environments.ROOT
BED = ROOT / "tests" / "testbed" / "bed"
SITE = os.environ.get("GPUFLEET_DEMO_SITE", "demo")
FOLDER = environments.CACHE / "sites" / SITE
TRAINING = ROOT / "tests" / "testbed" / "training" / "demo.yml"
NODES = 3
KUBECTL = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"]


class Phases:
    """What takes how long: announced when it starts, summed up at the end."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.taken: list[tuple[str, float]] = []

    def run(self, title: str, command: list[str], variables: dict[str, str]) -> None:
        started = time.monotonic()
        print(f"\n==> [{started - self.begun:4.0f} s] {title}", flush=True)
        status = subprocess.run(command, env=variables, cwd=ROOT, check=False).returncode
        if status:
            sys.exit(
                f"\n{title}: failed (exit {status}), see above. "
                "`make demo` again goes on where this stopped; `make demo-down` removes it."
            )
        self.taken.append((title, time.monotonic() - started))

    def table(self) -> str:
        rows = [*self.taken, ("in all", time.monotonic() - self.begun)]
        return "\n".join(f"  {seconds:6.0f} s  {title}" for title, seconds in rows)


def up() -> None:
    phases = Phases()
    phases.run("Python environment", ["python3", "tools/env.py", "dev"], dict(os.environ))
    variables = environments.variables("dev")
    phases.run("programs, images and the node image (from the cache where they are there)", [str(BED), "prepare"], variables)
    phases.run(f"{NODES} bare nodes and the site's services", [str(BED), "up", SITE, "--nodes", str(NODES)], variables)
    verdict = FOLDER / "verdict.json"
    play = ["ansible-playbook", "--inventory", str(FOLDER / "inventory")]
    phases.run("the site: gpufleet.k8s.hyperpod", [*play, "gpufleet.k8s.hyperpod"], variables)
    report = ["--extra-vars", json.dumps({"verdict_report": str(verdict)})]
    phases.run("the proof: gpufleet.k8s.verify", [*play, "gpufleet.k8s.verify", *report], variables)

    phases.run("the nodes", [str(BED), "ssh", SITE, "0", *KUBECTL, "get", "nodes", "--output", "wide"], variables)
    found = json.loads(verdict.read_text())
    print(f"""
The site is up: ok={json.dumps(found["ok"])}, {len(found["facts"]["nodes"])} nodes; the verdict is in {verdict}
{phases.table()}

  kubectl there:      tests/testbed/bed ssh {SITE} 0 {" ".join(KUBECTL)} get pods --all-namespaces
  a shell on a node:  tests/testbed/bed ssh {SITE} 0   (1 and 2: the workers)
  train on it:        make demo-train
  run it again:       make demo            (changes nothing)
  remove it:          make demo-down       (the caches stay; `make clean` removes these too)""")


def training(title: str, *plays: tuple[str, dict[str, object]], prepare: bool) -> None:
    """Runs playbooks with what tests/testbed/training/demo.yml says. `prepare`: they need programs and images."""
    if not (FOLDER / "inventory").is_dir():
        sys.exit(f"there is no site {SITE}: `make demo` makes it")
    phases = Phases()
    variables = environments.variables("dev")
    if prepare:
        phases.run(
            "the programs and images of jobs (from the cache where they are there)",
            [str(BED), "prepare", "--with", "jobs"],
            variables,
        )
    for play, more in plays:
        play_command = ["ansible-playbook", "--inventory", str(FOLDER / "inventory"), f"gpufleet.k8s.{play}"]
        wishes = ["--extra-vars", f"@{TRAINING}", "--extra-vars", json.dumps(more)]
        phases.run(f"{title}: gpufleet.k8s.{play}", [*play_command, *wishes], variables)
    print(phases.table())


def train() -> None:
    logs: dict[str, object] = {"training_job_logs_dir": str(FOLDER / "logs")}
    training("training", ("jobs", {}), ("train_resnet50", logs), prepare=True)


def untrain() -> None:
    absent: dict[str, object] = {"training_job_state": "absent", "mpi_operator_state": "absent"}
    training("no training", ("train_resnet50", absent), ("jobs", absent), prepare=False)


def down() -> None:
    subprocess.run([str(BED), "down", SITE], check=True)


def clean() -> None:
    subprocess.run([str(BED), "down", "--all"], check=True)
    if shutil.which("podman"):  # a machine without it has no node image
        listed = subprocess.run(
            ["podman", "images", "--quiet", "localhost/gpufleet-node"], check=True, capture_output=True, text=True
        )
        if listed.stdout.split():
            subprocess.run(["podman", "rmi", "--force", *listed.stdout.split()], check=True)
    if environments.CACHE.is_dir():
        # What the Go tool caches is read-only, which rmtree does not remove.
        subprocess.run(["chmod", "-R", "u+w", str(environments.CACHE)], check=True)
        shutil.rmtree(environments.CACHE)
    print(f"removed {environments.CACHE} and the node image")
    print("What stays: packages of apt-get; Go's and pip's own caches, which other work on this machine uses as well")
    print("(`go clean -cache -modcache` and `pip cache purge` empty them)")


if __name__ == "__main__":
    try:
        {"up": up, "train": train, "untrain": untrain, "down": down, "clean": clean}[sys.argv[1]]()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: the same command again goes on where this stopped; `make demo-down` removes the site")
