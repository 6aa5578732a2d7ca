# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mig_parted as a whole on model GPUs, with a model Node and a model of systemd. (The stand-in driver: integration tests.)"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import drain
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import boot, known, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import node as node_module
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.clients import Clients
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.config import Wish
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import (
    Compute,
    Gpu,
    Holder,
    Instance,
    InstanceProfile,
    Profile,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.nvml import NvmlError, ResetRefused, too_late
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, Plan, PlanError, VerifyError, run
from mig_cases import Api, node_of, pod

UNIT = "nvsm.service"
OFF = Wish(False, (), (), "layout[0]")


def wish(**counts: int) -> Wish:
    return Wish(True, tuple(sorted((Profile.parse(name), count) for name, count in counts.items())), (), "layout[0]")


SEVEN, TWO = wish(**{"1g.5gb": 7}), wish(**{"3g.20gb": 2})


class Killed(BaseException):
    """This process is gone: nothing that follows has an effect, no undo either."""


@dataclass
class World:
    """Two A100s that one unit holds, the Node that they are in, systemd, CDI's description and the files for the next boot.

    Whoever changes something of it says so first: `effect(name)`, which raises Killed from the effect number `kill_at` on.
    """

    mig: bool = True
    kill_at: int = 0
    effects: list[str] = field(default_factory=list)
    refuse_reset: frozenset[int] = frozenset()
    fail_at: str = ""

    def __post_init__(self) -> None:
        self.gpus = [
            Gpu(n, f"GPU-{n}", f"{n}", 0x20B010DE, "A100", known.KNOWN["A100-40GB"][0], mig=self.mig, pending=self.mig, minor=n)
            for n in (0, 1)
        ]
        self.api = Api(effect=self.effect)
        self.running = True
        self.doing = ""
        self.calling = ""
        self.number = 0
        self.described = self.uuids()
        #: Changes of a GPU while new pods could come to the Node.
        self.exposed: list[str] = []

    def effect(self, name: str) -> None:
        self.effects.append(name)
        if not self.api.unschedulable and name.startswith(("set mode", "reset", "create", "destroy")):
            self.exposed.append(name)
        if self.kill_at and len(self.effects) >= self.kill_at:
            raise Killed
        if self.fail_at and self.fail_at in name:
            self.fail_at = ""
            raise NvmlError(f"{name}: no")

    def uuids(self) -> set[str]:
        return {c.uuid for gpu in self.gpus for i in gpu.instances for c in i.computes}

    # ---- systemd ----

    def systemctl(self, verb: str, *units: str) -> None:
        self.effect(" ".join((verb, *units)))
        if units == (UNIT,):
            self.running = verb == "start"
        if units == (resource.CDI_UNIT,):
            if all(gpu.mig for gpu in self.gpus) and not self.uuids():
                raise ApplyError("nvidia-ctk: invalid spec, no devices")
            self.described = self.uuids()

    # ---- the driver, as nvml.Nvml ----

    def observe(self) -> tuple[Gpu, ...]:
        unit = (Holder(pid=5, process="nvsm", unit=UNIT),) if self.running else ()
        pods = {pod["metadata"]["name"] for pod in self.api.pods}
        return tuple(
            replace(gpu, holders=unit, instances=tuple(changed(i, lambda c: held(c, pods)) for i in gpu.instances))
            for gpu in self.gpus
        )

    def pending(self, index: int) -> bool:
        return self.gpus[index].mig != self.gpus[index].pending

    def set_mode(self, index: int, enabled: bool) -> None:
        self.effect(f"set mode of {index}")
        self.gpus[index] = replace(self.gpus[index], pending=enabled)

    def reset(self, bus_ids: t.Sequence[str]) -> None:
        self.effect(f"reset {' '.join(bus_ids)}")
        assert not self.running
        if self.refuse_reset & set(map(int, bus_ids)):
            raise ResetRefused("not supported")
        for n in map(int, bus_ids):
            self.gpus[n] = replace(self.gpus[n], mig=self.gpus[n].pending, instances=())

    def create_instance(self, index: int, kind: InstanceProfile, start: int) -> None:
        self.effect(f"create on {index}")
        self.number += 1
        self._set(index, (*self.gpus[index].instances, Instance(self.number, kind, start)))

    def create_compute(self, index: int, kind: InstanceProfile, start: int, slices: int, inside: int) -> None:
        self.effect(f"create compute on {index}")
        self.number += 1
        made = Compute(self.number, slices, f"MIG-{self.number}", start=inside)
        self._set(
            index,
            tuple(
                replace(i, computes=(*i.computes, made)) if (i.kind, i.start) == (kind, start) else i
                for i in self.gpus[index].instances
            ),
        )

    def destroy_compute(self, index: int, instance: int, compute: int) -> None:
        self.effect(f"destroy compute on {index}")
        self._set(
            index,
            tuple(
                replace(i, computes=tuple(c for c in i.computes if c.id != compute)) if i.id == instance else i
                for i in self.gpus[index].instances
            ),
        )

    def destroy_instance(self, index: int, instance: int) -> None:
        self.effect(f"destroy on {index}")
        self._set(index, tuple(i for i in self.gpus[index].instances if i.id != instance))

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def _set(self, index: int, instances: tuple[Instance, ...]) -> None:
        self.gpus[index] = replace(self.gpus[index], instances=instances)

    # ---- one run ----

    def parted(
        self, *wishes: Wish, drain: bool = True, check_mode: bool = False, wished_at_boot: bytes = b"", reset: bool = True
    ) -> dict[str, t.Any]:
        """mig_parted with a wish for each GPU, in short."""
        node = node_of(self.api) if drain else None
        options = Options(stop=(UNIT,), restart=tuple(resource.remembered()), cdi=True, node="n1" if node else "")
        options = replace(options, cordoned=bool(node and node.marked()), stale=resource.STALE.exists(), reset=reset)
        options = replace(options, refused=resource.refused())
        at_boot = {boot.WISH: wished_at_boot, boot.UNIT: b"the unit"} if wished_at_boot else {}
        layout = resource.Layout(t.cast("t.Any", self), lambda _gpus: dict(enumerate(wishes)), options, node, at_boot)
        return run(layout, check_mode)


class Known:
    """Clients where the model says itself who holds what."""

    attach = staticmethod(tuple)


def changed(instance: Instance, change: t.Callable[[Compute], Compute]) -> Instance:
    return replace(instance, computes=tuple(map(change, instance.computes)))


def held(compute: Compute, pods: t.Container[str]) -> Compute:
    """Without the holders that are no longer there."""
    return replace(compute, holders=tuple(holder for holder in compute.holders if holder.pod in pods))


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(resource, "_systemctl", made.systemctl)
    monkeypatch.setattr(resource, "STOPPED", tmp_path / "stopped.json")
    monkeypatch.setattr(resource, "STALE", tmp_path / "stale")
    monkeypatch.setattr(resource, "REFUSED", tmp_path / "refused.json")
    for name in ("ENGINE", "WISH", "UNIT", "ENABLED"):
        monkeypatch.setattr(boot, name, tmp_path / getattr(boot, name).relative_to("/"))
    monkeypatch.setattr(Clients, "scan", Known)
    put = boot.put

    def counted(path: Path, content: bytes | None) -> None:
        made.effect(f"write {path.name}")
        put(path, content)

    monkeypatch.setattr(boot, "put", counted)
    return made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "PAUSE_S", 0.001)
    monkeypatch.setattr(drain, "FIRST_PAUSE", 0.001)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make(tmp_path, monkeypatch)


