# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes out of an archive is what went in, whatever the format, and only where it was asked for."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.archive import unpack
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,2}", fullmatch=True)
MEMBERS = st.dictionaries(NAMES, st.tuples(st.binary(max_size=100), st.booleans()), max_size=6)


def _write(path: Path, form: str, members: dict[str, tuple[bytes, bool]]) -> None:
    if form == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, (content, executable) in members.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o100755 if executable else 0o100644) << 16
                zipped.writestr(info, content)
        return
    with tarfile.open(path, f"w:{form}") as tar:
        for name, (content, executable) in members.items():
            tar_info = tarfile.TarInfo("./" + name)
            tar_info.size, tar_info.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(tar_info, io.BytesIO(content))


@given(members=MEMBERS, form=st.sampled_from(["", "gz", "bz2", "xz", "zip"]), data=st.data())
def test_round_trip(members: dict[str, tuple[bytes, bool]], form: str, data: st.DataObject) -> None:
    chosen = set(data.draw(st.lists(st.sampled_from(sorted(members)), unique=True))) if members else set()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        _write(archive, form, members)
        out = Path(folder, "out")
        out.mkdir()

        def staged(name: str) -> list[str]:
            return [str(out / f"{name.replace('/', '_')}.{copy}") for copy in "12"] if name in chosen else []

        index = unpack(str(archive), "url", staged)
        assert {name: (m.sha256, m.executable) for name, m in index.items()} == {
            name: (hashlib.sha256(content).hexdigest(), executable) for name, (content, executable) in members.items()
        }
        assert {path.name: path.read_bytes() for path in out.iterdir()} == {
            Path(path).name: members[name][0] for name in chosen for path in staged(name)
        }


def _tar(tmp_path: Path, *entries: tuple[str, bytes, str]) -> str:
    """Entries are (name, type of tarfile, link name)."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"data"))
    return str(tmp_path / "x.tar")


def test_links_become_copies_also_before_their_target_and_through_others(tmp_path: Path) -> None:
    archive = _tar(
        tmp_path,
        ("bin/first", tarfile.SYMTYPE, "second"),
        ("bin/second", tarfile.SYMTYPE, "../lib/real"),
        ("lib/real", tarfile.REGTYPE, ""),
        ("hard", tarfile.LNKTYPE, "lib/real"),
        ("loop", tarfile.SYMTYPE, "loop"),
        ("out", tarfile.SYMTYPE, "../../etc/passwd"),
        ("fifo", tarfile.FIFOTYPE, ""),
    )
    index = unpack(archive, "url", lambda name: [str(tmp_path / f"got-{name.replace('/', '-')}")])
    real = hashlib.sha256(b"data").hexdigest()
    assert {name: member.sha256 for name, member in index.items()} == {
        "bin/first": real,
        "bin/second": real,
        "lib/real": real,
        "hard": real,
        "loop": None,
        "out": None,
        "fifo": None,
    }
    got = {path.name: path for path in tmp_path.glob("got-*")}
    assert set(got) == {"got-bin-first", "got-bin-second", "got-lib-real", "got-hard"}
    assert all(path.read_bytes() == b"data" and not path.is_symlink() for path in got.values())


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    def staged(_name: str) -> t.NoReturn:
        pytest.fail("asked where to put it")

    with pytest.raises(ApplyError, match="outside its destination"):
        unpack(_tar(tmp_path, (name, tarfile.REGTYPE, "")), "url", staged)


def test_a_staged_file_never_follows_a_link_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "staged").symlink_to(tmp_path / "victim")
    unpack(_tar(tmp_path, ("x", tarfile.REGTYPE, "")), "url", lambda _name: [str(tmp_path / "staged")])
    assert (tmp_path / "victim").read_text() == "safe"
    assert (tmp_path / "staged").read_bytes() == b"data"
