# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to taint 1,000 nodes: `make bench WHAT=taint`.

A real kube-apiserver and etcd (tests/integration/kube_api.py) hold Node objects as big as real ones, and kwok plays their
kubelets: a hundred leases a second are renewed, and a watcher sees each change. Each contender is one process, started from
nothing and timed to its end:

* node_taint: ansible-playbook with one task of this collection
* kubectl: `kubectl taint nodes -l ... --overwrite`
* bare patches: a Python process with as many threads that PATCHes every node without reading, guarding or checking anything
* kubernetes.core.k8s_taint: ansible-playbook with a loop, measured on a few nodes; its time for all is extrapolated (it is
  linear: one module run a node)

After each run the nodes themselves are asked whether it did its work. The last line is the ratio to kubectl; the exit status is 1
when any of the goals above it is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "integration"))
from kube_api import KubeApi, binary, end_on_sigterm

CACHE = Path(os.environ.get("GPUFLEET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpufleet")
BUNDLE = "ansible==12.3.0"  # the package that carries kubernetes.core 6.2.0
GOAL = 0.5  # ours / kubectl
WORKERS = 16
READY_LIMIT_S = 300
LABEL = "bench=taint"
KEY = "bench.example.com/run"
TITLES = {
    "ours": "node_taint (this collection)",
    "kubectl": "kubectl taint nodes -l",
    "bare": f"bare loop of patches, {WORKERS} threads",
    "empty": "(ansible-playbook that does nothing)",
    "k8s_taint": "kubernetes.core.k8s_taint in a loop *",
}


def node(index: int) -> dict[str, t.Any]:
    """A Node with what a kubelet writes into it (some 9 kB), because every contender has to read or receive that.

    Its conditions are kwok's.
    """
    name = f"bench-{index:04}"
    size = {"cpu": "96", "memory": "1048576Ki", "nvidia.com/gpu": "8", "pods": "110", "ephemeral-storage": "1T"}
    return {
        "metadata": {
            "name": name,
            "labels": {LABEL.partition("=")[0]: "taint", "kubernetes.io/hostname": name, "nvidia.com/gpu.present": "true"},
        },
        "spec": {"podCIDR": f"10.{index // 250}.{index % 250}.0/24", "providerID": f"aws:///usw2-az1/i-{index:017}"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.200.{index // 250}.{index % 250}"}],
            "capacity": size,
            "allocatable": size,
            "images": [
                {"names": [f"registry.example.com/team/image-{n}@sha256:{n:064}", f"registry.example.com/team/image-{n}:v1.{n}"],
                 "sizeBytes": n * 10**7}
                for n in range(40)
            ],
        },
    }  # fmt: skip


class Connection:
    """One kept-alive TLS connection as admin: what a bare loop of patches costs."""

    def __init__(self, address: str, ca: str) -> None:
        self._connection = http.client.HTTPSConnection(address, context=ssl.create_default_context(cafile=ca))

    def call(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> bytes:
        headers = {"Authorization": "Bearer admin-token", "Content-Type": content_type}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data


def each(address: str, ca: str, work: t.Callable[[Connection, int], object], count: int) -> None:
    """Runs work(connection, index) for 0 to count - 1 in WORKERS threads."""
    numbers, lock, failures = iter(range(count)), threading.Lock(), []

    def loop() -> None:
        connection = Connection(address, ca)
        while True:
            with lock:
                index = next(numbers, None)
            if index is None or failures:
                return
            try:
                work(connection, index)
            except Exception as error:  # noqa: BLE001  shown by the main thread
                failures.append(error)

    threads = [threading.Thread(target=loop) for _worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def bare(address: str, ca: str, value: str, count: int) -> None:
    body = {"spec": {"taints": [{"key": KEY, "value": value, "effect": "NoSchedule"}]}}

    def patch(connection: Connection, index: int) -> None:
        connection.call("PATCH", f"/api/v1/nodes/bench-{index:04}", body, "application/merge-patch+json")

    each(address, ca, patch, count)


def kubernetes_core() -> Path:
    """The folder of collections that holds kubernetes.core, out of the PyPI package `ansible`."""
    folder = CACHE / "bench" / BUNDLE
    if not (folder / "complete").exists():
        say(f"fetching kubernetes.core out of {BUNDLE}")
        with tempfile.TemporaryDirectory() as temporary:
            pip = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", temporary, BUNDLE]
            subprocess.run(pip, check=True)
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith("ansible_collections/kubernetes/core/")])
        (folder / "complete").touch()
    return folder


class Bench:
    """The contenders, each a method that returns the seconds it took."""

    def __init__(self, api: KubeApi, count: int, sample: int) -> None:
        self.api, self.count, self.sample = api, count, sample
        self.address, self.ca = api.server.removeprefix("https://"), str(api.ca)
        self.value = 0

    def make_nodes(self) -> None:
        each(self.address, self.ca, lambda connection, index: connection.call("POST", "/api/v1/nodes", node(index)), self.count)

    def wait_ready(self) -> None:
        """Until kwok has made all nodes Ready."""
        deadline, ready = time.monotonic() + READY_LIMIT_S, -1
        while ready < self.count:
            if time.monotonic() > deadline:
                raise SystemExit(f"kwok made {ready} of {self.count} nodes Ready within {READY_LIMIT_S} s")
            time.sleep(1)
            conditions = [one for item in self.nodes() for one in item["status"].get("conditions") or ()]
            ready = sum((one["type"], one["status"]) == ("Ready", "True") for one in conditions)

    def nodes(self) -> list[dict[str, t.Any]]:
        answer = Connection(self.address, self.ca).call("GET", f"/api/v1/nodes?labelSelector={LABEL}")
        return t.cast("list[dict[str, t.Any]]", json.loads(answer)["items"])

    def timed(self, command: t.Sequence[str]) -> float:
        collections = f"{os.environ['ANSIBLE_COLLECTIONS_PATH']}:{kubernetes_core()}"
        environment = {**self.api.environment(), "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_DEPRECATION_WARNINGS": "False"}
        environment["ANSIBLE_PYTHON_INTERPRETER"] = sys.executable
        begun = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return time.monotonic() - begun

    def playbook(self, task: dict[str, t.Any], **keywords: t.Any) -> float:
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{**task, **keywords}]}
        path = self.api.folder / "play.yml"
        path.write_text(json.dumps([play]))
        return self.timed(["ansible-playbook", "-i", "localhost,", str(path)])

    def cpu_seconds(self) -> float:
        """Of all contenders so far and of the servers."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + self.api.cpu_seconds()

    def taint(self) -> dict[str, str]:
        return {"key": KEY, "value": f"v{self.value}", "effect": "NoSchedule"}

    def ours(self) -> float:
        return self.playbook({"gpufleet.k8s.node_taint": {"selector": LABEL, "taints": [self.taint()], "parallel": WORKERS}})

    def kubectl(self) -> float:
        value = f"{KEY}=v{self.value}:NoSchedule"
        return self.timed([binary("kubectl"), "taint", "nodes", "-l", LABEL, value, "--overwrite"])

    def bare(self) -> float:
        return self.timed([sys.executable, str(HERE), "--bare", self.address, self.ca, f"v{self.value}", str(self.count)])

    def empty(self) -> float:
        return self.playbook({"ansible.builtin.debug": {"msg": "nothing"}})

    def k8s_taint(self) -> float:
        """Seconds for all nodes: the slope between a loop over one node and over the sample."""

        def loop(count: int) -> float:
            task = {"kubernetes.core.k8s_taint": {"name": "bench-{{ '%04d' | format(item) }}", "taints": [self.taint()]}}
            return self.playbook(task, loop=list(range(count)))

        return (loop(self.sample + 1) - loop(1)) / self.sample * self.count

    def check(self, name: str, count: int) -> None:
        done = sum(self.taint() in item["spec"].get("taints", []) for item in self.nodes())
        if done < count:
            raise SystemExit(f"{name} tainted {done} of {count} nodes")


def say(message: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


@dataclass
class Times:
    """Seconds of one contender in each round: with all nodes to change (and the CPU's, servers included), with none."""

    changing: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)


