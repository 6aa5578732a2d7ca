# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Archives: one pass over a tar or zip that indexes every member and stages the wanted ones."""

from __future__ import annotations

import hashlib
import lzma
import os
import posixpath
import stat
import tarfile
import typing as t
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from .._plan import ApplyError
from .wish import Index, Member, normal_name

CHUNK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    name: str
    executable: bool
    link: str | None  # for a link: the member it points at, '' when that is outside the archive
    data: t.IO[bytes] | None  # for a file: its content, readable until the next entry is asked for


def unpack(archive: str, url: str, staged: t.Callable[[str], t.Sequence[str]]) -> Index:
    """Writes each member to the paths that `staged(name)` gives (mode 0600) and returns the index of all members.

    A link becomes a copy of the member it points at. Raises ApplyError when this is no archive or when a member's
    name would leave the folder it is unpacked into.
    """
    index: dict[str, Member] = {}
    links: dict[str, str] = {}
    try:
        for entry in _entries(archive, url):
            if entry.link is not None:
                links[entry.name] = entry.link
            elif entry.data is None:
                index[entry.name] = Member(None, False)
            else:
                index[entry.name] = Member(_copy(entry.data, staged(entry.name)), entry.executable)
        late: dict[str, list[str]] = {}
        for name in links:
            target = _follow(name, links)
            index[name] = index.get(target, Member(None, False))
            if staged(name) and index[name].sha256 is not None:
                late.setdefault(target, []).extend(staged(name))
        for entry in _entries(archive, url) if late else ():
            if entry.name in late and entry.data is not None:
                _copy(entry.data, late[entry.name])
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise ApplyError(f"{url} is no archive that can be read here (tar, tar.gz, tar.bz2, tar.xz or zip): {error}") from error
    return index


def _entries(archive: str, url: str) -> t.Iterator[_Entry]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                mode = info.external_attr >> 16
                if info.is_dir():
                    continue
                name = _safe(info.filename, url)
                if stat.S_ISLNK(mode):
                    yield _Entry(name, False, _target(name, zipped.read(info).decode(errors="replace")), None)
                    continue
                with zipped.open(info) as data:
                    yield _Entry(name, bool(mode & 0o100), None, data)
        return
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if member.isdir():
                continue
            name = _safe(member.name, url)
            if member.issym():
                yield _Entry(name, False, _target(name, member.linkname), None)
            elif member.islnk():
                yield _Entry(name, False, normal_name(member.linkname), None)
            else:
                yield _Entry(name, bool(member.mode & 0o100), None, tar.extractfile(member) if member.isreg() else None)


def _safe(name: str, url: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or "\0" in name or not name:
        raise ApplyError(
            f"{url} holds a member named {name!r}, which would be unpacked outside its destination; nothing was unpacked"
        )
    return normal_name(name)


def _target(name: str, link: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    return "" if target.startswith(("/", "..")) else target


def _follow(name: str, links: t.Mapping[str, str]) -> str:
    seen = set()
    while name in links and name not in seen:
        seen.add(name)
        name = links[name]
    return name


def _copy(data: t.IO[bytes], paths: t.Sequence[str]) -> str:
    digest = hashlib.sha256()
    files: list[int] = []
    try:
        for path in paths:
            Path(path).unlink(missing_ok=True)
            files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for chunk in iter(lambda: data.read(CHUNK), b""):
            digest.update(chunk)
            for file in files:
                write_all(file, chunk)
    finally:
        for file in files:
            os.close(file)
    return digest.hexdigest()


def write_all(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]
