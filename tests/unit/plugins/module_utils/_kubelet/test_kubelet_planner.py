# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: what it refuses, what it does in which order, and that it does nothing twice."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import planner
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.topology import Machine
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st
from kubelet_cases import DIRECTORY, GIB, ORIGINAL, PATH, STATIC, kubelet


def after(observed: planner.Kubelet, wish: planner.Wish) -> planner.Kubelet:
    """What observing would find once the plan has been carried out."""
    made = planner.plan(observed, wish)
    contents = {path.rpartition("/")[2]: dict(content) for path, content in observed.drop_ins}
    contents.pop(wish.file, None)
    if wish.settings is not None:
        contents[wish.file] = dict(wish.settings)
    policy = contents.get(wish.file, {}).get("cpuManagerPolicy", "none")
    state = observed.cpu_state
    if "cpu_manager_state" in made.facts["state_files"]:
        state = {"policyName": policy, "defaultCpuSet": "0-7" if policy == "static" else "", "checksum": 1}
    return kubelet(contents, observed.version, cpu_state=state, machine=observed.machine)


def actions(plan: t.Any) -> list[str]:
    return [str(step) for step in plan.steps]


def test_static_policy_in_order() -> None:
    plan = planner.plan(kubelet(), planner.Wish(STATIC))
    assert actions(plan) == [
        "cordon node",
        "drain node",
        "stop kubelet",
        f"write {PATH}",
        "remove /var/lib/kubelet/cpu_manager_state",
        "start kubelet",
        "uncordon node",
    ]
    assert plan.facts["state_files"] == {
        "cpu_manager_state": "it was written by policy none, and the kubelet refuses it under static"
    }
    assert plan.facts["drain_reasons"] == [
        "cpuManagerPolicy changes",
        "cpu_manager_state must go: it was written by policy none, and the kubelet refuses it under static",
    ]
    assert plan.differences[-1].after == STATIC


def test_nothing_when_it_is_so_already() -> None:
    assert not planner.plan(after(kubelet(), planner.Wish(STATIC)), planner.Wish(STATIC)).changed


def test_absent_puts_everything_back() -> None:
    plan = planner.plan(after(kubelet(), planner.Wish(STATIC)), planner.Wish(None))
    assert f"remove {PATH}" in actions(plan)
    assert "remove /var/lib/kubelet/cpu_manager_state" in actions(plan)
    assert plan.facts["effective"] == {"cpuManagerPolicy": "none", "kubeReserved": {"cpu": None}}
    assert not planner.plan(kubelet(), planner.Wish(None)).changed


def test_what_running_pods_need_not_know_is_changed_without_a_drain() -> None:
    plan = planner.plan(kubelet(), planner.Wish({"maxPods": 200}))
    assert actions(plan) == ["stop kubelet", f"write {PATH}", "start kubelet"]


def test_a_text_that_means_the_same_is_written_without_a_restart() -> None:
    found = kubelet({"50-gpufleet.conf": {"syncFrequency": "60s"}})
    assert actions(planner.plan(found, planner.Wish({"syncFrequency": "1m0s"}))) == [f"write {PATH}"]


def test_the_originals_gates_are_refused_by_name_and_release() -> None:
    with pytest.raises(PlanError) as error:
        planner.plan(kubelet(), planner.Wish(ORIGINAL))
    assert "featureGates.CPUManager" in error.value.message and "removed in 1.33" in error.value.message
    assert "featureGates.TopologyManager" in error.value.message and "removed in 1.29" in error.value.message
    without = {key: value for key, value in ORIGINAL.items() if key != "featureGates"}
    assert planner.plan(kubelet(), planner.Wish(without)).changed


