# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner on a model world: doing what it plans leaves nothing to plan, and it never plans too much."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.planner import (
    FileState,
    Observed,
    absent_paths,
    plan_absent,
    plan_present,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.wish import Artifact, Index, Member, wanted_files
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan, PlanError
from hypothesis import given
from hypothesis import strategies as st

#: What the model's servers have: plain files, and archives with their members.
PLAIN = {f"https://h/plain{n}": f"{n:064x}" for n in range(3)}
ARCHIVES: dict[str, tuple[str, Index]] = {
    f"https://h/archive{n}": (
        f"{n + 16:064x}",
        {name: Member(f"{n * 100 + m + 256:064x}", m % 2 == 0) for m, name in enumerate(["bin/a", "bin/b", "doc"])},
    )
    for n in range(2)
}
MODES = st.sampled_from([None, 0o755, 0o600])
OWNERS = st.sampled_from([None, 0, 1000])


@st.composite
def artifact(draw: st.DrawFn, number: int) -> Artifact:
    if draw(st.booleans()):
        url = draw(st.sampled_from(sorted(PLAIN)))
        extra: dict[str, t.Any] = {"dest": f"/d{number}/file", "sha256": PLAIN[url]}
    else:
        url = draw(st.sampled_from(sorted(ARCHIVES)))
        what: dict[str, t.Any] = draw(st.sampled_from([{"member": "bin/a"}, {"extract": ("*",)}, {"extract": ("bin", "doc")}]))
        extra = {"dest": f"/d{number}/{'file' if 'member' in what else 'tree'}", "sha256": ARCHIVES[url][0], **what}
    return Artifact(url=url, source=url, mode=draw(MODES), uid=draw(OWNERS), gid=draw(OWNERS), **extra)


@st.composite
def artifacts(draw: st.DrawFn) -> list[Artifact]:
    return [draw(artifact(number)) for number in range(draw(st.integers(1, 5)))]


STATES = st.builds(
    FileState,
    sha256=st.sampled_from([*PLAIN.values(), *(m.sha256 for _sum, index in ARCHIVES.values() for m in index.values()), "f" * 64]),
    mode=st.sampled_from([0o755, 0o644, 0o600]),
    uid=st.sampled_from([0, 1000]),
    gid=st.sampled_from([0, 1000]),
)
PATHS = [f"/d{n}/{name}" for n in range(5) for name in ("file", "tree/bin/a", "tree/bin/b", "tree/doc", "tree/own")]
WORLDS = st.dictionaries(st.sampled_from(PATHS), STATES)
KNOWN = st.sets(st.sampled_from(sorted(sha256 for sha256, _index in ARCHIVES.values())))


class World:
    """Files and what is known about archives; does a plan's steps as the module would."""

    def __init__(self, wished: list[Artifact], files: dict[str, FileState], known: set[str]) -> None:
        self.wished, self.files = wished, dict(files)
        self.known = {sha256: index for sha256, index in ARCHIVES.values() if sha256 in known}
        self.fetched: set[str] = set()
        self.staged: set[str] = set()

    def observe(self) -> Observed:
        return Observed(tuple(a.sha256 or "" for a in self.wished), self.known, self.files, {})

    def do(self, plan: Plan) -> None:
        for step in plan.steps:
            if step.action == "download":
                self.fetched |= {download.sha256 for download in step.args["downloads"]}
            elif step.action == "unpack":
                sha256 = step.args["download"].sha256
                assert sha256 in self.fetched
                self.known[sha256] = next(index for s, index in ARCHIVES.values() if s == sha256)
                self.staged.add(sha256)
            elif step.action == "install":
                wished, sha256 = step.args["artifact"], step.args["sha256"]
                assert sha256 in (self.staged if wished.is_archive else self.fetched)
                for file in wanted_files(wished, sha256, self.known.get(sha256)) or ():
                    old = self.files.get(file.path)
                    uid = file.uid if file.uid is not None else old.uid if old else 0
                    gid = file.gid if file.gid is not None else old.gid if old else 0
                    self.files[file.path] = FileState(file.sha256, file.mode, uid, gid)
            elif step.action == "remove":
                del self.files[step.args["path"]]
            else:
                file, state = step.args["file"], self.files[step.args["file"].path]
                uid, gid = (state.uid if file.uid is None else file.uid), (state.gid if file.gid is None else file.gid)
                self.files[file.path] = dataclasses.replace(state, mode=file.mode, uid=uid, gid=gid)


