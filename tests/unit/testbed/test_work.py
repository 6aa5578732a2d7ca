# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bedlib import work

BED = Path(__file__).resolve().parents[2] / "testbed"


def python(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(BED)!r})\nfrom bedlib.work import *\n{code}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, start_new_session=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_run_waits_and_says_for_whom(cache: Path) -> None:
    first = python("with lock('prepare'): print('in', flush=True); sys.stdin.read()")
    assert line(first) == "in\n"
    second = python("with lock('prepare'): print('in', flush=True)")
    assert f"waiting for pid {first.pid} " in line(second)
    first.communicate()
    assert line(second) == "in\n"
    second.communicate()


def test_a_lock_of_a_killed_run_is_free(cache: Path) -> None:
    first = python("with lock('prepare'): print('in', flush=True); sys.stdin.read()")
    assert line(first) == "in\n"
    first.kill()
    first.communicate()
    second = python("with lock('prepare'): print('in', flush=True)")
    assert line(second) == "in\n"
    second.communicate()


def alive(pid: int) -> bool:
    """Not when it is gone, or ended and not yet collected. One look: it may go between two."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_long_commands_end_with_the_run(cache: Path, tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    run = python(f"end_on_signals()\nrun_long('sleep', ['sh', '-c', 'echo $$ > {pid_file}; exec sleep 60'])")
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.02)
    child = int(pid_file.read_text())
    run.send_signal(number)
    run.communicate()
    while alive(child):
        assert time.monotonic() < deadline, "the command outlived its run"
        time.sleep(0.02)


def test_a_command_in_its_own_session_outlives_a_killed_run(cache: Path, tmp_path: Path) -> None:
    shell = f"touch {tmp_path}/begun; sleep 0.3; touch {tmp_path}/ended"
    run = python(f"run(['sh', '-c', '{shell}'], own_session=True)")
    work.wait_for("the command's begin", lambda: ((tmp_path / "begun").exists(), ""), 20)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    work.wait_for("its end", lambda: ((tmp_path / "ended").exists(), ""), 20)


def test_a_failed_command_shows_its_last_words() -> None:
    with pytest.raises(work.BedError, match="failed with 3:\nlast words"):
        work.run_long("build", ["sh", "-c", "echo last words; exit 3"])
    with pytest.raises(work.BedError, match="failed with 4: last words"):
        work.run(["sh", "-c", "echo last words >&2; exit 4"])


def test_what_takes_long_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.Event()
    lines: list[str] = []
    monkeypatch.setattr(work, "HEARTBEAT", 0.01)
    monkeypatch.setattr(work, "say", lambda line: (lines.append(line), said.set()))
    with work.beating("download", lambda: "7 MiB so far"):
        assert said.wait(20)
    assert lines[0] == "download: 0 s, 7 MiB so far"


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    work.write_atomic(path, "old")

    def interrupted(*names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work.write_atomic(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_what_killed_runs_left_is_swept(cache: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, mine = cache / "tmp" / f"{ended.pid}-build-x", cache / "tmp" / f"{os.getpid()}-build-x"
    for folder in (left, mine):
        (folder / "deep").mkdir(parents=True)
    work.sweep_scratch()
    assert not left.exists()
    assert mine.exists()


def test_a_wait_says_what_it_saw_last() -> None:
    with pytest.raises(work.BedError, match="node: not within 0 s; seen last: starting"):
        work.wait_for("node", lambda: (False, "starting"), limit=0)


def test_a_lock_that_goes_lets_one_waiter_in_at_a_time(cache: Path) -> None:
    hold = "with lock('site-x', keep=False): print('in', flush=True); sys.stdin.read(); print('out', flush=True)"
    first = python(hold)
    assert line(first) == "in\n"
    second = python(hold)
    assert "waiting for pid" in line(second)
    first.communicate()
    assert line(second) == "in\n"
    third = python(hold)
    assert f"waiting for pid {second.pid} " in line(third)
    second.communicate()
    assert line(third) == "in\n"
    third.communicate()
    assert not (cache / "site-x.lock").exists()
