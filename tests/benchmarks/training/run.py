# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long from the start of gpufleet.k8s.train_resnet50 to the first training step, against `kubectl apply` of the same MPIJob.

Same site, same image (on the nodes already), same pods, in turn in the same run; the time of the step is the launcher's log's.
kubectl runs on the control plane over ssh, as the playbook's does. Ends with `training ratio R (goal at most 1.2)`.
GPUFLEET_BENCH_ROUNDS (default 3): each is measured so often, in turn; the least time counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BED = ROOT / "tests" / "testbed" / "bed"
SITE = "bench-training"
FOLDER = Path(os.environ["GPUFLEET_CACHE"]) / "sites" / SITE
PLAY = ["ansible-playbook", "-i", str(FOLDER / "inventory"), "-e", f"@{ROOT}/tests/testbed/training/demo.yml"]
KUBECTL = "/usr/local/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
KUSTOMIZE = "/srv/kustomize"
WISH = {
    "training_job_env": {"STEPS": 1, "BATCH_SIZE": 16, "OMPI_MCA_mpi_yield_when_idle": 1},
    "training_job_rerun": False,
    "training_job_kustomize_dir": KUSTOMIZE,
    "mpi_operator_verify": False,
}
GOAL = 1.2


def play(name: str, **more: t.Any) -> None:
    command = [*PLAY, "-e", json.dumps({**WISH, **more}), f"gpufleet.k8s.{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}.yml failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def head() -> dict[str, t.Any]:
    command = ["ansible-inventory", "-i", str(FOLDER / "inventory"), "--list"]
    inventory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    variables: dict[str, t.Any] = inventory["_meta"]["hostvars"][inventory["kube_control_plane"]["hosts"][0]]
    return variables


def on(host: dict[str, t.Any], command: str) -> str:
    """Runs a command on the control plane and returns what it prints."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    ssh = ["ssh", "-i", host["ansible_ssh_private_key_file"], *options, f"root@{host['ansible_host']}", command]
    done = subprocess.run(ssh, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def first_step(host: dict[str, t.Any]) -> float:
    """When the launcher's log said that the first step was done."""
    log = on(host, f"{KUBECTL} logs --timestamps --selector=training.kubeflow.org/job-role=launcher --tail=-1")
    line = next(line for line in log.splitlines() if " step 1/" in line)
    text = line.split()[0]
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def by_playbook(host: dict[str, t.Any]) -> float:
    started = time.time()
    play("train_resnet50", training_job_wait=300)
    seconds = first_step(host) - started
    play("train_resnet50", training_job_state="absent", training_job_kustomize_dir="")
    return seconds


def by_kubectl(host: dict[str, t.Any]) -> float:
    """The folder that the role wrote, which makes the same objects."""
    started = time.time()
    on(host, f"{KUBECTL} apply --kustomize={KUSTOMIZE}")
    on(host, f"{KUBECTL} wait mpijob/resnet50 --for=condition=Succeeded --timeout=300s")
    seconds = first_step(host) - started
    on(host, f"{KUBECTL} delete --kustomize={KUSTOMIZE} --cascade=foreground")
    return seconds


def main() -> None:
    subprocess.run([BED, "prepare", "--with", "jobs"], check=True)
    subprocess.run([BED, "down", SITE], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([BED, "up", SITE, "--nodes", "3"], check=True, stdout=subprocess.DEVNULL)
    try:
        print("a site with the MPI operator ...", flush=True)
        play("hyperpod")
        play("jobs")
        host = head()
        taken: dict[str, list[float]] = {"kubectl apply": [], "gpufleet.k8s.train_resnet50": []}
        by_playbook(host)  # pulls the image, and writes the folder for kubectl
        rounds = int(os.environ.get("GPUFLEET_BENCH_ROUNDS", "3"))
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", flush=True)
            taken["kubectl apply"].append(by_kubectl(host))
            taken["gpufleet.k8s.train_resnet50"].append(by_playbook(host))
    finally:
        subprocess.run([BED, "down", SITE], check=True, stdout=subprocess.DEVNULL)
    print(f"\n{'from the start to the first step':<40} {'least':>8}   all rounds (seconds)")
    for name, seconds in taken.items():
        print(f"{name:<40} {min(seconds):8.1f}   {', '.join(f'{second:.1f}' for second in seconds)}")
    ratio = min(taken["gpufleet.k8s.train_resnet50"]) / min(taken["kubectl apply"])
    print(f"\ntraining ratio {ratio:.2f} (goal at most {GOAL})")


if __name__ == "__main__":
    main()
