# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs from their Go modules, for machines that reach the module proxy but not the releases."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from . import host
from .table import Program, Table
from .work import CLOCK, HERE, BedError, cache, run_long, scratch, text


class Builder:
    """Builds a program once for each state of its recipe. Binaries lie in `<cache>/build/PROGRAM/KEY/`."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._go: tuple[str, dict[str, str]] | None = None

    def binary(self, name: str) -> Path:
        """The file of a "program/binary", built when needed; or that of a module file."""
        if ":" in name:
            return self.module_file(name)
        program, binary = name.split("/", maxsplit=1)
        return self._folder(self.table.programs[program]) / binary

    def module_file(self, spec: str) -> Path:
        """A file inside a Go module: "folder under go/: module path: file"."""
        folder, module, name = (part.strip() for part in spec.split(":"))
        path = self._module(folder, module) / name
        if not path.is_file():
            raise BedError(f"the module {module} has no file {name}: look at {path.parent} and correct artifacts.toml")
        return path

    def _module(self, folder: str, module: str) -> Path:
        go, env = self._command()
        where = HERE / "go" / folder
        text([go, "mod", "download", module], cwd=where, env={**env, "GOFLAGS": "-mod=readonly"})
        return Path(text([go, "list", "-m", "-f", "{{.Dir}}", module], cwd=where, env=env))

    def key(self, name: str) -> str:
        """Changes when the recipe of a "program/binary", or of a module file, changes: what the table says, and its module."""
        if ":" in name:
            return self._digest(name, HERE / "go" / name.split(":", maxsplit=1)[0])
        program = self.table.programs[name.partition("/")[0]]
        return self._digest(asdict(program), HERE / "c" if program.c_source else HERE / "go" / program.module)

    @staticmethod
    def _digest(recipe: object, folder: Path) -> str:
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def _command(self) -> tuple[str, dict[str, str]]:
        if self._go is None:
            self._go = host.go()
        return self._go

    def _folder(self, program: Program) -> Path:
        base = cache() / "build" / program.name
        folder = base / self.key(program.name)
        if folder.is_dir():
            return folder
        if program.cgo or program.c_source:
            host.ensure(host.BUILD)
        with CLOCK.phase(f"build {program.name}", f"building {', '.join(program.packages)}"), scratch(program.name) as work:
            out = work / "out"
            out.mkdir()
            if program.c_source:
                self._compile_c(program, out)
            else:
                self._compile_go(program, out, self._completed(program, work))
            base.mkdir(parents=True, exist_ok=True)
            out.rename(folder)
        # the last but one stays: something may run from it
        for old in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)[:-2]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def _compile_c(self, program: Program, out: Path) -> None:
        for binary, source in program.packages.items():
            run_long(program.name, ["gcc", "-static", "-Os", "-s", "-Wall", "-o", out / binary, HERE / "c" / source])

    def _completed(self, program: Program, work: Path) -> Path:
        """The folder to build in: the program's own, or a copy of it that takes its incomplete module from a completed copy."""
        own = HERE / "go" / program.module
        if not program.incomplete:
            return own
        module, main = work / "module", work / "main"
        shutil.copytree(self._module(program.module, program.incomplete), module, copy_function=shutil.copyfile)
        shutil.copytree(own / "added", module, dirs_exist_ok=True)
        shutil.copytree(own, main, ignore=shutil.ignore_patterns("added"))
        with (main / "go.mod").open("a") as stream:
            stream.write(f"\nreplace {program.incomplete} => {json.dumps(str(module))}\n")
        return main

    def _compile_go(self, program: Program, out: Path, where: Path) -> None:
        go, env = self._command()
        flags = ["-s", "-w"]
        flags += [f"-X {package}.{key}={value}" for package in program.stamp_packages for key, value in program.stamp.items()]
        if program.cgo:
            flags += ["-extldflags=-Wl,-z,lazy"] if program.cgo == "dynamic" else ["-linkmode external", "-extldflags -static"]
        env = {**env, "CGO_ENABLED": "1" if program.cgo else "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        env |= host.go_memory(host.memory(), os.cpu_count() or 1)
        command = [go, "build", "-v", "-trimpath", "-tags", ",".join(program.tags), "-ldflags", " ".join(flags)]
        command += ["-gcflags=all=-dwarf=false"]  # the linker would drop it: a tenth of the compilers' time
        command += ["-o", f"{out}/", *program.packages.values()]
        run_long(program.name, command, env=env, cwd=where)
        self._rename(program, out)

    @staticmethod
    def _rename(program: Program, out: Path) -> None:
        """go names a binary after the package's last path element that is not a version, or after the module."""
        for binary, package in program.packages.items():
            parts = [part for part in package.split("/") if not (part[:1] == "v" and part[1:].isdigit())]
            made = out / (program.module if package == "." else parts[-1])
            if not made.exists():
                left = ", ".join(sorted(path.name for path in out.iterdir()))
                raise BedError(f"{program.name}: go build left no {made.name}, only {left}")
            made.rename(out / binary)
