# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node, with the module's own code, what a playbook cannot time: kills before any effect, many restarts.

    on_node.py kill                 {wishes, bad, pods} on stdin: kills a run before each of its effects, also those of a
                                    drain and of a roll-back; the next run must end as wished and leave nothing behind
    on_node.py merge SEED ROUNDS    TOKEN on stdin: random drop-ins, a real restart each; configz must be what merge.py says
    on_node.py time                 PARAMS on stdin: how long a run without change takes, from start to end of Python
    on_node.py run                  PARAMS on stdin: one run

Prints JSON. The folder it lies in holds ansible_collections and ansible's module_utils.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import drain, nodes
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeClient, KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import args, host, merge, planner, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.api import NodeClient
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

DIRECTORY = Path("/etc/kubernetes/kubelet.conf.d")
PORT = 10248
PATIENCE = 60  # seconds for anything that is waited for here
#: What a kubelet fills in from the machine it runs on, and how configz labels its answer since 1.36
COMPUTED = {"tlsCertFile", "tlsPrivateKeyFile", "apiVersion", "kind"}

Params = t.Mapping[str, t.Any]


def validated(given: Params) -> dict[str, t.Any]:
    result = ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(given)
    if result.error_messages:
        raise SystemExit("; ".join(result.error_messages))
    return dict(result.validated_parameters)


def watched(before: t.Callable[[str], None]) -> None:
    """From now on `before` is called with the name of whatever this process is about to do to the node or the cluster."""
    request, command, replace, unlink = KubeClient.request, host.Host.command, Path.replace, Path.unlink

    def requested(self: KubeClient, method: str, path: str, **more: t.Any) -> t.Any:
        if method not in ("GET", "PUT"):  # PUT renews the lock, at any time
            before(f"{method} {path.rpartition('/')[2]}")
        return request(self, method, path, **more)

    def commanded(self: host.Host, *argv: str, check: bool = True) -> str:
        if argv[0] == "systemctl" and argv[1] in ("stop", "start", "daemon-reload"):
            before(" ".join(argv))
        return command(self, *argv, check=check)

    def replaced(self: Path, target: Path) -> Path:
        before(f"write {target.name}")
        return replace(self, target)

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        if self.exists() and not self.name.startswith("."):
            before(f"remove {self.name}")
        unlink(self, missing_ok=missing_ok)

    KubeClient.request, host.Host.command = requested, commanded  # type: ignore[method-assign]
    Path.replace, Path.unlink = replaced, unlinked  # type: ignore[method-assign,assignment]


def attempt(params: Params, kill_before: tuple[str, int] | None = None) -> tuple[int | None, list[str], str]:
    """(exit status, effects, error) of one run in a process of its own, which dies before the n-th effect of that name."""
    here, there = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        seen: list[str] = []

        def before(effect: str) -> None:
            seen.append(effect)
            if kill_before == (effect, seen.count(effect)):
                os.kill(os.getpid(), signal.SIGKILL)

        watched(before)
        try:
            resource.entry(params, False)
        except GpufleetError as error:
            there.send((seen, error.message))
            sys.exit(1)
        there.send((seen, ""))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    there.close()
    try:
        effects, message = here.recv()
    except EOFError:
        effects, message = [], "killed"
    process.join()
    return process.exitcode, effects, message


