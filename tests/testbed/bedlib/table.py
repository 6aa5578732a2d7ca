# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""artifacts.toml as typed values. Pure, apart from reading that one file."""

from __future__ import annotations

import platform
import re
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import tomllib

from .work import HERE, BedError

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Program:
    name: str
    packages: dict[str, str]  # binary -> Go package
    module: str = ""  # folder under go/
    c_source: str = ""  # file under c/, instead of Go
    incomplete: str = ""  # a Go module that module proxies serve without some files; those are in go/MODULE/added/
    cgo: bool | str = False  # true: linked statically; "dynamic": against the shared libc, for what loads libraries at run time
    tags: list[str] = field(default_factory=list)
    stamp_packages: list[str] = field(default_factory=list)
    stamp: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    url: str
    checksum: str = ""  # URL of upstream's own
    program: str = ""  # "program/binary"
    archive: dict[str, str] = field(default_factory=dict)  # member -> "program/binary", or a module file
    deb: dict[str, str] = field(default_factory=dict)  # the archive is a Debian package: its control fields
    module_file: str = ""  # "folder: module path: file"
    part: str = ""  # made only when asked for


@dataclass(frozen=True)
class Image:
    ref: str  # host/repository:tag
    files: dict[str, str] = field(default_factory=dict)  # path in the image -> "program/binary"
    scripts: dict[str, str] = field(default_factory=dict)  # path in the image -> file in tests/testbed
    python: list[str] = field(default_factory=list)  # requirements, from PyPI
    base: str = ""
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list, repr=False)
    user: str = ""
    part: str = ""  # made only when asked for

    @property
    def host(self) -> str:
        return self.ref.split("/", 1)[0]

    @property
    def repository(self) -> str:
        return self.ref.split("/", 1)[1].rsplit(":", 1)[0]

    @property
    def tag(self) -> str:
        return self.ref.rsplit(":", 1)[1]


@dataclass(frozen=True)
class Table:
    versions: dict[str, str]
    programs: dict[str, Program]
    files: list[File]
    images: list[Image]

    def parts(self) -> list[str]:
        return sorted({made.part for made in (*self.files, *self.images) if made.part})

    def only(self, parts: t.Iterable[str]) -> Table:
        """What every site needs, and these parts. Raises BedError for one that nothing belongs to."""
        unknown = set(parts) - set(self.parts())
        if unknown:
            raise BedError(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(self.parts())}")
        wanted = {"", *parts}
        return replace(
            self,
            files=[file for file in self.files if file.part in wanted],
            images=[image for image in self.images if image.part in wanted],
        )


def mirror_path(url: str) -> str:
    """Where a URL's file lies in the mirror: `https://HOST/PATH` -> `HOST/PATH`. Refuses what could leave the mirror."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise BedError(f"{url}: only plain https://HOST/PATH URLs have a place in the mirror")
    segments = parts.path.split("/")[1:]
    if not segments or not all(segments) or any(segment in (".", "..") for segment in segments):
        raise BedError(f"{url}: the path must name a file, without empty, '.' or '..' segments")
    return "/".join([parts.netloc, *segments])


def load(path: Path = HERE / "artifacts.toml", arch: str = ARCH) -> Table:
    """Raises BedError naming the entry at fault."""
    raw = tomllib.loads(path.read_text())
    names = {"arch": arch, **raw["versions"]}

    def fill(value: t.Any) -> t.Any:
        if isinstance(value, str):
            where = value
            return re.sub(r"\{([^{}]*)\}", lambda match: named(match[1], where), value)
        if isinstance(value, dict):
            return {fill(key): fill(entry) for key, entry in value.items()}
        return [fill(entry) for entry in value] if isinstance(value, list) else value

    def named(what: str, where: str) -> str:
        name, dot, part = what.partition(".")
        if name not in names or (dot and part not in ("number", "major", "minor")):
            raise BedError(f"{path.name}: {where!r} names {{{what}}}: {name} is not in [versions], or {part!r} not a part of one")
        number = str(names[name]).removeprefix("v")
        numbers = [*number.split("."), ""]
        return {"": str(names[name]), "number": number, "major": numbers[0], "minor": numbers[1]}[part]

    raw["file"] = list(_each(raw["file"]))
    filled = fill({key: value for key, value in raw.items() if key != "versions"})
    try:
        programs = {name: Program(name=name, **{"module": name, **entry}) for name, entry in filled["program"].items()}
        table = Table(
            versions=raw["versions"],
            programs=programs,
            files=[File(**entry) for entry in filled["file"]],
            images=[Image(**entry) for entry in filled["image"]],
        )
    except TypeError as error:
        raise BedError(f"{path.name}: {error}") from error
    _check(table, path.name)
    return table


def _each(entries: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """An entry with `each`, a list, is one entry for each item, which stands where the entry's strings say {each}."""
    for entry in entries:
        for item in entry.pop("each", [""]):
            yield {key: value.replace("{each}", item) if isinstance(value, str) else value for key, value in entry.items()}


def _check(table: Table, where: str) -> None:
    seen: set[str] = set()
    for entry in table.files:
        place = mirror_path(entry.url)
        if place in seen:
            raise BedError(f"{where}: {entry.url} stands there twice")
        seen.add(place)
        if sum(map(bool, (entry.program, entry.archive, entry.module_file))) != 1:
            raise BedError(f"{where}: {entry.url} needs exactly one of program, archive, module_file")
    for image in table.images:
        if not re.fullmatch(r"[\w.-]+\.[a-z]+/[a-z0-9/._-]+:[\w.-]+", image.ref):
            raise BedError(f"{where}: image {image.ref!r} is not HOST/REPOSITORY:TAG")
        if image.base not in ("", "net", "busybox", "glibc", "mpi"):
            raise BedError(f"{where}: image {image.ref} has the unknown base {image.base!r}; known: net, busybox, glibc, mpi")
    everything: list[File | Image] = [*table.files, *table.images]
    for made in everything:
        for need in (need for need in needs(made) if ":" not in need):
            program, binary = need.split("/", maxsplit=1)
            if program not in table.programs or binary not in table.programs[program].packages:
                raise BedError(f"{where}: {need!r} is not PROGRAM/BINARY of a [program.*]")


def needs(made: File | Image) -> list[str]:
    """The "program/binary" names, and the module files of an archive, that something is made from."""
    if isinstance(made, Image):
        return list(made.files.values())
    return [made.program] if made.program else list(made.archive.values())