def test_a_priority_that_changes_moves_the_file() -> None:
    plan = planner.plan(kubelet({"50-gpufleet.conf": {"maxPods": 200}}), planner.Wish({"maxPods": 200}, priority=70))
    assert actions(plan) == [f"remove {PATH}", f"write {DIRECTORY}/70-gpufleet.conf"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"reservedCpus": "0"}, "settings.reservedCpus is no field"),
        ({"allowedUnsafeSysctls": ["net.core.somaxconn", None]}, "settings.allowedUnsafeSysctls[1] is null; leave the entry out"),
        ({"maxPods": "110"}, "settings.maxPods must be a whole number"),
        ({"kubeReserved": {"cpu": 1}}, "settings.kubeReserved.cpu must be a string"),
        ({"kind": "KubeletConfiguration"}, "leave it out"),
        ({"syncFrequency": "1 minute"}, "no duration"),
        ({"cpuManagerPolicy": "static"}, "needs CPUs reserved"),
        ({"cpuManagerPolicy": "Static", "kubeReserved": {"cpu": "1"}}, "must be one of none, static"),
        ({"cpuManagerPolicy": "static", "kubeReserved": {"cpu": "9"}}, "9 CPUs are reserved, but the machine has 8"),
        ({"reservedSystemCPUs": "0,8"}, "CPU 8 is not online"),
        ({"reservedSystemCPUs": "0-1", "systemReservedCgroup": "/system"}, "cannot go with systemReservedCgroup"),
        ({**STATIC, "cpuManagerPolicyOptions": {"full-pcpus": "true"}}, "no option 'full-pcpus'"),
        ({**STATIC, "cpuManagerPolicyOptions": {"align-by-socket": "true"}}, "CPUManagerPolicyAlphaOptions"),
        (
            {
                **STATIC,
                "featureGates": {"CPUManagerPolicyAlphaOptions": True},
                "cpuManagerPolicyOptions": {"align-by-socket": "true"},
                "topologyManagerPolicy": "single-numa-node",
            },
            "align-by-socket cannot go with",
        ),
        ({"cpuManagerPolicyOptions": {"full-pcpus-only": "true"}}, "need cpuManagerPolicy static"),
        ({"topologyManagerPolicyOptions": {"max-allowable-numa-nodes": "4"}}, "at least 8"),
        ({"memoryManagerPolicy": "Static"}, "adds up to 0 bytes of memory"),
        (
            {"memoryManagerPolicy": "Static", "reservedMemory": [{"numaNode": 2, "limits": {"memory": "100Mi"}}]},
            "names NUMA node 2; the machine has 0, 1",
        ),
        ({"evictionSoft": {"memory.available": "1Gi"}}, "needs an evictionSoftGracePeriod"),
        ({"evictionHard": {"memory.free": "1Gi"}}, "no eviction signal"),
        ({"kubeReserved": {"gpu": "1"}}, "cannot be reserved"),
        ({"imageGCHighThresholdPercent": 70}, "must be less than"),
        ({"featureGates": {"CPUManagerPolicyOptions": False}}, "locked to true"),
        ({"featureGates": {"NoSuchThing": True}}, "does not know it"),
    ],
)
def test_refused_before_anything_is_touched(settings: dict[str, t.Any], says: str) -> None:
    with pytest.raises(PlanError, match=r"Nothing was changed|leave it out") as error:
        planner.plan(kubelet(), planner.Wish(settings))
    assert says in error.value.message


def test_more_than_eight_numa_nodes() -> None:
    many = Machine(frozenset(range(18)), {node: frozenset({2 * node, 2 * node + 1}) for node in range(9)}, {}, 64 * GIB)
    wish = {**STATIC, "topologyManagerPolicy": "restricted"}
    with pytest.raises(PlanError, match=r"9 NUMA nodes, the topology manager takes 8"):
        planner.plan(kubelet(machine=many), planner.Wish(wish))
    wish["topologyManagerPolicyOptions"] = {"max-allowable-numa-nodes": "9"}
    assert planner.plan(kubelet(machine=many), planner.Wish(wish)).changed


def test_memory_reservations_that_add_up() -> None:
    wish = {
        "memoryManagerPolicy": "Static",
        "kubeReserved": {"memory": "500Mi"},
        "evictionHard": {"memory.available": "100Mi"},
        "reservedMemory": [{"numaNode": 0, "limits": {"memory": "400Mi"}}, {"numaNode": 1, "limits": {"memory": "200Mi"}}],
    }
    plan = planner.plan(kubelet(), planner.Wish(wish))
    assert "remove /var/lib/kubelet/memory_manager_state" in actions(plan)


def test_flags_and_later_files_that_override_are_named() -> None:
    with pytest.raises(PlanError, match=r"settings.maxPods would be overridden by the flag --max-pods"):
        planner.plan(kubelet(flags=("--max-pods=50",)), planner.Wish({"maxPods": 60}))
    with pytest.raises(PlanError, match=r"overridden by .*/90-site.conf"):
        planner.plan(kubelet({"90-site.conf": {"maxPods": 70}}), planner.Wish({"maxPods": 60}))


def test_without_configz_nothing_is_claimed() -> None:
    with pytest.raises(PlanError, match=r"cannot be read.*403"):
        planner.plan(kubelet(configz=None, configz_error="403"), planner.Wish({"maxPods": 60}))