def killed(wishes: t.Sequence[Params], bad: Params, pods: int) -> dict[str, t.Any]:
    """`wishes` differ, so that each run has all its work to do; `bad` does not start; `pods` are on the node to be evicted."""
    wish = itertools.cycle(map(validated, wishes))
    bad = validated(bad)
    points = []

    def recorded(params: Params, status: int) -> list[str]:
        wait_for_pods(bad, pods)
        found, effects, message = attempt(params)
        if found != status or (status and "rolled back" not in message):
            raise SystemExit(f"ended with {found} after {effects}: {message or 'no error'}")
        return effects

    def sweep(effects: t.Sequence[str], first: int, doomed: Params | None) -> None:
        """Kills a run before each effect from `first` on: one to `doomed`, or else to what the next run wishes too."""
        for index in range(first, len(effects)):
            point = (effects[index], effects[: index + 1].count(effects[index]))
            if point[0] == "POST eviction" and point[1] > pods:
                continue  # of pods that other nodes took over
            wanted = next(wish)
            wait_for_pods(bad, pods)
            status, _effects, message = attempt(doomed or wanted, point)
            if status != -signal.SIGKILL:
                raise SystemExit(f"not killed before {point} but ended with {status}: {message or 'no error'}")
            status, _effects, message = attempt(wanted)
            problems = [message] if status else left_over(wanted)
            if problems:
                raise SystemExit(f"after a kill before {point} of {effects}: {'; '.join(problems)}")
            points.append(f"{point[0]} ({point[1]})")

    sweep(recorded(next(wish), 0), 0, None)
    effects = recorded(bad, 1)
    sweep(effects, effects.index("systemctl start kubelet") + 1, bad)
    return {"killed_before": points}


def wait_for_pods(params: Params, wanted: int) -> None:
    """Until that many pods of the scenario's Deployment run here."""
    here = host.Host(params)
    observed = here.observe()
    client, deadline = NodeClient(here.identity(observed)), time.monotonic() + PATIENCE
    while True:
        pods = [
            pod
            for pod in drain.pods_of(client, here.node_name(observed))
            if pod["metadata"].get("labels", {}).get("app") == "evicted"
        ]
        running = [pod for pod in pods if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp")]
        if len(running) == len(pods) == wanted:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(running)} of {wanted} pods run after {PATIENCE} s")
        time.sleep(0.2)


def left_over(params: Params) -> list[str]:
    """What is not as after an undisturbed run."""
    here = host.Host(params)
    observed = here.observe()
    who, name, lock = here.identity(observed), here.node_name(observed), params["lock"]
    node = nodes.read(NodeClient(who), name)
    problems = [f"the node has {key}" for key in ("unschedulable", "taints") if node["spec"].get(key)]
    if planner.ANNOTATION in (node["metadata"].get("annotations") or {}):
        problems.append("the node is still marked")
    try:
        NodeClient(who, params["api_key"]).request(
            "GET", f"/apis/coordination.k8s.io/v1/namespaces/{lock['namespace']}/leases/{lock['name']}"
        )
        problems.append("the lock is still there")
    except KubeError as error:
        if error.status != 404:
            raise
    folders = (DIRECTORY, host.ASIDE, Path(observed.root_dir))
    problems += [f"{path} is left" for folder in folders for path in folder.glob(".*.gpufleet")]
    problems += [f"{here.aside} is left"] if here.aside.exists() else []
    plan = planner.plan(observed, planner.Wish(params["settings"], params["name"], params["priority"]))
    return problems + [f"there is still to do: {step}" for step in plan.steps]


