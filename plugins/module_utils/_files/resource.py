# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`host_files` as a Resource: files with a given content, all in one go.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._plan import ApplyError, Difference, Plan, PlanError, Resource, Step, Undo, run

FOLDER_MODE = 0o755


@dataclass(frozen=True)
class Found:
    """What is at a path: `kind` is file, folder or other; `content` of a regular file only, `mode` its permission bits."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: bytes = b""


Observed = t.Mapping[str, t.Optional[Found]]


class HostFiles(Resource[Observed]):
    """Files and folders of one host, owned by who runs this (root)."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self.folders: list[str] = params["folders"]
        self.files: dict[str, tuple[bytes, int]] = {}
        for file in params["files"]:
            if file["path"] in self.files:
                raise PlanError(f"{file['path']} is twice in `files`; keep one")
            self.files[file["path"]] = (file["content"].encode(), _mode(file["path"], file["mode"]))
        for path in [*self.files, *self.folders]:
            if not path.startswith("/"):
                raise PlanError(f"{path!r} is not an absolute path")

    def observe(self) -> Observed:
        return {path: _look(Path(path)) for path in [*self.folders, *self.files]}

    def plan(self, observed: Observed) -> Plan:
        differences, steps = [], []
        for path in self.folders:
            found = observed[path]
            if found is None:
                differences.append(Difference(path, None, "a folder"))
                steps.append(Step("make", path))
            elif found.kind != "folder":
                raise PlanError(f"{path} should be a folder and is something else; move it away")
        for path, (content, mode) in self.files.items():
            found = observed[path]
            if found is not None and found.kind == "folder":
                raise PlanError(f"{path} should be a file and is a folder; move it away")
            if found is None or found.kind == "other" or found.content != content:
                before = None if found is None else found.content.decode(errors="replace")
                differences.append(Difference(path, before, content.decode()))
                steps.append(Step("write", path))
            elif (found.mode, found.uid, found.gid) != (mode, os.geteuid(), os.getegid()):
                wanted = (mode, os.geteuid(), os.getegid())
                differences.append(Difference(path, _permissions(found.mode, found.uid, found.gid), _permissions(*wanted)))
                steps.append(Step("set the permissions of", path))
        return Plan(tuple(differences), tuple(steps))

    def apply(self, step: Step) -> Undo | None:
        path = Path(step.subject)
        try:
            if step.action == "make":
                if path.is_dir():  # made a moment ago, with what lies in it
                    return None
                path.mkdir(FOLDER_MODE, parents=True)
                return path.rmdir
            content, mode = self.files[step.subject]
            found = _look(path)
            if step.action == "write":
                path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                _write(path, content, mode, os.geteuid(), os.getegid())
            else:
                os.chown(path, os.geteuid(), os.getegid())
                path.chmod(mode)
            if found is None or found.kind != "file":
                return path.unlink if found is None else None
            return lambda: _write(path, found.content, found.mode, found.uid, found.gid)
        except OSError as error:
            raise ApplyError(f"{error.strerror or error}: {error.filename or path}") from error


def _mode(path: str, text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise PlanError(f"`mode` of {path} is {text!r}; it must be octal in quotes, such as '0644'")
    return mode


def _look(path: Path) -> Found | None:
    try:
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            return Found("file", mode, status.st_uid, status.st_gid, path.read_bytes())
        return Found("folder" if path.is_dir() else "other", mode, status.st_uid, status.st_gid)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlanError(f"cannot look at {path}: {error.strerror}") from error


def _permissions(mode: int, uid: int, gid: int) -> str:
    return f"mode {mode:04o}, owner {uid}:{gid}"


def _write(path: Path, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Atomically. Its temporary file has a fixed name, so that one which a killed run left is used up by the next."""
    temporary = path.with_name(f".{path.name}.gpufleet")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's Entry."""
    return run(HostFiles(params), check_mode)
