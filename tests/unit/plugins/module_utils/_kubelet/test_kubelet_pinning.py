# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines as the kernel shows them, and whether CPUs are pinned on them."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import pinning, topology
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.podresources import Container, Device
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError

GIB = 2**30
GPU = Device("nvidia.com/gpu", ("GPU-1",), frozenset({1}))
MACHINE = topology.Machine(
    cpus=frozenset(range(8)),
    numa={0: frozenset(range(4)), 1: frozenset(range(4, 8))},
    cores={cpu: (cpu // 4, cpu) for cpu in range(8)},
    memory=GIB,
)
ONE = Container("ns", "one", "main", frozenset({4, 5}))
POOL = Container("ns", "pool", "main", frozenset())


def node(*containers: Container, **runs_on: set[int]) -> pinning.Observed:
    """`runs_on`: the CPUs on which each pod's process may run."""
    processes = tuple(
        pinning.Process(number, ("ns", pod, "main"), frozenset(cpus)) for number, (pod, cpus) in enumerate(runs_on.items(), 100)
    )
    return pinning.Observed("podresources", "static", frozenset({0, 1, 2, 3, 6, 7}), containers, processes, MACHINE)


def test_as_it_should_be() -> None:
    result = pinning.assess(node(ONE, POOL, one={4, 5}, pool={0, 1, 2, 3, 6, 7}), ["ns/one"])
    assert result["ok"] and result["problems"] == [] and result["changed"] is False
    assert result["exclusive"][0]["cpus"] == "4-5" and result["exclusive"][0]["numa_nodes"] == [1]
    assert result["shared_cpus"] == "0-3,6-7"


@pytest.mark.parametrize(
    ("observed", "says"),
    [
        (node(ONE, one={4, 5, 6}), "process 100 of ns/one/main may run on CPU 4-6, not only on its own 4-5"),
        (node(ONE, POOL, one={4, 5}, pool={3, 4}), "process 101 of ns/pool/main may run on CPU 4, which belongs to another"),
        (node(ONE), "no process of it was found"),
        (
            node(ONE, dataclasses.replace(ONE, namespace="zz", pod="a"), one={4, 5}),
            "ns/one/main and zz/a/main both were given CPU 4-5",
        ),
        (node(ONE, dataclasses.replace(ONE, pod="two"), one={4, 5}, two={4, 5}), "both were given CPU 4-5"),
        (node(ONE, dataclasses.replace(ONE, namespace="other"), one={4, 5}), "and other/one/main both were given CPU 4-5"),
        (node(dataclasses.replace(ONE, cpus=frozenset({9})), one={9}), "CPU 9, which is not online"),
        (node(POOL, pool={0}), "ns/one has no CPU of its own"),
    ],
)
def test_problems(observed: pinning.Observed, says: str) -> None:
    result = pinning.assess(observed, ["ns/one"])
    assert not result["ok"]
    assert any(says in problem for problem in result["problems"]), result["problems"]


def test_a_container_without_a_process_is_a_problem_only_where_one_is_expected() -> None:
    """Somebody's pod that waits for its image, or crashes."""
    result = pinning.assess(node(ONE))
    assert result["ok"] and result["warnings"] == ["ns/one/main was given CPU 4-5, but no process of it was found"]


@pytest.mark.parametrize("runs", [True, False])
def test_containers_of_one_pod_may_have_the_same_cpus_one_after_the_other(runs: bool) -> None:
    """An init container that is done keeps its line in the state file."""
    both = node(ONE, dataclasses.replace(ONE, name="init"), one={4, 5})
    if runs:
        both = dataclasses.replace(
            both, processes=(*both.processes, pinning.Process(7, ("ns", "one", "init"), frozenset({4, 5})))
        )
    said = ["ns/one/init and ns/one/main both were given CPU 4-5"] if runs else []
    assert pinning.assess(both)["problems"] == said


@pytest.mark.parametrize(
    ("environment", "policy", "warned"),
    [
        ({}, "static", True),
        ({"PASS_DEVICE_SPECS": "true"}, "static", False),
        ({"DEVICE_LIST_STRATEGY": "cdi-annotations"}, "static", False),
        ({"DEVICE_LIST_STRATEGY": "envvar"}, "static", True),
        ({"CONFIG_FILE": "/config/a.yaml"}, "static", True),
        ({"CONFIG_FILE": "/config/a.yaml", "PASS_DEVICE_SPECS": "true"}, "static", False),
        ({}, "none", False),
    ],
)
def test_the_device_plugin_that_loses_gpus(environment: dict[str, str], policy: str, warned: bool) -> None:
    observed = dataclasses.replace(node(), gpu_plugins=(environment,), policy=policy)
    assert bool(pinning.assess(observed)["warnings"]) is warned


def test_what_a_policy_promises_about_numa_nodes() -> None:
    far = node(dataclasses.replace(ONE, cpus=frozenset({3}), devices=(GPU,)), one={3})
    wide = node(dataclasses.replace(ONE, cpus=frozenset({3, 4})), one={3, 4})
    for policy in ("none", "best-effort", "restricted", "single-numa-node"):
        result = pinning.assess(far, topology_policy=policy)
        strict = policy in ("restricted", "single-numa-node")
        assert any("its GPU is on NUMA node 1" in word for word in result["problems" if strict else "warnings"])
        assert result["ok"] is not strict
        assert pinning.assess(wide, topology_policy=policy)["ok"] is (policy != "single-numa-node")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--pass-device-specs"], {"PASS_DEVICE_SPECS": "true"}),
        (["--pass-device-specs=false"], {"PASS_DEVICE_SPECS": "false"}),
        (["-device-list-strategy", "cdi-cri", "--mig-strategy=single"], {"DEVICE_LIST_STRATEGY": "cdi-cri"}),
        (["--config-file=/config/a.yaml"], {"CONFIG_FILE": "/config/a.yaml"}),
        ([], {}),
    ],
)
def test_settings_of_the_device_plugin_by_flag(arguments: list[str], found: dict[str, str]) -> None:
    assert pinning._flags(arguments) == found


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_recorded_machine(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/cpu/online": "0-2\n",
        "proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB\n",
        "sys/devices/system/node/node0/cpulist": "0-1\n",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       512 kB\n",
        "sys/devices/system/node/node1/cpulist": "2-3\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    }
    for cpu in range(4):
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"] = f"{cpu // 2}\n"
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/core_id"] = f"{cpu}\n"
    machine = topology.read(tree(tmp_path, files))
    assert machine.cpus == {0, 1, 2}
    assert machine.numa == {0: {0, 1}, 1: {2}}
    assert machine.sockets == 2
    assert machine.memory == 1024 * 1024 and machine.numa_memory == {0: 512 * 1024, 1: 0}
    assert machine.hugepages == {"hugepages-2Mi"}


@pytest.mark.parametrize(
    ("path", "found"),
    [("sys/fs/cgroup/cgroup.controllers", True), ("sys/fs/cgroup/memory/tasks", False), ("sys/other", None)],
)
def test_the_version_of_cgroups(tmp_path: Path, path: str, found: bool | None) -> None:
    assert topology.read(tree(tmp_path, {path: ""})).cgroup2 is found


def test_a_machine_without_numa_is_one_node(tmp_path: Path) -> None:
    machine = topology.read(tree(tmp_path, {"sys/devices/system/cpu/online": "0-1\n"}))
    assert machine.numa == {0: {0, 1}} and machine.sockets == 1


def test_a_folder_without_a_kubelet(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=rf"{tmp_path} holds neither a pod resources socket.*; give the root directory"):
        pinning.entry({"root_dir": str(tmp_path), "pods": [], "timeout": 0}, False)


def test_the_kubelet_gets_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [node(ONE), node(ONE, one={4, 5})]
    monkeypatch.setattr(pinning, "observe", lambda _root_dir: seen.pop(0))
    params = {"root_dir": "", "pods": ["ns/one"], "topology_policy": "none", "timeout": 30}
    assert pinning.entry(params, False)["ok"] and not seen


def test_without_the_socket_the_state_file_tells(tmp_path: Path) -> None:
    container = "a" * 64
    state = '{"policyName":"static","defaultCpuSet":"0","entries":{"u-1":{"main":"1"}}}'
    root = tree(
        tmp_path,
        {
            "kubelet/cpu_manager_state": state,
            "sys/devices/system/cpu/online": "0-1\n",
            "var/log/pods/ns_one_u-1/main/0.log": "",
            f"var/log/containers/one_ns_main-{container}.log": "",
            "proc/7/cgroup": f"0::/kubepods/pod/{container}\n",
            "proc/7/status": "Name: x\nCpus_allowed_list:\t0-1\n",
            "proc/7/cmdline": "sleep\0infinity\0",
        },
    )
    observed = pinning.observe(str(root / "kubelet"), str(root))
    result: dict[str, t.Any] = pinning.assess(observed, ["ns/one"])
    assert result["source"] == "state_file" and result["warnings"]
    assert result["problems"] == ["process 7 of ns/one/main may run on CPU 0-1, not only on its own 1"]


DONE = {"PASS_DEVICE_SPECS": "", "DEVICE_LIST_STRATEGY": ""}


@pytest.mark.parametrize(
    ("argv", "environment", "config", "found", "says"),
    [
        ("nvidia-device-plugin", "A=b", None, {"A": "b"}, "without compatWithCPUManager"),
        ("/usr/bin/nvidia-device-plugin --pass-device-specs", "", None, {"PASS_DEVICE_SPECS": "true"}, ""),
        ("nvidia-device-plugin", "PASS_DEVICE_SPECS=true", None, {"PASS_DEVICE_SPECS": "true"}, ""),
        ("nvidia-device-plugin", "CONFIG_FILE=/config/config.yaml", "flags: {plugin: {passDeviceSpecs: true}}", {}, ""),
        (
            "nvidia-device-plugin --config-file=/config/config.yaml",
            "",
            "flags: {plugin: {deviceListStrategy: [envvar, cdi-cri]}}",
            {"DEVICE_LIST_STRATEGY": "envvar,cdi-cri"},
            "",
        ),
        ("nvidia-device-plugin", "CONFIG_FILE=/config/config.yaml", "version: v1", DONE, "without compatWithCPUManager"),
        (  # a flag outweighs the file
            "nvidia-device-plugin --pass-device-specs=false",
            "CONFIG_FILE=/config/config.yaml",
            "flags: {plugin: {passDeviceSpecs: true}}",
            {"PASS_DEVICE_SPECS": "false"},
            "without compatWithCPUManager",
        ),
        ("nvidia-device-plugin", "CONFIG_FILE=/gone.yaml", None, {}, "reads /gone.yaml, which could not be read from here"),
        ("nvidia-device-plugin", "CONFIG_FILE=/config/config.yaml", "flags: [", {}, "which could not be read from here"),
        ("nvidia-device-plugin", "CONFIG_FILE=/config/config.yaml", "[]", DONE, "without compatWithCPUManager"),
        ("nvidia-device-plugin", "CONFIG_FILE=/config/config.yaml", "flags: text", {}, "(it is no configuration of the device"),
        ("sleep nvidia-device-plugin", "A=b", None, None, ""),
    ],
)
def test_the_device_plugin_is_found_among_the_processes(
    tmp_path: Path, *, argv: str, environment: str, config: str | None, found: dict[str, str] | None, says: str
) -> None:
    container = "b" * 64
    root = tree(
        tmp_path,
        {
            "kubelet/cpu_manager_state": '{"policyName":"static","defaultCpuSet":"0-1"}',
            "sys/devices/system/cpu/online": "0-1\n",
            f"var/log/containers/plugin_gpu_main-{container}.log": "",
            "proc/9/cgroup": f"0::/kubepods/pod/{container}\n",
            "proc/9/status": "Cpus_allowed_list:\t0-1\n",
            "proc/9/cmdline": argv.replace(" ", "\0") + "\0",
            "proc/9/environ": environment + "\0",
            "proc/9/root/available/..data/one": config or "",
        },
    )
    if config is not None:  # as the plugin's config manager does it
        own = root / "proc/9/root"
        (own / "available/one").symlink_to("..data/one")
        (own / "config").mkdir()
        (own / "config/config.yaml").symlink_to("/available/one")
    observed = pinning.observe(str(root / "kubelet"), str(root))
    assert (found is None) is (observed.gpu_plugins == ())
    for settings in observed.gpu_plugins:
        assert (found or {}).items() <= settings.items()
    # The first is about the socket.
    warnings = pinning.assess(observed)["warnings"][1:]
    assert len(warnings) == bool(says) and all(says in warning for warning in warnings)


@pytest.mark.parametrize(
    "state",
    [
        '{"defaultCpuSet": "3-1"}',
        '{"defaultCpuSet": [0]}',
        '{"entries": {"u": {"c": "x"}}}',
        '{"entries": {"u": {"c": 1}}}',
        '{"entries": {"u": []}}',
        '{"entries": ["x"]}',
    ],
)
def test_a_state_file_that_is_none(tmp_path: Path, state: str) -> None:
    (tmp_path / "cpu_manager_state").write_text(state)
    with pytest.raises(PlanError, match="cpu_manager_state is not as a kubelet writes it"):
        pinning.observe(str(tmp_path), str(tmp_path))
