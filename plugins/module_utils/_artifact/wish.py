# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What is wished: artifacts, where they come from, their sums, and the files they become. Pure: no I/O."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import typing as t
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .._plan import PlanError

SHA256 = re.compile(r"[0-9a-f]{64}")
SCHEMES = ("http", "https", "file")


@dataclass(frozen=True)
class Artifact:
    """One entry of `artifacts`, checked. Exactly one of `sha256` and `sums_url` is set when it is to be present."""

    url: str
    source: str  # where it is fetched from: the URL itself or its place in the mirror
    dest: str  # a file, or the folder that `extract` fills
    sha256: str | None = None
    sums_url: str | None = None
    member: str | None = None
    extract: tuple[str, ...] = ()
    strip: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def is_archive(self) -> bool:
        return bool(self.member or self.extract)


@dataclass(frozen=True)
class Member:
    """A file in an archive. `sha256` is None for a link that cannot be followed inside the archive."""

    sha256: str | None
    executable: bool


Index = t.Mapping[str, Member]  # member name -> Member; a fact about an archive's sum, true for ever


@dataclass(frozen=True)
class WantedFile:
    """A file as it should be. `mode` None: 0755 or 0644, by what the archive says; owner None: left as it is."""

    path: str
    sha256: str
    mode: int
    uid: int | None = None
    gid: int | None = None
    member: str | None = None


def parse(
    params: t.Mapping[str, t.Any], user_id: t.Callable[[str], int], group_id: t.Callable[[str], int]
) -> tuple[Artifact, ...]:
    """The module's parameters as artifacts. `user_id`/`group_id` look up a name and raise KeyError.

    Raises PlanError naming the entry at fault.
    """
    artifacts = []
    for number, entry in enumerate(params["artifacts"]):
        where = f"artifacts[{number}]"
        own = entry.get("mirror") is not None
        mirror = (entry["mirror"] if own else params["mirror"]).rstrip("/")
        if mirror:
            _check_url(mirror, f"{where}.mirror" if own else "mirror")
        sums_from_mirror = bool(mirror) and (entry.get("checksums") or params["checksums"]) == "mirror"
        _check_url(entry["url"], f"{where}.url")
        if not posixpath.isabs(entry["dest"]):
            raise PlanError(f"{where}.dest: '{entry['dest']}' is not an absolute path")
        if entry["strip_components"] and not entry["extract"]:
            raise PlanError(f"{where}.strip_components only has a meaning together with extract; 'member' names one file")
        if entry["extract"] is not None and not entry["extract"]:
            raise PlanError(f"{where}.extract is empty; name members, or ['*'] for all of them")
        source = mirrored(entry["url"], mirror)
        sha256, sums_url = None, None
        if sums_from_mirror:
            sums_url = source + ".sha256"
        elif entry["checksum"] is not None:
            sha256, sums_url = parse_checksum(entry["checksum"], f"{where}.checksum")
            sums_url = mirrored(sums_url, mirror) if sums_url else None
        elif params["state"] == "present":
            raise PlanError(f"{where}.checksum is missing; give the SHA-256 of {entry['url']}, or the URL of a checksum file")
        artifacts.append(
            Artifact(
                url=entry["url"],
                source=source,
                dest=posixpath.normpath(entry["dest"]),
                sha256=sha256,
                sums_url=sums_url,
                member=normal_name(entry["member"]) if entry["member"] else None,
                extract=tuple(normal_name(pattern) for pattern in entry["extract"] or ()),
                strip=entry["strip_components"],
                mode=_mode(entry["mode"], f"{where}.mode"),
                uid=_id(entry["owner"], user_id, f"{where}.owner", "user"),
                gid=_id(entry["group"], group_id, f"{where}.group", "group"),
            )
        )
    return tuple(artifacts)


def mirrored(url: str, mirror: str) -> str:
    """`https://HOST/PATH` -> `<mirror>/HOST/PATH`; the URL itself without a mirror, or when it already is in the mirror."""
    if not mirror or url.startswith(mirror + "/") or url.startswith("file:"):
        return url
    parts = urlsplit(url)
    return f"{mirror}/{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def mirrors(params: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """What the URLs of the task's mirrors begin with, those of single entries among them."""
    named = [params.get("mirror"), *(entry.get("mirror") for entry in params.get("artifacts") or ())]
    return tuple(dict.fromkeys(f"{mirror.rstrip('/')}/" for mirror in named if mirror))


def parse_checksum(text: str, where: str) -> tuple[str | None, str | None]:
    """`(sha256, None)` or `(None, URL of a checksum file)`."""
    value = text.strip()
    if value.split("://")[0] in SCHEMES:
        _check_url(value, where)
        return None, value
    value = value.lower()
    if value.startswith("sha256:"):
        value = value[len("sha256:") :]
    if not SHA256.fullmatch(value):
        raise PlanError(f"{where}: '{text}' is not a SHA-256 (64 hexadecimal digits, with or without 'sha256:') and not a URL")
    return value, None