def measure(bench: Bench, rounds: int) -> dict[str, Times]:
    times = {name: Times() for name in TITLES}
    for number in range(rounds):
        for name, its in times.items():
            if name == "k8s_taint" and number:
                continue
            bench.value += 1
            contender, before = getattr(bench, name), bench.cpu_seconds()
            its.changing.append(contender())
            its.cpu.append(bench.cpu_seconds() - before)
            if name != "empty":
                bench.check(name, bench.sample if name == "k8s_taint" else bench.count)
            text = f"round {number + 1}: {name} {its.changing[-1]:.1f} s"
            if name not in ("bare", "empty"):
                its.unchanged.append(contender())
                text += f", unchanged {its.unchanged[-1]:.1f} s"
            say(text)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=20, help="nodes that k8s_taint is measured on")
    parser.add_argument("--bare", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        bare(*given.bare[:3], int(given.bare[3]))
        return 0

    end_on_sigterm()
    kubernetes_core()
    with KubeApi(durable=True) as api:
        bench = Bench(api, given.nodes, given.sample)
        say(f"making {given.nodes} nodes")
        bench.make_nodes()
        with api.kwok():
            bench.wait_ready()
            times = measure(bench, given.rounds)

    median = {name: statistics.median(its.changing) for name, its in times.items()}
    ours = median["ours"]
    print(f"\n{given.nodes} nodes, median of {given.rounds} rounds, whole processes on Python {platform.python_version()};")
    print(f"kube-apiserver, etcd and kwok share their {os.cpu_count()} CPUs; load at the end {os.getloadavg()[0]:.1f}\n")
    print(f"{'seconds':<42} {'all change':>10} {'x ours':>8} {'CPU':>8} {'unchanged':>10}")
    for name, its in times.items():
        cpu = "-" if name == "k8s_taint" else f"{statistics.median(its.cpu):.2f}"
        unchanged = f"{statistics.median(its.unchanged):.2f}" if its.unchanged else "-"
        print(f"{TITLES[name]:<42} {median[name]:>10.2f} {median[name] / ours:>8.2f} {cpu:>8} {unchanged:>10}")
    print(f"* measured on {given.sample} nodes, once, and extrapolated to {given.nodes}\n")

    goals = [
        ("k8s_taint loop / ours", median["k8s_taint"] / ours, ">=", 100.0),
        ("kubectl / ours", median["kubectl"] / ours, ">=", 1 / GOAL),
        ("ours / bare patches", ours / median["bare"], "<=", 1.5),
        ("ours, unchanged, seconds", statistics.median(times["ours"].unchanged), "<=", 1.5),
    ]
    missed = 0
    for what, value, sign, goal in goals:
        met = value >= goal if sign == ">=" else value <= goal
        missed += not met
        print(f"{what:<40} {value:>12.2f} {sign} {goal:<6} {'met' if met else 'MISSED'}")
    ratio = ours / median["kubectl"]
    print(f"\ntaint ratio {ratio:.2f} (goal at most {GOAL})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
