# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a site takes from bare nodes to Ready: gpufleet.k8s.hyperpod against a script that does the same by hand.

Same nodes, same mirror, same registry, same sums checked, in the same run. Each playbook run is followed by a second one, which
must change nothing; its tasks are listed. Ends with `site ratio R (goal at most 1.5)`; the exit status is 1 when
that goal or the one for the second run (20 s) is missed.
GPUFLEET_BENCH_ROUNDS (default 2): each is measured so often, in turn; the least time counts.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sites
from sites import Host

SITE = "bench"
GOAL, AGAIN_GOAL = 1.5, 20.0  # to the script; seconds


def bare_nodes() -> tuple[Host, list[Host]]:
    return sites.up(SITE, "--nodes", "3")


def settings(host: Host) -> dict[str, str]:
    """What by_hand.sh needs: the pins of the roles and the sandbox's own kubelet and proxy settings."""
    pins: dict[str, str] = {}
    for role in ("containerd", "kubeadm", "flannel"):
        pins.update(yaml.safe_load((sites.ROOT / "roles" / role / "defaults" / "main.yml").read_text()))
    return {
        "MIRROR": host["gpufleet_mirror"],
        "REGISTRY": host["gpufleet_registry_mirrors"]["registry.k8s.io"][0],
        "NODE_IP": host["ansible_host"],
        "CONTAINERD": pins["containerd_version"],
        "RUNC": pins["containerd_runc_version"],
        "CNI": pins["containerd_cni_plugins_version"],
        "CRICTL": pins["containerd_crictl_version"],
        "KUBERNETES": pins["kubeadm_version"].lstrip("v"),
        "FLANNEL": pins["flannel_version"].lstrip("v"),
        "INSTANCE_TYPE": "p5.48xlarge",
        "SERVICE_SUBNET": "10.96.0.0/16",
        "KUBELET_SANDBOX": yaml.safe_dump(host.get("kubeadm_kubelet_configuration", {})),
        "PROXY_SANDBOX": yaml.safe_dump(host.get("kubeadm_kube_proxy_configuration", {})),
    }


def on(host: Host, *arguments: str) -> str:
    """Runs by_hand.sh on a node and returns what it prints."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings(host).items())
    script = exports + (Path(__file__).parent / "by_hand.sh").read_text()
    return sites.on(host, shlex.join(["bash", "-s", "--", *arguments]), script)


def by_hand() -> float:
    head, workers = bare_nodes()
    nodes = [head, *workers]
    started = time.monotonic()
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda host: on(host, "common"), nodes))
        words = on(head, "init").split()
        after = dict(zip(words, words[1:]))
        endpoint, token, pin = after["join"], after["--token"], after["--discovery-token-ca-cert-hash"]
        list(pool.map(lambda host: on(host, "join", endpoint, token, pin), workers))
        on(head, "ready", str(len(nodes)))
    return time.monotonic() - started


def playbook() -> tuple[float, str]:
    """One run of the playbook: seconds, and what it printed."""
    started = time.monotonic()
    output = sites.play(SITE, "gpufleet.k8s.hyperpod")
    return time.monotonic() - started, output


def tasks(output: str) -> dict[str, tuple[int, int]]:
    """Task -> on how many hosts it ran, on how many it was skipped. Includes with their items count as one each."""
    found: dict[str, tuple[int, int]] = {}
    for block in output.split("\nTASK [")[1:]:
        name, _bracket, rest = block.partition("]")
        hosts = {
            kind: set(re.findall(rf"^{kind}: \[([^]]+?)(?: -> [^]]+)?\]", rest, re.MULTILINE)) for kind in ("ok", "skipping")
        }
        ran, skipped = found.get(name, (0, 0))
        found[name] = (ran + len(hosts["ok"]), skipped + len(hosts["skipping"] - hosts["ok"]))
    return found


def executed(output: str) -> dict[str, int]:
    """Host -> how many tasks were executed on it, as PLAY RECAP counts them (a loop is one, what was skipped none)."""
    return {host: int(count) for host, count in re.findall(r"^(\S+) +: ok=(\d+) ", output, re.MULTILINE)}


def main() -> int:
    subprocess.run([sites.BED, "prepare"], check=True)
    rounds = int(os.environ.get("GPUFLEET_BENCH_ROUNDS", "2"))
    taken: dict[str, list[float]] = {"script by hand": [], "gpufleet.k8s.hyperpod": [], "the playbook again": []}
    output = ""
    for number in range(rounds):
        print(f"round {number + 1} of {rounds} ...", flush=True)
        taken["script by hand"].append(by_hand())
        bare_nodes()
        taken["gpufleet.k8s.hyperpod"].append(playbook()[0])
        seconds, output = playbook()
        taken["the playbook again"].append(seconds)
        if re.search(r"changed=[1-9]", output):
            sys.exit(f"the second run changed something:\n{output[-2000:]}")
    sites.down(SITE)
    print(f"\n{'tasks of the second run':<72} {'ran':>4} {'skipped':>8}   (hosts)")
    counted = tasks(output)
    for name, (ran, skipped) in counted.items():
        print(f"{name:<72} {ran:4} {skipped:8}")
    ran, skipped = (sum(column) for column in zip(*counted.values()))
    print(f"{'in all':<72} {ran:4} {skipped:8}")
    print("tasks executed (PLAY RECAP):", ", ".join(f"{host} {count}" for host, count in executed(output).items()))
    ratio = sites.table("from bare nodes to three Ready nodes", taken)
    again = min(taken["the playbook again"])
    status = sites.judged({"the playbook / the script": (ratio, GOAL), "the playbook again, seconds": (again, AGAIN_GOAL)})
    print(f"\nsite ratio {ratio:.2f} (goal at most {GOAL})")
    return status


if __name__ == "__main__":
    sys.exit(main())
