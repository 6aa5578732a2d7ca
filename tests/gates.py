# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All quality gates by name. `make test` runs them all, `make test WHAT="unit ruff"` some, `WHAT=list` names them.

As many run at once as there are CPUs (GPUFLEET_JOBS changes that): most use one, and the scenarios mostly wait. Each gate's
output goes to a log; what fails is shown at once and again named at the end. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import typing as t
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import env as environments

LOGS = environments.CACHE / "logs" / "gates"
#: Gates of unfinished work: they run by name (`make test WHAT=NAME`), and a run of all gates says why not.
PENDING: dict[str, str] = {}

LONG = ("hyperpod", "a100_mig")  # scenarios that begin first, so that nothing waits for them at the end
#: Integration targets on other releases of ansible-core, boto3 and kubernetes than dev's; each target runs on one of them.
ELSEWHERE = {
    **dict.fromkeys(("artifact", "gpu_smoke", "hyperpod_token", "mig_info", "node_taint"), "core-oldest"),
    **dict.fromkeys(("host_files", "hyperpod_token_info", "kube_apply", "training_job"), "core-newest"),
}
HEARTBEAT = 30  # seconds without a line before a running gate says that it is still alive
SHOWN = 80  # last lines of a failing gate's log
COMPLAINT = re.compile(r"fatal: |\[ERROR\]|\bFAILED\b|^E  |\b(?:[Ee]rror|ERROR): |stopped after ")
COMPLAINTS = 12  # of a failing gate, at the end: where only the end of the output is kept
JOBS = int(os.environ.get("GPUFLEET_JOBS") or min(os.cpu_count() or 1, 4))  # gates at once
STOP = threading.Event()  # set when the run is interrupted


@dataclass(frozen=True)
class Gate:
    """One gate: a command in one of the Python environments. `tree`: in a copy that lies where ansible-test wants it."""

    name: str
    command: tuple[str, ...]
    environment: str = "dev"
    tree: bool = False
    bed: bool = False  # needs what the gate testbed prepares
    limit: int = 900  # seconds


def scenarios() -> list[str]:
    names = (path.parent.name for path in (ROOT / "extensions" / "molecule").glob("*/molecule.yml"))
    return sorted(names, key=lambda name: (name not in LONG, name))


def targets() -> list[str]:
    """ansible-test targets that are tests; setup_* are helpers of those."""
    folder = ROOT / "tests" / "integration" / "targets"
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith("setup_"))