def held_by(world: World, name: str) -> None:
    """All slices are a pod's from now on."""
    holder = (Holder(pod=name, namespace="ml"),)
    for index, gpu in enumerate(world.gpus):
        world._set(index, tuple(changed(i, lambda compute: replace(compute, holders=holder)) for i in gpu.instances))


def test_a_dry_run_foretells_that_a_drain_would_be_refused(world: World) -> None:
    world.parted(SEVEN, SEVEN)
    held_by(world, "alone")
    world.api.pods = [pod("alone", owner="")]
    world.effects.clear()
    for check_mode in (True, False):
        with pytest.raises(PlanError, match="ml/alone has no controller"):
            world.parted(TWO, SEVEN, check_mode=check_mode)
    assert world.effects == []


def shapes(world: World) -> list[tuple[t.Any, ...]]:
    return [gpu.shape() for gpu in world.gpus]


def test_a_failure_also_puts_a_gpu_back_whose_reset_was_refused(world: World) -> None:
    """GPU 0 waits for a reboot; the mode that GPU 0 is to have then must be the old one, too."""
    world.parted(OFF, SEVEN)
    before = shapes(world)
    world.refuse_reset, world.fail_at = frozenset([0]), "create on 1"
    with pytest.raises(ApplyError, match="create on 1: no") as failed:
        world.parted(SEVEN, TWO)
    assert shapes(world) == before and failed.value.facts["undo_failed"] == []


