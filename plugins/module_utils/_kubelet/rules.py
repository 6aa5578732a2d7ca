# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kubelet refuses when it starts, told before it is stopped: rules on a whole effective configuration.

PRIVATE: this module util is for this collection only and may change without notice.

Each rule takes a `Case` and yields sentences that begin with the field at fault. Sources, all in k8s.io/kubernetes:
pkg/kubelet/apis/config/validation, pkg/kubelet/{kubelet.go,eviction,logs,sysctl}, cmd/kubelet/app/{server,auth}.go,
pkg/kubelet/cm/{cpumanager,memorymanager,topologymanager}; in k8s.io/component-base: cli/flag, logs, metrics, tracing.
Nothing is refused that the kubelet of that minor takes (tools/kubelet_types/verdicts.py asks its own validation), except a
cgroupDriver that does not exist, which it takes for cgroupfs.
Designs: KEP-3570 (CPU manager), KEP-2625, KEP-2902, KEP-4540 (its options), KEP-693, KEP-3545 (topology manager and its
options), KEP-1769 (memory manager).
"""

from __future__ import annotations

import math
import posixpath
import re
import struct
import typing as t
from dataclasses import dataclass
from fractions import Fraction

from .._kube import taints
from . import merge, quantity
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
    "allocatableMemory.available",
    "pid.available",
)
SIGNALS_FROM_29 = ("containerfs.available", "containerfs.inodesFree")
NAMESPACED = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")  # what sysctls that can be unsafe begin with
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MOST_NUMA_NODES = 8  # of the topology manager, unless max-allowable-numa-nodes says more

#: Path of a field -> its values. Empty is the default.
ENUMS = {
    "authorization.mode": ("AlwaysAllow", "Webhook"),
    "cpuManagerPolicy": ("none", "static"),
    "memoryManagerPolicy": ("None", "Static"),
    "memoryReservationPolicy": ("None", "TieredReservation"),
    "topologyManagerPolicy": ("none", "best-effort", "restricted", "single-numa-node"),
    "topologyManagerScope": ("container", "pod"),
    "cgroupDriver": ("cgroupfs", "systemd"),
    "hairpinMode": ("none", "hairpin-veth", "promiscuous-bridge"),
    "configMapAndSecretChangeDetectionStrategy": ("Get", "Cache", "Watch"),
    "imagePullCredentialsVerificationPolicy": (
        "NeverVerify",
        "NeverVerifyPreloadedImages",
        "NeverVerifyAllowlistedImages",
        "AlwaysVerify",
    ),
    "logging.format": ("text", "json"),
    "tlsMinVersion": ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"),
}
#: Go's crypto/tls knows the same names since 1.14, insecure ones among them.
_ECDHE = tuple(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in (
        "AES_128_GCM_SHA256",
        "AES_256_GCM_SHA384",
        "CHACHA20_POLY1305_SHA256",
        "CHACHA20_POLY1305",
        "AES_128_CBC_SHA256",
        "AES_128_CBC_SHA",
        "AES_256_CBC_SHA",
        "RC4_128_SHA",
    )
)
CIPHERS = (
    *("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
    *_ECDHE,
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    *(f"TLS_RSA_WITH_AES_{its}" for its in ("128_CBC_SHA", "128_CBC_SHA256", "128_GCM_SHA256", "256_CBC_SHA", "256_GCM_SHA384")),
    *("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_RC4_128_SHA"),
)
#: Go's HTTP/2 server needs one of them.
HTTP2_CIPHERS = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")

#: Path of a field -> least and greatest value.
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
    "logging.verbosity": (0, 2**31 - 1),
    "tracing.samplingRatePerMillion": (0, 10**6),
    "userNamespaces.idsPerPod": (65536, 2**32 - 1),
}
#: The same for durations, in nanoseconds, with the text for people and the first minor that minds.
DURATIONS: dict[str, tuple[int, int | None, str, int]] = {
    "syncFrequency": (1, None, "positive", 28),
    "logging.flushFrequency": (1, None, "positive", 35),
    "imageMinimumGCAge": (0, None, "zero or more", 36),
    "imageMaximumGCAge": (0, None, "zero or more", 29),
    "containerLogMonitorInterval": (3 * 10**9, None, "at least 3s", 30),
    "cpuCFSQuotaPeriod": (10**6, 10**9, "1ms to 1s", 28),
    "crashLoopBackOff.maxContainerRestartPeriod": (10**9, 300 * 10**9, "1s to 300s", 32),
}
#: (path of a field, the feature gate that it needs, the only value that does; None: any but the zero value)
GATED = (
    ("crashLoopBackOff.maxContainerRestartPeriod", "KubeletCrashLoopBackOffMax", None),
    ("enableSystemLogQuery", "NodeLogQuery", None),
    ("imageMaximumGCAge", "ImageMaximumGCAge", None),
    ("imagePullCredentialsVerificationPolicy", "KubeletEnsureSecretPulledImages", None),
    ("logging.format", "LoggingBetaOptions", "json"),
    ("memoryReservationPolicy", "MemoryQoS", "TieredReservation"),
    ("memorySwap.swapBehavior", "NodeSwap", None),
    ("preloadedImagesVerificationAllowlist", "KubeletEnsureSecretPulledImages", None),
    ("serverTLSBootstrap", "RotateKubeletServerCertificate", None),
    ("shutdownGracePeriodByPodPriority", "GracefulNodeShutdownBasedOnPodPriority", None),
    ("tracing", "KubeletTracing", None),
)
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
        """Go decodes a null in a map to the zero value; only a patch removes what it names."""
        return {name: "" if value is None else value for name, value in (self.config.get(key) or {}).items()}

    def at(self, path: str) -> t.Any:
        """The value at a path in dots; None where there is none."""
        inside: t.Any = self.config
        for part in path.split("."):
            inside = inside.get(part) if isinstance(inside, dict) else None
        return inside

    def set(self, path: str) -> t.Any:
        """The same; None also for a zero that Go cannot tell from a field that is not there."""
        value = self.at(path)
        try:
            kind = self.schema.kind(path)
        except KeyError:
            return None  # not a field of this minor
        return None if not kind.startswith("?") and self.schema.is_zero(kind, value) else value

    def nanoseconds(self, path: str) -> int:
        """A duration. logging.flushFrequency may be a number."""
        value = self.at(path) or 0
        return value if isinstance(value, int) else quantity.duration(str(value))

    def gate(self, name: str) -> bool:
        return self.schema.gate(name, self.config)


def problems(case: Case) -> list[str]:
    """Why this kubelet would not start, or not work, with this configuration. Types are right by then (schema.problems)."""
    # The rules after the first ones compute with what these have checked.
    return of_values(case) or [sentence for rule in TOGETHER for sentence in rule(case)]


def of_values(case: Case) -> list[str]:
    """The problems that a value has on any machine: by itself, or for want of another that it needs beside it."""
    return [sentence for rule in (*ALONE, _companions) for sentence in rule(case)]


def of_settings(known: Schema, settings: t.Mapping[str, t.Any], path: str = "settings") -> list[str]:
    """What this kubelet would not decode or would ignore in a part of a configuration, and gates that it would not start with."""
    found = list(known.problems(settings, path=path))
    gates = settings.get("featureGates")
    if isinstance(gates, dict) and not any(problem.startswith(f"{path}.featureGates") for problem in found):
        case = Case(merge.merge_patch({}, {"featureGates": gates}), known, Machine())
        found += [f"{path}.{problem}" for problem in _gates(case)]
    return found


def of_part(known: Schema, settings: t.Mapping[str, t.Any]) -> list[str]:
    """The problems that values have by themselves, whatever the rest of the configuration says. Types are right by then."""
    case = Case(merge.merge_patch({}, settings), known, Machine())
    return [sentence for rule in ALONE for sentence in rule(case)]


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
        share = 0.0 if text in ("0%", "100%") else float(text.rstrip("%"))
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
    swaps = ("NoSwap", "LimitedSwap") if case.schema.minor >= 30 else ("LimitedSwap", "UnlimitedSwap")
    for path, values in {**ENUMS, "memorySwap.swapBehavior": swaps}.items():
        value = case.set(path)
        if value not in (None, *values):
            yield f"{path} is {value!r}; in kubelet 1.{case.schema.minor} it must be one of {', '.join(values)}"
    for index, value in enumerate(case.config.get("tlsCipherSuites") or ()):
        if value not in CIPHERS:
            yield f"tlsCipherSuites[{index}] is {value!r}; it must be one of {', '.join(CIPHERS)}"
    for index, taint in enumerate(case.config.get("registerWithTaints") or ()):
        where = f"registerWithTaints[{index}]"
        if problem := taints.key_problem(str(taint.get("key") or "")):
            yield f"{where}.key is {taint.get('key')!r}; it {problem}"
        if problem := taints.value_problem(str(taint.get("value") or "")):
            yield f"{where}.value is {taint.get('value')!r}; it {problem}"
        if taint.get("effect") not in (None, "", *taints.EFFECTS):
            yield f"{where}.effect is {taint.get('effect')!r}; it must be one of {', '.join(taints.EFFECTS)}"
        if taint.get("timeAdded"):
            yield f"{where}.timeAdded cannot be chosen; leave it out"


def _enforcements(minor: int) -> dict[str, str]:
    return {value: cgroup for value, cgroup in ENFORCEMENTS.items() if minor >= 32 or not value.endswith("-compressible")}


def _enforcement(case: Case) -> t.Iterator[str]:
    minor, given = case.schema.minor, case.config.get("enforceNodeAllocatable") or []
    known = _enforcements(minor)
    for value in dict.fromkeys(given):
        if value not in known:
            yield f"enforceNodeAllocatable has {value!r}; in kubelet 1.{minor} it may hold {', '.join(known)}"
        if minor >= 32 and f"{value}-compressible" in given:
            yield f"enforceNodeAllocatable has both {value} and {value}-compressible; they exclude each other"
    if "none" in given and len(given) > 1:
        yield "enforceNodeAllocatable has 'none', which stands alone"
    if minor >= 31 and len(set(given)) < len(given):
        yield f"enforceNodeAllocatable names something twice: {', '.join(given)}"


def _ranges(case: Case) -> t.Iterator[str]:
    for path, (low, high) in RANGES.items():
        value = case.set(path)
        if value is not None and (value < low or (high is not None and value > high)):
            yield f"{path} is {value}; it must be " + (f"{low} to {high}" if high is not None else f"at least {low}")
    for path, (low, high, text, first) in DURATIONS.items():
        if case.schema.minor < first or case.set(path) is None:
            continue
        span = case.nanoseconds(path)
        if span < low or (high is not None and span > high):
            yield f"{path} is {case.at(path)}; it must be {text}"
    ids = case.set("userNamespaces.idsPerPod")
    if ids is not None and ids % 65536:
        yield f"userNamespaces.idsPerPod is {ids}; it must be a multiple of 65536"
    factor = case.config.get("memoryThrottlingFactor")
    if factor is not None and not 0 < factor <= 1:
        yield f"memoryThrottlingFactor is {factor}; it must be greater than 0 and at most 1"
    curves = case.config.get("tlsCurvePreferences") or []
    if len(set(curves)) < len(curves) or any(not 0 < curve < 2**16 for curve in curves):
        yield f"tlsCurvePreferences is {curves}; it must hold different numbers from 1 to 65535"


def _texts(case: Case) -> t.Iterator[str]:
    """Strings with a form of their own."""
    minor = case.schema.minor
    endpoint = str(case.at("tracing.endpoint") or "")
    if "//" in endpoint and not endpoint.startswith(("dns:", "unix:", "unix-abstract:")):
        yield f"tracing.endpoint is {endpoint!r}; it must be HOST:PORT or begin with dns:, unix: or unix-abstract:"
    logs = case.text("podLogsDir")
    if minor >= 30 and logs and not (logs.isascii() and logs.startswith("/") and posixpath.normpath(logs) == logs):
        yield f"podLogsDir is {logs!r}; it must be an absolute path in ASCII, without //, /./, /../ or a slash at its end"
    hidden = case.text("showHiddenMetricsForVersion")
    if hidden not in ("", f"1.{minor - 1}"):
        yield f"showHiddenMetricsForVersion is {hidden!r}; kubelet 1.{minor} takes only the minor before its own, 1.{minor - 1}"
    for index, item in enumerate(case.at("logging.vmodule") or ()):
        pattern = str(item.get("filePattern") or "")
        if not pattern or "=" in pattern or "," in pattern:
            yield f"logging.vmodule[{index}].filePattern is {pattern!r}; it must be a pattern without '=' and ','"
        if (item.get("verbosity") or 0) > 2**31 - 1:
            yield f"logging.vmodule[{index}].verbosity is {item['verbosity']}; it must be 0 to {2**31 - 1}"
    for index, name in enumerate(case.config.get("allowedUnsafeSysctls") or ()):
        if not name.replace("/", ".").startswith(NAMESPACED):
            yield f"allowedUnsafeSysctls[{index}] is {name!r}, which no namespace has; it must begin with {', '.join(NAMESPACED)}"
    if case.config.get("runOnce") and minor >= 32:
        yield "runOnce is true; kubelets from 1.32 on refuse that"


def _maps(case: Case) -> t.Iterator[str]:
    """Maps whose values are quantities, percentages or durations, which their type (string) does not say."""
    for owner in ("kubeReserved", "systemReserved"):
        for resource, text in case.map(owner).items():
            if resource not in RESERVABLE:
                yield f"{owner}.{resource} cannot be reserved; a kubelet reserves {', '.join(RESERVABLE)}"
            else:
                yield from _parsed(quantity.quantity, text, f"{owner}.{resource}", least=0)
    if case.text("containerLogMaxSize"):  # a negative one turns the rotation off
        yield from _parsed(quantity.whole, case.text("containerLogMaxSize"), "containerLogMaxSize")
    for resource, text in case.map("qosReserved").items():
        if resource != "memory":
            yield f"qosReserved.{resource} cannot be reserved; a kubelet reserves memory"
        elif not re.fullmatch(r"[+-]?\d+%", text) or not 0 <= int(text[:-1]) <= 100:
            yield f"qosReserved.memory is {text!r}; it must be 0% to 100%, without a fraction"
    if case.text("reservedSystemCPUs"):
        yield from _parsed(lambda text: len(quantity.cpus(text)), case.text("reservedSystemCPUs"), "reservedSystemCPUs", least=1)


def _eviction(case: Case) -> t.Iterator[str]:
    signals = (*SIGNALS, *(SIGNALS_FROM_29 if case.schema.minor >= 29 else ()))
    for owner in ("evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim"):
        reclaim = owner == "evictionMinimumReclaim"
        for signal, text in case.map(owner).items():
            path = f"{owner}.{signal}"
            if signal not in signals:
                yield f"{path} is no eviction signal of kubelet 1.{case.schema.minor}; there are {', '.join(signals)}"
            elif owner == "evictionSoftGracePeriod":
                yield from _parsed(quantity.duration, text, path, least=0)
            elif not text.endswith("%"):
                yield from _parsed(quantity.quantity, text, path, least=0 if reclaim else 1)
            elif not NUMBER.fullmatch(text.rstrip("%")):
                yield f"{path} is {text!r}; it must be a number and %"
            elif reclaim and float(text.rstrip("%")) <= 0:
                yield f"{path} is {text!r}; a percentage to reclaim must be positive"
            elif not reclaim and not 0 <= float(text.rstrip("%")) <= 100:
                yield f"{path} is {text!r}; it must be 0% to 100%"


def _companions(case: Case) -> t.Iterator[str]:
    known = _enforcements(case.schema.minor)
    for value in dict.fromkeys(case.config.get("enforceNodeAllocatable") or []):
        if known.get(value) and not case.text(known[value]):
            yield f"enforceNodeAllocatable has {value!r}, which needs {known[value]}"
    for signal in case.map("evictionSoft").keys() - case.map("evictionSoftGracePeriod").keys():
        if str(case.map("evictionSoft")[signal]) not in ("0%", "100%"):  # which say nothing
            yield f"evictionSoft.{signal} needs an evictionSoftGracePeriod.{signal}"


def _parsed(parse: t.Callable[[str], t.Any], text: str, path: str, least: int | None = None) -> t.Iterator[str]:
    """`least`: 0, 1 for anything above 0, None for anything."""
    try:
        value = parse(text)
    except ValueError as error:
        yield f"{path}: {error}"
        return
    if least is not None and (value < 0 or (least and value == 0)):
        yield f"{path} is {text!r}; it must be {'positive' if least else 'zero or more'}"


def _amount(stream: t.Mapping[str, t.Any]) -> int:
    return int(quantity.quantity(str(stream.get("infoBufferSize", "0"))))


def _together(case: Case) -> t.Iterator[str]:
    low, high = case.config.get("imageGCLowThresholdPercent", 80), case.config.get("imageGCHighThresholdPercent", 85)
    if low >= high:
        yield f"imageGCLowThresholdPercent ({low}) must be less than imageGCHighThresholdPercent ({high})"
    if case.config.get("serializeImagePulls", True) and (case.config.get("maxParallelImagePulls") or 1) > 1:
        yield "maxParallelImagePulls above 1 needs serializeImagePulls: false"
    streams = case.map("logging").get("options") or {}
    split = [
        name for name, its in streams.items() if its and not case.schema.is_zero("", {**its, "infoBufferSize": _amount(its)})
    ]
    if split and not case.schema.gate("LoggingAlphaOptions", {"featureGates": case.map("featureGates")}):
        yield f"logging.options.{split[0]} needs the feature gate LoggingAlphaOptions"
    if case.text("systemCgroups") and not case.text("cgroupRoot"):
        yield "systemCgroups needs cgroupRoot"
    minor, enforced = case.schema.minor, case.config.get("enforceNodeAllocatable") or []
    if not case.config.get("cgroupsPerQOS", True) and set(enforced) - ({"none"} if minor >= 31 else set()):
        yield f"cgroupsPerQOS: false needs enforceNodeAllocatable: {'[none]' if minor >= 31 else '[]'} in kubelet 1.{minor}"
    if 0 < case.nanoseconds("imageMaximumGCAge") <= case.nanoseconds("imageMinimumGCAge"):
        yield "imageMaximumGCAge must be longer than imageMinimumGCAge"
    if case.config.get("preloadedImagesVerificationAllowlist"):
        policy = case.text("imagePullCredentialsVerificationPolicy")
        if policy != "NeverVerifyAllowlistedImages":
            yield (
                "preloadedImagesVerificationAllowlist needs imagePullCredentialsVerificationPolicy NeverVerifyAllowlistedImages, "
                f"not {policy or '(none)'}"
            )
    if case.config.get("enableSystemLogQuery") and not case.config.get("enableSystemLogHandler", True):
        yield "enableSystemLogQuery needs enableSystemLogHandler"
    if case.at("logging.vmodule") and case.at("logging.format") not in (None, "", "text"):
        yield "logging.vmodule needs logging.format text"


def _gated(case: Case) -> t.Iterator[str]:
    for gate, others in case.schema.needs.items():
        off = [other for other in others if not case.gate(other)]
        if off and case.gate(gate):
            yield f"featureGates: {gate} is on and needs {', '.join(off)}, which {'is' if len(off) == 1 else 'are'} off"
    for path, gate, only in GATED:
        value = case.at(path)
        kind = "duration" if isinstance(value, str) and value.endswith("s") else ""
        if not case.schema.is_zero(kind, value) and only in (None, value) and not case.gate(gate):
            field, what = path.partition(".")[0], f"{path} {only}" if only else path
            yield f"{what} needs the feature gate {gate}; turn that on, or set {field} to null"
    if not case.gate("CustomCPUCFSQuotaPeriod") and case.nanoseconds("cpuCFSQuotaPeriod") not in (0, 10**8):
        yield "cpuCFSQuotaPeriod other than 100ms needs the feature gate CustomCPUCFSQuotaPeriod"


def _tls(case: Case) -> t.Iterator[str]:
    ciphers = case.config.get("tlsCipherSuites") or []
    serves = case.config.get("enableServer", True) and case.text("tlsMinVersion") != "VersionTLS13"
    if ciphers and serves and not set(ciphers) & set(HTTP2_CIPHERS):
        yield f"tlsCipherSuites must have {' or '.join(HTTP2_CIPHERS)}; without, the kubelet cannot serve HTTP/2 and exits"


def _shutdown(case: Case) -> t.Iterator[str]:
    keys = ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods")
    whole, critical = spans = tuple(map(case.nanoseconds, keys))
    if not case.gate("GracefulNodeShutdown"):
        for key, span in zip(keys, spans):
            if span > 0:
                yield f"{key} needs the feature gate GracefulNodeShutdown"
        return
    if critical > whole:
        yield "shutdownGracePeriodCriticalPods must not be longer than shutdownGracePeriod"
    for key, span in zip(keys, spans):
        if span < 0 or 0 < span < 10**9:
            yield f"{key} is {case.text(key)}; it must be 0s or at least 1s"
    if case.config.get("shutdownGracePeriodByPodPriority") and max(spans) > 0:
        yield "shutdownGracePeriodByPodPriority does not go with shutdownGracePeriod and shutdownGracePeriodCriticalPods"


def _cgroups(case: Case) -> t.Iterator[str]:
    """What only works with cgroup v2."""
    if case.machine.cgroup2 is not False:
        return
    if case.config.get("failCgroupV1"):
        yield "failCgroupV1 is true, and this machine has cgroup v1"
    if case.config.get("singleProcessOOMKill") is False:
        yield "singleProcessOOMKill: false needs cgroup v2, and this machine has cgroup v1"
    if case.schema.minor >= 30 and case.at("memorySwap.swapBehavior") == "LimitedSwap":
        yield "memorySwap.swapBehavior LimitedSwap needs cgroup v2, and this machine has cgroup v1"


def _cpu(case: Case) -> t.Iterator[str]:
    reserved = case.text("reservedSystemCPUs")
    if reserved:
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


def _reservations(case: Case) -> t.Iterator[str]:
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
            if quantity.quantity(str(value)) == 0:
                yield f"{path} is {value!r}; it must not be zero"
    reserved = case.text("reservedSystemCPUs")
    for key in ("systemReservedCgroup", "kubeReservedCgroup"):
        if reserved and case.text(key):
            yield f"reservedSystemCPUs ({reserved}) cannot go with {key} ({case.text(key)})"


def _memory(case: Case) -> t.Iterator[str]:
    if case.text("memoryManagerPolicy") != "Static":
        return
    if case.schema.minor < 32 and not case.gate("MemoryManager"):
        yield "memoryManagerPolicy Static needs the feature gate MemoryManager"
    totals: dict[str, Fraction] = {}
    for index, entry in enumerate(case.config.get("reservedMemory") or []):
        if entry.get("numaNode", 0) not in case.machine.numa:
            there = ", ".join(map(str, sorted(case.machine.numa)))
            yield f"reservedMemory[{index}] names NUMA node {entry.get('numaNode', 0)}; the machine has {there}"
        for resource, value in (entry.get("limits") or {}).items():
            totals[resource] = totals.get(resource, Fraction(0)) + quantity.quantity(str(value))
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


#: Rules on one value, whatever the others are.
ALONE = (_gates, _enums, _ranges, _texts, _enforcement, _maps, _eviction)
#: Rules on several values, the feature gates or the machine.
TOGETHER = (_together, _gated, _shutdown, _reservations, _tls, _cgroups, _cpu, _cpu_options, _memory, _topology)
