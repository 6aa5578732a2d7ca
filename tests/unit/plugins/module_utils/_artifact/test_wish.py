# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs, sums, members and paths, as tables and as properties."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.wish import (
    Artifact,
    Member,
    member_path,
    mirrored,
    parse,
    parse_checksum,
    select,
    sum_from_file,
    wanted_files,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

SUM = "0123456789abcdef" * 4
NAMES = st.from_regex(r"[a-z0-9._-]{1,8}(/[a-z0-9._-]{1,8}){0,3}", fullmatch=True).filter(
    lambda name: not {".", ".."} & set(name.split("/"))
)


@pytest.mark.parametrize(
    ("url", "mirror", "expected"),
    [
        ("https://h/p", "", "https://h/p"),
        ("https://h:8443/a/b.tgz", "http://m:8080", "http://m:8080/h:8443/a/b.tgz"),
        ("https://h/a%2Bb?x=1&y=2", "http://m/base", "http://m/base/h/a%2Bb?x=1&y=2"),
        ("http://m/base/h/p", "http://m/base", "http://m/base/h/p"),
        ("https://h/p", "file:///mnt/usb", "file:///mnt/usb/h/p"),
        ("file:///srv/p", "http://m", "file:///srv/p"),
    ],
)
def test_mirrored(url: str, mirror: str, expected: str) -> None:
    assert mirrored(url, mirror) == expected
    assert mirrored(expected, mirror) == expected


def test_an_entry_may_have_a_mirror_and_sums_of_its_own() -> None:
    url = "https://h/p"
    entry: dict[str, t.Any] = {"url": url, "checksum": SUM, "dest": "/d", "strip_components": 0}
    entry |= dict.fromkeys(("extract", "member", "mode", "owner", "group"))
    entries = [entry, {**entry, "mirror": "http://other"}, {**entry, "mirror": ""}, {**entry, "checksums": "mirror"}]
    params = {"artifacts": entries, "state": "present", "mirror": "http://all", "checksums": "pinned"}
    found = [(one.source, one.sha256, one.sums_url) for one in parse(params, int, int)]
    assert found == [
        ("http://all/h/p", SUM, None),
        ("http://other/h/p", SUM, None),
        (url, SUM, None),
        ("http://all/h/p", None, "http://all/h/p.sha256"),
    ]
    with pytest.raises(PlanError, match=r"artifacts\[0\]\.mirror: 'nowhere' is not a URL"):
        parse({**params, "artifacts": [{**entry, "mirror": "nowhere"}]}, int, int)
    with pytest.raises(PlanError, match=r"artifacts\[0\]\.mirror is not a URL that can be fetched \(http, https, file\)$"):
        parse({**params, "artifacts": [{**entry, "mirror": "http://user:password@[fd00::1:8080"}]}, int, int)


@pytest.mark.parametrize("text", [SUM, SUM.upper(), f"sha256:{SUM}", f" SHA256:{SUM}\n"])
def test_checksum(text: str) -> None:
    assert parse_checksum(text, "checksum") == (SUM, None)


@pytest.mark.parametrize("text", ["", "sha256:", SUM[:-1], SUM + "0", "md5:" + SUM[:32], "g" * 64, "ftp://h/x", "h/x.sha256"])
def test_no_checksum(text: str) -> None:
    with pytest.raises(PlanError, match="where"):
        parse_checksum(text, "where")


@given(
    others=st.dictionaries(NAMES, st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
    name=NAMES,
    binary=st.booleans(),
    bsd=st.booleans(),
)
def test_the_right_line_of_a_checksum_file(others: dict[str, str], name: str, binary: bool, bsd: bool) -> None:
    base = name.rpartition("/")[2]
    sums = {key: value for key, value in others.items() if key.rpartition("/")[2] != base}
    lines = [f"{value}  {key}" for key, value in sums.items()]
    lines.insert(len(lines) // 2, f"SHA256 ({name}) = {SUM}" if bsd else f"{SUM} {'*' if binary else ' '}{name}")
    assert sum_from_file("\n".join(lines), f"https://h/dl/{base}", "u") == SUM


def test_a_checksum_file_names_what_it_has() -> None:
    with pytest.raises(PlanError, match=r"u has no SHA-256 for 'b'; it has sums for a"):
        sum_from_file(f"{SUM}  a\n", "https://h/b", "u")


def index(*names: str) -> dict[str, Member]:
    return {name: Member(SUM, name.startswith("bin/")) for name in names}


def archive(**fields: t.Any) -> Artifact:
    return Artifact(**{"url": "https://h/a.tgz", "source": "https://h/a.tgz", "dest": "/d", **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"extract": ("*",)}, {"/d/bin/a": 0o755, "/d/bin/b": 0o755, "/d/doc/a": 0o644, "/d/top": 0o644}),
        ({"extract": ("*",), "strip": 1}, {"/d/a": 0o644, "/d/b": 0o755}),
        ({"extract": ("bin",)}, {"/d/bin/a": 0o755, "/d/bin/b": 0o755}),
        ({"extract": ("bin/a", "top"), "mode": 0o700}, {"/d/bin/a": 0o700, "/d/top": 0o700}),
        ({"extract": ("*/a",)}, {"/d/bin/a": 0o755, "/d/doc/a": 0o644}),
        ({"member": "bin/a", "dest": "/usr/bin/x"}, {"/usr/bin/x": 0o755}),
    ],
)
def test_files_of_an_archive(fields: dict[str, t.Any], expected: dict[str, int]) -> None:
    files = wanted_files(archive(**fields), SUM, index("bin/a", "bin/b", "doc/a", "top"))
    assert files is not None
    assert {file.path: file.mode for file in files} == expected


def test_a_member_is_no_pattern() -> None:
    with pytest.raises(PlanError, match=r"has no member 'bin/\*'; it has bin/a"):
        wanted_files(archive(member="bin/*"), SUM, index("bin/a"))


def test_nothing_is_left_after_strip() -> None:
    with pytest.raises(PlanError, match="strip_components=3 leaves no name of bin/a"):
        wanted_files(archive(extract=("*",), strip=3), SUM, index("bin/a"))


@given(names=st.lists(NAMES, min_size=1, unique=True), strip=st.integers(0, 3))
def test_every_member_stays_below_dest(names: list[str], strip: int) -> None:
    artifact = archive(extract=("*",), strip=strip)
    assert set(select(artifact, names)) == set(names)
    for name in names:
        path = member_path(artifact, name)
        assert path is None or (path.startswith("/d/") and name.endswith(path[len("/d/") :]))