def test_emptied_gpus_that_wait_for_a_reboot_are_not_described(world: World) -> None:
    world.parted(SEVEN, SEVEN)
    world.refuse_reset = frozenset([0, 1])
    assert world.parted(OFF, OFF)["reboot_required"]
    assert world.uuids() == set() and not resource.STALE.exists()


def in_vain(world: World) -> dict[str, t.Any]:
    world.effects.clear()
    answer = world.parted(SEVEN, OFF)
    assert answer["reboot_required"] and "GPU 0: the MIG mode changes at the next reboot" in answer["warnings"][0]
    return answer


def test_a_refused_reset_is_told_as_what_was_done_and_not_tried_again(world: World) -> None:
    world.gpus = [replace(gpu, mig=False, pending=False) for gpu in world.gpus]
    world.refuse_reset = frozenset([0])
    first = in_vain(world)
    assert first["changed"] and "set MIG mode GPU 0 on" in first["actions"]
    assert not [action for action in first["actions"] if action.startswith(("create", "reset"))]
    assert first["operations"] == {**dict.fromkeys(first["operations"], 0), "mode_changes": 1}
    assert "on after a reset" in first["diff"][0]["after"]
    for _run in range(2):
        assert not in_vain(world)["changed"] and world.effects == []  # nobody has to make room for nothing
    # The reboot.
    resource.REFUSED.unlink()
    world.gpus[0] = replace(world.gpus[0], mig=True)
    assert world.parted(SEVEN, OFF)["operations"]["created"] == 7


def test_a_mode_that_only_waits_is_no_change_when_its_reset_is_refused(world: World) -> None:
    """Another one has asked for the mode."""
    world.gpus = [replace(world.gpus[0], mig=False, pending=True), replace(world.gpus[1], mig=False, pending=False)]
    world.refuse_reset = frozenset([0])
    answer = in_vain(world)
    assert not answer["changed"] and f"stop {UNIT}" in answer["actions"] and f"start {UNIT}" in world.effects
    assert not any(answer["operations"][name] for name in ("mode_changes", "resets", "created"))


def test_what_else_was_done_is_a_change_beside_a_refused_reset(world: World) -> None:
    world.gpus = [replace(world.gpus[0], mig=False, pending=True), world.gpus[1]]
    world.refuse_reset = frozenset([0])
    answer = world.parted(SEVEN, SEVEN)
    assert answer["changed"] and answer["operations"]["compute_created"] == 7
    assert all("GPU 1" in action for action in answer["actions"] if action.startswith("create"))


def failing_verification(monkeypatch: pytest.MonkeyPatch, meanwhile: t.Callable[[], None]) -> None:
    def fails(_self: resource.Layout, _plan: Plan) -> t.NoReturn:
        meanwhile()
        raise VerifyError("something else changes it")

    monkeypatch.setattr(resource.Layout, "verify", fails)


