# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python environments of this project: one for each file in tests/requirements/, made once and kept in the cache.

    python3 tools/env.py dev             makes it if need be, prints its folder
    python3 tools/env.py dev -- CMD ...  runs CMD with it first on PATH and the checkout visible as gpufleet.k8s

Standard library only: this is the first thing that runs on a bare machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("GPUFLEET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpufleet")
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # as in tools/bootstrap and tests/testbed/bed
HEARTBEAT = 15.0  # seconds


def say(message: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def run_long(what: str, command: t.Sequence[str | Path]) -> None:
    """Says every HEARTBEAT seconds that `what` goes on. Raises CalledProcessError."""
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        while process.returncode is None:
            try:
                process.wait(HEARTBEAT)
            except subprocess.TimeoutExpired:
                say(f"{what}: {time.monotonic() - begun:.0f} s so far")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


@contextlib.contextmanager
def locked(name: str) -> t.Iterator[None]:
    """One maker at a time; a second one says for what it waits."""
    folder = CACHE / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process works on {name}: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@functools.cache
def pythons() -> list[tuple[tuple[int, ...], Path]]:
    """(version, interpreter) of what is installed, oldest first, from 3.11 on.

    Of one version the distribution's: it is built with all optimizations, pyenv's usually is not and needs a third more time.
    """
    minors = range(OLDEST_PYTHON[1], 15)
    names = [*(f"python3.{minor}" for minor in minors), "python3"]
    places = [Path(found) for path in ("/usr/bin", None) for name in names if (found := shutil.which(name, path=path))]
    places += [place for minor in minors for place in sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))]
    found: dict[tuple[int, ...], Path] = {}
    for place in places:
        if any(place.name == f"python{major}.{minor}" for major, minor in found):
            continue
        code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
        answer = subprocess.run([place, "-c", code], capture_output=True, text=True, check=False)
        version = tuple(int(part) for part in answer.stdout.split())
        if answer.returncode == 0 and version >= OLDEST_PYTHON:
            found.setdefault(version, place)
    return sorted(found.items())


def python_for(name: str) -> Path:
    """Old ansible-core goes with the oldest Python that fits, the newest with the newest, all else with 3.11 to 3.13."""
    fitting = [item for item in pythons() if item[0] <= NEWEST_PYTHON]
    if name == "core-oldest":
        fitting = [item for item in fitting if item[0] <= (3, 12)]
    if not fitting:
        raise SystemExit(
            "Python 3.11, 3.12 or 3.13 with its venv module is needed and none was found. On Debian 12 or 13, or Ubuntu 24.04: "
            "apt-get install python3-venv; on Ubuntu 22.04: apt-get install python3.11-venv"
        )
    return fitting[-1 if name == "core-newest" else 0][1]


def environment(name: str) -> Path:
    """The folder of the virtual environment for tests/requirements/NAME.txt, made when missing or when the file changed."""
    wanted = ROOT / "tests" / "requirements" / f"{name}.txt"
    python = python_for(name)
    digest = hashlib.sha256(wanted.read_bytes() + str(python).encode()).hexdigest()[:12]
    folder = CACHE / "venv" / f"{name}-{digest}"
    if (folder / "complete").exists():
        return folder
    with locked(f"venv-{name}"):
        if (folder / "complete").exists():
            return folder
        begun = time.monotonic()
        say(f"making the Python environment '{name}' ({python.name}, a minute or so)")
        pip = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        try:
            subprocess.run([python, "-m", "venv", "--clear", folder], check=True)  # an interrupted run may have left half a pip
            run_long(f"pip for '{name}'", [*pip, "--upgrade", "pip"])
            run_long(f"packages of '{name}'", [*pip, "--requirement", wanted])
        except subprocess.CalledProcessError as failed:
            command = " ".join(map(str, failed.cmd))
            raise SystemExit(f"the Python environment '{name}' was not made: `{command}` failed, see above") from None
        (folder / "complete").touch()
        say(f"Python environment '{name}' is ready ({time.monotonic() - begun:.0f} s)")
    return folder


def collections_path() -> Path:
    """A folder from which ansible finds this very checkout as gpufleet.k8s."""
    link = CACHE / "trees" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12] / "ansible_collections" / "gpufleet" / "k8s"
    if not link.is_symlink() or link.resolve() != ROOT:
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        with contextlib.suppress(FileExistsError):  # another process was quicker
            link.symlink_to(ROOT)
    return link.parents[2]


def variables(name: str) -> dict[str, str]:
    """The process environment in which the tools of environment NAME work on this checkout, and on nothing of the user's."""
    folder, collections = environment(name), collections_path()
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(folder),
        "PYTHONPATH": str(collections),
        "MYPYPATH": str(collections),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        # A tenth of a run's CPU time went into asking its workers every millisecond.
        "ANSIBLE_INTERNAL_POLL_INTERVAL": os.environ.get("ANSIBLE_INTERNAL_POLL_INTERVAL", "0.01"),
        "ANSIBLE_NOCOWS": "1",
        "GPUFLEET_CACHE": str(CACHE),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }


def main(arguments: list[str]) -> None:
    name, command = arguments[0], arguments[2:]
    if not command:
        print(environment(name))
        return
    env = variables(name)
    os.execvpe(command[0], command, env)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
