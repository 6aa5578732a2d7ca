# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The folder that `kubectl apply -k` makes the same job from: which of its files are ours, and what becomes of them."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._plan import ApplyError, Difference, Plan, PlanError, Step, Undo
from . import render

CONTENT = "kustomization.yaml"  # says whose the folder is, so it is written first and removed last
FILES = (CONTENT, "mlops.env", "job.yaml")


@dataclass(frozen=True)
class Folder:
    """`files`: those of FILES that are there, by name; `others`: whether there is anything else."""

    path: str
    exists: bool = False
    files: t.Mapping[str, str] = field(default_factory=dict)
    others: bool = False

    def whose(self) -> str | None:
        """The training that it was written for; None for somebody else's folder."""
        match = re.search(rf"{re.escape(render.LABEL)}[\"']?: *[\"']?([-a-z0-9]+)", self.files.get(CONTENT, ""))
        return match.group(1) if match else None


def look(path: str) -> Folder:
    """Raises PlanError for what is no folder, or cannot be read."""
    folder = Path(path)
    try:
        names = {entry.name for entry in folder.iterdir()}
        files = {name: (folder / name).read_text(encoding="utf-8", errors="replace") for name in FILES if name in names}
    except FileNotFoundError:
        return Folder(path)
    except OSError as error:
        raise PlanError(f"kustomize_dir {path}: {error.strerror}. Nothing was changed") from None
    return Folder(path, True, files, bool(names - {*FILES, *map(_temporary, FILES)}))


def plan_present(folder: Folder, wanted: t.Mapping[str, str]) -> Plan:
    """Writes what differs, but not over files that are somebody else's."""
    if folder.files and folder.whose() is None and not folder.files.items() <= wanted.items():
        raise PlanError(
            f"kustomize_dir {folder.path} has a {', '.join(folder.files)} that this module did not write: give another folder. "
            "Nothing was changed"
        )
    changes = {name: wanted[name] for name in FILES if folder.files.get(name) != wanted[name]}
    if not changes:
        return Plan()
    made = tuple(Difference(f"{folder.path}/{name}", folder.files.get(name), text) for name, text in changes.items())
    return Plan(made, (Step("write", f"kustomization {folder.path}", {"folder": folder, "files": changes}),))


def plan_absent(folder: Folder, name: str) -> Plan:
    """Removes what was written for this training, and the folder when nothing else is in it."""
    if not folder.exists or (not folder.files and folder.others):
        return Plan()
    if folder.files and folder.whose() != name:
        left = f"kustomize_dir {folder.path} was not written for the training {name}: its files were left as they are"
        return Plan(warnings=(left,))
    gone = tuple(Difference(f"{folder.path}/{file}", text, None) for file, text in folder.files.items())
    return Plan(gone, (Step("remove", f"kustomization {folder.path}", {"folder": folder, "files": None}),))


def apply(folder: Folder, files: t.Mapping[str, str] | None) -> Undo:
    """Writes these files, or removes the folder's. Returns how to undo it. Raises ApplyError."""
    path = Path(folder.path)
    try:
        if files is None:
            _remove(path, [name for name in reversed(FILES) if name in folder.files])
        else:
            _write(path, files)
    except OSError as error:
        raise ApplyError(f"kustomize_dir {folder.path}: {error.strerror}") from None

    def undo() -> None:
        if files is not None:
            _remove(path, [name for name in files if name not in folder.files], emptied=not folder.exists)
        _write(path, {name: folder.files[name] for name in FILES if name in folder.files and name in (files or FILES)})

    return undo


def _temporary(name: str) -> str:
    return f".{name}.new"


def _write(path: Path, files: t.Mapping[str, str]) -> None:
    if files:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in files.items():
        temporary = path / _temporary(name)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path / name)


def _remove(path: Path, names: t.Iterable[str], emptied: bool = True) -> None:
    for name in names:
        path.joinpath(name).unlink()
    for name in FILES:
        path.joinpath(_temporary(name)).unlink(missing_ok=True)  # of a run that was killed
    if emptied and not any(path.iterdir()):
        path.rmdir()