def test_a_failed_verification_frees_the_gpus_once_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The units run again by then, and a reset needs them gone."""
    failing_verification(monkeypatch, lambda: None)
    world.gpus = [replace(gpu, mig=False, pending=False) for gpu in world.gpus]
    before = shapes(world)
    with pytest.raises(VerifyError) as failed:
        world.parted(SEVEN, SEVEN)
    assert failed.value.facts["undo_failed"] == [] and shapes(world) == before
    assert world.running and resource.remembered() == []


def test_the_node_is_cordoned_again_before_the_old_layout_is_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The uncordon came before the verification, and a pod came onto the new slices in between."""
    world.parted(SEVEN, SEVEN)
    before, evictions = shapes(world), world.effects.count("POST eviction")

    def comes() -> None:
        assert not world.api.unschedulable
        held_by(world, "late")
        world.api.pods = [pod("late")]

    failing_verification(monkeypatch, comes)
    world.exposed.clear()
    with pytest.raises(VerifyError) as failed:
        world.parted(TWO, TWO)
    assert world.exposed == [] and shapes(world) == before and failed.value.facts["undo_failed"] == []
    assert world.api.pods == [] and world.effects.count("POST eviction") == evictions + 1
    assert not world.api.unschedulable and world.api.annotations == {} == world.api.labels
    undone = failed.value.facts["undone"]
    assert undone.index("uncordon n1") < undone.index("checkpoint GPU 0, GPU 1") < undone.index("cordon n1")


def test_what_fails_after_the_uncordon_cordons_again_too(world: World) -> None:
    world.parted(SEVEN, SEVEN)
    before = shapes(world)
    world.exposed.clear()
    world.fail_at = "write mig.json"
    with pytest.raises(ApplyError, match=r"write mig\.json: no"):
        world.parted(TWO, TWO, wished_at_boot=b"new")
    assert world.exposed == [] and shapes(world) == before and not world.api.unschedulable


def test_a_cordon_of_somebody_else_is_there_again_after_the_way_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.parted(SEVEN, SEVEN)
    world.api.unschedulable = True
    failing_verification(monkeypatch, lambda: None)
    with pytest.raises(VerifyError):
        world.parted(TWO, TWO)
    assert world.api.unschedulable and world.api.annotations == {}


def test_a_pod_that_would_not_come_back_is_not_evicted_on_the_way_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.parted(SEVEN, SEVEN)

    def comes() -> None:
        held_by(world, "alone")
        world.api.pods = [pod("alone", owner="")]

    failing_verification(monkeypatch, comes)
    with pytest.raises(VerifyError, match=r"rolling back failed too: uncordon n1: .*ml/alone has no controller"):
        world.parted(TWO, TWO)
    assert [pod["metadata"]["name"] for pod in world.api.pods] == ["alone"] and not world.api.unschedulable


LEASE = "gpufleet-kubelet-config"


def entered(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **params: t.Any) -> dict[str, t.Any]:
    """mig_parted from its parameters on."""
    monkeypatch.delenv("K8S_AUTH_API_KEY", raising=False)
    validated = ArgumentSpecValidator(SPEC["argument_spec"]).validate(
        {"selected": "all-1g.5gb", "stop_services": [UNIT], **params}
    )
    assert not validated.error_messages, validated.error_messages
    node = node_of(world.api)
    node.who = t.cast("t.Any", None)
    monkeypatch.setattr(node_module, "NodeClient", lambda _who, _token: world.api)
    monkeypatch.setattr(resource, "Nvml", lambda: world)
    monkeypatch.setattr(resource, "_node", lambda wished: node if wished["enabled"] else None)
    monkeypatch.setattr(resource, "_has_unit", lambda _unit: False)
    monkeypatch.setattr(resource, "LOCK", tmp_path / "lock")
    return resource.parted(validated.validated_parameters, check_mode=False)


