# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubelet_config costs where there is nothing to wait for: `make bench WHAT=kubelet`.

The planner alone, for small and large machines; then the whole module without change on a real node, from the start of Python
to its end, in the very form in which Ansible sends it. Ends with `kubelet ratio R (goal at most 1)`: the worst share of a goal;
the exit status is 1 when one is missed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/benchmarks"), str(ROOT / "tests/unit/plugins/module_utils/_kubelet")]
import sites
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import planner
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.topology import Machine
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from kubelet_cases import GIB, ORIGINAL, STATIC, kubelet

SITE = "bench-kubelet"
PLANS, RUNS = 200, 7
PLAN_GOAL, MODULE_GOAL = 0.005, 1.0  # seconds

#: Two sockets of 128 CPUs, eight NUMA nodes, 2 TiB.
LARGE = Machine(
    cpus=frozenset(range(256)),
    numa={node: frozenset(range(32 * node, 32 * node + 32)) for node in range(8)},
    cores={cpu: (cpu // 128, cpu) for cpu in range(256)},
    memory=2048 * GIB,
    numa_memory=dict.fromkeys(range(8), 256 * GIB),
)
DROP_INS = {f"{number}-site.conf": {"kubeReserved": {"cpu": f"{number}m"}, "maxPods": number} for number in range(10, 30)}
CASES: dict[str, tuple[planner.Kubelet, planner.Wish]] = {
    "pin CPUs": (kubelet(), planner.Wish(STATIC)),
    "nothing to do": (kubelet({"50-gpufleet.conf": STATIC}), planner.Wish(STATIC)),
    "absent": (kubelet({"50-gpufleet.conf": STATIC}), planner.Wish(None)),
    "refused (the original's gates)": (kubelet(), planner.Wish(ORIGINAL)),
    "256 CPUs, 8 NUMA nodes, 20 drop-ins": (kubelet(DROP_INS, machine=LARGE), planner.Wish(STATIC)),
}


def planned(observed: planner.Kubelet, wish: planner.Wish) -> list[float]:
    """Seconds of each of PLANS plans."""
    seconds = []
    for _plan in range(PLANS):
        begin = time.perf_counter()
        with contextlib.suppress(PlanError):  # saying no is a plan's work too
            planner.plan(observed, wish)
        seconds.append(time.perf_counter() - begin)
    return seconds


def ansible(*arguments: str, **environment: str) -> None:
    command = [*arguments, "-i", str(sites.inventory(SITE))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def module() -> list[float]:
    """Seconds of each of RUNS runs without change on the control plane of a site of its own."""
    host, _workers = sites.up(SITE, "--nodes", "1", "--plain")
    try:
        ansible("ansible-playbook", str(ROOT / "extensions/molecule/kubeadm/converge.yml"))
        ansible("ansible", "all", "--module-name=ansible.builtin.apt", "--args=name=python3-yaml update_cache=true")
        # What is absent, and configz stays unread: an administrator's token is not lying about here.
        wish = json.dumps({"state": "absent", "name": "nothing"})
        keep = {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_PIPELINING": "0"}
        ansible("ansible", "all", "--module-name=gpufleet.k8s.kubelet_config", f"--args={wish}", **keep)
        script = (
            "import glob, json, subprocess, sys, time\n"
            "path = glob.glob('/root/.ansible/tmp/*/AnsiballZ_kubelet_config.py')[0]\n"
            "seconds = []\n"
            f"for _run in range({RUNS}):\n"
            "    begin = time.perf_counter()\n"
            "    done = subprocess.run([sys.executable, path], check=True, stdout=subprocess.PIPE)\n"
            "    seconds.append(time.perf_counter() - begin)\n"
            "    assert json.loads(done.stdout)['changed'] is False\n"
            "print(json.dumps(seconds))\n"
        )
        return t.cast("list[float]", json.loads(sites.on(host, f"python3 -c {shlex.quote(script)}")))
    finally:
        sites.down(SITE)


def main() -> int:
    goals: dict[str, tuple[float, float]] = {}
    print(f"{'':<40} {'least':>8} {'median':>8} {'most':>8} {'goal':>8}   (milliseconds)")

    def line(name: str, seconds: list[float], goal: float) -> None:
        goals[name] = (statistics.median(seconds) / goal, 1)
        numbers = (min(seconds), statistics.median(seconds), max(seconds), goal)
        print(f"{name:<40} " + " ".join(f"{number * 1000:8.2f}" for number in numbers), flush=True)

    for name, (observed, wish) in CASES.items():
        line(f"plan: {name}", planned(observed, wish), PLAN_GOAL)
    line("module on a node, start to end", module(), MODULE_GOAL)
    status = sites.judged(goals)
    print(f"\nkubelet ratio {max(share for share, _most in goals.values()):.2f} (goal at most 1)")
    return status


if __name__ == "__main__":
    sys.exit(main())
