# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on a configuration, held against what each release's own validation says (kubelet_verdicts.txt)."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import merge, rules, table
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from kubelet_cases import TWO_NUMA

MINORS = [int(release.split(".")[1]) for release in table.RELEASES]
VERDICTS = [line.split(" ", 1) for line in Path(__file__).with_name("kubelet_verdicts.txt").read_text().splitlines()]
#: These look at what the validation does not: the machine, the server, the managers of CPUs and memory.
LATER = ("_tls", "_cgroups", "_cpu", "_cpu_options", "_memory", "_topology")


def problems(minor: int, settings: t.Mapping[str, t.Any], **machine: t.Any) -> list[str]:
    known = schema(minor)
    config = merge.effective(known, settings, [])
    return rules.problems(rules.Case(config, known, dataclasses.replace(TWO_NUMA, **machine)))


@pytest.mark.parametrize("minor", MINORS)
def test_what_the_kubelet_of_each_minor_takes_and_refuses(minor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "TOGETHER", [rule for rule in rules.TOGETHER if rule.__name__ not in LATER])
    wrong = []
    for letters, text in VERDICTS:
        verdict, settings = letters[MINORS.index(minor)], json.loads(text)
        if list(schema(minor).problems(settings)):
            continue  # a field that this minor would ignore is refused as such
        found = problems(minor, settings)
        if verdict != ("n" if found else "y"):
            wrong.append(f"{'taken' if verdict == 'y' else 'refused'} by kubelet 1.{minor}: {text}, but here: {found}")
    assert not wrong, "\n".join(wrong)


AES_128, AES_256 = (f"TLS_ECDHE_RSA_WITH_AES_{bits}_GCM_SHA{digest}" for bits, digest in ((128, 256), (256, 384)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"authorization": {"mode": "Always"}},
            "authorization.mode is 'Always'; in kubelet 1.36 it must be one of AlwaysAllow, We",
        ),
        ({"authorization": {"mode": "Webhook"}}, None),
        ({"tlsCipherSuites": [AES_256]}, f"tlsCipherSuites must have {AES_128} or "),
        ({"tlsCipherSuites": [AES_256, AES_128]}, None),
        ({"tlsCipherSuites": [AES_256], "tlsMinVersion": "VersionTLS13"}, None),
        ({"tlsCipherSuites": [AES_256], "enableServer": False}, None),
        ({"tlsCurvePreferences": [29, 29]}, "tlsCurvePreferences is [29, 29]"),
        ({"tlsCurvePreferences": [29, 4588]}, None),
        ({"syncFrequency": "-1s"}, "syncFrequency is -1s; it must be positive"),
        ({"containerLogMaxFiles": 1}, "containerLogMaxFiles is 1; it must be at least 2"),
        ({"containerLogMaxSize": "ten"}, "containerLogMaxSize: 'ten' is no quantity"),
        ({"containerLogMaxSize": "500m"}, "containerLogMaxSize: '500m' is no whole number"),
        ({"containerLogMaxSize": "-1"}, None),  # no rotation
        ({"evictionHard": {"memory.available": "101%"}}, "it must be 0% to 100%"),
        ({"evictionHard": {"memory.available": "0"}}, "it must be positive"),
        ({"evictionHard": {"memory.available": "1e1%"}}, None),
        ({"evictionMinimumReclaim": {"memory.available": "0%"}}, "a percentage to reclaim must be positive"),
        ({"evictionMinimumReclaim": {"memory.available": "101%"}}, None),
        ({"evictionMinimumReclaim": {"memory.available": "0"}}, None),
        ({"evictionSoftGracePeriod": {"memory.free": "1m"}}, "evictionSoftGracePeriod.memory.free is no eviction signal"),
        ({"evictionSoftGracePeriod": {"memory.available": "-1s"}}, "it must be zero or more"),
        ({"evictionSoft": {"memory.available": "0%"}}, None),
        ({"qosReserved": {"memory": "50%"}}, None),
        ({"qosReserved": {"memory": "5.5%"}}, "qosReserved.memory is '5.5%'"),
        ({"qosReserved": {"cpu": "5%"}}, "qosReserved.cpu cannot be reserved"),
        ({"allowedUnsafeSysctls": ["net.core.*", "net/core/somaxconn", "kernel.shm*", "fs.mqueue.*"]}, None),
        ({"allowedUnsafeSysctls": ["vm.swappiness"]}, "allowedUnsafeSysctls[0] is 'vm.swappiness', which no namespace has"),
        ({"showHiddenMetricsForVersion": "1.35"}, None),
        ({"showHiddenMetricsForVersion": "1.34"}, "takes only the minor before its own, 1.35"),
        ({"reservedMemory": [{"numaNode": 7, "limits": {"memory": "1Gi"}}]}, None),  # only the static policy looks
    ],
)
def test_what_comes_after_the_validation(settings: dict[str, t.Any], says: str | None) -> None:
    """Evictions, reservations and sysctls agree with the functions of 1.36.3 that read them; the rest is from its source."""
    found = problems(36, settings)
    assert [says in problem for problem in found] == [True] if says else found == []


def test_signals_of_a_container_file_system_are_known_from_29_on() -> None:
    settings = {"evictionHard": {"containerfs.available": "5%"}}
    assert problems(28, settings) and not problems(29, settings)


def test_what_needs_cgroup_v2() -> None:
    for settings in ({"failCgroupV1": True}, {"singleProcessOOMKill": False}, {"memorySwap": {"swapBehavior": "LimitedSwap"}}):
        assert ["cgroup v1" in problem for problem in problems(36, {"failCgroupV1": False, **settings}, cgroup2=False)] == [True]
        assert not problems(36, settings, cgroup2=True) and not problems(36, settings)


@pytest.mark.parametrize(
    ("base", "drop_ins", "refused"),
    [
        # Each seen with a kubelet 1.36.3 and --config-dir.
        ({}, [{"featureGates": {"KubeletCrashLoopBackOffMax": False}}], True),
        ({"featureGates": {"KubeletCrashLoopBackOffMax": False}}, [{}], False),
        ({}, [{"featureGates": {"KubeletCrashLoopBackOffMax": False}, "crashLoopBackOff": None}], False),
        ({}, [{"featureGates": {"KubeletEnsureSecretPulledImages": False}}], True),
        ({}, [{"maxParallelImagePulls": 3}], True),
        ({}, [{"maxParallelImagePulls": 3, "serializeImagePulls": False}], False),
        ({"maxParallelImagePulls": 3}, [{"serializeImagePulls": None}], False),
        ({}, [{"enforceNodeAllocatable": [], "cgroupsPerQOS": False}], False),
        ({"enforceNodeAllocatable": []}, [{"cgroupsPerQOS": False}], True),
        ({"enforceNodeAllocatable": [], "cgroupsPerQOS": False}, [], False),
    ],
)
def test_a_default_of_the_first_file_is_there_when_a_drop_in_is_merged(
    base: dict[str, t.Any], drop_ins: list[dict[str, t.Any]], refused: bool
) -> None:
    known = schema(36)
    assert bool(rules.problems(rules.Case(merge.effective(known, base, drop_ins), known, TWO_NUMA))) is refused
