# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kubelet that gets or loses a drop-in, and with it --config-dir, in a run that is killed before any of its effects.

The files are real; systemd and the kubelet are stand-ins that know what they read when. The scenario cpu_pinning kills runs
on a live node.
"""

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import host, merge, planner, resource, topology
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.schema import schema
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, run
from kubelet_cases import TWO_NUMA

Wish = t.Optional[int]

STOPS_THE_KUBELET = 13  # as maxPods
HAD = "maxPods: 50\n"


class Killed(BaseException):
    """The process is gone: whatever it still tries to do, undoing included, does not happen."""


class Computer:
    """A folder with a kubelet's files, a systemd that reads units when it is told to, and a kubelet that reads at its start."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
        self.native = native
        self.folder, self.lib = folder, folder / "lib"
        self.unit = folder / "units/kubelet.service.d/90-gpufleet-config-dir.conf"
        self.drop_in = folder / "conf.d/50-gpufleet.conf"
        self.aside = folder / "aside"
        self.flag = f"--config-dir={self.drop_in.parent}"
        self.plain = f"{folder}/kubelet --config={folder}/config.yaml --root-dir={self.lib}" + f" {self.flag}" * native
        self.loaded: str | None = None  # the text of `unit` that systemd has
        self.process: tuple[list[str], dict[str, t.Any]] | None = None  # arguments and configuration of the kubelet that runs
        self.died = False  # it exited by itself
        self.effects: list[str] = []
        self.kill_before: int | None = None
        self.armed = False
        self.lib.mkdir()
        (self.lib / "cpu_manager_state").write_text('{"policyName": "none"}')
        (folder / "config.yaml").write_text(HAD)
        for name, value in (("UNITS", folder / "units"), ("ASIDE", self.aside)):
            monkeypatch.setattr(host, name, value)
        monkeypatch.setattr(host, "KUBEADM", replace(host.KUBEADM, config_dir=str(self.drop_in.parent)))
        monkeypatch.setattr(topology, "read", lambda: TWO_NUMA)
        for name in ("mkdir", "write_text", "replace", "unlink"):
            monkeypatch.setattr(Path, name, self._watched(name, getattr(Path, name)))
        self.systemctl("start")

    def _watched(self, name: str, original: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def effect(path: Path, *arguments: t.Any, **more: t.Any) -> t.Any:
            if name == "write_text" or path.exists() == (name != "mkdir"):
                self.effect(f"{name} {path.name}")
            return original(path, *arguments, **more)

        return effect

    def effect(self, name: str) -> None:
        if self.armed:
            if self.kill_before is not None and len(self.effects) >= self.kill_before:
                raise Killed
            self.effects.append(name)

    def arguments(self) -> list[str]:
        lines = (self.loaded or "").splitlines()
        return next((line[len("ExecStart=") :] for line in lines[::-1] if line.startswith("ExecStart=")), self.plain).split()

    def systemctl(self, verb: str) -> None:
        if verb == "daemon-reload":
            self.loaded = self.unit.read_text() if self.unit.exists() else None
        elif verb == "stop":
            self.process, self.died = None, False
        elif verb == "start" and self.process is None:
            arguments = self.arguments()
            folder = dict(merge.parse_flags(arguments[1:])).get("config-dir")
            contents = [host.files.read(path) for path in sorted(Path(folder).glob("*.conf"))] if folder else []
            config = merge.effective(schema(36), {"maxPods": 50}, contents, ())
            self.died = config["maxPods"] == STOPS_THE_KUBELET
            self.process = None if self.died else (arguments, config)

    def run(self, argv: tuple[str, ...], **_more: t.Any) -> subprocess.CompletedProcess[str]:
        """The programs of this computer."""
        text = "Kubernetes v1.36.3\n"
        if argv[0] == "systemctl" and argv[1] != "show":
            if argv[1] != "reset-failed":
                self.effect(argv[1])
            self.systemctl(argv[1])
        elif argv[0] == "systemctl":
            command = " ".join(self.arguments())
            state = "ActiveState=active\nSubState=running" if self.process else "ActiveState=inactive\nSubState=dead"
            text = (
                f"ExecStart={{ path=x ; argv[]={command} ; ignore_errors=no ; pid=0 }}\nMainPID=0\nLoadState=loaded\n{state}\n"
                f"DropInPaths={self.unit if self.loaded else ''}\n"
            )
        elif argv[0] == "journalctl":
            text = "E1128 no"
        return subprocess.CompletedProcess(argv, 0, text, "")

    def attempt(self, wish: Wish, kill_before: int | None = None, rollback: bool = True) -> None:
        """One run of the module. Raises Killed, or what the module raises."""
        state = {"state": "absent"} if wish is None else {"settings": {"maxPods": wish}}
        given = {**state, "provider": "kubeadm", "rollback": rollback}
        params = ArgumentSpecValidator(**SPEC).validate(given).validated_parameters
        self.effects, self.kill_before, self.armed = [], kill_before, True
        try:
            run(Here(params, Node(params, self)), check_mode=False)
        finally:
            self.armed = False

    def is_as(self, wish: Wish) -> None:
        """All of it is as wished, on disk, in systemd and in the kubelet, and nothing else is there."""
        assert self.process is not None
        arguments, config = self.process
        has = wish is not None
        assert config["maxPods"] == (wish if has else 50)
        assert arguments.count(self.flag) == (has or self.native)
        assert self.loaded == (self.unit.read_text() if self.unit.exists() else None)
        assert bool(self.loaded) is (has and not self.native)
        files = {path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()}
        mine = {path.relative_to(self.folder) for path in (self.drop_in, *([] if self.native else [self.unit])) if has}
        assert files == {Path("config.yaml"), Path("lib/cpu_manager_state")} | mine
        self.attempt(wish)
        assert self.effects == []


class Node(host.Host):
    """The computer as the module meets it, without an API server and without waiting."""

    def __init__(self, params: t.Mapping[str, t.Any], computer: Computer) -> None:
        super().__init__(params, computer.run)
        self.computer = computer

    def flags(self, unit: host.Unit) -> tuple[str, ...]:
        process = self.computer.process
        return tuple(process[0][1:]) if process else self.unit_flags(unit)

    def configz(self, _observed: planner.Kubelet) -> dict[str, t.Any]:
        assert self.computer.process
        return self.computer.process[1]

    def node(self, _observed: planner.Kubelet) -> planner.Node:
        return planner.Node()

    def healthy(self, _healthz: tuple[str, int]) -> bool:
        return self.computer.process is not None


class Here(resource.KubeletConfig):
    def _wait_ready(self, since: float, deadline: float) -> None:
        pass


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[bool], Computer]:
    numbers = iter(range(1000))

    def new(native: bool) -> Computer:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Computer(folder, monkeypatch, native)

    return new


