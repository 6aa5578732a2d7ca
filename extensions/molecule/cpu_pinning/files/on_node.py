# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node, with the module's own code, what a playbook cannot time: kills between any two steps, many restarts.

    on_node.py kill NUMBER before|after   PARAMS on stdin: runs kubelet_config and kills itself at a step; 0 at its end
    on_node.py merge SEED ROUNDS          TOKEN on stdin: random drop-ins, a real restart each; configz must be what merge.py says
    on_node.py time                       PARAMS on stdin: how long a run without change takes

Prints JSON. The folder it lies in holds ansible_collections and ansible's module_utils.
"""

from __future__ import annotations

import json
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
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import args, host, merge, resource, yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.planner import API_VERSION
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

DIRECTORY = Path("/etc/kubernetes/kubelet.conf.d")


def validated(given: dict[str, t.Any]) -> dict[str, t.Any]:
    result = ArgumentSpecValidator(args.SPEC["argument_spec"]).validate(given)
    if result.error_messages:
        raise SystemExit("; ".join(result.error_messages))
    return dict(result.validated_parameters)


def kill(number: int, when: str, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Step `number` (from 1) never happens, or is the last thing that does."""
    original = resource.KubeletConfig._apply
    seen = 0

    def apply(self: t.Any, step: t.Any) -> t.Any:
        nonlocal seen
        seen += 1
        if seen == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        undo = original(self, step)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return undo

    resource.KubeletConfig._apply = apply  # type: ignore[method-assign]
    return resource.entry(params, False)


def fragment(chance: random.Random) -> dict[str, t.Any]:
    """A drop-in that a kubelet starts with: scalars, lists, maps, structs, durations, zeros and nulls."""
    choices: dict[str, t.Callable[[], t.Any]] = {
        "maxPods": lambda: chance.choice([0, 50, 110, 200]),
        "podsPerCore": lambda: chance.choice([0, 10]),
        "syncFrequency": lambda: chance.choice(["60s", "90s", "0s", "1m30s"]),
        "kubeReserved": lambda: chance.choice(
            [{"cpu": "100m"}, {"memory": "64Mi"}, {"cpu": "200m", "memory": "1Mi"}, {"cpu": None}]
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
    compared = 0
    for number in range(rounds):
        files = {f"{priority}-random.conf": fragment(chance) for priority in chance.sample(range(10, 99), chance.randint(1, 3))}
        try:
            for name, content in files.items():
                here.put(
                    str(DIRECTORY / name),
                    yaml.dump({"apiVersion": API_VERSION, "kind": "KubeletConfiguration", **content}),
                )
            subprocess.run(["systemctl", "restart", "kubelet"], check=True)
            since = time.time()
            while not here.healthy(10248):
                here.alive(since)
                time.sleep(0.1)
            found = here.observe()
            if found.configz is None:
                raise SystemExit(f"round {number}: {found.configz_error}")
            known = schema(found.minor)
            contents = [content for _path, content in found.drop_ins]
            expected = merge.effective(known, found.base, contents, found.flags)
            shown = {key: value for key, value in found.configz.items() if key in expected or key not in merge.COMPUTED}
            wrong = list(known.differences(expected, shown, subset=False))
            if wrong:
                keys = sorted({path.partition(".")[0] for path in wrong})
                both = {key: {"model": expected.get(key), "kubelet": found.configz.get(key)} for key in keys}
                raise SystemExit(f"round {number}, seed {seed}, files {json.dumps(files)}: {json.dumps(both)}")
            compared += 1
        finally:
            for name in files:
                here.put(str(DIRECTORY / name), None)
    subprocess.run(["systemctl", "restart", "kubelet"], check=True)
    return {"compared": compared}


def timed(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The best of five: a shared machine is sometimes busy."""
    seconds = []
    for _round in range(5):
        begin = time.monotonic()
        result = resource.entry(params, False)
        seconds.append(round(time.monotonic() - begin, 3))
        if result["changed"]:
            raise SystemExit("there was something to change")
    return {"seconds": min(seconds), "all": seconds}


def main() -> int:
    command, *rest = sys.argv[1:]
    try:
        if command == "merge":
            print(json.dumps(merged(int(rest[0]), int(rest[1]), sys.stdin.read().strip())))
            return 0
        params = validated(json.load(sys.stdin))
        print(json.dumps(kill(int(rest[0]), rest[1], params) if command == "kill" else timed(params)))
    except GpufleetError as error:
        print(json.dumps({"failed": True, "msg": error.message, **error.facts}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
