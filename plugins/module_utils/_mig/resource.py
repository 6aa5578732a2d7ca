# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""mig_parted's observe, plan, apply and verify, and the entries of both modules.

PRIVATE: this module util is for this collection only and may change without notice.

The package, in the order to read it:

    layout   profiles, boards, instances: the nouns
    known    boards by PCI id, for plans made without a driver
    solver   where instances go; exact
    config   mig-parted's file format v1, and the shorter `layout:`
    plan     observed + wished -> steps; pure
    nvml     reads and changes the real GPU through nvidia-ml-py
    clients  who holds a GPU: processes, units, pods
    node     the Kubernetes Node around a change
    boot     the same layout again at boot
    picture  a layout for people: text and SVG
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import typing as t
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from .._alone import alone
from .._plan import ApplyError, GpufleetError, Plan, PlanError, Resource, Step, Undo, VerifyError, run
from . import boot, config, picture
from .clients import Clients
from .config import Entry, Source, Wish
from .known import KNOWN
from .layout import Gpu, describe
from .nvml import Nvml, NvmlError, ResetRefused, deadline
from .plan import Options, Target, differences, leaving_for, operations, plan, reboot_warning, waits, work

#: Units that a run has stopped and not started yet; outlives a run that was killed, not a reboot (nor do stopped units).
STOPPED = Path("/run/gpufleet/mig-stopped.json")

#: There while GPUs may differ from what CDI says of them; outlives a run that was killed, not a reboot (which refreshes, too).
STALE = Path("/run/gpufleet/mig-cdi-stale")

#: Bus ids of GPUs that could not be reset; outlives this run, not a reboot, which is what they wait for.
REFUSED = Path("/run/gpufleet/mig-refused.json")

#: One run at a time on this host, also the one at boot.
LOCK = Path("/run/gpufleet/mig.lock")

CDI_UNIT = "nvidia-cdi-refresh.service"

#: Seconds for systemctl; units are slower to stop than to start, by default up to 90 s.
PATIENCE = 180

if t.TYPE_CHECKING:
    from .node import Node


