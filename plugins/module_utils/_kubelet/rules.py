# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kubelet refuses when it starts, told before it is stopped: rules on a whole effective configuration.

PRIVATE: this module util is for this collection only and may change without notice.

Each rule takes a `Case` and yields sentences that begin with the field at fault. Sources, all in k8s.io/kubernetes:
pkg/kubelet/apis/config/validation, pkg/kubelet/cm/{cpumanager,memorymanager,topologymanager}, cmd/kubelet/app/server.go.
Designs: KEP-3570 (CPU manager), KEP-2625, KEP-2902, KEP-4540 (its options), KEP-693, KEP-3545 (topology manager and its
options), KEP-1769 (memory manager).
"""

from __future__ import annotations

import math
import re
import struct
import typing as t
from dataclasses import dataclass
from fractions import Fraction

from . import quantity
from .schema import Schema
from .topology import Machine

TRUE, FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")  # strconv.ParseBool
RESERVABLE = ("cpu", "memory", "ephemeral-storage", "pid")
SIGNALS = (
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "allocatableMemory.available",
    "pid.available",
)
MOST_NUMA_NODES = 8  # of the topology manager, unless max-allowable-numa-nodes says more

ENUMS = {
    "cpuManagerPolicy": ("none", "static"),
    "memoryManagerPolicy": ("None", "Static"),
    "topologyManagerPolicy": ("none", "best-effort", "restricted", "single-numa-node"),
    "topologyManagerScope": ("container", "pod"),
    "cgroupDriver": ("cgroupfs", "systemd"),
    "hairpinMode": ("none", "hairpin-veth", "promiscuous-bridge"),
    "configMapAndSecretChangeDetectionStrategy": ("Get", "Cache", "Watch"),
}
RANGES: dict[str, tuple[int, int | None]] = {
    "imageGCHighThresholdPercent": (0, 100),
    "imageGCLowThresholdPercent": (0, 100),
    "iptablesDropBit": (0, 31),
    "iptablesMasqueradeBit": (0, 31),
    "oomScoreAdj": (-1000, 1000),
    "port": (1, 65535),
    "readOnlyPort": (0, 65535),
    "healthzPort": (0, 65535),
    "nodeLeaseDurationSeconds": (1, None),
    "nodeStatusMaxImages": (-1, None),
    "eventBurst": (0, None),
    "eventRecordQPS": (0, None),
    "kubeAPIBurst": (0, None),
    "kubeAPIQPS": (0, None),
    "maxOpenFiles": (0, None),
    "maxPods": (0, None),
    "podsPerCore": (0, None),
    "registryBurst": (0, None),
    "registryPullQPS": (0, None),
    "maxParallelImagePulls": (1, None),
    "containerLogMaxFiles": (2, None),
    "containerLogMaxWorkers": (1, None),
}
#: Pairs of static CPU policy options that exclude each other.
EXCLUSIVE_OPTIONS = (
    ("full-pcpus-only", "distribute-cpus-across-cores"),
    ("distribute-cpus-across-numa", "distribute-cpus-across-cores"),
    ("prefer-align-cpus-by-uncorecache", "distribute-cpus-across-cores"),
    ("prefer-align-cpus-by-uncorecache", "distribute-cpus-across-numa"),
)
ENFORCEMENTS = {
    "pods": "",
    "none": "",
    "system-reserved": "systemReservedCgroup",
    "system-reserved-compressible": "systemReservedCgroup",
    "kube-reserved": "kubeReservedCgroup",
    "kube-reserved-compressible": "kubeReservedCgroup",
}


@dataclass(frozen=True)
class Case:
    """An effective configuration, for one release of the kubelet, on one machine."""

    config: t.Mapping[str, t.Any]
    schema: Schema
    machine: Machine

    def text(self, key: str) -> str:
        return str(self.config.get(key) or "")

    def map(self, key: str) -> dict[str, t.Any]:
        return self.config.get(key) or {}

    def seconds(self, key: str) -> float:
        return quantity.duration(self.text(key) or "0") / 10**9


def problems(case: Case) -> list[str]:
    """Why this kubelet would not start, or not work, with this configuration. Types are right by then (schema.problems)."""
    # The rules after the first ones compute with what these have checked.
    return of_values(case) or [
        sentence for rule in (_together, _cpu, _cpu_options, _memory, _topology) for sentence in rule(case)
    ]


def of_values(case: Case) -> list[str]:
    """The problems that a value has by itself, on any machine."""
    return [sentence for rule in (_gates, _enums, _ranges, _maps, _eviction) for sentence in rule(case)]


def warnings(case: Case) -> t.Iterator[str]:
    """What works, but hardly as meant."""
    if case.text("reservedSystemCPUs") and {"cpu"} & {*case.map("kubeReserved"), *case.map("systemReserved")}:
        yield "reservedSystemCPUs overrides the cpu of kubeReserved and systemReserved"
    if case.text("topologyManagerPolicy") not in ("", "none") and len(case.machine.numa) == 1:
        yield f"topologyManagerPolicy {case.text('topologyManagerPolicy')} changes little here: the machine has one NUMA node"
    if case.text("cpuManagerPolicy") == "static" and reserved_cpu_count(case) == len(case.machine.cpus):
        yield f"all {len(case.machine.cpus)} CPUs are reserved, so no container can get a CPU of its own"


def explicit_cpus(case: Case) -> frozenset[int]:
    """The CPUs of reservedSystemCPUs."""
    return quantity.cpus(case.text("reservedSystemCPUs"))


def strict(case: Case) -> bool:
    """Whether reserved CPUs are out of bounds for every pod, not only for exclusive use."""
    return str(case.map("cpuManagerPolicyOptions").get("strict-cpu-reservation")) in TRUE


def reserved_cpu_count(case: Case) -> int:
    """CPUs that the static policy keeps for the system: whole ones, rounded up."""
    if case.text("reservedSystemCPUs"):
        return len(explicit_cpus(case))
    return math.ceil(sum(_reserved(case, owner, "cpu") for owner in ("kubeReserved", "systemReserved")))


def reserved_memory(case: Case) -> int:
    """Bytes that Node Allocatable takes off: kubeReserved, systemReserved and the hard eviction threshold."""
    text = str(case.map("evictionHard").get("memory.available", "0%"))
    if text.endswith("%"):
        share = 0.0 if text in ("0%", "100%") else float(text[:-1])
        # The kubelet keeps the percentage in 32 bits: 10% of 64 GiB is a few bytes off the true tenth.
        share = _float32(_float32(share) / 100)
        eviction = int(case.machine.memory * share)
    else:
        eviction = int(quantity.quantity(text))
    return eviction + int(sum(_reserved(case, owner, "memory") for owner in ("kubeReserved", "systemReserved")))


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _reserved(case: Case, owner: str, resource: str) -> Fraction:
    return quantity.quantity(str(case.map(owner).get(resource, "0")))


def _gates(case: Case) -> t.Iterator[str]:
    for gate, value in sorted(case.map("featureGates").items()):
        problem = case.schema.gate_problem(gate, value)
        if problem:
            yield f"featureGates.{gate}: {problem}"


def _enums(case: Case) -> t.Iterator[str]:
    for key, values in ENUMS.items():
        value = case.config.get(key)
        if value not in (None, "", *values):
            yield f"{key} is {value!r}; it must be one of {', '.join(values)}"
    given = case.config.get("enforceNodeAllocatable") or []
    for value in given:
        if value not in ENFORCEMENTS:
            yield f"enforceNodeAllocatable has {value!r}; it may hold {', '.join(ENFORCEMENTS)}"
        elif ENFORCEMENTS[value] and not case.text(ENFORCEMENTS[value]):
            yield f"enforceNodeAllocatable has {value!r}, which needs {ENFORCEMENTS[value]}"
    if "none" in given and len(given) > 1:
        yield "enforceNodeAllocatable has 'none', which stands alone"
    if len(set(given)) < len(given):
        yield f"enforceNodeAllocatable names something twice: {', '.join(given)}"
    swap = case.map("memorySwap").get("swapBehavior", "")
    swaps = ("NoSwap", "LimitedSwap") if case.schema.minor >= 30 else ("UnlimitedSwap", "LimitedSwap")
    if swap not in ("", *swaps):
        yield f"memorySwap.swapBehavior is {swap!r}; it must be one of {', '.join(swaps)}"


def _ranges(case: Case) -> t.Iterator[str]:
    for key, (low, high) in RANGES.items():
        value = case.config.get(key)
        if value is not None and (value < low or (high is not None and value > high)):
            yield f"{key} is {value}; it must be " + (f"{low} to {high}" if high is not None else f"at least {low}")


def _maps(case: Case) -> t.Iterator[str]:
    """Maps whose values are quantities, percentages or durations, which their type (string) does not say."""
    for owner in ("kubeReserved", "systemReserved"):
        for resource, text in case.map(owner).items():
            if resource not in RESERVABLE:
                yield f"{owner}.{resource} cannot be reserved; a kubelet reserves {', '.join(RESERVABLE)}"
            else:
                yield from _parsed(quantity.quantity, text, f"{owner}.{resource}", least=0)
    if case.text("containerLogMaxSize"):
        yield from _parsed(quantity.quantity, case.text("containerLogMaxSize"), "containerLogMaxSize", least=1)
    if case.text("reservedSystemCPUs"):
        yield from _parsed(lambda text: len(quantity.cpus(text)), case.text("reservedSystemCPUs"), "reservedSystemCPUs", least=1)


def _eviction(case: Case) -> t.Iterator[str]:
    for owner in ("evictionHard", "evictionSoft", "evictionMinimumReclaim"):
        for signal, text in case.map(owner).items():
            if signal not in SIGNALS:
                yield f"{owner}.{signal} is no eviction signal; there are {', '.join(SIGNALS)}"
            elif text.endswith("%"):
                if not re.fullmatch(r"\d+(\.\d+)?", text[:-1]) or float(text[:-1]) > 100:
                    yield f"{owner}.{signal} is {text!r}; a percentage is 0% to 100%"
            else:
                yield from _parsed(
                    quantity.quantity, text, f"{owner}.{signal}", least=0 if owner == "evictionMinimumReclaim" else 1
                )
    for signal, text in case.map("evictionSoftGracePeriod").items():
        yield from _parsed(quantity.duration, text, f"evictionSoftGracePeriod.{signal}", least=0)
    for signal in case.map("evictionSoft").keys() - case.map("evictionSoftGracePeriod").keys():
        yield f"evictionSoft.{signal} needs an evictionSoftGracePeriod.{signal}"


def _parsed(parse: t.Callable[[str], t.Any], text: str, path: str, least: int) -> t.Iterator[str]:
    try:
        if parse(text) < least:
            yield f"{path} is {text!r}; it must be {'positive' if least else 'zero or more'}"
    except ValueError as error:
        yield f"{path}: {error}"


def _amount(stream: t.Mapping[str, t.Any]) -> int:
    return int(quantity.quantity(str(stream.get("infoBufferSize", "0"))))


def _together(case: Case) -> t.Iterator[str]:
    low, high = case.config.get("imageGCLowThresholdPercent", 80), case.config.get("imageGCHighThresholdPercent", 85)
    if low >= high:
        yield f"imageGCLowThresholdPercent ({low}) must be less than imageGCHighThresholdPercent ({high})"
    if case.config.get("serializeImagePulls", True) and (case.config.get("maxParallelImagePulls") or 1) > 1:
        yield "maxParallelImagePulls above 1 needs serializeImagePulls: false"
    if case.seconds("shutdownGracePeriodCriticalPods") > case.seconds("shutdownGracePeriod"):
        yield "shutdownGracePeriodCriticalPods must not be longer than shutdownGracePeriod"
    for key in ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods"):
        if case.seconds(key) < 0 or 0 < case.seconds(key) < 1:
            yield f"{key} is {case.text(key)}; it must be 0s or at least 1s"
    if "containerLogMonitorInterval" in case.config and case.seconds("containerLogMonitorInterval") < 3:
        yield f"containerLogMonitorInterval is {case.text('containerLogMonitorInterval')}; it must be at least 3s"
    if "cpuCFSQuotaPeriod" in case.config and not 0.001 <= case.seconds("cpuCFSQuotaPeriod") <= 1:
        yield f"cpuCFSQuotaPeriod is {case.text('cpuCFSQuotaPeriod')}; it must be 1ms to 1s"
    streams = case.map("logging").get("options") or {}
    split = [
        name for name, its in streams.items() if its and not case.schema.is_zero("", {**its, "infoBufferSize": _amount(its)})
    ]
    if split and not case.schema.gate("LoggingAlphaOptions", {"featureGates": case.map("featureGates")}):
        yield f"logging.options.{split[0]} needs the feature gate LoggingAlphaOptions"
    if case.text("systemCgroups") and not case.text("cgroupRoot"):
        yield "systemCgroups needs cgroupRoot"
    if not case.config.get("cgroupsPerQOS", True) and set(case.config.get("enforceNodeAllocatable") or []) - {"none"}:
        yield "cgroupsPerQOS: false needs enforceNodeAllocatable: [none]"
    longest = case.map("crashLoopBackOff").get("maxContainerRestartPeriod")
    if longest is not None and not 1 <= quantity.duration(longest) / 10**9 <= 300:
        yield f"crashLoopBackOff.maxContainerRestartPeriod is {longest}; it must be 1s to 300s"
    if case.seconds("imageMaximumGCAge") and case.seconds("imageMaximumGCAge") <= case.seconds("imageMinimumGCAge"):
        yield "imageMaximumGCAge must be longer than imageMinimumGCAge"


def _cpu(case: Case) -> t.Iterator[str]:
    reserved = case.text("reservedSystemCPUs")
    if reserved:
        for key in ("systemReservedCgroup", "kubeReservedCgroup"):
            if case.text(key):
                yield f"reservedSystemCPUs ({reserved}) cannot go with {key} ({case.text(key)})"
        missing = quantity.cpus(reserved) - case.machine.cpus
        if missing:
            yield (
                f"reservedSystemCPUs is {reserved}, but CPU {quantity.cpu_list(missing)} is not online here "
                f"(online: {quantity.cpu_list(case.machine.cpus)})"
            )
    if case.text("cpuManagerPolicy") == "static":
        count = reserved_cpu_count(case)
        if count == 0:
            yield (
                "cpuManagerPolicy static needs CPUs reserved for the system: set kubeReserved.cpu, systemReserved.cpu or "
                "reservedSystemCPUs (a fraction such as 300m counts as one whole CPU)"
            )
        elif count > len(case.machine.cpus):
            yield f"cpuManagerPolicy static: {count} CPUs are reserved, but the machine has {len(case.machine.cpus)}"


def _cpu_options(case: Case) -> t.Iterator[str]:
    options = case.map("cpuManagerPolicyOptions")
    if options and case.text("cpuManagerPolicy") != "static":
        yield f"cpuManagerPolicyOptions ({', '.join(sorted(options))}) need cpuManagerPolicy static"
    yield from _options(case, "cpuManagerPolicyOptions", dict.fromkeys(options, "bool"))
    on = {name for name, value in options.items() if str(value) in TRUE}
    for one, other in EXCLUSIVE_OPTIONS:
        if {one, other} <= on:
            yield f"cpuManagerPolicyOptions: {one} and {other} exclude each other"
    if "align-by-socket" in on:
        if case.text("topologyManagerPolicy") == "single-numa-node":
            yield "cpuManagerPolicyOptions: align-by-socket cannot go with topologyManagerPolicy single-numa-node"
        if case.machine.sockets > len(case.machine.numa):
            yield (
                f"cpuManagerPolicyOptions: align-by-socket is not possible with more sockets ({case.machine.sockets}) "
                f"than NUMA nodes ({len(case.machine.numa)})"
            )


def _memory(case: Case) -> t.Iterator[str]:
    totals: dict[str, Fraction] = {}
    seen = set()
    for index, entry in enumerate(case.config.get("reservedMemory") or []):
        node = entry.get("numaNode", 0)
        for resource, value in (entry.get("limits") or {}).items():
            path = f"reservedMemory[{index}].limits.{resource}"
            if resource != "memory" and not resource.startswith("hugepages-"):
                yield f"{path}: only memory and hugepages-<size> can be reserved"
                continue
            if (node, resource) in seen:
                yield f"{path}: NUMA node {node} has {resource} twice"
            seen.add((node, resource))
            amount = quantity.quantity(str(value))
            if amount <= 0:
                yield f"{path} is {value!r}; it must be positive"
            totals[resource] = totals.get(resource, Fraction(0)) + amount
        if node not in case.machine.numa:
            there = ", ".join(map(str, sorted(case.machine.numa)))
            yield f"reservedMemory[{index}] names NUMA node {node}; the machine has {there}"
    if case.text("memoryManagerPolicy") != "Static":
        return
    if case.schema.minor < 32 and not case.schema.gate("MemoryManager", case.config):
        yield "memoryManagerPolicy Static needs the feature gate MemoryManager"
    wanted = {"memory": Fraction(reserved_memory(case))}
    for resource in sorted({*totals, *wanted}):
        have, want = totals.get(resource, Fraction(0)), wanted.get(resource, Fraction(0))
        if have != want:
            yield (
                f"memoryManagerPolicy Static: reservedMemory adds up to {int(have)} bytes of {resource}, but kubeReserved, "
                f"systemReserved and evictionHard together are {int(want)}; make them equal"
            )


def _topology(case: Case) -> t.Iterator[str]:
    policy = case.text("topologyManagerPolicy") or "none"
    options = case.map("topologyManagerPolicyOptions")
    kinds = {"prefer-closest-numa-nodes": "bool", "max-allowable-numa-nodes": "int"}
    found = list(_options(case, "topologyManagerPolicyOptions", {name: kinds.get(name, "bool") for name in options}))
    yield from found
    if found:
        return
    most = int(options.get("max-allowable-numa-nodes", MOST_NUMA_NODES))
    if most < MOST_NUMA_NODES:
        yield f"topologyManagerPolicyOptions: max-allowable-numa-nodes is {most}; it must be at least {MOST_NUMA_NODES}"
    elif policy != "none" and len(case.machine.numa) > most:
        yield (
            f"topologyManagerPolicy {policy}: the machine has {len(case.machine.numa)} NUMA nodes, the topology manager takes "
            f"{most}; set topologyManagerPolicyOptions: {{max-allowable-numa-nodes: ...}}"
        )


def _options(case: Case, name: str, given: t.Mapping[str, str]) -> t.Iterator[str]:
    """The options in field `name`: known to this release, mature enough for its gates, well-formed. `given`: option -> kind."""
    manager, prefix = ("cpu", "CPUManager") if name.startswith("cpu") else ("topology", "TopologyManager")
    if given and not case.schema.gate(f"{prefix}PolicyOptions", case.config):
        yield f"{name} needs the feature gate {prefix}PolicyOptions"
    for option, kind in sorted(given.items()):
        stage = case.schema.options.get(f"{manager}.{option}")
        value = str(case.map(name)[option])
        if stage is None:
            known = (key.partition(".")[2] for key in case.schema.options if key.startswith(manager + "."))
            yield f"{name}: kubelet 1.{case.schema.minor} has no option {option!r}; it has {', '.join(sorted(known))}"
            continue
        gate = {"a": f"{prefix}PolicyAlphaOptions", "b": f"{prefix}PolicyBetaOptions"}.get(stage)
        if gate and not case.schema.gate(gate, case.config):
            level = "alpha" if stage == "a" else "beta"
            yield f"{name}: {option} is {level} in kubelet 1.{case.schema.minor} and needs the feature gate {gate}"
        if kind == "bool" and value not in (*TRUE, *FALSE):
            yield f'{name}.{option} is {value!r}; it must be "true" or "false"'
        if kind == "int" and not re.fullmatch(r"\d+", value):
            yield f"{name}.{option} is {value!r}; it must be a whole number in quotes"
