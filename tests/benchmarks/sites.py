# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What benchmarks on a site share: its nodes, commands on them, and the table of a contest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "testbed"))
from bedlib import compiled

BED = ROOT / "tests" / "testbed" / "bed"
Host = dict[str, t.Any]  # its variables


def inventory(site: str) -> Path:
    return Path(os.environ["GPUFLEET_CACHE"]) / "sites" / site / "inventory"


def down(site: str) -> None:
    subprocess.run([BED, "down", site], check=True, stdout=subprocess.DEVNULL)


def up(site: str, *options: str) -> tuple[Host, list[Host]]:
    """A site of fresh nodes: (its first control plane, its workers)."""
    down(site)
    subprocess.run([BED, "up", site, *options], check=True, stdout=subprocess.DEVNULL)
    listed = subprocess.run(["ansible-inventory", "-i", inventory(site), "--list"], check=True, capture_output=True, text=True)
    groups = json.loads(listed.stdout)
    variables = groups["_meta"]["hostvars"]
    heads, workers = (
        [variables[name] for name in groups[group].get("hosts", ())] for group in ("kube_control_plane", "kube_node")
    )
    for host in (*heads, *workers):  # a real node has no such help
        on(host, f"rm /{compiled.PACKAGES}/{compiled.MODULE}.pth")
    return heads[0], workers


def on(host: Host, command: str, stdin: str | None = None) -> str:
    """What a command prints on a host; ends the benchmark when it fails."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    ssh = ["ssh", "-i", host["ansible_ssh_private_key_file"], *options, f"root@{host['ansible_host']}", command]
    done = subprocess.run(ssh, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} on {host['ansible_host']} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def play(site: str, *arguments: str) -> str:
    """What a playbook prints; ends the benchmark when it fails."""
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory(site), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "1"},
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def judged(goals: t.Mapping[str, tuple[float, float]]) -> int:
    """Prints each value beside the most that it may be; the exit status, 1 when one of them is more."""
    print()
    for what, (value, most) in goals.items():
        print(f"{what:<40} {value:8.2f} <= {most:<6} {'met' if value <= most else 'MISSED'}")
    return int(any(value > most for value, most in goals.values()))


def table(what: str, taken: t.Mapping[str, t.Sequence[float]]) -> float:
    """Prints seconds by contender; returns the ratio of the second's least to the first's."""
    print(f"\n{what:<40} {'least':>8}   all rounds (seconds)")
    for name, seconds in taken.items():
        print(f"{name:<40} {min(seconds):8.1f}   {', '.join(f'{second:.1f}' for second in seconds)}")
    first, second = (min(seconds) for seconds in list(taken.values())[:2])
    return second / first