@given(wished=artifacts(), files=WORLDS, known=KNOWN)
def test_doing_the_plan_leaves_nothing_to_do(wished: list[Artifact], files: dict[str, FileState], known: set[str]) -> None:
    world = World(wished, files, known)
    plan = plan_present(wished, world.observe())
    world.do(plan)
    again = plan_present(wished, world.observe())
    assert not again.steps
    assert not again.differences
    untouched = {path for path in files if not any(path in (f.path for f in _files(a)) for a in wished)}
    assert {path: files[path] for path in untouched} == {path: world.files[path] for path in untouched}


@given(wished=artifacts(), files=WORLDS, known=KNOWN)
def test_a_plan_downloads_only_what_it_needs_and_once(
    wished: list[Artifact], files: dict[str, FileState], known: set[str]
) -> None:
    plan = plan_present(wished, World(wished, files, known).observe())
    downloads = [d.sha256 for step in plan.steps if step.action == "download" for d in step.args["downloads"]]
    assert len(downloads) == len(set(downloads))
    for entry in wished:
        right = all((state := files.get(f.path)) and state.sha256 == f.sha256 for f in _files(entry))
        if not right:
            assert entry.sha256 in downloads
    needed = {
        a.sha256
        for a in wished
        if (a.is_archive and a.sha256 not in known)
        or any(f.path not in files or files[f.path].sha256 != f.sha256 for f in _files(a))
    }
    assert set(downloads) == needed
    actions = [step.action for step in plan.steps]
    order = ["download", "unpack", "install", "set permissions of"]
    assert actions == sorted(actions, key=order.index), "nothing moves into place before all is fetched and unpacked"
    assert plan.changed == bool(plan.differences)


@given(wished=artifacts(), files=WORLDS)
def test_removal_takes_what_was_brought_and_nothing_else(wished: list[Artifact], files: dict[str, FileState]) -> None:
    world = World(wished, files, {sha256 for sha256, _index in ARCHIVES.values()})
    world.do(plan_present(wished, world.observe()))
    indices = [[index for sha256, index in ARCHIVES.values() if sha256 == a.sha256] for a in wished]
    world.do(plan_absent(wished, world.observe(), indices))
    brought = {f.path for a in wished for f in _files(a)}
    assert world.files == {path: state for path, state in files.items() if path not in brought}
    assert not plan_absent(wished, world.observe(), indices).changed


def test_removal_without_an_index_takes_only_literal_names() -> None:
    tree = Artifact(url="u", source="u", dest="/d", extract=("v1/a", "v1/b"), strip=1)
    assert absent_paths(tree, []) == ["/d/a", "/d/b"]
    assert absent_paths(dataclasses.replace(tree, extract=("v1/*",)), []) is None


def test_a_folder_in_the_way_is_refused() -> None:
    wished = [Artifact(url="u", source="u", dest="/d/file", sha256="0" * 64)]
    with pytest.raises(PlanError, match="/d/file is a folder, and u should become a file there"):
        plan_present(wished, Observed(("0" * 64,), {}, {}, {"/d/file": "a folder"}))


def _files(entry: Artifact) -> t.Sequence[t.Any]:
    index = next((index for sha256, index in ARCHIVES.values() if sha256 == entry.sha256), None)
    return wanted_files(entry, entry.sha256 or "", index) or ()
