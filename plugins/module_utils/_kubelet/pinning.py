# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Whether containers really have the CPUs that they were given, and nobody else has them: `cpu_pinning_info`.

PRIVATE: this module util is for this collection only and may change without notice.

What was given comes from the kubelet, what is true from the kernel: the CPUs that each process may run on. Names of pods and
containers come from the kubelet's log folders, so that no API is asked.
"""

from __future__ import annotations

import json
import re
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._plan import PlanError
from . import files, podresources, topology
from .podresources import Container
from .quantity import cpu_list, cpus

CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
SYMLINKS = 8  # in a row
GPU_PLUGIN = "nvidia-device-plugin"
#: Its settings by flag; those that a flag gives win over the environment.
GPU_PLUGIN_FLAGS = {
    "pass-device-specs": "PASS_DEVICE_SPECS",
    "device-list-strategy": "DEVICE_LIST_STRATEGY",
    "config-file": "CONFIG_FILE",
}
UNREAD = "why its configuration file could not be read"  # among a plugin's settings
TOPOLOGY_POLICIES = ("none", "best-effort", "restricted", "single-numa-node")

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "root_dir": {"type": "path", "default": "/var/lib/kubelet"},
        "pods": {"type": "list", "elements": "str", "default": []},
        "topology_policy": {"type": "str", "choices": list(TOPOLOGY_POLICIES), "default": "none"},
        "timeout": {"type": "int", "default": 0},
    },
}


@dataclass(frozen=True)
class Process:
    """A process of a container: what it may run on. `owner` is (namespace, pod, container)."""

    pid: int
    owner: tuple[str, str, str]
    cpus: frozenset[int]


@dataclass(frozen=True)
class Observed:
    """`source`: podresources or state_file. `policy` is the CPU manager's. `gpu_plugins`: settings of each device plugin."""

    source: str
    policy: str
    default: frozenset[int]
    containers: tuple[Container, ...]
    processes: tuple[Process, ...]
    machine: topology.Machine
    gpu_plugins: tuple[t.Mapping[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)


def assess(observed: Observed, expected: t.Sequence[str] = (), topology_policy: str = "none") -> dict[str, t.Any]:
    """The module's result. `expected` are `namespace/pod` that must have exclusive CPUs. Pure.

    `topology_policy` is the kubelet's topologyManagerPolicy: only `restricted` and `single-numa-node` promise that CPUs are near
    the GPU, and only the latter that they are of one NUMA node (KEP-693).
    """
    machine = observed.machine
    pinned = [one for one in observed.containers if one.cpus]
    problems = []
    warnings: list[str] = []
    exclusive = []
    run = {process.owner for process in observed.processes}
    for one in pinned:
        numa = machine.numa_of(one.cpus)
        gpu_numa = sorted({node for device in one.devices if device.resource.startswith("nvidia.com/") for node in device.numa})
        owner = (one.namespace, one.pod, one.name)
        mine = [process for process in observed.processes if process.owner == owner]
        exclusive.append(
            {
                "namespace": one.namespace,
                "pod": one.pod,
                "container": one.name,
                "cpus": cpu_list(one.cpus),
                "numa_nodes": numa,
                "gpu_numa_nodes": gpu_numa,
                "processes": len(mine),
            }
        )
        name = "/".join(owner)
        if one.cpus - machine.cpus:
            problems.append(f"{name} was given CPU {cpu_list(one.cpus - machine.cpus)}, which is not online")
        if len(numa) > 1 and topology_policy == "single-numa-node":
            problems.append(f"{name} has CPUs of NUMA nodes {_list(numa)}, though the policy is single-numa-node")
        if gpu_numa and not set(numa) <= set(gpu_numa):
            far = f"{name} has CPUs of NUMA node {_list(numa)}, but its GPU is on NUMA node {_list(gpu_numa)}"
            (problems if topology_policy in ("restricted", "single-numa-node") else warnings).append(far)
        problems += [
            f"process {process.pid} of {name} may run on CPU {cpu_list(process.cpus)}, not only on its own {cpu_list(one.cpus)}"
            for process in mine
            if not process.cpus <= one.cpus
        ]
        if not mine:
            # Somebody else's may wait for its image, crash, or be an init container that is done.
            (problems if f"{one.namespace}/{one.pod}" in expected else warnings).append(
                f"{name} was given CPU {cpu_list(one.cpus)}, but no process of it was found"
            )
        for other in pinned:
            both, its = one.cpus & other.cpus, (other.namespace, other.pod, other.name)
            # One pod's containers may take turns: its init containers have the CPUs first.
            if both and owner < its and (owner[:2] != its[:2] or {owner, its} <= run):
                problems.append(f"{name} and {'/'.join(its)} both were given CPU {cpu_list(both)}")
    problems += _intruders(observed, pinned)
    have = {f"{one.namespace}/{one.pod}" for one in pinned}
    problems += [f"{pod} has no CPU of its own" for pod in expected if pod not in have]
    return {
        "changed": False,
        "ok": not problems,
        "problems": problems,
        "source": observed.source,
        "policy": observed.policy,
        "exclusive": exclusive,
        "shared_cpus": cpu_list(observed.default),
        "online_cpus": cpu_list(machine.cpus),
        "numa_nodes": {str(node): cpu_list(its) for node, its in sorted(machine.numa.items())},
        "warnings": [*observed.warnings, *warnings, *_gpu_warnings(observed)],
    }


def _intruders(observed: Observed, pinned: t.Sequence[Container]) -> t.Iterator[str]:
    """Processes of the shared pool that the kernel would run on somebody's own CPU."""
    taken = frozenset[int]().union(*(one.cpus for one in pinned)) if pinned else frozenset[int]()
    owners = {(one.namespace, one.pod, one.name) for one in pinned}
    for process in observed.processes:
        inside = process.cpus & taken
        if inside and process.owner not in owners:
            name = "/".join(process.owner)
            yield f"process {process.pid} of {name} may run on CPU {cpu_list(inside)}, which belongs to another container"


def _gpu_warnings(observed: Observed) -> t.Iterator[str]:
    """The static policy rewrites containers' cgroups; a GPU that was handed over by hooks alone is lost then."""
    if observed.policy != "static":
        return
    for settings in observed.gpu_plugins:
        specs = settings.get("PASS_DEVICE_SPECS", "").lower() in ("true", "1")
        if specs or "cdi" in settings.get("DEVICE_LIST_STRATEGY", ""):
            continue
        if UNREAD in settings:
            yield (
                f"the NVIDIA device plugin reads {settings['CONFIG_FILE']}, which could not be read from here "
                f"({settings[UNREAD]}): see that flags.plugin.passDeviceSpecs is true there, or deviceListStrategy one of CDI's; "
                "else containers lose their GPU with the static CPU policy when their cgroup is updated"
            )
        else:
            yield (
                "the NVIDIA device plugin runs without compatWithCPUManager (PASS_DEVICE_SPECS) and without CDI: with the static "
                "CPU policy containers lose their GPU when their cgroup is updated (Failed to initialize NVML: Unknown Error); "
                "set either"
            )


def observe(root_dir: str = "/var/lib/kubelet", root: str = "/") -> Observed:
    """Reads the node. `root` is for recorded trees. Raises PlanError when there is no kubelet's state."""
    base = Path(root)
    state = _state(Path(root_dir))
    ids = _container_ids(base)
    warnings = []
    try:
        given = podresources.containers(f"{root_dir}/pod-resources/kubelet.sock")
        source = "podresources"
    except (OSError, ValueError) as error:
        if not state:
            raise PlanError(
                f"{root_dir} holds neither a pod resources socket that answers ({error}) nor cpu_manager_state; give the root "
                "directory of a kubelet that runs in root_dir"
            ) from error
        warnings.append(f"the kubelet's pod resources socket was of no use ({error}); its state file was read instead")
        try:
            given = _from_state(state, base)
        except (AttributeError, ValueError) as why:
            raise PlanError(f"{root_dir}/cpu_manager_state is not as a kubelet writes it ({why})") from None
        source = "state_file"
    try:
        default = cpus(str(state.get("defaultCpuSet") or ""))
    except ValueError as why:
        raise PlanError(f"{root_dir}/cpu_manager_state is not as a kubelet writes it: defaultCpuSet {why}") from None
    gpu_plugins = []
    processes = []
    for folder in (base / "proc").glob("[0-9]*"):
        try:
            found = CONTAINER_ID.findall((folder / "cgroup").read_text(encoding="utf-8"))
            owner = next((ids[one] for one in found if one in ids), None)
            if owner is None:
                continue
            allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", (folder / "status").read_text(encoding="utf-8"), re.MULTILINE)
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if Path(argv[0]).name == GPU_PLUGIN:
                settings = {**_environment(folder / "environ"), **_flags(argv[1:])}
                gpu_plugins.append({**_of_file(folder / "root", settings.get("CONFIG_FILE", "")), **settings})
        except OSError:
            continue  # it ended meanwhile
        if allowed:
            processes.append(Process(int(folder.name), owner, cpus(allowed.group(1))))
    return Observed(
        source,
        str(state.get("policyName") or "none"),
        default,
        tuple(given),
        tuple(processes),
        topology.read(root),
        tuple(gpu_plugins),
        tuple(warnings),
    )


def _state(root_dir: Path) -> dict[str, t.Any]:
    try:
        found = json.loads((root_dir / "cpu_manager_state").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _from_state(state: t.Mapping[str, t.Any], base: Path) -> list[Container]:
    """The state file names pods by UID; the kubelet's log folders know their names (`namespace_pod_uid`)."""
    names = {}
    for folder in (base / "var/log/pods").glob("*_*_*"):
        namespace, pod, uid = folder.name.split("_", 2)
        names[uid] = (namespace, pod)
    return [
        Container(namespace=names.get(uid, ("", ""))[0], pod=names.get(uid, ("", uid))[1], name=container, cpus=cpus(text))
        for uid, those in (state.get("entries") or {}).items()
        for container, text in those.items()
    ]


def _container_ids(base: Path) -> dict[str, tuple[str, str, str]]:
    """Container ID -> (namespace, pod, container), from the links `pod_namespace_container-ID.log`."""
    found = {}
    for path in (base / "var/log/containers").glob("*.log"):
        match = re.fullmatch(r"(.+)_(.+)_(.+)-([0-9a-f]{64})\.log", path.name)
        if match:
            found[match.group(4)] = (match.group(2), match.group(1), match.group(3))
    return found


def _environment(path: Path) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in path.read_bytes().decode(errors="replace").split("\0") if entry)
    return {key: value for key, _equals, value in pairs}


def _flags(arguments: t.Sequence[str]) -> dict[str, str]:
    """`--name=value`, or `--name value`, which for the boolean one is `--name` alone."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], ""]):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name in GPU_PLUGIN_FLAGS:
            found[GPU_PLUGIN_FLAGS[name]] = value if equals else "true" if name == "pass-device-specs" else following
    return found


def _of_file(root: Path, name: str) -> dict[str, str]:
    """What the device plugin's configuration file sets, which flags and environment outweigh. `root` is its file system."""
    if not name:
        return {}
    path = root / name.lstrip("/")
    try:
        for _hop in range(SYMLINKS):  # a link that begins with / is meant from `root`; the plugin's config manager makes such
            if not path.is_symlink():
                break
            target = path.readlink()
            path = root / target.relative_to("/") if target.is_absolute() else path.parent / target
        plugin = ((files.read(path) or {}).get("flags") or {}).get("plugin") or {}
        strategy = plugin.get("deviceListStrategy") or ""
    except (OSError, ValueError, files.NoPyYAML) as error:
        return {UNREAD: str(error)}
    except AttributeError:
        return {UNREAD: "it is no configuration of the device plugin"}
    strategies = strategy if isinstance(strategy, list) else [strategy]
    return {
        "PASS_DEVICE_SPECS": str(plugin.get("passDeviceSpecs") or ""),
        "DEVICE_LIST_STRATEGY": ",".join(map(str, strategies)),
    }


def _list(nodes: t.Iterable[int]) -> str:
    return ", ".join(map(str, nodes))


def entry(params: t.Mapping[str, t.Any], _check_mode: bool) -> dict[str, t.Any]:
    """The module's Entry."""
    deadline = time.monotonic() + params["timeout"]
    while True:
        result = assess(observe(params["root_dir"]), params["pods"], params["topology_policy"])
        if result["ok"] or time.monotonic() > deadline:
            return result
        time.sleep(1)
