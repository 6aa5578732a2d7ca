# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long from the start of gpufleet.k8s.train_resnet50 to the first training step, against `kubectl apply` of the same MPIJob.

Same site, same image (on the nodes already), same pods, in turn in the same run; the time of the step is the launcher's log's.
kubectl runs on the control plane over ssh, as the playbook's does. Ends with `training ratio R (goal at most 1.2)`,
and with exit status 1 when that is missed.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sites
from sites import Host, on

SITE = "bench-training"
WISHES = sites.ROOT / "tests" / "testbed" / "training" / "demo.yml"
KUBECTL = "/usr/local/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
KUSTOMIZE = "/srv/kustomize"
MORE = {
    "training_job_env": {"STEPS": 1, "BATCH_SIZE": 16, "OMPI_MCA_mpi_yield_when_idle": 1},
    "training_job_rerun": False,
    "training_job_kustomize_dir": KUSTOMIZE,
    "mpi_operator_verify": False,
}
GOAL = 1.2


def play(name: str, **more: t.Any) -> None:
    sites.play(SITE, f"-e@{WISHES}", f"-e{json.dumps({**MORE, **more})}", f"gpufleet.k8s.{name}")


def first_step(host: Host) -> float:
    """When the launcher's log said that the first step was done."""
    log = on(host, f"{KUBECTL} logs --timestamps --selector=training.kubeflow.org/job-role=launcher --tail=-1")
    line = next(line for line in log.splitlines() if " step 1/" in line)
    text = line.split()[0]
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def by_playbook(host: Host) -> float:
    started = time.time()
    play("train_resnet50", training_job_wait=300)
    seconds = first_step(host) - started
    play("train_resnet50", training_job_state="absent", training_job_kustomize_dir="")
    return seconds


def by_kubectl(host: Host) -> float:
    """The folder that the role wrote, which makes the same objects."""
    started = time.time()
    on(host, f"{KUBECTL} apply --kustomize={KUSTOMIZE}")
    on(host, f"{KUBECTL} wait mpijob/resnet50 --for=condition=Succeeded --timeout=300s")
    seconds = first_step(host) - started
    on(host, f"{KUBECTL} delete --kustomize={KUSTOMIZE} --cascade=foreground")
    return seconds


def main() -> int:
    subprocess.run([sites.BED, "prepare", "--with", "jobs"], check=True)
    taken: dict[str, list[float]] = {"kubectl apply": [], "gpufleet.k8s.train_resnet50": []}
    try:
        print("a site with the MPI operator ...", flush=True)
        host, _workers = sites.up(SITE, "--nodes", "3")
        play("hyperpod")
        play("jobs")
        by_playbook(host)  # pulls the image, and writes the folder for kubectl
        rounds = int(os.environ.get("GPUFLEET_BENCH_ROUNDS", "3"))
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", flush=True)
            taken["kubectl apply"].append(by_kubectl(host))
            taken["gpufleet.k8s.train_resnet50"].append(by_playbook(host))
    finally:
        sites.down(SITE)
    ratio = sites.table("from the start to the first step", taken)
    status = sites.judged({"the playbook / kubectl": (ratio, GOAL)})
    print(f"\ntraining ratio {ratio:.2f} (goal at most {GOAL})")
    return status


if __name__ == "__main__":
    sys.exit(main())