@pytest.mark.parametrize(
    ("entries", "default", "change", "why"),
    [
        ({}, "0-7", {"kubeReserved": {"cpu": "2"}}, "reserved for the system change"),
        ({}, "0-7", {"reservedSystemCPUs": "1"}, "reserved for the system change"),
        ({}, "0-7", {"cpuManagerPolicyOptions": {"strict-cpu-reservation": "true"}}, "strict-cpu-reservation changes"),
        ({}, "0-7", {"cpuManagerPolicyOptions": {"full-pcpus-only": "true"}}, "given out by the old ones"),
        ({"pod": {"c": "6-7"}}, "0-3", {"maxPods": 50}, "4-5 are online|0-7 are online"),
    ],
)
def test_state_files_that_must_go(entries: dict[str, t.Any], default: str, change: dict[str, t.Any], why: str) -> None:
    state = {"policyName": "static", "defaultCpuSet": default, "entries": entries}
    found = kubelet({"50-gpufleet.conf": STATIC}, cpu_state=state)
    plan = planner.plan(found, planner.Wish({**STATIC, **change}))
    assert re.search(why, plan.facts["state_files"]["cpu_manager_state"])


def test_why_a_node_is_drained() -> None:
    """A state file alone is a reason, and so is the wish."""
    state = {"policyName": "static", "defaultCpuSet": "0-7"}
    found = kubelet({"50-gpufleet.conf": STATIC}, cpu_state=state)
    plan = planner.plan(found, planner.Wish({"cpuManagerPolicy": "static", "kubeReserved": {"cpu": "2"}}))
    assert plan.facts["drain"]
    assert plan.facts["drain_reasons"] == ["cpu_manager_state must go: the CPUs reserved for the system change"]
    always = planner.plan(kubelet(), planner.Wish({"maxPods": 200}, drain="always"))
    assert always.facts["drain"] and always.facts["drain_reasons"] == ["drain.mode is always"]
    assert planner.plan(kubelet(), planner.Wish({"maxPods": 200})).facts["drain_reasons"] == []


def test_without_a_drain_it_is_said_what_running_pods_lose() -> None:
    plan = planner.plan(kubelet(), planner.Wish(STATIC, drain="never"))
    assert [action.partition(" ")[0] for action in actions(plan)] == ["stop", "write", "remove", "start"]
    assert plan.warnings == (
        "drain is never, but cpu_manager_state must go: running pods lose the CPUs or memory that they were given",
    )
    assert not plan.facts["drain"] and plan.facts["drain_reasons"] == []
    assert planner.plan(kubelet(), planner.Wish({"maxPods": 200}, drain="never")).warnings == ()


def test_state_files_that_may_stay() -> None:
    state = {"policyName": "static", "defaultCpuSet": "0-5", "entries": {"pod": {"c": "6-7"}}}
    found = kubelet({"50-gpufleet.conf": STATIC}, cpu_state=state)
    plan = planner.plan(found, planner.Wish({**STATIC, "maxPods": 50}))
    assert plan.facts["state_files"] == {} and not plan.facts["drain"] and plan.facts["restart"]


CORDONED = planner.Node(unschedulable=True, mark="cordoned")
DRAINED = planner.Node(unschedulable=True, mark="drained")


def test_killed_runs_are_finished() -> None:
    """At each point at which a run can die, the next one knows from what it finds what is left to do."""
    wish = planner.Wish(STATIC)
    done = after(kubelet(), wish)
    files = {"drop_ins": done.drop_ins, "texts": done.texts}
    left = {PATH: None}
    last = ["start kubelet", "uncordon node"]
    assert actions(planner.plan(kubelet(node=CORDONED), wish))[:3] == ["cordon node", "drain node", "stop kubelet"]
    assert actions(planner.plan(kubelet(node=DRAINED), wish))[:2] == ["cordon node", "stop kubelet"]
    stopped = kubelet(node=DRAINED, active=False, configz=None)
    assert actions(planner.plan(stopped, wish)) == [
        "cordon node",
        "stop kubelet",
        f"write {PATH}",
        "remove /var/lib/kubelet/cpu_manager_state",
        "start kubelet",
        "uncordon node",
    ]
    written = dataclasses.replace(stopped, left=left, **files)
    assert actions(planner.plan(written, wish)) == [
        "cordon node",
        "stop kubelet",
        "remove /var/lib/kubelet/cpu_manager_state",
        *last,
    ]
    removed = dataclasses.replace(written, cpu_state=None)
    assert actions(planner.plan(removed, wish)) == ["cordon node", "stop kubelet", *last]
    started = dataclasses.replace(done, node=DRAINED, left=left)
    assert actions(planner.plan(started, wish)) == ["uncordon node", "forget what an unfinished run had set aside"]
    assert not planner.plan(dataclasses.replace(done, node=planner.Node()), wish).changed


def test_somebody_elses_cordon_stays() -> None:
    plan = planner.plan(kubelet(node=planner.Node(unschedulable=True)), planner.Wish(STATIC))
    assert "cordon node" not in actions(plan) and "uncordon node" not in actions(plan) and "drain node" in actions(plan)


def test_a_kubelet_without_a_drop_in_directory_gets_one() -> None:
    plan = planner.plan(kubelet(config_dir="", needs_config_dir=True), planner.Wish({"maxPods": 60}))
    assert actions(plan) == ["stop kubelet", "add --config-dir to kubelet", f"write {PATH}", "start kubelet"]


