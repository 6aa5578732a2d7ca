# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""`artifact` on the node: looks at files, fetches, unpacks, moves into place, and can put back what was there."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import re
import shutil
import stat
import typing as t
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from .._plan import ApplyError, Plan, PlanError, Resource, Step, Undo, run
from .archive import unpack
from .planner import (
    Download,
    Fetched,
    FileState,
    Observed,
    absent_paths,
    has_pattern,
    permissions_differ,
    plan_absent,
    plan_present,
)
from .record import Record
from .wish import Artifact, WantedFile, chosen, member_path, parse, sum_from_file, wanted_files

if t.TYPE_CHECKING:
    from .fetch import Fetcher

PARALLEL = 4  # downloads and hashes at the same time; more only helps far mirrors and hurts near ones
LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.(part|new|old)$")

T = t.TypeVar("T")
R = t.TypeVar("R")


class ArtifactResource(Resource[Observed]):
    """The files of one task."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self.params = params
        self.present = params["state"] == "present"
        self.artifacts = parse(params, lambda name: pwd.getpwnam(name).pw_uid, lambda name: grp.getgrnam(name).gr_gid)
        self.record = Record(params["record"])
        self._fetcher: Fetcher | None = None
        self.fetched: dict[str, Fetched] = {}  # by sum
        self._sums: tuple[str, ...] | None = None
        self.before: dict[str, str] = {}  # path -> sum, of what was replaced
        self._parts: dict[str, str] = {}  # by sum
        self._uses: dict[str, int] = {}  # by sum: Download.uses that are still to come
        self._paths: tuple[str, ...] = ()
        self._temporary: set[str] = set()
        self._emptied: list[tuple[str, str]] = []

    @property
    def fetcher(self) -> Fetcher:
        """Imported when it is needed: an unchanged run needs no network, and would spend a third of its time on this."""
        if self._fetcher is None:
            from .fetch import Fetcher  # noqa: PLC0415

            self._fetcher = Fetcher(self.params)
        return self._fetcher

    # observe ---------------------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        sums = self._resolve_sums()
        indices = {}
        for sha256 in sums:
            index = self.record.index(sha256) if sha256 else None
            if sha256 and index is not None:
                indices[sha256] = index
        paths: dict[str, None] = {}
        unknown: list[str] = []
        for artifact, sha256 in zip(self.artifacts, sums):
            if not sha256:
                its = absent_paths(artifact, self.record.indices_of(artifact.url))
                paths.update(dict.fromkeys(its or ()))
                unknown += [artifact.dest] if its is None else []
            else:
                files = wanted_files(artifact, sha256, indices.get(sha256))
                paths.update(dict.fromkeys([f.path for f in files] if files is not None else [artifact.dest]))
        looked = [*paths, *unknown]
        states = dict(zip(looked, _in_parallel(self._look, looked)))
        self._paths = tuple(paths)
        return Observed(
            sums,
            indices,
            {path: state for path, state in states.items() if isinstance(state, FileState)},
            {path: state for path, state in states.items() if isinstance(state, str)},
        )

    def _resolve_sums(self) -> tuple[str, ...]:
        """Sums are read from checksum files once a run: they are a part of the wish."""
        if self._sums is None:
            if not self.present:
                self._sums = ("",) * len(self.artifacts)
            else:
                urls = list(dict.fromkeys(a.sums_url for a in self.artifacts if a.sums_url))
                texts = dict(zip(urls, _in_parallel(self.fetcher.text, urls))) if urls else {}
                self._sums = tuple(
                    sum_from_file(texts[a.sums_url], a.source, a.sums_url) if a.sums_url else a.sha256 or ""
                    for a in self.artifacts
                )
        return self._sums

    def _look(self, path: str) -> FileState | str | None:
        """The file; or in words what else is there; or None, where nothing shall be also for an empty folder."""
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return "a broken link" if Path(path).is_symlink() and not self.present else None
        except OSError as error:
            raise PlanError(f"{path}: cannot be looked at: {error.strerror}; correct `dest` or what is there") from error
        if not self.present and stat.S_ISDIR(status.st_mode) and not any(Path(path).iterdir()):
            return None
        if not stat.S_ISREG(status.st_mode):
            return "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        return FileState(self.record.digest(path, status), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    # plan ------------------------------------------------------------------------------------------------------------

    def plan(self, observed: Observed) -> Plan:
        if self.present:
            return plan_present(self.artifacts, observed)
        return plan_absent(self.artifacts, observed, [self.record.indices_of(a.url) for a in self.artifacts])

    def probe(self, plan: Plan) -> None:
        """For check mode: the servers have what would be downloaded. Raises GpufleetError."""
        wanted = [d for step in plan.steps if step.action == "download" for d in step.args["downloads"]]
        for download, size in zip(wanted, _in_parallel(lambda d: self.fetcher.size(d.source), wanted)):
            self.fetched[download.sha256] = Fetched(size or 0, 0.0)

    # apply -----------------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> Undo | None:
        do: dict[str, t.Callable[..., Undo | None]] = {
            "download": self._download,
            "unpack": self._unpack,
            "install": self._install,
            "set permissions of": self._set_permissions,
            "remove": self._remove,
        }
        try:
            return do[step.action](**step.args)
        except OSError as error:
            raise ApplyError(f"{error.strerror or error} ({error.filename or step.subject})") from error

    def _download(self, downloads: t.Sequence[Download]) -> None:
        for download, fetched in zip(downloads, _in_parallel(self.fetcher.download, downloads, self.fetcher.stop)):
            self.fetched[download.sha256] = fetched
            self._parts[download.sha256] = download.part
            self._uses[download.sha256] = download.uses

    def _unpack(self, download: Download, artifacts: t.Sequence[Artifact]) -> None:
        """Stages every wanted member beside its destination."""

        def staged(name: str) -> list[str]:
            paths = [member_path(artifact, name) for artifact in artifacts if chosen(artifact, name)]
            return [self._staged(path, download.sha256) for path in paths if path]

        index = unpack(download.part, download.source, staged)
        self.record.learn(download.sha256, artifacts[0].url, index)
        for artifact in artifacts:
            wanted_files(artifact, download.sha256, index)  # complains about members that are not there

    def _install(self, artifact: Artifact, sha256: str) -> Undo:
        wanted = wanted_files(artifact, sha256, self.record.index(sha256))
        if wanted is None:
            raise ApplyError(f"{artifact.url} was not unpacked")  # a defect: the plan has an unpack step before this one
        undos: list[Undo] = []

        def undo() -> None:
            while undos:
                undos.pop()()

        try:
            for file in wanted:
                self._put(file, sha256, undos)
        except BaseException:
            undo()
            raise
        return undo

    def _put(self, file: WantedFile, source_sum: str, undos: list[Undo]) -> None:
        """Moves a staged file into place; the old one stays under another name until the whole task is done."""
        state = self._look(file.path)
        if isinstance(state, FileState):
            self.before[file.path] = state.sha256
            if state.sha256 == file.sha256:
                undos.append(self._set_permissions(file, state))
                return
        staged = self._staged(file.path, source_sum)
        part = self._parts[source_sum] if file.member is None else None
        if part:
            self._uses[source_sum] -= 1
            if self._uses[source_sum] or not _moved(part, staged):
                shutil.copyfile(part, staged)
                part = None
            else:
                self.fetcher.release(part)
        old = state if isinstance(state, FileState) else None
        os.chown(
            staged,
            file.uid if file.uid is not None else old.uid if old else -1,
            file.gid if file.gid is not None else old.gid if old else -1,
        )
        Path(staged).chmod(file.mode)
        backup = None
        if os.path.lexists(file.path):
            backup = self._aside(file.path)
            _link_or_copy(file.path, backup)
        Path(staged).replace(file.path)
        undos.append(lambda: _put_back(file.path, backup, part))
        self.record.remember(file.path, file.sha256, Path(file.path).stat(), ours=True)

    def _set_permissions(self, file: WantedFile, state: FileState) -> Undo:
        if permissions_differ(file, state):
            os.chown(file.path, -1 if file.uid is None else file.uid, -1 if file.gid is None else file.gid)
            Path(file.path).chmod(file.mode)
            self.record.remember(file.path, state.sha256, Path(file.path).stat(), ours=True)

        def undo() -> None:
            os.chown(file.path, state.uid, state.gid)
            Path(file.path).chmod(state.mode)

        return undo

    def _remove(self, path: str, root: str) -> Undo:
        backup = self._aside(path)
        Path(path).replace(backup)
        self.record.forget(path)
        self._emptied.append((path, root))
        return lambda: _put_back(path, backup)

    # verify ----------------------------------------------------------------------------------------------------------

    def verify(self, plan: Plan) -> dict[str, t.Any]:
        super().verify(plan)
        return self.report(plan)

    def report(self, plan: Plan) -> dict[str, t.Any]:
        """What happened for each artifact; in check mode `bytes` are those that would be downloaded."""
        entries = [dict(entry) for entry in plan.facts.get("artifacts", ())]
        for entry, artifact in zip(entries, self.artifacts):
            fetched = self.fetched.get(entry["sha256"])
            if entry["changed"] and fetched:
                entry.update(bytes=fetched.bytes, seconds=fetched.seconds, resumed_at=fetched.resumed_at)
            files = wanted_files(artifact, entry["sha256"], self.record.index(entry["sha256"]))
            if entry["files"] is None and files is not None:
                entry["files"] = [
                    {"path": f.path, "before": self.before.get(f.path), "after": f.sha256}
                    for f in files
                    if self.before.get(f.path) != f.sha256
                ]
        return {"artifacts": entries} if self.present else {}

    def finish(self, done: bool) -> list[str]:
        """Removes temporary files; parts of downloads stay after a failure, to be continued. Returns warnings."""
        if done:
            self._temporary.update(self._parts.values())
            for path in self._paths:
                self._aside(path)  # also one that a run killed just before this line left
        for path in self._temporary:
            if os.path.lexists(path):
                Path(path).unlink(missing_ok=True)
        for path, root in self._emptied if done else ():
            _remove_empty_folders(Path(path).parent, Path(root))
        if self._parts and done:
            self._sweep()
        if done and not self.present:
            if self.record.folder:
                for path in self._paths:
                    _remove_empty_folders(Path(path).parent, self.record.folder)
            # Where others have files in a folder that a pattern filled, the next run still has to know whose are whose.
            self.record.tidy({a.url for a in self.artifacts if has_pattern(a) and self._look(a.dest)})
        if self._fetcher:
            self._fetcher.release()
        try:
            self.record.save()
        except OSError as error:
            return [f"cannot write {self.record.path} ({error.strerror}), so the next run has to find everything out again"]
        return []

    def _sweep(self) -> None:
        """Removes what killed runs left beside our files: parts that nobody is downloading, old and new files of our names."""
        ours = {path.rsplit(".", 2)[0] for path in self._temporary}
        for folder in {Path(path).parent for path in self._temporary}:
            for entry in list(folder.iterdir()) if folder.is_dir() else ():
                leftover = LEFTOVER.search(entry.name)
                if leftover and leftover.group(1) == "part":
                    _remove_abandoned(entry)
                elif leftover and str(entry).rsplit(".", 2)[0] in ours:
                    entry.unlink(missing_ok=True)

    def _staged(self, path: str, sha256: str) -> str:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._named(path, f"{sha256[:16]}.new")

    def _aside(self, path: str) -> str:
        return self._named(path, f"{0:016x}.old")

    def _named(self, path: str, suffix: str) -> str:
        name = str(Path(path).with_name(f".{Path(path).name}.{suffix}"))
        self._temporary.add(name)
        return name


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module. Raises GpufleetError."""
    resource = ArtifactResource(params)
    if check_mode:
        plan = resource.plan(resource.observe())
        resource.probe(plan)
        return {**plan.result(), **resource.report(plan)}
    done = False
    result: dict[str, t.Any] = {}
    try:
        result = run(resource, check_mode)
        done = True
    finally:
        warnings = resource.finish(done)
    if warnings:
        result["warnings"] = [*result.get("warnings", []), *warnings]
    return result


