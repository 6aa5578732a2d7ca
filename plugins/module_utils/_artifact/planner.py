# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The planner: which downloads and installs lead from what is there to what is wished. Pure: no I/O."""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass, replace

from .._plan import Difference, Plan, PlanError, Step
from .wish import Artifact, Index, WantedFile, member_path, select, wanted_files


@dataclass(frozen=True)
class FileState:
    """A regular file as it is; `sha256` was computed from its content, now or when it last changed (ctime)."""

    sha256: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Observed:
    """`sums` in the order of the artifacts ('' for `state: absent`); a path in neither `files` nor `blocked` is absent.

    With `state: absent` also of folders in which only an archive could tell what came from it; an empty one is absent.
    """

    sums: tuple[str, ...]
    indices: t.Mapping[str, Index]
    files: t.Mapping[str, FileState]
    blocked: t.Mapping[str, str]  # path -> what is there instead of a file


@dataclass(frozen=True)
class Download:
    """One file to fetch; `part` is its temporary name, in the folder of its first destination.

    `uses`: how many destinations it becomes as it is (not unpacked); the last one gets the part itself where that is on the same
    file system, others a copy.
    """

    source: str
    sha256: str
    part: str
    uses: int = 0


@dataclass(frozen=True)
class Fetched:
    """What one download cost. `resumed_at` is the byte at which an earlier run's part was continued."""

    bytes: int
    seconds: float
    resumed_at: int = 0


def part_name(path: str, source: str, sha256: str) -> str:
    """`DIR/.NAME.SUM.part`: the sum keeps versions apart, so a killed run resumes the right one."""
    return posixpath.join(path, f".{posixpath.basename(source.split('?', 1)[0])}.{sha256[:16]}.part")


def plan_present(artifacts: t.Sequence[Artifact], observed: Observed) -> Plan:
    """First everything is fetched and checked, then unpacked beside its destination, then moved into place.

    An archive that was never seen here has no index, so what it will bring is not known before it is fetched.
    """
    differences: list[Difference] = []
    downloads: dict[str, Download] = {}  # by sum: the same content is fetched once
    unpacks: dict[str, list[Artifact]] = {}
    installs: list[Step] = []
    permissions: list[Step] = []
    facts: list[dict[str, t.Any]] = []
    owners: dict[str, str] = {}

    for artifact, sha256 in zip(artifacts, observed.sums):
        files = wanted_files(artifact, sha256, observed.indices.get(sha256))
        _refuse_conflicts(artifact, files, observed, owners)
        missing = [f for f in files or () if _digest(observed, f.path) != f.sha256]
        if missing or files is None:
            folder = artifact.dest if artifact.extract else posixpath.dirname(artifact.dest)
            download = downloads.setdefault(sha256, Download(artifact.source, sha256, part_name(folder, artifact.source, sha256)))
            if artifact.is_archive:
                unpacks.setdefault(sha256, []).append(artifact)
            else:
                downloads[sha256] = replace(download, uses=download.uses + 1)
            if files is None:
                differences.append(
                    Difference(artifact.dest, None, f"from {artifact.url}, whose content is not known before it is fetched")
                )
            installs.append(Step("install", artifact.dest, {"artifact": artifact, "sha256": sha256}))
        for file in files or ():
            state = observed.files.get(file.path)
            after = describe(file, state)
            if state is None or state.sha256 != file.sha256:
                differences.append(Difference(file.path, _text(state), after))
            elif permissions_differ(file, state):
                differences.append(Difference(file.path, _text(state), after))
                permissions.append(Step("set permissions of", file.path, {"file": file, "state": state}))
        facts.append(
            {
                "url": artifact.url,
                "source": artifact.source,
                "sha256": sha256,
                "dest": artifact.dest,
                "changed": bool(missing) or files is None or any(s.args["file"] in (files or ()) for s in permissions),
                "files": None
                if files is None
                else [{"path": f.path, "before": _digest(observed, f.path), "after": f.sha256} for f in missing],
            }
        )

    steps: list[Step] = []
    if downloads:
        steps.append(Step("download", ", ".join(d.source for d in downloads.values()), {"downloads": tuple(downloads.values())}))
    for sha256, users in unpacks.items():
        steps.append(Step("unpack", users[0].source, {"download": downloads[sha256], "artifacts": tuple(users)}))
    return Plan(tuple(differences), tuple(steps + installs + permissions), facts={"artifacts": facts})


