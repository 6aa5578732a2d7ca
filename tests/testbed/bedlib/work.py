# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part needs: where the cache is, lines that say what goes on, commands, atomic files, one lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from collections import deque
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent  # tests/testbed
HEARTBEAT = 10.0  # seconds without a line before a running command says that it is alive


class BedError(Exception):
    """One sentence or a few: what is wrong, where, and what to do."""


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GPUFLEET_CACHE") or Path(base) / "gpufleet")


class Clock:
    """Prints lines with the time since the start, and keeps how long each phase took."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.phases: list[tuple[str, float]] = []

    def say(self, message: str) -> None:
        print(f"[{time.monotonic() - self.start:7.1f}s] {message}", flush=True)

    @contextlib.contextmanager
    def phase(self, name: str, announce: str = "") -> t.Iterator[None]:
        """Phases on different threads overlap, so their times may add up to more than the total."""
        if announce:
            self.say(f"{name}: {announce}")
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self.phases.append((name, seconds))
        if announce:
            self.say(f"{name}: done in {seconds:.1f} s")

    def summary(self, command: str) -> None:
        total = time.monotonic() - self.start
        spent: dict[str, float] = {}
        for name, seconds in self.phases:
            spent[name] = spent.get(name, 0.0) + seconds
        for name, seconds in spent.items():
            if seconds >= 0.1:
                self.say(f"  {name:<40} {seconds:7.1f} s")
        self.say(f"{command}: {total:.1f} s")
        timings = cache() / "timings.json"
        known = json.loads(timings.read_text()) if timings.exists() else {}
        known[command] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "total": round(total, 2),
            "phases": {name: round(seconds, 2) for name, seconds in spent.items()},
        }
        write_atomic(timings, json.dumps(known, indent=2) + "\n")


CLOCK = Clock()
say = CLOCK.say


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """A reader, or a later run, sees the whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        Path(name).chmod(mode)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def scratch(name: str) -> t.Iterator[Path]:
    """A folder on the cache's file system, so that what is made in it can be renamed into place."""
    base = cache() / "tmp"
    base.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=base, prefix=f"{os.getpid()}-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep_scratch() -> None:
    """Removes what killed runs left."""
    for path in (cache() / "tmp").glob("*-*"):
        if not Path(f"/proc/{path.name.split('-')[0]}").exists():
            shutil.rmtree(path, ignore_errors=True)


def run(
    argv: t.Sequence[str | Path],
    *,
    check: bool = True,
    data: str | bytes | None = None,
    env: t.Mapping[str, str] | None = None,
    cwd: Path | None = None,
    own_session: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """A short command. Raises BedError with its last words when it fails. own_session: who kills this run does not kill it."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command,
            input=data.encode() if isinstance(data, str) else data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            start_new_session=own_session,
        )
    except FileNotFoundError as error:
        raise BedError(f"{command[0]} is not on PATH here: `bed prepare` installs what the test bed needs") from error
    if check and done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
        raise BedError(f"`{' '.join(command)[:300]}` failed with {done.returncode}: {words}")
    return done


def text(argv: t.Sequence[str | Path], **more: t.Any) -> str:
    return run(argv, **more).stdout.decode().strip()


_running: set[subprocess.Popen[str]] = set()


@contextlib.contextmanager
def ending_others() -> t.Iterator[None]:
    """When what is inside fails or is interrupted, the long commands of other threads end too: nobody waits for them."""
    try:
        yield
    except BaseException:
        for process in list(_running):
            process.terminate()
        raise


@contextlib.contextmanager
def beating(what: str, seen: t.Callable[[], str]) -> t.Iterator[None]:
    """Says every HEARTBEAT seconds that `what` goes on, and what is seen of it."""
    begin, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            say(f"{what}: {time.monotonic() - begin:.0f} s, {seen()}")

    beats = threading.Thread(target=beat, daemon=True)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()


def run_long(what: str, argv: t.Sequence[str | Path], *, env: t.Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """A command that takes minutes: says every ten seconds how many lines it printed and the last of them.

    It ends with this process, however that ends (`setpriv --pdeathsig`).
    """
    command = ["setpriv", "--pdeathsig", "TERM", *(str(word) for word in argv)]
    tail: deque[str] = deque(maxlen=30)
    count = 0

    def seen() -> str:
        return f"{count} lines so far: {tail[-1][:80] if tail else '...'}"

    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=cwd,
        env={**os.environ, **env} if env else None,
    )
    _running.add(process)
    try:
        assert process.stdout is not None
        with beating(what, seen):
            for line in process.stdout:
                tail.append(line.rstrip())
                count += 1
            process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        _running.discard(process)
    if process.returncode:
        raise BedError(f"{what}: `{' '.join(command[3:])[:300]}` failed with {process.returncode}:\n" + "\n".join(tail))


@contextlib.contextmanager
def lock(name: str, keep: bool = True) -> t.Iterator[None]:
    """One run at a time; the other one waits, and says for whom. keep=False: the lock's file goes too."""
    path = cache() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = _locked(path)
    with stream:
        stream.write(f"pid {os.getpid()} `{' '.join(sys.argv)}` since {time.strftime('%H:%M:%S')}")
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)
            if not keep:
                path.unlink(missing_ok=True)


def _locked(path: Path) -> t.TextIO:
    waited = 0.0
    while True:
        stream = path.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(stream.fileno()).st_ino == path.stat().st_ino:  # else removed while we waited
                stream.truncate(0)
                return stream
        except BlockingIOError:
            if waited % HEARTBEAT == 0:
                stream.seek(0)
                say(f"waiting for {stream.read().strip() or 'another run'} (lock {path})")
            time.sleep(0.5)
            waited += 0.5
        stream.close()


def wait_for(what: str, check: t.Callable[[], tuple[bool, str]], limit: float = 60.0) -> None:
    """Polls `check`, which returns (done, what was seen), and raises with what was seen last."""
    begin = time.monotonic()
    while True:
        done, seen = check()
        if done:
            return
        if time.monotonic() - begin > limit:
            raise BedError(f"{what}: not within {limit:.0f} s; seen last: {seen}")
        time.sleep(0.1)


def end_on_signals() -> None:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that scratch folders and children go."""

    def stop(number: int, _frame: t.Any) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
