# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A node's kubelet: its unit, command line, files and effective configuration. Reads, and does the few things that change it.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._kube import nodes
from .._kube.client import KubeError
from .._plan import ApplyError, GpufleetError, PlanError
from . import files, merge, topology
from .api import Identity, NodeClient, configz, identity
from .planner import ANNOTATION, Kubelet, Node, healthz
from .schema import schema

SETTLE = 20.0  # seconds that a kubelet which has just started gets to answer or to exit
ASIDE = Path("/var/lib/gpufleet")
UNITS = Path("/etc/systemd/system")
CONFIG_ARGS = "KUBELET_CONFIG_ARGS"  # of kubeadm's own packages' unit
ALPHA_VARIABLE = "KUBELET_CONFIG_DROPIN_DIR_ALPHA"  # without it, 1.28 and 1.29 refuse --config-dir
K3S_FILES = Path("/etc/rancher/k3s")
ERRORS = re.compile(r"[EF]\d{4} |Error:|panic:|.*\bfailed\b", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where a distribution keeps its kubelet. `flags` says whether the kubelet is a process with a command line of its own."""

    unit: str
    version: tuple[str, ...]
    kubeconfig: str
    serving: tuple[str, ...]
    config_dir: str
    flags: bool


KUBEADM = Layout(
    unit="kubelet",
    version=("kubelet", "--version"),
    kubeconfig="/etc/kubernetes/kubelet.conf",
    serving=("pki/kubelet-server-current.pem", "pki/kubelet.crt"),
    config_dir="/etc/kubernetes/kubelet.conf.d",
    flags=True,
)
K3S = Layout(
    unit="k3s",
    version=("k3s", "--version"),
    kubeconfig="/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    serving=("/var/lib/rancher/k3s/agent/serving-kubelet.crt",),
    config_dir="/var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
    flags=False,
)


@dataclass(frozen=True)
class Unit:
    """A systemd unit as `systemctl show` has it: as systemd loaded it, which its files may have left behind."""

    name: str
    loaded: bool
    running: bool
    pid: int
    argv: tuple[str, ...]
    environment: t.Mapping[str, str]
    environment_files: tuple[str, ...]
    result: str
    drop_ins: tuple[str, ...] = ()


class Host:
    """This machine. `run` is for tests."""

    def __init__(self, params: t.Mapping[str, t.Any], run: t.Callable[..., t.Any] = subprocess.run) -> None:
        self.params = params
        self._run = run
        self.layout = self._layout(params["provider"])
        self.aside = ASIDE / f"kubelet_config-{params['name']}.json"
        #: The systemd drop-in that adds --config-dir, where that was missing.
        self.unit_file = UNITS / f"{self.layout.unit}.service.d/90-gpufleet-config-dir.conf"

    # Reading.

    def observe(self) -> Kubelet:
        """Raises GpufleetError when there is no kubelet that has joined a cluster."""
        unit = self.settled()
        flags = self.flags(unit)
        given = dict(merge.parse_flags(flags, ()))
        planned = self.unit_flags(unit)
        root_dir = given.get("root-dir", "/var/lib/kubelet")
        base_path = given.get("config", "")
        config_dir = _folder(given.get("config-dir")) if self.layout.flags else self.layout.config_dir
        next_config_dir = _folder(dict(merge.parse_flags(planned, ())).get("config-dir"))
        new_config_dir = next_config_dir or self.layout.config_dir
        texts, drop_ins = self._drop_ins(config_dir or new_config_dir)
        version = self.version(unit)
        left = self._json(self.aside) or {}
        exists, loaded = self.unit_file.exists(), str(self.unit_file) in unit.drop_ins
        # A run that died may have removed the file of a unit that is still loaded with it, or not finished adding it.
        pending = (loaded and not exists) or (exists and left.get(str(self.unit_file), "") is None)
        observed = Kubelet(
            version=version,
            active=unit.running,
            flags=flags,
            base_path=base_path,
            base=self._configuration(Path(base_path)) if base_path else {},
            config_dir=config_dir,
            new_config_dir=new_config_dir,
            drop_ins=tuple(drop_ins) if config_dir else (),
            texts=texts,
            cpu_state=self._json(Path(root_dir, "cpu_manager_state")),
            memory_state=self._json(Path(root_dir, "memory_manager_state")),
            root_dir=root_dir,
            needs_config_dir=self.layout.flags and (pending or not next_config_dir),
            own_config_dir=exists or loaded,
            machine=topology.read(),
            left=left,
        )
        found, error = None, "the kubelet does not run"
        if unit.running:
            try:
                found = self.configz(observed)
            except KubeError as problem:
                error = problem.message
        return Kubelet(**{**vars(observed), "configz": found, "configz_error": error, "node": self.node(observed)})

    def configz(self, observed: Kubelet) -> dict[str, t.Any]:
        """Raises KubeError."""
        address, port = self._listens(observed)
        serving = [Path(observed.root_dir, path) for path in self.layout.serving]
        given = self._effective(observed).get("tlsCertFile")
        if given:
            serving.append(Path(given))
        return configz(self.identity(observed), self.params["api_key"], address, port, serving)

    def node(self, observed: Kubelet) -> Node:
        name = self.node_name(observed)
        try:
            node = nodes.read(NodeClient(self.identity(observed)), name)
        except KubeError as error:
            if error.status in (403, 404):
                raise PlanError(
                    f"node {name} is not this kubelet's: {error.message}; give its name in node_name. Nothing was changed."
                ) from error
            raise
        mark = (node["metadata"].get("annotations") or {}).get(ANNOTATION, "")
        return Node(bool(node["spec"].get("unschedulable")), nodes.readiness(node)[0] == "True", mark)

    def node_name(self, observed: Kubelet) -> str:
        given = dict(merge.parse_flags(observed.flags, ())).get("hostname-override")
        return str(self.params["node_name"] or given or socket.gethostname().lower())

    def identity(self, observed: Kubelet) -> Identity:
        path = dict(merge.parse_flags(observed.flags, ())).get("kubeconfig") if self.layout.flags else None
        return identity(Path(path or self.layout.kubeconfig))

    def unit(self) -> Unit:
        wanted = "LoadState,ActiveState,SubState,MainPID,ExecStart,Environment,EnvironmentFiles,Result,DropInPaths"
        text = self.command("systemctl", "show", self.layout.unit, f"--property={wanted}")
        found: dict[str, str] = {}
        for line in text.splitlines():
            key, _equals, value = line.partition("=")
            found[key] = f"{found[key]}\n{value}" if key in found else value
        argv = re.search(r"argv\[\]=(.*?) ; ignore_errors=", found.get("ExecStart", ""))
        files = re.findall(r"^(\S+) \(ignore_errors", found.get("EnvironmentFiles", ""), re.MULTILINE)
        pairs = (word.partition("=") for word in shlex.split(found.get("Environment", "")))
        return Unit(
            self.layout.unit,
            found.get("LoadState") == "loaded",
            found.get("ActiveState") == "active" and found.get("SubState") == "running",
            int(found.get("MainPID") or 0),
            tuple(argv.group(1).split()) if argv else (),
            {key: value for key, _equals, value in pairs},
            tuple(files),
            found.get("Result", ""),
            tuple(found.get("DropInPaths", "").split()),
        )

    def settled(self) -> Unit:
        """The unit, once it is clear whether its process stays: one that crashes in a loop counts as not running."""
        deadline = time.monotonic() + SETTLE
        while True:
            unit = self.unit()
            if not unit.loaded:
                raise PlanError(f"this host has no unit {unit.name}: there is no kubelet whose configuration could be changed")
            if not unit.running or self.healthy(self._healthz(unit)) or time.monotonic() > deadline:
                return unit
            time.sleep(0.2)

    def flags(self, unit: Unit) -> tuple[str, ...]:
        """The arguments of the kubelet that runs, or would be started."""
        if not self.layout.flags:
            return tuple(f"--{argument.lstrip('-')}" for argument in self._kubelet_args(unit))
        if unit.pid:
            try:
                return tuple(Path(f"/proc/{unit.pid}/cmdline").read_text(encoding="utf-8").split("\0")[1:-1])
            except OSError:
                pass  # it ended meanwhile
        return self.unit_flags(unit)

    def _kubelet_args(self, unit: Unit) -> list[str]:
        """What k3s is told to add to its kubelet's flags: by its command line, else by its files, where the last one counts.

        https://docs.k3s.io/installation/configuration: a key that ends in + adds to the list. The flags that k3s chooses
        itself are not known here.
        """
        given = re.findall(r" --kubelet-arg[= ](\S+)", " ".join(unit.argv))
        if given:
            return given
        for path in (K3S_FILES / "config.yaml", *sorted(K3S_FILES.glob("config.yaml.d/*.yaml"))):
            content = self._configuration(path) if path.exists() else {}
            for key in ("kubelet-arg", "kubelet-arg+"):
                value = content.get(key)
                if value is not None:
                    found = [str(one) for one in (value if isinstance(value, list) else [value])]
                    given = given + found if key.endswith("+") else found
        return given

    def unit_flags(self, unit: Unit) -> tuple[str, ...]:
        """The arguments that systemd would start the kubelet with: its variables filled in as systemd does."""
        environment = dict(unit.environment)
        for path in unit.environment_files:
            for line in _text(Path(path)).splitlines():
                key, equals, value = line.strip().partition("=")
                if equals and not key.startswith("#"):
                    environment[key] = " ".join(shlex.split(value))
        words: list[str] = []
        for word in unit.argv[1:]:
            match = re.fullmatch(r"\$(\w+)|\$\{(\w+)\}", word)
            if match and match.group(1):
                words += environment.get(match.group(1), "").split()
            else:
                words.append(environment.get(match.group(2), "") if match else word)
        return tuple(words)

    def version(self, unit: Unit) -> str:
        """Of the installed program: that is what the next start runs."""
        program = unit.argv[0] if unit.argv else self.layout.version[0]
        text = self.command(program, *self.layout.version[1:])
        match = re.search(r"v(1\.\d+\.\d+\S*)", text)
        if not match:
            raise PlanError(f"{program} --version said {text.strip()!r}, which names no release of Kubernetes")
        return match.group(1)

    def healthy(self, healthz: tuple[str, int]) -> bool:
        """Port 0 is a kubelet that serves no healthz: what its Node and configz say has to do."""
        address, port = healthz
        if port == 0:
            return True
        connection = http.client.HTTPConnection(address, port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log(self, since: float) -> list[str]:
        """The kubelet's last complaints since a time, else its last words."""
        mine = f"_SYSTEMD_UNIT={self.layout.unit}.service"  # its own messages, without systemd's about it
        text = self.command("journalctl", mine, f"--since=@{since:.6f}", "--output=cat", "--no-pager", "--lines=300")
        lines = [line for line in text.splitlines() if line.strip()]
        return ([line for line in lines if ERRORS.match(line)] or lines)[-5:]

    # Changing.

    def command(self, *argv: str, check: bool = True) -> str:
        """Its output. Raises GpufleetError when it fails and `check` is set."""
        try:
            # run_command has no time limit
            # pylint: disable-next=ansible-bad-function
            done = self._run(argv, capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GpufleetError(f"{' '.join(argv)}: {error}") from error
        if check and done.returncode:
            raise GpufleetError(f"{' '.join(argv)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
        return str(done.stdout)

    def put(self, path: str, text: str | None) -> None:
        """Writes a file as a whole, or removes it (None). A kubelet's drop-in folder never sees a half of it."""
        target, temporary = Path(path), _temporary(path)
        if text is None:
            target.unlink(missing_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600 if "manager_state" in path or target.parent == ASIDE else 0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)

    def forget(self) -> None:
        """Removes what was set aside, and what a run that was killed while writing left of those files."""
        for path in [*(self._json(self.aside) or ()), str(self.aside)]:
            _temporary(path).unlink(missing_ok=True)
        self.put(str(self.aside), None)

    def add_config_dir(self, folder: str, minor: int) -> None:
        """Gives the kubelet's unit --config-dir, unless it has one."""
        self.command("systemctl", "daemon-reload")  # a run that died may have changed files that systemd has not read yet
        unit = self.unit()
        Path(folder).mkdir(parents=True, exist_ok=True)
        if "config-dir" in dict(merge.parse_flags(self.unit_flags(unit), ())):
            return
        argv = " ".join(unit.argv)
        if any(CONFIG_ARGS in word for word in unit.argv) and CONFIG_ARGS in unit.environment:
            lines = [f'Environment="{CONFIG_ARGS}={unit.environment[CONFIG_ARGS]} --config-dir={folder}"']
        else:
            lines = ["ExecStart=", f"ExecStart={argv.replace('%', '%%')} --config-dir={folder}"]
        if minor < 30:
            lines.append(f"Environment={ALPHA_VARIABLE}=1")
        self.put_unit_file("# Managed by gpufleet.k8s (kubelet_config)\n[Service]\n" + "\n".join(lines) + "\n")

    def put_unit_file(self, text: str | None) -> None:
        """Writes or removes (None) the systemd drop-in."""
        self.put(str(self.unit_file), text)
        self.command("systemctl", "daemon-reload")

    def stop(self) -> None:
        self.command("systemctl", "stop", self.layout.unit)

    def start(self, healthz: tuple[str, int], deadline: float) -> float:
        """Starts the kubelet and waits until it is healthy. Returns when that began. Raises ApplyError."""
        self.command("systemctl", "reset-failed", self.layout.unit, check=False)
        since = time.time()
        self.command("systemctl", "start", self.layout.unit)
        while True:
            self.alive(since)
            if self.healthy(healthz):
                return since
            if time.monotonic() > deadline:
                url = f"http://{healthz[0]}:{healthz[1]}/healthz"
                raise ApplyError(f"the kubelet does not answer {url}", kubelet_log=self.log(since))
            time.sleep(0.1)

    def alive(self, since: float) -> None:
        """Raises ApplyError when the kubelet that was started at `since` has exited."""
        unit = self.unit()
        if not unit.running:
            lines = self._last_words(since)
            raise ApplyError(
                f"the kubelet exited ({unit.result}): " + (" | ".join(lines) or "it said nothing"), kubelet_log=lines
            )

    def _last_words(self, since: float) -> list[str]:
        # journald may still be reading what the process wrote before it ended
        deadline = time.monotonic() + 2
        while True:
            lines = self.log(since)
            if any(ERRORS.match(line) for line in lines) or time.monotonic() > deadline:
                return lines
            time.sleep(0.1)

    # Helpers.

    def _layout(self, provider: str) -> Layout:
        def unit(name: str) -> bool:
            return "LoadState=loaded" in self.command("systemctl", "show", name, "--property=LoadState")

        # An agent that is configured by its unit alone has no such folder.
        auto = provider == "auto" and not Path("/etc/rancher/k3s").is_dir()
        if provider == "kubeadm" or (auto and (unit("kubelet") or not (unit("k3s") or unit("k3s-agent")))):
            return KUBEADM
        return Layout(**{**vars(K3S), "unit": "k3s" if unit("k3s") else "k3s-agent"})

    def _listens(self, observed: Kubelet) -> tuple[str, int]:
        effective = self._effective(observed)
        address = str(effective.get("address") or "0.0.0.0")  # noqa: S104  what the kubelet calls "all addresses"
        return ("127.0.0.1" if address in ("0.0.0.0", "::") else address), int(effective.get("port") or 10250)  # noqa: S104

    def _effective(self, observed: Kubelet) -> merge.Config:
        contents = [content for _path, content in observed.drop_ins]
        return merge.effective(schema(observed.minor), observed.base, contents, observed.flags)

    def _healthz(self, unit: Unit) -> tuple[str, int]:
        """Where healthz is, from flags and files alone: needed before anything else is known."""
        given = dict(merge.parse_flags(self.flags(unit), ()))
        config = self._configuration(Path(given["config"])) if given.get("config") else {}
        folder = given.get("config-dir") or ("" if self.layout.flags else self.layout.config_dir)
        for _path, content in self._drop_ins(folder)[1] if folder else ():
            config = merge.merge_patch(config, content)
        flags = {"healthzPort": given.get("healthz-port"), "healthzBindAddress": given.get("healthz-bind-address")}
        return healthz({**config, **{key: value for key, value in flags.items() if value is not None}})

    def _configuration(self, path: Path) -> dict[str, t.Any]:
        try:
            found = files.read(path)
        except OSError as error:
            raise PlanError(
                f"the kubelet's configuration {path} cannot be read: {error.strerror}. Nothing was changed."
            ) from error
        except ValueError as error:
            raise PlanError(f"the kubelet's configuration {path} is not understood: {error}. Nothing was changed.") from error
        if found is not None and not isinstance(found, dict):
            raise PlanError(f"the kubelet's configuration {path} is no mapping. Nothing was changed.")
        return found or {}

    def _drop_ins(self, folder: str) -> tuple[dict[str, str], list[tuple[str, dict[str, t.Any]]]]:
        """(text by path, (path, content) in the kubelet's order of reading: files and folders of each folder by name)."""
        texts: dict[str, str] = {}
        found = []
        for path in sorted(Path(folder).rglob("*.conf"), key=lambda one: one.parts):
            if path.is_file():
                texts[str(path)] = _text(path)
                found.append((str(path), self._configuration(path)))
        return texts, found

    def _json(self, path: Path) -> dict[str, t.Any] | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            return None
        except ValueError:
            return {}  # cut off: a kubelet refuses such a state file as one of another policy
        return found if isinstance(found, dict) else {}


def _folder(flag: str | None) -> str:
    return os.path.normpath(flag) if flag else ""


def _temporary(path: str) -> Path:
    target = Path(path)
    return target.with_name(f".{target.name}.gpufleet")  # does not end in .conf


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