def _in_parallel(work: t.Callable[[T], R], items: t.Sequence[T], stop: t.Callable[[], None] = lambda: None) -> list[R]:
    """The results in order. After the first error `stop` is called, what has not begun is dropped, and the error is raised."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures = [pool.submit(work, item) for item in items]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        errors = [future.exception() for future in futures if future in done and future.exception()]
        if errors and errors[0]:
            stop()
            for future in waiting:
                future.cancel()
            raise errors[0]
    return [future.result() for future in futures]


def _remove_abandoned(part: Path) -> None:
    """Unless somebody is downloading into it or has not used it yet (who does has a lock on it)."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
    except OSError:
        pass


def _moved(part: str, staged: str) -> bool:
    """Whether it could be; a file of another file system, that of an earlier destination, cannot.

    Not a link: removing its other name later would change its ctime.
    """
    try:
        Path(part).replace(staged)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _link_or_copy(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _put_back(path: str, backup: str | None, part: str | None = None) -> None:
    """`part`: the new file goes back there, so that the next run need not download it again."""
    if part:
        Path(path).replace(part)
    if backup:
        Path(backup).replace(path)
    else:
        Path(path).unlink(missing_ok=True)


def _remove_empty_folders(folder: Path, root: Path) -> None:
    """Removes folders that became empty, upwards, but never `root` itself."""
    while root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass  # a run that was killed here had come so far
        except OSError:
            return
        folder = folder.parent
