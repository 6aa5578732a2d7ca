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
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import KubeError
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.files import NoPyYAML
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, GpufleetError, PlanError, run
from kubelet_cases import STATIC, kubelet


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"priority": 100}, "priority is 100; choose 0 to 99"),
        ({"name": "../x"}, "name is '../x'; it becomes a part of a file's name"),
        ({"name": "two words"}, "name is 'two words'; it becomes a part of a file's name: use letters, digits"),
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


def wished(tmp_path: t.Any, **more: t.Any) -> OnRecorder:
    given = {"settings": STATIC, "lock": {"enabled": False}, **more}
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


def test_without_a_roll_back_it_stays_as_it_failed(tmp_path: t.Any) -> None:
    it = wished(tmp_path, rollback=False)
    it.fails = "uncordon"
    with pytest.raises(ApplyError, match=r"could not uncordon node: the API server is away$") as error:
        run(it, check_mode=False)
    assert t.cast(t.Any, it.host).told == [*GOING, "uncordon"] and error.value.facts["undone"] == []


class Wrong(Recorder):
    """A kubelet that starts, healthy, and is not as wished; `after` is how it is observed then."""

    def __init__(self, tmp_path: t.Any, after: t.Any) -> None:
        super().__init__(tmp_path)
        self.after = after

    def observe(self) -> t.Any:
        if self.told.count("start") != 1:
            return kubelet()
        if isinstance(self.after, Exception):
            raise self.after
        return self.after

    def log(self, _since: float) -> list[str]:
        self.told.append("log")
        return ["E1128 this is why"]

    def alive(self, _since: float) -> None:
        """It is."""

    def node_name(self, _observed: t.Any) -> str:
        return "n1"


class Starts(OnRecorder):
    """It really looks at the kubelet that it starts, and waits for its Node."""

    _start = resource.KubeletConfig._start
    _wait_ready = resource.KubeletConfig._wait_ready
    ready = True

    def client(self, token: bool = False, patient: bool = True) -> t.Any:
        return self

    def request(self, _method: str, _path: str) -> dict[str, t.Any]:
        ready = self.ready or t.cast(t.Any, self.host).told.count("start") > 1  # the old kubelet is
        return {"status": {"conditions": [{"type": "Ready", "status": str(ready), "message": "no network"}]}}


WRITTEN = {"50-gpufleet.conf": STATIC}


@pytest.mark.parametrize(
    ("ready", "after", "says"),
    [
        (False, None, r"node n1 did not become Ready in time; seen last: Ready is False .no network."),
        (True, kubelet(WRITTEN, configz=None, configz_error="no answer"), "effective configuration cannot be read: no answer"),
        (True, kubelet(), "the kubelet runs, but cpuManagerPolicy, kubeReserved.cpu did not take effect"),
        (True, kubelet(WRITTEN), "/var/lib/kubelet/cpu_manager_state names policy none, not static"),
        (True, KubeError("the API server said 401", status=401), "the API server said 401"),
    ],
)
def test_a_kubelet_that_is_not_as_wished_is_put_back_and_its_log_is_told(
    tmp_path: t.Any, ready: bool, after: t.Any, says: str
) -> None:
    params = wished(tmp_path).params
    it = Starts(params, t.cast(t.Any, Wrong(tmp_path, after)))
    it.ready, it.limit = ready, 0
    with pytest.raises(ApplyError, match=rf"could not start kubelet: .*{says}.* [(]rolled back: ") as error:
        run(it, check_mode=False)
    assert error.value.facts["kubelet_log"] == ["E1128 this is why"] and error.value.facts["undo_failed"] == []
    going = GOING[: GOING.index("forget")]
    back = ["remove cpu_manager_state", "remove 50-gpufleet.conf", "start", "forget", "uncordon"]
    assert t.cast(t.Any, it.host).told == [*going, "log", "stop", *back]


def test_a_log_that_cannot_be_read_hides_no_failure(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: t.Any, _since: float) -> None:
        raise GpufleetError("journalctl ended with 1")

    monkeypatch.setattr(Wrong, "log", broken)
    it = Starts(wished(tmp_path).params, t.cast(t.Any, Wrong(tmp_path, kubelet())))
    it.limit = 0
    with pytest.raises(ApplyError, match="did not take effect") as error:
        run(it, check_mode=False)
    assert "kubelet_log" not in error.value.facts