def gates() -> list[Gate]:
    package = "ansible_collections.gpufleet.k8s.plugins"
    unit = ("python", "-m", "pytest", "tests/unit")
    # What does not depend on ansible-core, or runs playbooks, which the dry runs do there.
    ignored = (f"--ignore=tests/unit/{name}" for name in ("benchmarks", "playbooks", "testbed", "tools"))
    elsewhere = ("--hypothesis-profile=few", *ignored)
    pure = ("--ignore=tests/unit/plugins/module_utils",)  # the same Python as in dev, and little of ansible-core
    return [
        Gate("testbed", ("python", "tests/testbed/bed", "prepare", "--all"), limit=5400),
        Gate("ruff", ("ruff", "check", ".")),
        Gate("ruff-format", ("ruff", "format", "--check", ".")),
        Gate("mypy", ("mypy", "-p", package)),
        Gate("yamllint", ("yamllint", "--strict", ".")),
        Gate("reuse", ("reuse", "lint", "--quiet")),
        Gate("specs", ("python", "tools/check_specs.py")),
        Gate("changelog", ("antsibull-changelog", "lint"), tree=True),
        Gate("docs", ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."), tree=True),
        Gate("ansible-lint", ("ansible-lint", "--offline", "--profile", "production"), tree=True),
        Gate("unit", unit),
        Gate("unit-core-oldest", (*unit, *elsewhere, *pure), "core-oldest"),
        Gate("unit-core-newest", (*unit, *elsewhere), "core-newest"),
        Gate("sanity-core-oldest", ("ansible-test", "sanity", "--local", "--color", "no"), "core-oldest", tree=True),
        Gate("sanity-core-newest", ("ansible-test", "sanity", "--local", "--color", "no"), "core-newest", tree=True),
        *(
            Gate(f"dry-run-{core}", ("python", "tests/dry_run.py", f"dry-{core}"), core, bed=True)
            for core in ("core-oldest", "core-newest")
        ),
        Gate("galaxy", ("python", "tests/galaxy.py"), "importer", tree=True),
        Gate("demo", ("python", "tests/demo.py"), bed=True, limit=1800),
        *(
            Gate(f"integration-{name}", ("python", "tests/integration/run.py", name), ELSEWHERE.get(name, "dev"), bed=True)
            for name in targets()
        ),
        *(Gate(f"molecule-{name}", ("molecule", "test", "-s", name), bed=True, limit=3000) for name in scenarios()),
    ]


def copy_of_the_tree(environment: str) -> Path:
    """A copy of what git tracks or would track, below ansible_collections/gpufleet/k8s and with a git of its own.

    One for each environment: two releases of ansible-test that run at once write the same files.
    """
    checkout = environments.collections_path().name
    copy = environments.CACHE / "copies" / checkout / environment / "ansible_collections" / "gpufleet" / "k8s"
    copy.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.split(b"\0")
    wanted = {Path(os.fsdecode(name)) for name in files if name and (ROOT / os.fsdecode(name)).is_file()}
    for path in sorted(copy.rglob("*"), reverse=True):
        relative = path.relative_to(copy)
        if relative.parts[0] == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif relative not in wanted:
            path.unlink()
    for relative in wanted:
        source, target = ROOT / relative, copy / relative
        if target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns and not target.is_symlink():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    git = ["git", "-c", "user.name=gates", "-c", "user.email=gates@invalid", "-C", str(copy)]
    if not (copy / ".git").is_dir():
        subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    return copy


def for_ansible_test(variables: dict[str, str], name: str) -> None:
    """What ansible-test needs around it: a HOME that is not the user's, real interpreters, and a pip to bootstrap from.

    It runs every pythonX.Y that it finds on PATH, so the shims of pyenv, which may refuse, give way to what they stand for.
    It bootstraps pip by a script from its CI file server, which closed networks do not reach; the same pip comes from the
    package registry. The script only has to end in a pip that runs the arguments it was given.
    """
    home, interpreters = environments.CACHE / "home" / name, environments.CACHE / "home" / "pythons"
    cache = home / ".ansible" / "test" / "cache"
    for folder in (cache / "wheels", interpreters):
        folder.mkdir(parents=True, exist_ok=True)
    for version in range(9, 15):
        link = interpreters / f"python3.{version}"
        for real in sorted(Path.home().glob(f".pyenv/versions/3.{version}.*/bin/python3")):
            if not link.is_symlink():
                link.symlink_to(real)
    path = [part for part in variables["PATH"].split(os.pathsep) if not part.endswith("/.pyenv/shims")]
    variables["PATH"] = os.pathsep.join([path[0], str(interpreters), *path[1:]])
    variables["HOME"] = str(home)

    code = (
        "from ansible_test._internal.python_requirements import get_venv_packages as packages\n"
        "class P: pass\n"
        "for minor in range(9, 15): P.version = f'3.{minor}'; print(packages(P)['pip'])"
    )
    python = Path(variables["VIRTUAL_ENV"]) / "bin" / "python"
    answer = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    for version in set(answer.stdout.split()):
        script, wheels = cache / f"get_pip_{version.replace('.', '_')}.py", cache / "wheels"
        if script.exists():
            continue
        download = [python, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", wheels, f"pip=={version}"]
        subprocess.run(download, check=True, env=variables)
        wheel = next(wheels.glob(f"pip-{version}-*.whl"))
        temporary = script.with_suffix(".new")
        temporary.write_text(
            "import runpy, sys\n"
            f"sys.path.insert(0, {str(wheel)!r})\n"
            "unknown = ('--no-setuptools', '--no-wheel')\n"
            "wanted = [argument for argument in sys.argv[1:] if argument not in unknown]\n"
            f"sys.argv = ['pip', 'install', '--upgrade', '--force-reinstall', '--find-links', {str(wheels)!r}, *wanted]\n"
            "runpy.run_module('pip', run_name='__main__')\n"
        )
        temporary.rename(script)


class Run:
    """One run of several gates: what was printed, and how each ended."""

    def __init__(self, chosen: list[Gate]) -> None:
        self.begun = time.monotonic()
        self.printing = threading.Lock()
        self.copies = {name: copy_of_the_tree(name) for name in {gate.environment for gate in chosen if gate.tree}}
        self.results: dict[str, tuple[bool, float]] = {}

    def say(self, text: str, shown: list[str] | None = None) -> None:
        with self.printing:
            print("\n".join([f"[{elapsed(time.monotonic() - self.begun)}] {text}", *(shown or [])]), flush=True)

    def all(self, gates: list[Gate]) -> None:
        """Runs them in their order, JOBS at once; those that need the test bed wait for it, and are not run without it."""
        waiting, running = list(gates), dict[Future[None], Gate]()
        bed = any(gate.name == "testbed" for gate in gates)
        with ThreadPoolExecutor(JOBS) as pool:
            try:
                while waiting or running:
                    ready = [gate for gate in waiting if not (bed and gate.bed) or "testbed" in self.results]
                    for gate in ready[: JOBS - len(running)]:
                        waiting.remove(gate)
                        running[pool.submit(self.one, gate)] = gate
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[future]
                        future.result()
            except BaseException:
                STOP.set()
                raise

    def one(self, gate: Gate) -> None:
        started = time.monotonic()
        if gate.bed and not self.results.get("testbed", (True, 0.0))[0]:
            self.say(f"{gate.name} FAILED: not run, there is no test bed")
            self.results[gate.name] = (False, 0.0)
            return
        log = LOGS / f"{gate.name}.log"
        folder = self.copies[gate.environment] if gate.tree else ROOT
        variables = environments.variables(gate.environment)
        if gate.command[0] == "ansible-test":
            for_ansible_test(variables, gate.environment)
        if gate.tree:
            variables["ANSIBLE_COLLECTIONS_PATH"] = variables["PYTHONPATH"] = str(folder.parents[2])
        self.say(f"{gate.name} ...")
        with log.open("wb") as output:
            process = subprocess.Popen(
                gate.command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            status = self.watch(process, gate, output)
        spent = time.monotonic() - started
        self.results[gate.name] = (status == 0, spent)
        shown: list[str] = []
        if status != 0:
            lines = log.read_text(errors="replace").splitlines()
            shown = [*(f"    {line}" for line in lines[-SHOWN:]), f"    (whole log: {log})"]
        verdict = "ok" if status == 0 else f"FAILED (exit {status})"
        self.say(f"{gate.name} {verdict}, {spent:.0f} s: {last_line(log)}", shown)

    def watch(self, process: subprocess.Popen[bytes], gate: Gate, output: t.BinaryIO) -> int:
        """The exit status. Says now and then that the gate goes on; ends it when it takes too long or the run is stopped."""
        started = said = time.monotonic()
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if STOP.is_set() or now - started > gate.limit:
                    output.write(f"\nstopped after {now - started:.0f} s (the limit is {gate.limit} s)\n".encode())
                    process.terminate()
                    return process.wait() or 1
                if now - said > HEARTBEAT:
                    said = now
                    self.say(f"{gate.name} goes on ({last_line(LOGS / f'{gate.name}.log')})")


def elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def complaints(log: Path) -> list[str]:
    """The lines that say why, each with the task that it belongs to: after them comes what cleans up."""
    found: list[str] = []
    task = ""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).splitlines():
        if line.startswith("TASK "):
            task = line.rstrip(" *")
        elif COMPLAINT.search(line):
            found += [task] if task else []
            found.append(line.strip()[:600])
            task = ""
    return found[-COMPLAINTS:] or log.read_text(errors="replace").splitlines()[-COMPLAINTS:]


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1])[:110] if lines else "no output yet"


