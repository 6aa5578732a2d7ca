# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubelet_config refuses before it looks at the node, and in which order it goes back.

What it does on a node is in the scenario cpu_pinning.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.files import NoPyYAML
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError, run
from kubelet_cases import STATIC, kubelet


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"priority": 100}, "priority is 100; choose 0 to 99"),
        ({"name": "../x"}, "name is '../x'; it becomes a part of a file's name"),
        ({"pool": "worker"}, "pool is 'worker', but only provider openshift has pools"),
    ],
)
def test_refused(given: dict[str, t.Any], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    monkeypatch.setattr(resource, "LOCAL_LOCK", str(tmp_path / "lock"))
    validated = ArgumentSpecValidator(**SPEC).validate({"settings": {}, **given})
    assert not validated.error_messages
    with pytest.raises(PlanError) as error:
        resource.entry(validated.validated_parameters, True)
    assert error.value.message.startswith(says)


class WithoutYaml:
    """A node whose Python cannot read the kubelet's files."""

    def observe(self) -> t.Any:
        raise NoPyYAML("no PyYAML")

    def unit(self) -> None:
        """None is known."""

    def version(self, _unit: None) -> str:
        return "1.36.3"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"maxPods": 60, "kubeReserved": {"cpu": None}}, "no PyYAML"),
        # Another file may have what these need.
        ({"cpuManagerPolicy": "static"}, "no PyYAML"),
        ({"enforceNodeAllocatable": ["system-reserved"]}, "no PyYAML"),
        ({"evictionSoft": {"memory.available": "1Gi"}}, "no PyYAML"),
        ({"kind": "KubeletConfiguration"}, "settings.kind is written by this module; leave it out. Nothing was changed."),
        ({"maxPod": 60}, "settings.maxPod is no field of KubeletConfiguration in kubelet 1.36"),
        ({"featureGates": {"CPUManager": True}}, "settings.featureGates.CPUManager: kubelet 1.36 does not know it"),
        (
            {"topologyManagerScope": "node"},
            "the kubelet (1.36.3) would not work with these settings: topologyManagerScope is 'node'; in kubelet 1.36 it must be "
            "one of container, pod. Nothing was changed.",
        ),
    ],
)
def test_without_pyyaml_wrong_settings_are_told_first(settings: dict[str, t.Any], says: str) -> None:
    params = ArgumentSpecValidator(**SPEC).validate({"settings": settings}).validated_parameters
    with pytest.raises(PlanError) as error:
        resource.KubeletConfig(params, t.cast(t.Any, WithoutYaml())).observe()
    assert error.value.message.startswith(says)
    # By this the role cpu_pinning knows that the settings are at fault.
    assert ("problems" in error.value.facts) == (says != "no PyYAML")


class Recorder:
    """A host that only says what it was told; the kubelet's file is what `put` last made it."""

    def __init__(self, tmp_path: t.Any) -> None:
        self.told: list[str] = []
        self.aside, self.unit_file = tmp_path / "aside", tmp_path / "unit"

    def observe(self) -> t.Any:
        return kubelet()

    def stop(self) -> None:
        self.told.append("stop")

    def start(self, _healthz: tuple[str, int], _deadline: float) -> float:
        self.told.append("start")
        return 0.0

    def put(self, path: str, text: str | None) -> None:
        self.told.append(f"{'remove' if text is None else 'write'} {path.rpartition('/')[2]}")

    def forget(self) -> None:
        self.told.append("forget")


class OnRecorder(resource.KubeletConfig):
    """Without API server and without waiting."""

    fails = ""

    def _mark(self, schedulable: bool, mark: str | None) -> None:
        word = "uncordon" if schedulable else "cordon"
        self.host.told.append(word)
        if word == self.fails:
            self.fails = ""
            raise ApplyError("the API server is away")

    def _drain(self, mark: bool) -> None:
        self.host.told.append("drain")

    def _start(self, step: t.Any) -> None:
        self.host.start(step.args["healthz"], 0.0)

    def _wait_ready(self, since: float, deadline: float) -> None:
        self.host.told.append("ready")


def wished(tmp_path: t.Any) -> OnRecorder:
    given = {"settings": STATIC, "lock": {"enabled": False}}
    params = ArgumentSpecValidator(**SPEC).validate(given).validated_parameters
    return OnRecorder(params, t.cast(t.Any, Recorder(tmp_path)))


GOING = ["cordon", "drain", "stop", "write aside", "write 50-gpufleet.conf", "remove cpu_manager_state", "start", "forget"]


def test_what_fails_after_the_start_stops_the_new_kubelet_before_the_old_files_come_back(tmp_path: t.Any) -> None:
    it = wished(tmp_path)
    it.fails = "uncordon"
    with pytest.raises(ApplyError, match=r"could not uncordon node: .* [(]rolled back"):
        run(it, check_mode=False)
    back = ["stop", "remove cpu_manager_state", "remove 50-gpufleet.conf", "start", "ready", "forget", "uncordon"]
    assert t.cast(t.Any, it.host).told == [*GOING, "uncordon", *back]


def test_a_lost_lock_stops_the_run_before_its_next_step(tmp_path: t.Any) -> None:
    it = wished(tmp_path)

    def lost() -> None:
        if "drain" in t.cast(t.Any, it.host).told:
            raise ApplyError("n1 has lost the lock")

    it.check_lock = lost
    with pytest.raises(ApplyError, match="could not stop kubelet: n1 has lost the lock"):
        run(it, check_mode=False)
    assert t.cast(t.Any, it.host).told == ["cordon", "drain", "uncordon"]


def test_a_kubelet_starts_again_when_nothing_could_be_set_aside(tmp_path: t.Any) -> None:
    it = wished(tmp_path)

    def full(_paths: t.Any) -> None:
        raise ApplyError("no space left")

    it._set_aside = full  # type: ignore[method-assign]
    with pytest.raises(ApplyError, match="no space left"):
        run(it, check_mode=False)
    assert t.cast(t.Any, it.host).told == ["cordon", "drain", "stop", "start", "ready", "forget", "uncordon"]
