# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact mirror: `<cache>/mirror/HOST/PATH` and its `.sha256`, from the release itself or built."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import typing as t
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from .build import Builder
from .table import File, mirror_path, needs
from .work import CLOCK, BedError, beating, cache, say, scratch, write_atomic

PROBE = 3.0  # seconds for a host to answer at all; all hosts are asked at once


def root() -> Path:
    return cache() / "mirror"


def reachable(hosts: set[str]) -> set[str]:
    """The hosts that answer HTTPS. Any answer counts: `/` need not exist there."""

    def answers(name: str) -> bool:
        try:
            urllib.request.urlopen(urllib.request.Request(f"https://{name}/", method="HEAD"), timeout=PROBE).close()
        except urllib.error.HTTPError:
            return True
        except (OSError, ValueError):
            return False
        return True

    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        return {name for name, there in zip(sorted(hosts), pool.map(answers, sorted(hosts)), strict=True) if there}


def fill(files: list[File], builder: Builder, online: bool) -> None:
    """Makes every file that is missing, or that was built from another recipe."""
    missing = [entry for entry in files if not _current(entry, builder)]
    if not missing:
        say(f"mirror: all {len(files)} files are there")
        return
    hosts = {urlsplit(entry.url).netloc for entry in missing}
    with CLOCK.phase("reach the releases"):
        there = reachable(hosts) if online else set()
    for name in sorted(hosts):
        say(f"mirror: {name} {'answers: taking its releases' if name in there else 'cannot be reached: building instead'}")
    for entry in missing:
        official = urlsplit(entry.url).netloc in there and _download(entry)
        if not official:
            _make(entry, builder)
        say(f"mirror: {entry.url} ({'release' if official else 'built'})")


def released(entry: File) -> bool:
    """Whether the mirror's file is upstream's own, not one built here."""
    return bool(json.loads(_sources(entry).read_text())["source"] == "release")


def checksum_in(listing: str, name: str) -> str | None:
    """The SHA-256 of `name` in a checksum file: a bare digest, or lines of `digest  name` (`*name` for binary mode)."""
    for line in listing.splitlines():
        words = line.split()
        if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) and (len(words) == 1 or words[-1].lstrip("*") == name):
            return words[0].lower()
    return None


def _sources(entry: File) -> Path:
    return cache() / "sources" / f"{mirror_path(entry.url)}.json"


def _key(entry: File, builder: Builder) -> str:
    names = [entry.module_file] if entry.module_file else needs(entry)
    recipe: list[t.Any] = [[name, builder.key(name)] for name in names]
    return hashlib.sha256(json.dumps([*recipe, entry.deb] if entry.deb else recipe).encode()).hexdigest()[:16]


def _current(entry: File, builder: Builder) -> bool:
    place = root() / mirror_path(entry.url)
    source = _sources(entry)
    if not (place.is_file() and place.with_name(f"{place.name}.sha256").is_file() and source.is_file()):
        return False
    known = json.loads(source.read_text())
    return bool(known["source"] == "release" or known["key"] == _key(entry, builder))


def _keep(entry: File, content: Path, source: dict[str, str]) -> None:
    """Moves `content` into the mirror. Killed in between, there is no `sources` entry, and the next run makes it again."""
    place = root() / mirror_path(entry.url)
    place.parent.mkdir(parents=True, exist_ok=True)
    with content.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _sources(entry).unlink(missing_ok=True)
    content.chmod(0o644)
    content.rename(place)
    write_atomic(place.with_name(f"{place.name}.sha256"), f"{digest}  {place.name}\n")
    write_atomic(_sources(entry), json.dumps({**source, "sha256": digest}) + "\n")


def _download(entry: File) -> bool:
    """False when the release cannot be had. A release with the wrong sum is an error, never a reason to build."""
    name = entry.url.rsplit("/", 1)[1]
    try:
        with CLOCK.phase("download releases"), scratch("download") as work:
            expected = None
            if entry.checksum:
                with urllib.request.urlopen(entry.checksum, timeout=30) as answer:  # noqa: S310 (table.py lets https in only)
                    expected = checksum_in(answer.read().decode(), name)
                if expected is None:
                    raise BedError(f"{entry.checksum} holds no SHA-256 of {name}")
            target = work / name
            with (
                urllib.request.urlopen(entry.url, timeout=30) as answer,  # noqa: S310
                target.open("wb") as stream,
                beating(f"mirror: {entry.url}", lambda: f"{target.stat().st_size >> 20} MiB so far"),
            ):
                shutil.copyfileobj(answer, stream, 1 << 20)
            with target.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if expected and found != expected:
                raise BedError(f"{entry.url}: its SHA-256 is {found}, but {entry.checksum} says {expected}; kept nothing")
            _keep(entry, target, {"source": "release"})
    except OSError as error:
        say(f"mirror: {entry.url}: {error}; building instead")
        return False
    return True


def _make(entry: File, builder: Builder) -> None:
    made = {member: builder.binary(need) for member, need in entry.archive.items()}
    with scratch("file") as work:
        target = work / "file"
        if entry.archive:
            with CLOCK.phase("pack archives"):
                target.write_bytes(deb(entry.deb, made) if entry.deb else archive(made))
        else:
            shutil.copy(builder.module_file(entry.module_file) if entry.module_file else builder.binary(entry.program), target)
        _keep(entry, target, {"source": "built", "key": _key(entry, builder)})


def archive(members: dict[str, Path]) -> bytes:
    """A .tar.gz that is the same bytes for the same content."""
    return _packed({name: (path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644) for name, path in members.items()})


def deb(control: dict[str, str], members: dict[str, Path]) -> bytes:
    """A Debian package (deb(5)): an ar archive of a version, the control file and the files."""
    fields = "".join(f"{key}: {value}\n" for key, value in control.items())
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _packed({"./control": (fields.encode(), 0o644)}),
        "data.tar.gz": archive({f"./{name}": path for name, path in members.items()}),
    }
    packed = b"!<arch>\n"
    for name, content in parts.items():
        packed += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        )
    return packed


def _packed(members: dict[str, tuple[bytes, int]]) -> bytes:
    packed = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=5)
    with zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, (content, mode) in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()