def fragment(chance: random.Random) -> dict[str, t.Any]:
    """A drop-in that a kubelet starts with: scalars, lists, maps, structs, durations, zeros and nulls."""
    choices: dict[str, t.Callable[[], t.Any]] = {
        "maxPods": lambda: chance.choice([0, 50, 110, 200]),
        "podsPerCore": lambda: chance.choice([0, 10]),
        "syncFrequency": lambda: chance.choice(["60s", "90s", "0s", "1m30s"]),
        "kubeReserved": lambda: chance.choice(
            [{"cpu": "100m"}, {"memory": "64Mi"}, {"cpu": "200m", "memory": "1Mi"}, {"memory": None}]
        ),
        "systemReserved": lambda: chance.choice([{"cpu": "50m"}, {}, {"pid": "100"}]),
        "evictionHard": lambda: chance.choice(
            [{"memory.available": "64Mi"}, {"nodefs.available": "3%"}, {"imagefs.available": None}]
        ),
        "clusterDNS": lambda: chance.choice([["10.96.0.10"], ["10.96.0.10", "10.96.0.11"], []]),
        "logging": lambda: chance.choice([{"verbosity": 1}, {"flushFrequency": "3s"}, {"verbosity": 2, "vmodule": []}]),
        "authentication": lambda: chance.choice([{"webhook": {"cacheTTL": "1m"}}, {"anonymous": {"enabled": False}}]),
        "featureGates": lambda: chance.choice(
            [{"ContextualLogging": False}, {"ContextualLogging": True}, {"DisableCPUQuotaWithExclusiveCPUs": False}]
        ),
        "containerLogMaxFiles": lambda: chance.choice([2, 5, None]),
        "allowedUnsafeSysctls": lambda: chance.choice([["net.core.somaxconn"], []]),
        "memoryThrottlingFactor": lambda: chance.choice([0.5, 0.9]),
        "registryPullQPS": lambda: chance.choice([0, 5, 7]),
        "serializeImagePulls": lambda: chance.choice([True, False]),
        "shutdownGracePeriod": lambda: chance.choice(["0s", "30s"]),
        "imageGCHighThresholdPercent": lambda: chance.choice([84, 85, 90]),
    }
    return {key: choices[key]() for key in chance.sample(sorted(choices), chance.randint(1, 6))}


def merged(seed: int, rounds: int, token: str) -> dict[str, t.Any]:
    """Restarts the kubelet with one to three random drop-ins each time and compares configz with the model."""
    chance = random.Random(seed)  # noqa: S311 test data, no secret
    here = host.Host(validated({"settings": {}, "api_key": token}))
    begin = time.monotonic()
    for number in range(rounds):
        wishes = [
            planner.Wish(fragment(chance), "random", priority) for priority in chance.sample(range(10, 99), chance.randint(1, 3))
        ]
        try:
            for wish in wishes:
                here.put(str(DIRECTORY / wish.file), planner.text_of(wish))
            here.stop()
            here.start(("127.0.0.1", PORT), time.monotonic() + PATIENCE)
            found = here.observe()
            if found.configz is None:
                raise SystemExit(f"round {number}, seed {seed}: {found.configz_error}")
            known = schema(found.minor)
            expected = merge.effective(known, found.base, [content for _path, content in found.drop_ins], found.flags)
            shown = {key: value for key, value in found.configz.items() if key in expected or key not in COMPUTED}
            wrong = list(known.differences(expected, shown, subset=False))
            if wrong:
                keys = sorted({path.partition(".")[0] for path in wrong})
                both = {key: {"model": expected.get(key), "kubelet": found.configz.get(key)} for key in keys}
                raise SystemExit(f"round {number}, seed {seed}, {[wish.settings for wish in wishes]}: {json.dumps(both)}")
        finally:
            for wish in wishes:
                here.put(str(DIRECTORY / wish.file), None)
    here.stop()
    here.start(("127.0.0.1", PORT), time.monotonic() + PATIENCE)
    return {"compared": rounds, "seed": seed, "seconds": round(time.monotonic() - begin, 1)}


def timed(params: str) -> dict[str, t.Any]:
    """The best of five: a shared machine is sometimes busy."""
    seconds = []
    for _round in range(5):
        begin = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "run"], input=params, capture_output=True, text=True, check=True)
        seconds.append(round(time.monotonic() - begin, 3))
        if json.loads(done.stdout)["changed"]:
            raise SystemExit("there was something to change")
    return {"seconds": min(seconds), "all": seconds}


def main() -> int:
    command, *rest = sys.argv[1:]
    text = sys.stdin.read()
    try:
        if command == "merge":
            result = merged(int(rest[0]), int(rest[1]), text.strip())
        elif command == "kill":
            result = killed(**json.loads(text))
        elif command == "time":
            result = timed(text)
        else:
            result = resource.entry(validated(json.loads(text)), False)
    except GpufleetError as error:
        print(json.dumps({"failed": True, "msg": error.message, **error.facts}))
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