class Layout(Resource[tuple[Gpu, ...]]):
    """The MIG layout of the GPUs of this host."""

    def __init__(
        self,
        engine: Nvml,
        wishes: t.Callable[[t.Sequence[Gpu]], dict[int, Wish]],
        options: Options,
        node: Node | None = None,
        at_boot: t.Mapping[Path, bytes] | None = None,
    ) -> None:
        self.engine = engine
        self.wishes = wishes
        self.options = options
        self.node = node
        #: Files for the next boot; empty: none; None: whatever is there stays.
        self.at_boot = at_boot
        #: GPUs that turned out to change their mode only at a reboot.
        self.waiting: set[int] = set()
        #: Steps that were passed over because of that.
        self.skipped: list[Step] = []
        #: Units that this run has stopped.
        self.stopped: set[str] = set()
        self.before: tuple[Gpu, ...] = ()
        #: What the checkpoint holds, from the moment that it was taken.
        self.kept: t.Mapping[int, Target] = {}
        #: Pods that were asked to leave, also on the way back.
        self.evicted: dict[str, None] = {}
        #: Raises ApplyError when another run has taken the cluster's lock.
        self.check_lock: t.Callable[[], None] = lambda: None

    def observe(self) -> tuple[Gpu, ...]:
        gpus = Clients.scan().attach(self.engine.observe())
        self.before = self.before or gpus
        return gpus

    def plan(self, observed: tuple[Gpu, ...]) -> Plan:
        made = plan(observed, self.wishes(observed), self.options)
        if self.node and made.facts["evicted"]:
            self.node.foresee(made.facts["evicted"])
        paths = [] if self.at_boot is None else boot.stale(self.at_boot)
        if not paths:
            return made
        verb = "write" if self.at_boot else "remove"
        steps = [Step(verb, str(path), {"path": path}) for path in paths]
        return replace(made, steps=(*made.steps, *steps, Step("reload", "systemd")))

    def apply(self, step: Step) -> Undo | None:
        action, self.engine.doing = step.action, str(step)
        self.check_lock()
        if action == "stop":
            unit = step.args["unit"]
            self._stop(unit)
            self.stopped.add(unit)
            return lambda: self._start(unit)
        if action == "start":
            unit = step.args["unit"]
            self._start(unit)
            # When the verification fails, the GPUs must be free once more; the undo of its stop starts it again.
            return (lambda: self._stop(unit)) if unit in self.stopped else None
        if action == "checkpoint":
            targets = self.kept = step.args["targets"]
            if self.options.cdi:
                STALE.parent.mkdir(parents=True, exist_ok=True)
                STALE.touch()
            return lambda: self._put_back(targets)
        elif action == "refresh":
            self._refresh()
        elif action == "reload":
            _systemctl("daemon-reload")
        elif action in ("write", "remove"):
            boot.put(step.args["path"], (self.at_boot or {}).get(step.args["path"], b"") if action == "write" else None)
        elif action in ("cordon", "drain", "uncordon") and self.node:
            return self._make_room(self.node, step)
        else:
            self._change(step)
        return None

    def _make_room(self, node: Node, step: Step) -> Undo | None:
        if step.action == "cordon":
            node.cordon()
            return node.uncordon
        if step.action == "drain":
            self._drain(node, step.args["pods"])
            return None
        node.uncordon()
        # What follows may still fail. The undo of the cordon uncordons then, too.
        return (lambda: self._make_room_again(node)) if self.kept else None

    def _make_room_again(self, node: Node) -> None:
        """Before the old layout is put back: pods may have come since the uncordon, also onto what goes now."""
        self.engine.doing = f"cordon {node.name} again"
        node.cordon()
        gpus = Clients.scan().attach(self.engine.observe())
        pods = [pod for gpu in gpus if gpu.index in self.kept for pod in leaving_for(gpu, self.kept[gpu.index])]
        self.engine.doing = f"drain {node.name} again"
        self._drain(node, list(dict.fromkeys(pods)))

    def _drain(self, node: Node, pods: t.Collection[str]) -> None:
        self.evicted.update(dict.fromkeys(pods))
        node.drain(pods)

    def _change(self, step: Step) -> None:
        """One step that touches a GPU."""
        args, engine = step.args, self.engine
        if step.action == "reset":
            if not self._reset(args["gpus"]):
                self.skipped.append(step)
        elif args["gpu"] in self.waiting:
            self.skipped.append(step)
        elif step.action == "set MIG mode":
            engine.set_mode(args["gpu"], args["mode"])
        elif step.action == "destroy compute instance":
            engine.destroy_compute(args["gpu"], args["instance"], args["compute"])
        elif step.action == "destroy GPU instance":
            engine.destroy_instance(args["gpu"], args["instance"])
        elif step.action == "create GPU instance":
            engine.create_instance(args["gpu"], args["kind"], args["start"])
        else:
            engine.create_compute(args["gpu"], args["kind"], args["start"], args["slices"], args["inside"])

    def _reset(self, bus_ids: t.Mapping[int, str]) -> bool:
        """Only GPUs that still wait for one: a bare-metal board may have reset itself when its mode was set. False: no reset."""
        pending = {index: bus_id for index, bus_id in bus_ids.items() if self.engine.pending(index)}
        if not pending:
            return False
        try:
            self.engine.reset(list(pending.values()))
        except ResetRefused:
            self.waiting.update(pending)
            _write(REFUSED, sorted(refused() | set(pending.values())))
            return False
        left = [index for index in pending if self.engine.pending(index)]
        if left:
            raise ApplyError(
                f"nvidia-smi reset GPU {', '.join(map(str, left))} without error, but the MIG mode still waits for a reset"
            )
        return True

    def _put_back(self, targets: t.Mapping[int, Target]) -> None:
        self.engine.doing = "putting the old layout back"
        try:
            self._restore(targets)
        finally:  # what was destroyed came back with another UUID
            if self.options.cdi:
                self._refresh()

    def _refresh(self) -> None:
        """Without any device there is nothing to describe, and nvidia-ctk fails: GPUs in MIG mode that were emptied."""
        if any(not gpu.mig or any(instance.computes for instance in gpu.instances) for gpu in self.engine.observe()):
            _systemctl("restart", CDI_UNIT)
        STALE.unlink(missing_ok=True)

    def _restore(self, targets: t.Mapping[int, Target]) -> None:
        """Back to the checkpoint from whatever is there now, proved by reading again. Twice, since one fault may be passing."""
        for attempt in (1, 2):
            self.waiting.clear()  # also these change their pending mode back
            try:
                for step in work([gpu for gpu in self.engine.observe() if gpu.index in targets], targets):
                    self._change(step)
                now = {gpu.index: gpu for gpu in self.engine.observe()}
            except GpufleetError:
                if attempt == 2:
                    raise
                continue
            wrong = [index for index, target in targets.items() if not target.reached_by(now[index])]
            if not wrong:
                return
        raise ApplyError("the checkpoint was not reached: " + " ".join(picture.text(describe(now[index])) for index in wrong))

    @staticmethod
    def _stop(unit: str) -> None:
        _remember(unit, stopped=True)
        _systemctl("stop", unit)

    def _start(self, unit: str) -> None:
        _systemctl("start", unit)
        _remember(unit, stopped=False)

    def verify(self, plan: Plan) -> t.Mapping[str, t.Any]:
        """Reads again: each GPU is exactly as planned, and what was to stay has its UUIDs."""
        now = {gpu.index: gpu for gpu in self.observe()}
        for index, wanted in plan.facts["targets"].items():
            gpu = now[index]
            waiting = index in self.waiting or waits(gpu, wanted, self.options)
            if waiting and gpu.pending != wanted.mig:
                raise VerifyError(f"{gpu.label}: the MIG mode is neither changed nor waiting for a reboot")
            if not waiting and gpu.mig is not None and not wanted.reached_by(gpu):
                raise VerifyError(f"after all steps the layout is not the planned one: {picture.text(describe(gpu))}")
        present = {device["uuid"] for gpu in now.values() for device in _devices(describe(gpu))}
        left = [] if self.at_boot is None else boot.stale(self.at_boot)
        if left:
            raise VerifyError(f"{', '.join(map(str, left))}: not as it was written; something else changes it")
        lost = {d["uuid"] for gpu in plan.facts["after"] for d in _devices(gpu)} - present - {""}
        if lost and not self.waiting:
            raise VerifyError(f"these MIG devices were to stay and are gone: {', '.join(sorted(lost))}")
        facts: dict[str, t.Any] = {"after": [describe(gpu) for gpu in now.values()]}
        return {**facts, **self._really(plan, facts["after"])} if self.waiting else facts

    def _really(self, plan: Plan, after: list[dict[str, t.Any]]) -> dict[str, t.Any]:
        """The result's facts where GPUs turned out to wait for a reboot: what was done, and not what was planned."""
        done = [step for step in plan.steps if not any(step is other for other in self.skipped)]
        chosen = [gpu for gpu in self.before if gpu.index in plan.facts["targets"]]
        waiting = self.waiting | {gpu.index for gpu in chosen if waits(gpu, plan.facts["targets"][gpu.index], self.options)}
        return {
            "actions": [str(step) for step in done],
            "changed": any(map(self._lasting, done)),
            "diff": [difference.as_ansible_diff() for difference in differences(plan.facts["before"], after)],
            "operations": operations(done, chosen),
            "reboot_required": True,
            "warnings": reboot_warning(waiting),
        }

    def _lasting(self, step: Step) -> bool:
        """Is anything different afterwards? Not by room that was made for nothing, and given back."""
        if step.action == "drain":
            return bool(step.args["pods"])
        if step.action == "start":
            return step.args["unit"] in self.options.restart
        if step.action in ("refresh", "uncordon"):
            return self.options.stale if step.action == "refresh" else self.options.cordoned
        return step.action not in ("checkpoint", "cordon", "stop")

    def aftermath(self) -> tuple[str, dict[str, t.Any]]:
        """After a failure: a sentence and facts about what is there now, and whether it is what was there before."""
        try:
            gpus = self.engine.observe()
        except GpufleetError as error:
            return f"what the GPUs have now cannot be read ({error.message})", {"restored": False, "evicted": list(self.evicted)}
        restored = [gpu.shape() for gpu in gpus] == [gpu.shape() for gpu in self.before]
        state = "the GPUs have their old layout" if restored else "the GPUs do NOT have their old layout, see `after`"
        return state, {"after": [describe(gpu) for gpu in gpus], "restored": restored, "evicted": list(self.evicted)}


