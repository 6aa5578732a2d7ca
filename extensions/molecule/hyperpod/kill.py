# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills site runs in the middle, from bare hosts on: python3 kill.py BED SITE COMMAND...

Each run is killed (-9, with all its processes here) a moment after a task has begun; for some, the kubeadm on the nodes
dies with it. Whatever that leaves, converge.yml must bring the site to its end, and the idempotence check find nothing to do.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from kill_at import run_until

HEAD = "--limit=kube_control_plane,localhost"  # what only it does needs nobody else: a run takes half the time
#: (the task, seconds after its beginning, whether kubeadm on the nodes is killed too, an option of the run)
MOMENTS = (
    ("All files at once", 0.5, False, ""),
    ("Describe the kubelet to systemd", 0.3, False, ""),
    ("Begin the cluster", 1.5, True, HEAD),  # among certificates and kubeconfigs
    ("Begin the cluster", 4.0, True, HEAD),  # static pods are starting
    ("Begin the cluster", 3.0, False, HEAD),  # kubeadm goes on alone; the next run waits for it
    ("Apply it, with the cluster's ranges", 0.7, False, HEAD),
    ("Make sure that workers can join", 0.3, False, HEAD),
    ("Join the cluster", 1.0, True, ""),  # before TLS bootstrap
    ("Join the cluster", 2.5, False, ""),
)


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main() -> int:
    bed, site, *command = sys.argv[1:]
    for task, delay, on_nodes, option in MOMENTS:
        killed, said = run_until([*command, *filter(None, [option])], task, delay)
        if not killed or "FAILED! =>" in said or "fatal:" in said:
            sys.stderr.write(f"{task}: {'killed too late' if killed else 'never reached'}\n{said[-4000:]}")
            return 1
        if on_nodes:
            for number in range(3):
                subprocess.run([bed, "ssh", site, str(number), "pkill", "-KILL", "-x", "kubeadm"], check=False)
        say(f"killed {delay} s after: {task}{' (and kubeadm)' if on_nodes else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
