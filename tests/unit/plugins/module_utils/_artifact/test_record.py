# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record never says anything that a fresh look would not."""

from __future__ import annotations

import fcntl
import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact import record as module
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.record import ARCHIVES_KEPT, Record
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.wish import Member


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths whose content was read."""
    read: list[str] = []
    original = module.sha256_of

    def counted(path: str) -> str:
        read.append(path)
        return original(path)

    monkeypatch.setattr(module, "sha256_of", counted)
    return read


def digest(record: Record, path: Path) -> str:
    return record.digest(str(path), path.stat())


def settled(path: Path) -> None:
    """Waits until the file's change is older than the clock's tick, on that very clock."""
    probe = path.with_name("probe")
    while True:
        probe.write_text("")
        if probe.stat().st_ctime_ns - path.stat().st_ctime_ns > 2 * module.RACY_NS:
            return


def test_a_file_is_read_once_and_again_when_anything_touched_it(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    settled(path)
    record = Record(str(tmp_path / "record.json"))
    assert digest(record, path) == digest(record, path) == sha(b"one")
    record.save()
    again = Record(str(tmp_path / "record.json"))
    assert digest(again, path) == sha(b"one")
    assert len(reads) == 1
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest(again, path) == sha(b"two")


def test_a_file_changed_just_now_is_not_trusted_later(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    record = Record(str(tmp_path / "record.json"))
    digest(record, path)
    digest(record, path)
    assert len(reads) == 2
    record.remember(str(path), sha(b"one"), path.stat(), ours=True)
    digest(record, path)
    assert len(reads) == 2


def test_saving_is_atomic_and_only_when_something_was_learnt(tmp_path: Path) -> None:
    target = tmp_path / "deep/er/record.json"
    Record(str(target)).save()
    assert not target.parent.exists()
    record = Record(str(target))
    record.learn("0" * 64, "url", {"a": Member("1" * 64, True), "b": Member(None, False)})
    record.save()
    inode = target.stat().st_ino
    again = Record(str(target))
    again.save()
    assert target.stat().st_ino == inode
    assert again.index("0" * 64) == {"a": Member("1" * 64, True), "b": Member(None, False)}
    assert again.indices_of("url") == [again.index("0" * 64)]
    assert [path.name for path in target.parent.iterdir()] == ["record.json"]
    assert target.stat().st_mode & 0o777 == 0o644


def test_the_oldest_archives_are_forgotten(tmp_path: Path) -> None:
    record = Record(str(tmp_path / "record.json"))
    for number in range(ARCHIVES_KEPT + 3):
        record.learn(f"{number:064x}", "url", {})
    assert len(record.indices_of("url")) == ARCHIVES_KEPT
    assert record.index(f"{2:064x}") is None
    assert record.index(f"{3:064x}") == {}


def test_an_empty_record_goes_and_its_folder_only_if_that_is_ours_and_empty(tmp_path: Path) -> None:
    for name, kept in (("gpufleet", False), ("mine", True)):
        target = tmp_path / name / "record.json"
        record = Record(str(target))
        record.remember("/gone", "0" * 64, tmp_path.stat(), ours=True)
        record.learn("0" * 64, "url", {"a": Member("1" * 64, False)})
        record.save()
        assert target.exists()
        record.tidy(())
        record.save()
        assert not target.exists() and target.parent.exists() is kept
    others = tmp_path / "gpufleet/other"
    others.mkdir(parents=True)
    record = Record(str(tmp_path / "gpufleet/record.json"))
    record.tidy(())
    record.save()
    assert others.exists()


@pytest.mark.parametrize("left", [["record.json"], [".record.json.new"], ["record.json", ".record.json.new"], []])
def test_what_a_killed_run_left_of_an_empty_record_goes(tmp_path: Path, left: list[str]) -> None:
    folder = tmp_path / "gpufleet"
    folder.mkdir()
    for name in left:
        (folder / name).write_text('{"schema": 1, "files": {}, "archives": {}}')
    record = Record(str(folder / "record.json"))
    record.save()
    assert folder.exists(), "a run that removes nothing leaves what another one may have made meanwhile"
    record.tidy(())
    record.save()
    assert not folder.exists()


def test_what_another_run_is_saving_stays(tmp_path: Path) -> None:
    folder = tmp_path / "gpufleet"
    folder.mkdir()
    with (folder / ".record.json.new").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        record = Record(str(folder / "record.json"))
        record.tidy(())
        record.save()
        assert (folder / ".record.json.new").exists()


def test_an_archive_is_remembered_while_one_of_its_files_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    record = Record(str(tmp_path / "record.json"))
    record.remember(str(path), sha(b"x"), path.stat(), ours=True)
    record.learn("0" * 64, "url", {"a": Member(sha(b"x"), False), "link": Member(None, False)})
    record.learn("1" * 64, "other", {"b": Member(sha(b"y"), False)})
    record.tidy({"other"})
    assert record.index("0" * 64) and record.index("1" * 64)
    path.unlink()
    record.tidy({"other"})
    assert record.index("0" * 64) is None and record.index("1" * 64)


DAMAGED = [
    "",
    "[]",
    "null",
    '{"schema": 2}',
    '{"schema": 1, "files": {}}',
    '{"schema": 1, "files": {}, "archives": {"x": 1}}',
    '{"schema": 1, "files": {}, "archives": {"x": {"url": "u", "members": {"a": 1}}}}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    record = Record(str(tmp_path / "record.json"))
    assert record.index("x") is None
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert digest(record, path) == sha(b"x")


def test_a_strange_entry_for_a_file_is_ignored(tmp_path: Path) -> None:
    entries: list[t.Any] = [None, 1, [], ["sum"], {"a": 1}]
    path = tmp_path / "file"
    path.write_bytes(b"x")
    for entry in entries:
        record = Record(str(tmp_path / "record.json"))
        record._files[str(path)] = entry
        assert digest(record, path) == sha(b"x")
