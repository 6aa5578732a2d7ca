# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The record: what hashing and unpacking found out, so that an unchanged run neither reads nor downloads.

It holds facts about content only, never "this was installed": losing it costs time, and it cannot tell a lie about a
file that somebody changed. A file's sum counts only while its stamp (size, mtime, ctime, inode, device) is the same;
whoever writes to a file changes its ctime. An archive's index is a fact about the archive's sum.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import typing as t
from contextlib import suppress
from pathlib import Path

from .wish import Index, Member

SCHEMA = 1
OWN = "gpufleet"  # name of a folder that holds nothing but what this collection keeps
ARCHIVES_KEPT = 64  # the least recently written are forgotten; using one again costs one download
#: A file changed less than this before it was looked at could be changed again without a new ctime
#: (the kernel's clock ticks at 100 Hz or more), so its sum is not recorded yet.
RACY_NS = 20_000_000
CHUNK = 1 << 20


class Record:
    """`/var/lib/gpufleet/artifacts.json` in memory. Threads may call `digest` at the same time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._files: dict[str, list[t.Any]] = {}  # path -> [sha256, *stamp]
        self._archives: dict[str, tuple[str, Index]] = {}  # sha256 -> (url, index)
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["schema"] == SCHEMA:
                self._files = dict(data["files"])
                self._archives = {key: (str(value["url"]), _index(value["members"])) for key, value in data["archives"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # lost or damaged: everything is found out again
        self._saved = self._dump()
        self._tidy = False

    def digest(self, path: str, status: os.stat_result) -> str:
        """The SHA-256 of a file's content, read only when its stamp is not the recorded one."""
        stamp = _stamp(status)
        entry = self._files.get(path)
        if isinstance(entry, list) and entry[1:] == stamp:
            return str(entry[0])
        digest = sha256_of(path)
        self.remember(path, digest, status)
        return digest

    def remember(self, path: str, digest: str, status: os.stat_result, ours: bool = False) -> None:
        """`ours`: this process has just put it there, so nobody can have changed it since it was hashed."""
        if ours or time.time_ns() - status.st_ctime_ns > RACY_NS:
            self._files[path] = [digest, *_stamp(status)]

    def forget(self, path: str) -> None:
        self._files.pop(path, None)

    @property
    def folder(self) -> Path | None:
        """The record's folder, where that is this collection's own."""
        folder = Path(self.path).parent
        return folder if folder.name == OWN else None

    def tidy(self, kept: t.Container[str]) -> None:
        """Forgets files that are gone, whoever removed them, and archives of which no file is left, but for URLs in `kept`."""
        self._tidy = True
        self._files = {path: entry for path, entry in self._files.items() if os.path.lexists(path)}
        left = {entry[0] for entry in self._files.values() if isinstance(entry, list) and entry}
        self._archives = {
            sha256: (url, index)
            for sha256, (url, index) in self._archives.items()
            if url in kept or any(member.sha256 in left for member in index.values())
        }

    def index(self, sha256: str) -> Index | None:
        entry = self._archives.get(sha256)
        return entry[1] if entry else None

    def indices_of(self, url: str) -> list[Index]:
        return [index for its_url, index in self._archives.values() if its_url == url]

    def learn(self, sha256: str, url: str, index: Index) -> None:
        self._archives.pop(sha256, None)
        self._archives[sha256] = (url, index)
        for oldest in list(self._archives)[:-ARCHIVES_KEPT]:
            del self._archives[oldest]

    def save(self) -> None:
        """Writes it if anything was learnt; atomic. One that is empty once it is tidy is removed. Raises OSError."""
        text = self._dump()
        folder = Path(self.path).parent
        temporary = folder / f".{Path(self.path).name}.new"  # one name, so that a killed run leaves no litter
        if self._tidy and not self._files and not self._archives:
            self._remove(temporary)
            self._saved = text
            return
        if text == self._saved:
            return
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another run is saving what it learnt; ours is found out again
            file.truncate(0)
            file.write(text)
            file.flush()
            temporary.chmod(0o644)
            temporary.replace(self.path)
        self._saved = text

    def _remove(self, temporary: Path) -> None:
        """Whatever of it a killed run has left."""
        Path(self.path).unlink(missing_ok=True)
        if temporary.exists():
            with temporary.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return  # another run is saving what it learnt
                temporary.unlink(missing_ok=True)
        if self.folder:
            with suppress(OSError):  # it is not empty, or not there
                self.folder.rmdir()

    def _dump(self) -> str:
        archives = {
            sha256: {"url": url, "members": {name: [m.sha256, m.executable] for name, m in index.items()}}
            for sha256, (url, index) in self._archives.items()
        }
        return json.dumps({"schema": SCHEMA, "files": self._files, "archives": archives}, separators=(",", ":"))


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _index(members: t.Mapping[str, t.Any]) -> Index:
    return {name: Member(sha256, executable) for name, (sha256, executable) in members.items()}