def main(wanted: list[str]) -> int:
    known = gates()
    if wanted == ["list"]:
        print("\n".join(gate.name for gate in known))
        return 0

    # A prefix selects a family: `molecule`, `sanity`.
    def named(gate: Gate, word: str) -> bool:
        return gate.name == word or gate.name.startswith(word + "-")

    chosen = [gate for gate in known if any(named(gate, word) for word in wanted) or (not wanted and gate.name not in PENDING)]
    unknown = [word for word in wanted if not any(named(gate, word) for gate in known)]
    if unknown:
        print(f"no such gate: {', '.join(unknown)}; there are: {', '.join(gate.name for gate in known)}", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    if not wanted:
        for name, reason in PENDING.items():
            print(f"left out: {name}: {reason}")
    run = Run(chosen)
    run.all(chosen)
    print(f"\n{'gate':<34} {'result':<8} seconds")
    for gate in chosen:
        passed, seconds = run.results[gate.name]
        print(f"{gate.name:<34} {'ok' if passed else 'FAILED':<8} {seconds:7.1f}")
    for name, (passed, seconds) in run.results.items():
        if not passed and seconds:
            print(f"\nwhat {name} said:", *complaints(LOGS / f"{name}.log"), sep="\n    ")
    failed = sum(not passed for passed, _seconds in run.results.values())
    left_out = 0 if wanted else len(PENDING)
    print(f"total {elapsed(time.monotonic() - run.begun)}, {JOBS} at once")
    print(f"\n{len(chosen) - failed} passed, {failed} failed, {left_out} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(
            "\ninterrupted; sites that scenarios left (`tests/testbed/bed list`) go with their next run, or with `make clean`"
        )