def test_a_run_that_takes_the_node_holds_the_lock_of_kubelet_config(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    effect = world.effect
    monkeypatch.setattr(
        world,
        "effect",
        lambda name: (
            held.append(world.api.leases[LEASE]["spec"]["holderIdentity"] if LEASE in world.api.leases else "none"),
            effect(name),
        )[-1],
    )
    world.api.effect = world.effect
    assert entered(world, tmp_path, monkeypatch, drain={"enabled": True}, api_key="t")["changed"]
    assert set(held) == {"n1/mig_parted"} and world.api.leases == {}
    held.clear()
    assert entered(world, tmp_path, monkeypatch, drain={"enabled": True})["changed"] is False
    assert entered(world, tmp_path, monkeypatch, layout={"all": "all-disabled"}, selected=None, api_key="t")["changed"]
    assert set(held) == {"none"}  # without drain the Node is not taken


def test_without_a_token_or_while_another_run_has_a_node_nothing_changes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain = {"enabled": True}
    with pytest.raises(PlanError, match=r"needs a token in api_key .* Nothing was changed"):
        entered(world, tmp_path, monkeypatch, drain=drain)
    spec = {"holderIdentity": "gpu-2", "leaseDurationSeconds": 30}
    world.api.leases[LEASE] = {"metadata": {"resourceVersion": "9"}, "spec": spec}
    with pytest.raises(ApplyError, match=rf"gpu-2 has held the lock \(Lease kube-system/{LEASE}\)"):
        entered(world, tmp_path, monkeypatch, drain=drain, api_key="t", lock={"timeout": 1})
    assert world.effects == [] and world.api.leases[LEASE]["spec"] is spec
    assert entered(world, tmp_path, monkeypatch, drain=drain, lock={"enabled": False})["changed"]


def test_a_lost_lock_ends_the_run_and_puts_the_old_layout_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.parted(SEVEN, SEVEN)
    before = shapes(world)
    effect = world.effect

    def loses(name: str) -> None:
        effect(name)
        if name == "create on 1":
            monkeypatch.setattr(layouts[-1], "check_lock", lost)

    def lost() -> None:
        raise ApplyError("n1/mig_parted has lost the lock")

    layouts: list[resource.Layout] = []
    original = resource.Layout.__init__

    def recorded(self: resource.Layout, *arguments: t.Any) -> None:
        layouts.append(self)
        original(self, *arguments)

    monkeypatch.setattr(resource.Layout, "__init__", recorded)
    monkeypatch.setattr(world, "effect", loses)
    with pytest.raises(ApplyError, match="has lost the lock"):
        entered(world, tmp_path, monkeypatch, selected="all-3g.20gb", drain={"enabled": True}, api_key="t")
    assert shapes(world) == before and not world.api.unschedulable and world.api.leases == {}


def test_cdi_describes_what_was_put_back(world: World) -> None:
    world.parted(SEVEN, SEVEN)
    world.fail_at = "create compute on 1"
    with pytest.raises(ApplyError):
        world.parted(TWO, TWO)
    assert world.described == world.uuids() and not resource.STALE.exists()


def test_cdi_is_refreshed_by_the_next_run_if_one_was_killed_before_it(world: World) -> None:
    world.parted(SEVEN, SEVEN, drain=False)
    world.effects.clear()
    world.parted(TWO, TWO, drain=False)
    last = world.effects.index(f"restart {resource.CDI_UNIT}")
    world.parted(SEVEN, SEVEN, drain=False)
    world.effects.clear()
    world.kill_at = last + 1
    with pytest.raises(Killed):
        world.parted(TWO, TWO, drain=False)
    world.kill_at = 0
    assert world.described != world.uuids()
    foreseen = world.parted(TWO, TWO, drain=False, check_mode=True)
    assert foreseen["actions"] == ["refresh CDI specification", f"start {UNIT}"]
    assert world.parted(TWO, TWO, drain=False)["changed"]
    assert world.described == world.uuids() and not world.parted(TWO, TWO, drain=False)["changed"]


def systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The only one that is found from now on."""
    folder.mkdir()
    if script:
        (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(resource, "PATIENCE", 0.2)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec /bin/sleep 5", "was not done within 0.2 s; see journalctl -u nvsm.service"),
        ("", "failed: .*No such file or directory: 'systemctl'"),
        ("echo no >&2; exit 1", "failed: no; see journalctl -u nvsm.service"),
    ],
)
def test_a_systemctl_in_trouble_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str) -> None:
    systemctl(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(ApplyError, match=f"^systemctl stop nvsm.service {says}"):
        resource._systemctl("stop", UNIT)


def test_a_run_that_takes_too_long_names_who_used_the_time() -> None:
    assert "driver did not answer nvmlInit within 9 s" in too_late("nvmlInit", "looking at the GPUs", 9)
    slow = too_late("", f"stop {UNIT}", 9)
    assert slow.startswith(f"the run was not done within 9 s; it was at: stop {UNIT}.") and "driver" not in slow


def test_the_run_says_what_it_is_at(world: World) -> None:
    world.parted(SEVEN, SEVEN)
    assert world.doing == "uncordon n1"


def in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """GPU 0 cut into seven slices, all of a pod's; GPU 1 whole; a unit for the next boot."""
    tmp_path.mkdir()
    made = make(tmp_path, monkeypatch)
    made.parted(SEVEN, OFF, wished_at_boot=b"old")
    held_by(made, "train")
    made.api.pods = [pod("train")]
    made.effects.clear()
    return made


def left_over(world: World) -> list[str]:
    """What is not as after an undisturbed run to two slices on each GPU."""
    wrong = {
        "the layout": [gpu.counts() for gpu in world.gpus] != [{"3g.20gb": 2}] * 2,
        "the unit": not world.running or resource.remembered() != [],
        "the Node": bool(world.api.unschedulable or world.api.annotations or world.api.labels),
        "CDI": world.described != world.uuids() or resource.STALE.exists(),
        "what is for the next boot": boot.WISH.read_bytes() != b"new" or not boot.ENABLED.is_symlink(),
        "the plan": world.parted(TWO, TWO, wished_at_boot=b"new")["changed"],
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def killed_before_each(fresh: t.Callable[[str], World], effects: t.Sequence[str], first: int) -> None:
    for number in range(first, len(effects)):
        world = fresh(str(number))
        world.kill_at = number + 1
        with pytest.raises(Killed):
            world.parted(TWO, TWO, wished_at_boot=b"new")
        assert world.effects[number] == effects[number]
        world.kill_at = 0
        world.parted(TWO, TWO, wished_at_boot=b"new")
        assert left_over(world) == [], f"after a kill before {effects[number]}, effect {number + 1} of {effects}"


def test_after_a_kill_before_any_effect_the_next_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = in_use(tmp_path / "recorded", monkeypatch)
    world.parted(TWO, TWO, wished_at_boot=b"new")
    assert left_over(world) == []
    for effect in (
        "PATCH n1",
        "POST eviction",
        f"stop {UNIT}",
        "reset 1",
        f"restart {resource.CDI_UNIT}",
        "write mig.json",
        f"start {UNIT}",
    ):
        assert effect in world.effects
    killed_before_each(lambda name: in_use(tmp_path / name, monkeypatch), list(world.effects), 0)


def test_after_a_kill_while_the_old_layout_is_put_back_the_next_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "create compute on 1"

    def failing(name: str) -> World:
        world = in_use(tmp_path / name, monkeypatch)
        world.fail_at = last
        return world

    world = failing("recorded")
    with pytest.raises(ApplyError, match=f"{last}: no"):
        world.parted(TWO, TWO, wished_at_boot=b"new")
    assert f"start {UNIT}" in world.effects and world.running and not world.api.unschedulable
    killed_before_each(failing, list(world.effects), world.effects.index(last) + 1)


@pytest.mark.parametrize("line", [None, "x", []])
def test_lines_of_a_configuration_are_numbers(line: t.Any) -> None:
    params = {"layout": [], "config": {}, "config_name": "x", "config_lines": {"version": line}, "selected": None}
    with pytest.raises(PlanError, match=r"^config_lines: a line is a whole number"):
        resource.entries(params)
