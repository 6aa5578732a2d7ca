# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from bedlib import compiled


def answer(folder: Path, archive: Path) -> str:
    """What a Python prints that keeps compiled files in `folder` and runs what is in the zip file."""
    code = "import compiled, runpy, sys; compiled.keep(sys.argv[1]); sys.path.insert(0, sys.argv[2]); runpy.run_module('answer')"
    command = [sys.executable, "-c", code, str(folder), str(archive)]
    where = Path(compiled.__file__).parent
    return subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout


def packed(archive: Path, source: str) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("answer.py", source)
    return archive


def test_a_file_is_compiled_once_and_another_one_anew(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    first, other = packed(tmp_path / "a.zip", "print('first')"), packed(tmp_path / "b.zip", "print('other')")
    assert answer(folder, first) == "first\n"
    (kept,) = folder.iterdir()
    before = kept.stat()
    assert answer(folder, first) == "first\n"
    assert kept.stat().st_ino == before.st_ino  # read, not made again
    assert answer(folder, other) == "other\n"
    assert len(list(folder.iterdir())) == 2
    kept.write_bytes(next(path for path in folder.iterdir() if path != kept).read_bytes())
    assert answer(folder, first) == "other\n"  # so it is what is kept that runs


def test_python_works_without_it(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", "print('first')")
    assert answer(tmp_path / "nowhere", archive) == "first\n"
    folder = tmp_path / "kept"
    folder.mkdir()
    answer(folder, archive)
    (kept,) = folder.iterdir()
    for content in (b"", b"garbage", kept.read_bytes()[:-9]):  # a disk that was full
        kept.write_bytes(content)
        assert answer(folder, archive) == "first\n"