def plan_absent(artifacts: t.Sequence[Artifact], observed: Observed, known: t.Sequence[t.Sequence[Index]]) -> Plan:
    """Removes what the artifacts brought, and nothing else. `known`: for each artifact the indices recorded for its URL."""
    differences: list[Difference] = []
    steps: list[Step] = []
    warnings: list[str] = []
    for artifact, indices in zip(artifacts, known):
        paths = absent_paths(artifact, indices)
        if paths is None and artifact.dest in observed.blocked:
            warnings.append(
                f"which files of {artifact.dest} came from {artifact.url} is not recorded on this host, so none was removed; "
                "if some did, name them in 'extract' without wildcards"
            )
        for path in paths or ():
            state = observed.files.get(path)
            if state is None or any(step.subject == path for step in steps):
                continue
            differences.append(Difference(path, _text(state), None))
            steps.append(Step("remove", path, {"path": path, "root": artifact.dest}))
    return Plan(tuple(differences), tuple(steps), tuple(warnings))


def has_pattern(artifact: Artifact) -> bool:
    """Whether only an archive's index says which files are meant."""
    return any(set("*?[") & set(pattern) for pattern in artifact.extract)


def absent_paths(artifact: Artifact, indices: t.Sequence[Index]) -> list[str] | None:
    """The paths that an artifact may have brought; None when only its archive could tell."""
    if not artifact.extract:
        return [artifact.dest]
    if not indices:
        if has_pattern(artifact):
            return None
        return [path for path in (member_path(artifact, name) for name in artifact.extract) if path]
    paths: dict[str, None] = {}
    for index in indices:
        try:
            names = select(artifact, index)
        except PlanError:
            continue
        paths.update((path, None) for path in (member_path(artifact, name) for name in names) if path)
    return list(paths)


def permissions_differ(file: WantedFile, state: FileState) -> bool:
    return state.mode != file.mode or file.uid not in (None, state.uid) or file.gid not in (None, state.gid)


def describe(file: WantedFile, state: FileState | None) -> dict[str, t.Any]:
    """A wanted file as the `after` of a diff; what is not asked for stays what it is."""
    result: dict[str, t.Any] = {"sha256": file.sha256, "mode": f"{file.mode:04o}"}
    for key, wanted, present in (("uid", file.uid, state and state.uid), ("gid", file.gid, state and state.gid)):
        value = wanted if wanted is not None else present
        if value is not None:
            result[key] = value
    return result


def _text(state: FileState | None) -> t.Any:
    if state is None:
        return None
    return {"sha256": state.sha256, "mode": f"{state.mode:04o}", "uid": state.uid, "gid": state.gid}


def _digest(observed: Observed, path: str) -> str | None:
    state = observed.files.get(path)
    return state.sha256 if state else None


def _refuse_conflicts(
    artifact: Artifact, files: t.Sequence[WantedFile] | None, observed: Observed, owners: dict[str, str]
) -> None:
    for path in [f.path for f in files] if files is not None else [] if artifact.extract else [artifact.dest]:
        if path in observed.blocked:
            raise PlanError(
                f"{path} is {observed.blocked[path]}, and {artifact.url} should become a file there; "
                "remove it or choose another dest"
            )
        if owners.setdefault(path, artifact.url) != artifact.url:
            raise PlanError(f"{path} is the destination of two artifacts: {owners[path]} and {artifact.url}")
        owners[path] = artifact.url