def _devices(gpu: t.Mapping[str, t.Any]) -> t.Iterator[t.Mapping[str, t.Any]]:
    for instance in gpu["instances"]:
        yield from instance["devices"]


def _systemctl(verb: str, *units: str) -> None:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["systemctl", verb, *units], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        why = f"failed: {' '.join(done.stderr.split()) or done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = f"was not done within {PATIENCE} s"
    except OSError as error:
        why = f"failed: {error}"
    if why:
        hint = "".join(f"; see journalctl -u {unit}" for unit in units)
        raise ApplyError(f"systemctl {' '.join((verb, *units))} {why}{hint}")


def _remember(unit: str, stopped: bool) -> None:
    _write(STOPPED, [other for other in remembered() if other != unit] + ([unit] if stopped else []))


def _write(path: Path, words: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(words), encoding="utf-8")
    fresh.rename(path)


def _read(path: Path) -> list[str]:
    try:
        return [str(word) for word in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return []


def remembered() -> list[str]:
    """Units that an earlier, killed run left stopped."""
    return _read(STOPPED)


def refused() -> frozenset[str]:
    """Bus ids of GPUs that an earlier run could not reset, since the last reboot."""
    return frozenset(_read(REFUSED))


# ---- entries ----


def entries(params: t.Mapping[str, t.Any]) -> tuple[list[Entry], bool]:
    """What the parameters ask for, and whether an index outweighs `all`. Raises PlanError."""
    if params["layout"]:
        return config.from_layout(params["layout"]), True
    if params["config"] is not None:
        try:
            source = Source(params["config_name"], {path: int(line) for path, line in params["config_lines"].items()})
        except (TypeError, ValueError) as error:
            raise PlanError(f"config_lines: a line is a whole number ({error}); leave it to the action plugin") from None
        return config.load(params["config"], source, params["selected"]), False
    if params["src"]:
        raise PlanError("src: it is read by this module's action plugin; call the module as gpufleet.k8s.mig_parted")
    return config.from_layout({"all": params["selected"]}), True


def assumed(names: t.Sequence[str]) -> tuple[Gpu, ...]:
    """GPUs out of the table of known boards: whole, MIG off. Raises PlanError that lists the table."""
    gpus = []
    for index, name in enumerate(names):
        if name not in KNOWN:
            raise PlanError(f"assume_gpus: {name!r} is not a known board; there are {', '.join(KNOWN)}")
        board, ids = KNOWN[name]
        gpus.append(Gpu(index, f"assumed-{index}", "", ids[0], name, board, mig=False, pending=False))
    return tuple(gpus)


def parted(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """mig_parted: `(params, check_mode) -> result`."""
    wished, specific = entries(params)

    def wishes(gpus: t.Sequence[Gpu]) -> dict[int, Wish]:
        return config.resolve(wished, gpus, specific)

    cdi = params["refresh_cdi"] and shutil.which("systemctl") is not None and _has_unit(CDI_UNIT)
    options = Options(
        allow_busy=params["allow_busy"],
        reset=params["reset"],
        stop=tuple(params["stop_services"]),
        restart=tuple(remembered()),
        cdi=cdi,
        stale=STALE.exists(),
        refused=refused(),
    )
    if params["assume_gpus"]:
        if not check_mode:
            raise PlanError(
                "assume_gpus: it plans for GPUs that are not there, so it works in check mode only (check_mode: true)"
            )
        gpus = assumed(params["assume_gpus"])
        return _report(
            plan(gpus, wishes(gpus), replace(options, restart=(), cdi=False, stale=False, refused=frozenset())).result()
        )
    engine = Nvml()
    with ExitStack() as stack:
        if not check_mode:
            stack.enter_context(alone(LOCK))
            options = replace(options, restart=tuple(remembered()), stale=STALE.exists(), refused=refused())
        node = _node(params["drain"])
        if node:
            options = replace(options, node=node.name, cordoned=node.marked())
        files = None if params["boot"] is None else boot.files(params) if params["boot"] else {}
        layout = Layout(engine, wishes, options, node, files)
        if node and params["lock"]["enabled"] and not check_mode:
            left = stack.enter_context(_turn(engine, layout, node, params))
            if left is not None:
                return left
        # The way back may have to drain once more.
        stack.enter_context(deadline(engine, params["timeout"] + (2 * params["drain"]["timeout"] if node else 0)))
        stack.enter_context(engine)
        try:
            return _report(run(layout, check_mode))
        except (ApplyError, VerifyError) as error:
            state, facts = layout.aftermath()
            raise type(error)(f"{error.message}; {state}", **{**error.facts, **facts}) from error


@contextmanager
def _turn(engine: Nvml, layout: Layout, node: Node, params: t.Mapping[str, t.Any]) -> t.Iterator[dict[str, t.Any] | None]:
    """The cluster's lock while the body runs, if the Node will be taken. Gives the result where nothing is to be done."""
    lock, token = params["lock"], params["api_key"]
    with deadline(engine, params["timeout"]), engine:
        planned = layout.plan(layout.observe())
    layout.before = ()  # what counts is what is there once the lock is held
    if not any(step.action == "cordon" for step in planned.steps):
        if token:
            node.forget_turn(lock, token)
        yield None if planned.changed else _report(planned.result())
        return
    if not token:
        raise PlanError(
            "the lock that keeps two runs from taking two nodes at once needs a token in api_key (a kubelet may not hold such a "
            "lock); give one, or set lock.enabled: false where runs are serial anyway. Nothing was changed."
        )
    with node.turn(lock, token) as layout.check_lock:
        yield None


def _node(wished: t.Mapping[str, t.Any]) -> Node | None:
    """The Node to make room on; None where that is not wished or no kubelet has joined a cluster."""
    if not wished["enabled"]:
        return None
    from .._kube import drain  # noqa: PLC0415  the run at boot has neither these modules nor a cluster
    from . import node  # noqa: PLC0415

    path = node.kubeconfig(wished["kubeconfig"])
    if path is None:
        return None
    return node.Node(wished["node_name"] or socket.gethostname().lower(), path, drain.Options.of(wished))


def at_boot(path: str) -> int:
    """What boot.UNIT runs: mig_parted with the parameters in a file, its exit status."""
    kept = json.loads(Path(path).read_text(encoding="utf-8"))
    given: dict[str, t.Any] = {
        "config": None,
        "src": None,
        "layout": None,
        "selected": None,
        "allow_busy": False,
        "assume_gpus": [],
        "boot": None,
    }
    try:
        result = parted({**given, "drain": {"enabled": False}, **kept}, check_mode=False)
    except GpufleetError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write("".join(f"{action}\n" for action in result["actions"] or ["nothing to do"]))
    return 0


def _report(result: dict[str, t.Any]) -> dict[str, t.Any]:
    del result["targets"]
    return result


def _has_unit(unit: str) -> bool:
    return any(
        (Path(directory) / unit).exists()
        for directory in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    )


def info(params: t.Mapping[str, t.Any], _check_mode: bool) -> dict[str, t.Any]:
    """mig_info: `(params, check_mode) -> result`. Reads only."""
    engine = Nvml()
    with deadline(engine, params["timeout"]), engine:
        try:
            gpus = Clients.scan().attach(engine.observe())
        except NvmlError as error:
            error.facts.update(engine.told())
            raise
        described = [describe(gpu) for gpu in gpus]
        document = config.export(gpus, params["label"], params["placement"])
        return {
            "changed": False,
            "driver": engine.driver(),
            "gpus": [{**told, **_offers(gpu)} for told, gpu in zip(described, gpus)],
            "config": document,
            "config_yaml": config.to_yaml(document),
            "picture": "".join(map(picture.text, described)),
            "svg": picture.svg({"": described}),
        }


def _offers(gpu: Gpu) -> dict[str, t.Any]:
    profiles = []
    for kind in gpu.board.profiles:
        numbers = {"id": kind.id, "slices": kind.profile.g, "size": kind.size, "limit": kind.limit}
        profiles.append({"name": kind.name, "starts": list(kind.starts), **numbers})
    layouts = {name: {str(p): count for p, count in demands} for name, demands in config.generate(gpu.board).items()}
    return {"reset_needed": gpu.board.reset, "profiles": profiles, "layouts": {"all-disabled": {}, **layouts} if profiles else {}}