def test_a_drop_in_directory_that_was_added_goes_with_its_last_file() -> None:
    mine = {"50-gpufleet.conf": {"maxPods": 60}}
    absent = planner.Wish(None)
    take = "take --config-dir from kubelet"
    assert actions(planner.plan(kubelet(mine, own_config_dir=True), absent)) == [
        "stop kubelet",
        f"remove {PATH}",
        take,
        "start kubelet",
    ]
    assert take not in actions(planner.plan(kubelet(mine), absent))  # somebody else's
    others = kubelet({**mine, "10-other.conf": {"podPidsLimit": 99}}, own_config_dir=True)
    assert take not in actions(planner.plan(others, absent))
    killed = planner.plan(kubelet(own_config_dir=True), absent)  # before the file was written
    assert actions(killed) == [take] and killed.differences
    assert not planner.plan(kubelet(mine, own_config_dir=True), planner.Wish(mine["50-gpufleet.conf"])).changed


def test_a_node_that_somebody_uncordoned_after_a_killed_run_is_drained_again() -> None:
    plan = planner.plan(kubelet(node=planner.Node(unschedulable=False, mark="drained")), planner.Wish(STATIC))
    assert actions(plan)[:3] == ["cordon node", "drain node", "stop kubelet"]
    assert plan.steps[0].args == {"mark": "cordoned"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("127.0.0.1", 10248)),
        ({"healthzPort": 0}, ("127.0.0.1", 0)),
        ({"healthzPort": 11248, "healthzBindAddress": "10.0.0.1"}, ("10.0.0.1", 11248)),
        ({"healthzBindAddress": "0.0.0.0"}, ("127.0.0.1", 10248)),
        ({"healthzBindAddress": "::"}, ("127.0.0.1", 10248)),
    ],
)
def test_where_healthz_is(config: dict[str, t.Any], expected: tuple[str, int]) -> None:
    assert planner.healthz(config) == expected
    (start,) = [step for step in planner.plan(kubelet(), planner.Wish({"maxPods": 60, **config})).steps if step.action == "start"]
    assert start.args["healthz"] == expected


WISHES = st.fixed_dictionaries(
    {},
    optional={
        "cpuManagerPolicy": st.sampled_from(["none", "static"]),
        "kubeReserved": st.fixed_dictionaries({"cpu": st.sampled_from(["300m", "1", "2"])}),
        "reservedSystemCPUs": st.sampled_from(["0", "0-1", "7"]),
        "topologyManagerPolicy": st.sampled_from(["none", "best-effort", "restricted", "single-numa-node"]),
        "topologyManagerScope": st.sampled_from(["container", "pod"]),
        "maxPods": st.integers(1, 300),
        "syncFrequency": st.sampled_from(["60s", "1m0s", "2m"]),
        "clusterDNS": st.lists(st.sampled_from(["10.96.0.10", "10.96.0.11"]), unique=True),
        "evictionHard": st.dictionaries(
            st.sampled_from(["memory.available", "nodefs.available"]), st.sampled_from(["1Gi", "5%"])
        ),
    },
)


def planned(observed: planner.Kubelet, wish: planner.Wish) -> t.Any:
    """The plan, or None where the wish is refused."""
    try:
        return planner.plan(observed, wish)
    except PlanError as error:
        assert "Nothing was changed" in error.message
        return None


@given(WISHES, WISHES)
def test_from_any_state_a_plan_leads_to_the_wish_and_the_next_finds_nothing(
    first: dict[str, t.Any], second: dict[str, t.Any]
) -> None:
    found = kubelet()
    for settings in (first, second, None):
        wish = planner.Wish(settings)
        plan = planned(found, wish)
        if plan is None:
            continue
        names = actions(plan)
        # A kubelet is stopped before its files change under it, and started after all of them.
        if plan.facts["restart"]:
            assert names.index("stop kubelet") < names.index("start kubelet")
            assert all("kubelet" in name or "node" in name for name in (names[0], names[-1]))
        else:
            assert not plan.facts["state_files"] and not plan.facts["drain"]
        assert names.count("cordon node") == names.count("uncordon node") == names.count("drain node")
        found = after(found, wish)
        assert not planner.plan(found, wish).changed
    # The last wish was for the drop-in to be absent: the kubelet is as it was in the beginning.
    assert found.texts == {} and found.configz == kubelet().configz


@given(WISHES)
def test_the_same_observation_gives_the_same_plan_and_is_not_changed(settings: dict[str, t.Any]) -> None:
    found, wish = kubelet(), planner.Wish(settings)
    one, other = planned(found, wish), planned(found, wish)
    assert (one and one.result()) == (other and other.result())
    assert found == kubelet()