def sum_from_file(text: str, url: str, sums_url: str) -> str:
    """The sum for `url` in a checksum file: a bare sum, `SUM  NAME`, `SUM *NAME`, or `SHA256 (NAME) = SUM`. Raises PlanError."""
    name = posixpath.basename(unquote(urlsplit(url).path))
    names = []
    for line in text.splitlines():
        bsd = re.fullmatch(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})", line.strip())
        gnu = re.fullmatch(r"([0-9a-fA-F]{64})(?:\s+\*?(.+))?", line.strip())
        if bsd:
            entry, value = bsd.group(1), bsd.group(2)
        elif gnu:
            entry, value = gnu.group(2), gnu.group(1)
        else:
            continue
        if entry is None or posixpath.basename(entry) == name:
            return value.lower()
        names.append(posixpath.basename(entry))
    found = f"; it has sums for {_some(names)}" if names else "; it is no checksum file"
    raise PlanError(f"{sums_url} has no SHA-256 for '{name}'{found}")


def normal_name(name: str) -> str:
    """A member's name as archives spell it in different ways (`./a`, `a/`)."""
    return posixpath.normpath(name).lstrip("/") if name else name


def wanted_files(artifact: Artifact, sha256: str, index: Index | None) -> tuple[WantedFile, ...] | None:
    """The files that an artifact becomes; None while the archive's index is not known. Raises PlanError."""

    def wanted(path: str, digest: str, executable: bool, member: str | None) -> WantedFile:
        mode = artifact.mode if artifact.mode is not None else (0o755 if executable else 0o644)
        return WantedFile(path, digest, mode, artifact.uid, artifact.gid, member)

    if not artifact.is_archive:
        return (wanted(artifact.dest, sha256, False, None),)
    if index is None:
        return None
    files = {}
    for name in select(artifact, index):
        digest = index[name].sha256
        if digest is None:
            raise PlanError(f"{artifact.url}: member '{name}' is a link to something that is no file of the archive")
        path = member_path(artifact, name)
        if path is not None:
            files[path] = wanted(path, digest, index[name].executable, name)
    if not files:
        raise PlanError(f"{artifact.url}: strip_components={artifact.strip} leaves no name of {_some(list(index))}")
    return tuple(files.values())


def select(artifact: Artifact, names: t.Iterable[str]) -> list[str]:
    """The members that an artifact asks for. Raises PlanError naming what the archive has instead."""
    known = list(names)
    for pattern in _patterns(artifact):
        if not any(_matches(pattern, name, artifact) for name in known):
            raise PlanError(f"{artifact.url} has no member '{pattern}'; it has {_some(known)}")
    return [name for name in known if chosen(artifact, name)]


def chosen(artifact: Artifact, name: str) -> bool:
    return any(_matches(pattern, name, artifact) for pattern in _patterns(artifact))


def _patterns(artifact: Artifact) -> tuple[str, ...]:
    return (artifact.member,) if artifact.member else artifact.extract


def _matches(pattern: str, name: str, artifact: Artifact) -> bool:
    """`extract` takes names, folders and wildcards (`*` also crosses folders); `member` is one file's exact name."""
    if name == pattern:
        return True
    return not artifact.member and (name.startswith(pattern + "/") or fnmatch.fnmatchcase(name, pattern))


def member_path(artifact: Artifact, name: str) -> str | None:
    """Where a member goes; None when `strip_components` leaves nothing of its name."""
    if artifact.member:
        return artifact.dest
    rest = name.split("/")[artifact.strip :]
    return posixpath.join(artifact.dest, *rest) if rest else None


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:  # it quotes what it could not split, which may hold a password
        raise PlanError(f"{where} is not a URL that can be fetched ({', '.join(SCHEMES)})") from None
    if parts.username or parts.password:
        raise PlanError(
            f"{where} carries a user name or password; give them as 'username' and 'password', which are never logged"
        )
    if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.netloc):
        raise PlanError(f"{where}: '{url}' is not a URL that can be fetched ({', '.join(SCHEMES)})")


def _mode(value: t.Any, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]{3,4}", value):
        raise PlanError(f"{where}: {value!r} is not a mode; write it in octal and quoted, for example '0755'")
    return int(value, 8)


def _id(name: str | None, look_up: t.Callable[[str], int], where: str, kind: str) -> int | None:
    if name is None:
        return None
    if name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise PlanError(f"{where}: this host has no {kind} '{name}'") from None


def _some(names: t.Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(sorted(names)[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "") if names else "nothing"
