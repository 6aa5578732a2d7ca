# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real files in a folder of the test's own: whatever was there, afterwards it is what was asked, or what it was."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._files.resource import HostFiles, entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("a.conf", "sub/b.conf", "sub/deep/c.conf", "d.conf")
CONTENTS = st.sampled_from(["", "one\n", "two\nlines\n", "grüße\n"])
MODES = st.sampled_from(["0644", "0600", "0755"])
TREE = st.dictionaries(st.sampled_from(NAMES), st.tuples(CONTENTS, MODES))


def made(root: Path, tree: t.Mapping[str, tuple[str, str]]) -> None:
    for name, (content, mode) in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
        (root / name).chmod(int(mode, 8))


def read(root: Path) -> dict[str, tuple[str, str]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.read_text(), f"{path.stat().st_mode & 0o7777:04o}") for path in files}


def wish(root: Path, tree: t.Mapping[str, tuple[str, str]], folders: t.Sequence[str] = ()) -> dict[str, t.Any]:
    files = [{"path": str(root / name), "content": content, "mode": mode} for name, (content, mode) in tree.items()]
    return {"files": files, "folders": [str(root / folder) for folder in folders]}


@given(before=TREE, wanted=TREE)
def test_what_was_asked_is_there_and_the_rest_as_it_was(before: t.Any, wanted: t.Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made(root, before)
        asked = wish(root, wanted)
        predicted = entry(asked, True)
        assert read(root) == before
        assert predicted["changed"] == any(before.get(name) != file for name, file in wanted.items())
        done = entry(asked, False)
        assert (done["actions"], done["diff"]) == (predicted["actions"], predicted["diff"])
        assert read(root) == {**before, **wanted}
        assert not entry(asked, False)["changed"]


@given(before=TREE, wanted=TREE)
def test_a_failure_puts_everything_back(before: t.Any, wanted: t.Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made(root, before)
        (root / "occupied").write_text("")
        asked = wish(root, {**wanted, "occupied/by/a/file": ("", "0644")})
        with pytest.raises((PlanError, ApplyError), match="occupied"):
            entry(asked, False)
        assert read(root) == {**before, "occupied": ("", "0644")}


def test_folders_are_made_and_those_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    asked = wish(tmp_path, {}, ["mine", "new/one"])
    assert entry(asked, False)["actions"] == [f"make {tmp_path}/new/one"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new/one").stat().st_mode & 0o777 == 0o755
    entry(wish(tmp_path, {}, ["other/one", "other", "other"]), False)
    assert (tmp_path / "other/one").is_dir()


def test_a_link_is_replaced_and_what_it_pointed_to_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine\n")
    (tmp_path / "link").symlink_to("target")
    assert entry(wish(tmp_path, {"link": ("ours\n", "0644")}), False)["changed"]
    assert read(tmp_path) == {"target": ("mine\n", "0644"), "link": ("ours\n", "0644")}
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"files": [{"path": "etc/x", "content": "", "mode": "0644"}]}, "'etc/x' is not an absolute path"),
        ({"folders": [""]}, "'' is not an absolute path"),
        ({"files": [{"path": "/x", "content": "", "mode": "u=rw"}]}, "`mode` of /x is 'u=rw'; it must be octal"),
        ({"files": [{"path": "/x", "content": "", "mode": "420"}] * 2}, "/x is twice in `files`"),
        ({"files": [{"path": "/etc", "content": "", "mode": "0644"}]}, "/etc should be a file and is a folder"),
        ({"folders": ["/etc/passwd"]}, "/etc/passwd should be a folder and is something else"),
        ({"files": [{"path": "/etc/passwd/x", "content": "", "mode": "0644"}]}, "cannot look at /etc/passwd/x: Not a directory"),
    ],
)
def test_refused(asked: dict[str, t.Any], says: str) -> None:
    with pytest.raises(PlanError, match=says.replace("(", r"\(")):
        resource = HostFiles({"files": [], "folders": [], **asked})
        resource.plan(resource.observe())
