# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a run of ansible-playbook in the middle of a task, as kill -9 does: python3 kill_at.py TASK SECONDS COMMAND..."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def run_until(command: list[str], task: str, delay: float) -> tuple[bool, str]:
    """Kills the run and all its processes here, some seconds after the task has begun. (Whether it got there, what it said.)"""
    said, killed = [], False
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    with process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("TASK [") and task in line:
                time.sleep(delay)  # the moment within the task is the point
                os.killpg(process.pid, signal.SIGKILL)
                killed = True
                break
    return killed, "".join(said)


def main() -> int:
    task, delay, *command = sys.argv[1:]
    killed, said = run_until(command, task, float(delay))
    sys.stdout.write(said)
    return 0 if killed else 1


if __name__ == "__main__":
    sys.exit(main())