@pytest.mark.parametrize(("before", "killed"), [(None, 60), (60, None), (None, STOPS_THE_KUBELET), (60, 61)])
@pytest.mark.parametrize("then", [60, None, STOPS_THE_KUBELET])
@pytest.mark.parametrize("native", [False, True])
def test_the_next_run_ends_as_it_wishes(
    computer: t.Callable[[bool], Computer], native: bool, before: Wish, killed: Wish, then: Wish
) -> None:
    """`before` is how it is, `killed` what the run that dies wishes, `then` what the next one does.

    `native`: the kubelet has --config-dir from somebody else.
    """

    def found() -> Computer:
        it = computer(native)
        if before is not None:
            it.attempt(before)
        it.is_as(before)
        return it

    def tried(it: Computer, wish: Wish) -> None:
        if wish == STOPS_THE_KUBELET:
            with pytest.raises(ApplyError, match="rolled back"):
                it.attempt(wish)
        else:
            it.attempt(wish)

    whole = found()
    tried(whole, killed)
    effects = list(whole.effects)
    assert ("daemon-reload" in effects) is not (native or (before, killed) == (60, 61))
    for index, effect in enumerate(effects):
        it = found()
        with pytest.raises(Killed):
            it.attempt(killed, index)
        tried(it, then)
        try:
            it.is_as(before if then == STOPS_THE_KUBELET else then)  # what does not work goes back to what the first run found
        except AssertionError as error:
            raise AssertionError(f"killed before {effect}, number {index} of {effects}") from error


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("then", [60, None])
def test_without_a_roll_back_what_failed_stays_to_be_looked_at_until_the_next_run(
    computer: t.Callable[[bool], Computer], native: bool, then: Wish
) -> None:
    it = computer(native)
    with pytest.raises(ApplyError, match="no") as error:
        it.attempt(STOPS_THE_KUBELET, rollback=False)
    assert "rolled back" not in error.value.message and error.value.facts["undone"] == []
    assert it.process is None and not it.died  # stopped, so that it does not crash for ever
    assert str(STOPS_THE_KUBELET) in it.drop_in.read_text()
    it.attempt(then)
    it.is_as(then)
