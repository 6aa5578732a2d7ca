# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""artifact against a real HTTP server with faults: through ansible for the ladder, else its entry in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.resource import ArtifactResource, entry
from fault_server import Fault, FaultServer

CHILD = Path(__file__).parents[2] / "child.py"
MIB = 1 << 20
PLAIN = random.Random(1).randbytes(3 * MIB)  # noqa: S311 - any content


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tgz(members: dict[str, bytes | str], executable: t.Container[str] = (), root: str = "./") -> bytes:
    """A tar.gz; a value of type str is a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(root + name)
            info.mode = 0o755 if name in executable else 0o644
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


TREE = tgz({"bin/tool": b"#!tool", "bin/alias": "tool", "share/doc.txt": b"words"}, executable={"bin/tool"})


@pytest.fixture
def server() -> t.Iterator[FaultServer]:
    with FaultServer() as running:
        running.files = {"/up/plain": PLAIN, "/up/tree.tgz": TREE}
        yield running


Options = dict[str, t.Any]
Run = t.Callable[..., dict[str, t.Any]]
Start = t.Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the entry with these artifacts and options."""

    def start(
        *artifacts: Options, check: bool = False, env: dict[str, str] | None = None, **options: t.Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, CHILD, "_artifact", *(["--check"] if check else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        assert process.stdin
        process.stdin.write(
            json.dumps({"record": str(tmp_path / "record.json"), "artifacts": artifacts, "retries": 2, **options})
        )
        process.stdin.close()
        return process

    return start


@pytest.fixture
def run(start: Start) -> Run:
    def run(*artifacts: Options, **options: t.Any) -> dict[str, t.Any]:
        process = start(*artifacts, **options)
        assert process.stdout
        return t.cast(dict[str, t.Any], json.loads(process.stdout.read()))

    return run


@pytest.fixture
def plain(server: FaultServer, tmp_path: Path) -> Options:
    return {"url": f"{server.url}/up/plain", "checksum": sha(PLAIN), "dest": str(tmp_path / "out/plain")}


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob(".*") if path.is_file())


# the ladder, through ansible -----------------------------------------------------------------------------------------


def test_check_apply_check_apply(server: FaultServer, tmp_path: Path, plain: Options) -> None:
    archive = {"url": f"{server.url}/up/tree.tgz", "checksum": f"sha256:{sha(TREE)}"}
    options = {
        "record": str(tmp_path / "record.json"),
        "artifacts": [
            {**plain, "mode": "0755"},
            {**archive, "dest": str(tmp_path / "out/tree"), "extract": ["*"]},
            {**archive, "dest": str(tmp_path / "out/one"), "member": "bin/tool"},
        ],
    }
    environment = {**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.tree"}
    results = []
    for arguments in (["--check"], [], ["--check"], []):
        seen = len(server.requests)
        folder = tmp_path / "results"
        command = ["ansible", "localhost", "-c", "local", "-m", "gpufleet.k8s.artifact", "-a", json.dumps(options)]
        subprocess.run([*command, "--tree", str(folder), *arguments], env=environment, check=True, capture_output=True)
        results.append(json.loads((folder / "localhost").read_text()))
        if len(results) == 1:
            assert not (tmp_path / "out").exists(), "check mode wrote something"
        if len(results) > 2:
            assert len(server.requests) == seen, "an unchanged run used the network"
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["actions"] == results[1]["actions"]
    assert [entry["bytes"] for entry in results[0]["artifacts"]] == [len(PLAIN), len(TREE), len(TREE)]
    assert [entry["bytes"] for entry in results[1]["artifacts"]] == [len(PLAIN), len(TREE), len(TREE)]
    assert [request.path for request in server.requests if not request.range].count("/up/tree.tgz") == 1, "fetched twice"

    files = {str(p.relative_to(tmp_path / "out")): p for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {name: oct(path.stat().st_mode & 0o7777) for name, path in files.items()} == {
        "plain": "0o755",
        "tree/bin/tool": "0o755",
        "tree/bin/alias": "0o755",
        "tree/share/doc.txt": "0o644",
        "one": "0o755",
    }
    assert files["plain"].read_bytes() == PLAIN
    assert files["tree/bin/alias"].read_bytes() == files["one"].read_bytes() == b"#!tool"


# what is already there -----------------------------------------------------------------------------------------------


def test_a_file_that_is_already_right_is_not_downloaded(server: FaultServer, run: Run, plain: Options) -> None:
    Path(plain["dest"]).parent.mkdir()
    Path(plain["dest"]).write_bytes(PLAIN)
    Path(plain["dest"]).chmod(0o644)
    assert not run(plain)["changed"]
    assert not server.requests


def test_only_permissions_differ(server: FaultServer, run: Run, plain: Options) -> None:
    run(plain)
    inode = Path(plain["dest"]).stat().st_ino
    server.requests.clear()
    predicted, result = run({**plain, "mode": "0750"}, check=True), run({**plain, "mode": "0750"})
    assert predicted["actions"] == result["actions"] == [f"set permissions of {plain['dest']}"]
    assert Path(plain["dest"]).stat().st_mode & 0o7777 == 0o750
    assert Path(plain["dest"]).stat().st_ino == inode
    assert not server.requests


def test_a_tampered_file_is_found_although_size_and_mtime_are_the_same(run: Run, plain: Options) -> None:
    run(plain)
    path = Path(plain["dest"])
    status = path.stat()
    with path.open("r+b") as file:
        file.write(bytes([PLAIN[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert run(plain, check=True)["changed"]
    assert run(plain)["changed"]
    assert path.read_bytes() == PLAIN


def test_an_extracted_file_that_was_changed_or_removed_comes_back(server: FaultServer, run: Run, tmp_path: Path) -> None:
    entry = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "dest": str(tmp_path / "out"), "extract": ["*"]}
    run(entry)
    (tmp_path / "out/bin/tool").write_bytes(b"#!evil")
    (tmp_path / "out/share/doc.txt").unlink()
    predicted = run(entry, check=True)
    result = run(entry)
    assert sorted(file["path"] for file in predicted["artifacts"][0]["files"]) == [
        str(tmp_path / "out/bin/tool"),
        str(tmp_path / "out/share/doc.txt"),
    ]
    assert result["artifacts"][0]["files"] == predicted["artifacts"][0]["files"]
    assert (tmp_path / "out/bin/tool").read_bytes() == b"#!tool"
    assert not run(entry)["changed"]


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("{"), lambda path: path.write_text('{"schema": 1, "files": []}')]
)
def test_without_its_record_everything_is_found_out_again(
    run: Run, plain: Options, server: FaultServer, tmp_path: Path, damage: t.Callable[[Path], t.Any]
) -> None:
    tree = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "dest": str(tmp_path / "out"), "extract": ["*"]}
    run(plain, tree)
    damage(tmp_path / "record.json")
    server.requests.clear()
    run(plain, tree)
    assert [request.path for request in server.requests] == ["/up/tree.tgz"], "a plain file needs no record"
    server.requests.clear()
    assert not run(plain, tree)["changed"]
    assert not server.requests


def test_an_unchanged_run_does_not_read_the_files_again(run: Run, server: FaultServer, tmp_path: Path) -> None:
    content = bytes(64 * MIB)
    server.files["/big"] = content
    entry = {"url": f"{server.url}/big", "checksum": sha(content), "dest": str(tmp_path / "big")}
    first = run(entry)
    assert first["bytes_read"] > 0
    second = run(entry)
    assert not second["changed"]
    assert second["bytes_read"] < MIB


def test_a_program_is_replaced_while_it_runs(run: Run, plain: Options) -> None:
    path = Path(plain["dest"])
    path.parent.mkdir()
    shutil.copy("/bin/sleep", path)
    running = subprocess.Popen([path, "60"])
    try:
        assert run({**plain, "mode": "0755"})["changed"]
        assert path.read_bytes() == PLAIN
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


# archives ------------------------------------------------------------------------------------------------------------


def test_members_folders_patterns_and_strip(run: Run, server: FaultServer, tmp_path: Path) -> None:
    content = tgz({"v1/bin/a": b"a", "v1/bin/b": b"b", "v1/doc/c": b"c", "LICENSE": b"l"}, executable={"v1/bin/a"})
    server.files["/x.tgz"] = content
    entry = {"url": f"{server.url}/x.tgz", "checksum": sha(content)}
    run(
        {**entry, "dest": str(tmp_path / "1"), "extract": ["v1/bin"], "strip_components": 2},
        {**entry, "dest": str(tmp_path / "2"), "extract": ["v1/*/c", "./LICENSE"]},
        {**entry, "dest": str(tmp_path / "3"), "extract": ["*"], "strip_components": 1, "mode": "0600"},
    )
    files = sorted(str(p.relative_to(tmp_path)) for n in "123" for p in (tmp_path / n).rglob("*") if p.is_file())
    assert files == ["1/a", "1/b", "2/LICENSE", "2/v1/doc/c", "3/bin/a", "3/bin/b", "3/doc/c"]
    assert (tmp_path / "1/a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "3/bin/a").stat().st_mode & 0o777 == 0o600


def test_zip(run: Run, server: FaultServer, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        tool = zipfile.ZipInfo("d/tool")
        tool.external_attr = 0o100755 << 16
        zipped.writestr(tool, b"zipped tool")
        zipped.writestr("d/readme", b"text")
    server.files["/x.zip"] = out.getvalue()
    run({"url": f"{server.url}/x.zip", "checksum": sha(out.getvalue()), "dest": str(tmp_path / "tool"), "member": "d/tool"})
    assert (tmp_path / "tool").read_bytes() == b"zipped tool"
    assert (tmp_path / "tool").stat().st_mode & 0o777 == 0o755


def bad_archives() -> dict[str, tuple[bytes, str]]:
    return {
        "parent": (tgz({"../evil": b"x"}, root=""), "outside its destination"),
        "absolute": (tgz({"/srv/evil": b"x"}, root=""), "outside its destination"),
        "link out": (tgz({"evil": "/etc/passwd"}), "is a link to something that is no file of the archive"),
        "link up": (tgz({"evil": "../../etc/passwd"}), "is a link to something that is no file of the archive"),
        "no archive": (b"<html>not found</html>", "is no archive that can be read here"),
        "cut": (TREE[: len(TREE) // 2], "is no archive that can be read here"),
    }


@pytest.mark.parametrize("case", bad_archives())
def test_bad_archive(run: Run, server: FaultServer, tmp_path: Path, case: str) -> None:
    content, message = bad_archives()[case]
    server.files["/bad.tgz"] = content
    result = run(
        {"url": f"{server.url}/bad.tgz", "checksum": sha(content), "dest": str(tmp_path / "out/deep/er"), "extract": ["*"]},
        {"url": f"{server.url}/up/plain", "checksum": sha(PLAIN), "dest": str(tmp_path / "out/plain")},
    )
    assert result["failed"]
    assert message in result["msg"]
    assert "/bad.tgz" in result["msg"]
    assert not (tmp_path / "out/plain").exists(), "something was moved into place although another artifact is bad"
    assert not list(tmp_path.rglob("evil"))


def test_a_missing_member_is_named_with_what_there_is(run: Run, server: FaultServer, tmp_path: Path) -> None:
    entry = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "dest": str(tmp_path / "x"), "member": "bin/tol"}
    result = run(entry)
    assert "has no member 'bin/tol'; it has bin/alias, bin/tool, share/doc.txt" in result["msg"]
    assert not (tmp_path / "x").exists()
    assert "has no member 'bin/tol'" in run(entry, check=True)["msg"], "known by now, so check mode says it too"


# sums and mirrors ----------------------------------------------------------------------------------------------------


def test_a_wrong_sum_changes_nothing(run: Run, server: FaultServer, plain: Options, tmp_path: Path) -> None:
    Path(plain["dest"]).parent.mkdir()
    Path(plain["dest"]).write_text("old")
    wrong = sha(b"something else")
    tree = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "dest": str(tmp_path / "out/tool"), "member": "bin/tool"}
    result = run(tree, {**plain, "checksum": wrong})
    assert f"{plain['url']} has a wrong checksum: expected sha256 {wrong}, got {sha(PLAIN)}" in result["msg"]
    assert (result["expected"], result["got"]) == (wrong, sha(PLAIN))
    assert Path(plain["dest"]).read_text() == "old"
    assert not (tmp_path / "out/tool").exists()
    assert not [path for path in leftovers(tmp_path / "out") if "plain" in path], "a wrong part must not be continued"


def test_mirror_and_whose_sums_count(run: Run, server: FaultServer, tmp_path: Path) -> None:
    rebuilt = b"built by the mirror's owner"
    server.files = {
        "/m/dl.example/v1/tool%2Bx": rebuilt,
        "/m/dl.example/v1/tool%2Bx.sha256": f"{sha(rebuilt)}  tool+x\n".encode(),
    }
    entry = {"url": "https://dl.example/v1/tool%2Bx", "checksum": sha(PLAIN), "dest": str(tmp_path / "tool")}
    refused = run(entry, mirror=f"{server.url}/m/")
    assert f"{server.url}/m/dl.example/v1/tool%2Bx has a wrong checksum" in refused["msg"]
    assert sha(rebuilt) in refused["msg"]
    assert not (tmp_path / "tool").exists()

    options = {"mirror": f"{server.url}/m", "checksums": "mirror"}
    assert [run(entry, check=True, **options)["changed"], run(entry, **options)["changed"], run(entry, **options)["changed"]] == [
        True,
        True,
        False,
    ]
    assert (tmp_path / "tool").read_bytes() == rebuilt


SUM_FILES = {
    "bare": "{sum}\n",
    "gnu": "{other}  other.tgz\n{sum} *plain\n",
    "folder": "{other}  ./build/other\n{sum}  ./build/plain\n",
    "bsd": "SHA256 (other) = {other}\nSHA256 (plain) = {sum}\n",
    "upper": "# sums\n{SUM}  plain\n",
}


@pytest.mark.parametrize("form", SUM_FILES)
def test_checksum_file(run: Run, server: FaultServer, plain: Options, form: str) -> None:
    text = SUM_FILES[form].format(sum=sha(PLAIN), SUM=sha(PLAIN).upper(), other=sha(b""))
    server.files["/up/SHA256SUMS"] = text.encode()
    assert run({**plain, "checksum": f"{server.url}/up/SHA256SUMS"})["changed"]
    assert Path(plain["dest"]).read_bytes() == PLAIN


@pytest.mark.parametrize(
    ("text", "message"),
    [("<html>", "it is no checksum file"), (f"{sha(b'')}  plain2\n", "it has sums for plain2"), ("", "it is no checksum file")],
)
def test_checksum_file_without_the_file(run: Run, server: FaultServer, plain: Options, text: str, message: str) -> None:
    server.files["/up/SHA256SUMS"] = text.encode()
    result = run({**plain, "checksum": f"{server.url}/up/SHA256SUMS"}, check=True)
    assert f"{server.url}/up/SHA256SUMS has no SHA-256 for 'plain'; {message}" in result["msg"]


# the network ---------------------------------------------------------------------------------------------------------


def test_a_killed_download_is_continued(start: Start, run: Run, server: FaultServer, plain: Options) -> None:
    Path(plain["dest"]).parent.mkdir()
    Path(plain["dest"]).write_text("old")
    server.faults["/up/plain"] = [Fault(cut=2 * MIB, stall=True)]
    killed = start(plain)
    assert server.stalled.wait(60)
    part = Path(f"{Path(plain['dest']).parent}/.plain.{sha(PLAIN)[:16]}.part")
    while not part.exists() or part.stat().st_size < 2 * MIB:  # what was sent arrives
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert Path(plain["dest"]).read_text() == "old"

    result = run(plain)
    assert server.requests[-1].range == f"bytes={2 * MIB}-"
    assert result["artifacts"][0]["resumed_at"] == 2 * MIB
    assert result["artifacts"][0]["bytes"] == MIB
    assert Path(plain["dest"]).read_bytes() == PLAIN
    assert not leftovers(Path(plain["dest"]).parent)


def here(*artifacts: Options, record: str) -> dict[str, t.Any]:
    """The entry in this process, for a test with many runs."""
    rules = {key: value for key, value in SPEC.items() if key != "argument_spec"}
    validated = ArgumentSpecValidator(SPEC["argument_spec"], **rules).validate({"artifacts": list(artifacts), "record": record})
    assert not validated.error_messages
    return entry(validated.validated_parameters, False)


def test_killed_before_any_file_operation_the_next_run_converges(start: Start, server: FaultServer, tmp_path: Path) -> None:
    new = {"bin/tool": b"#!new", "share/doc.txt": b"new words"}
    server.files["/new.tgz"] = tgz(new, executable={"bin/tool"})
    old_tree = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "extract": ["bin/tool", "share"]}
    new_tree = {"url": f"{server.url}/new.tgz", "checksum": sha(server.files["/new.tgz"]), "extract": ["*"]}
    plain = {"url": f"{server.url}/up/plain", "checksum": sha(PLAIN)}
    kill_at, finished = 0, False
    while not finished:
        kill_at += 1
        out = tmp_path / str(kill_at)
        record = str(out / "record.json")
        here({**old_tree, "dest": str(out / "tree")}, record=record)
        wished = [
            {**new_tree, "dest": str(out / "tree")},
            {**plain, "dest": str(out / "a/plain")},
            {**plain, "dest": str(out / "b/plain")},
        ]
        killed = start(*wished, record=record, env={"KILL_AT": str(kill_at)})
        finished = killed.wait() == 0
        assert finished or killed.returncode == -signal.SIGKILL
        assert (out / "tree/bin/tool").read_bytes() in (b"#!tool", b"#!new"), "neither old nor new"
        if not finished:
            here(*wished, record=record)
        assert not here(*wished, record=record)["changed"]
        files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "record.json"}
        assert files == {"tree/bin/tool": b"#!new", "tree/share/doc.txt": b"new words", "a/plain": PLAIN, "b/plain": PLAIN}
        assert (out / "tree/bin/tool").stat().st_mode & 0o777 == 0o755
    assert kill_at > 15, "the sweep did not reach the clean-up"


@pytest.mark.parametrize(
    ("part", "faults"),
    [
        (b"of another file" * 1000, []),
        (PLAIN[:MIB], [Fault(ignore_range=True)]),
        (PLAIN + b"too long", []),
        (PLAIN, []),
        (
            b"",
            [Fault(cut=MIB), Fault(cut=MIB), Fault(cut=MIB // 2), Fault(cut=MIB // 4)],
        ),  # more failures than retries, but progress
        (b"", [Fault(status=503), Fault(status=429, headers={"Retry-After": "0"})]),
    ],
    ids=["foreign", "no ranges", "too long", "complete", "breaks off", "busy"],
)
def test_gets_there_in_the_end(run: Run, server: FaultServer, plain: Options, part: bytes, faults: list[Fault]) -> None:
    folder = Path(plain["dest"]).parent
    folder.mkdir()
    if part:
        (folder / f".plain.{sha(PLAIN)[:16]}.part").write_bytes(part)
    server.faults["/up/plain"] = faults
    assert "msg" not in run(plain)
    assert Path(plain["dest"]).read_bytes() == PLAIN
    assert not leftovers(folder)


def test_leftovers_of_killed_runs_are_swept(run: Run, plain: Options) -> None:
    folder = Path(plain["dest"]).parent
    folder.mkdir()
    for name in (".plain.0123456789abcdef.new", ".plain.0000000000000000.old", ".old-name.0123456789abcdef.part"):
        (folder / name).write_text("left")
    (folder / ".keep").write_text("somebody's")
    run(plain)
    assert leftovers(folder) == [str(folder / ".keep")]
    (folder / ".plain.0000000000000000.old").write_text("left by a run that was killed when all was done")
    assert not run(plain)["changed"]
    assert leftovers(folder) == [str(folder / ".keep")]


def test_failures_are_said_in_a_sentence(run: Run, server: FaultServer, plain: Options) -> None:
    server.faults["/up/plain"] = [Fault(status=503)] * 3
    assert "the server answered 503 Service Unavailable (gave up after 3 attempts" in run(plain)["msg"]
    missing = run({**plain, "url": f"{server.url}/up/nothing"})
    assert f"cannot fetch {server.url}/up/nothing: the server answered 404 Not Found; no such file there" in missing["msg"]
    assert [request.path for request in server.requests].count("/up/nothing") == 1, "404 is not retried"
    with FaultServer() as gone:
        url = gone.url
    for check in (True, False):
        refused = run({**plain, "url": f"https://h/x/{check}"}, mirror=url, retries=1, check=check)
        assert f"cannot fetch {url}/h/x/{check}: connection refused; is the server or mirror running there?" in refused["msg"]
    unknown = run({**plain, "url": "https://name.invalid/x"}, retries=0)
    assert "cannot fetch https://name.invalid/x: its host name cannot be resolved" in unknown["msg"]
    server.faults["/up/plain"] = [Fault(cut=10, stall=True)]
    assert "no answer within the time limit" in run(plain, timeout=1, retries=0)["msg"]
    assert not Path(plain["dest"]).exists()


def test_tls(run: Run, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *subject,
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(command, check=True, capture_output=True)
    with FaultServer(certificate, key) as server:
        server.files["/x"] = PLAIN
        entry = {"url": f"{server.url}/x", "checksum": sha(PLAIN), "dest": str(tmp_path / "x")}
        result = run(entry)
        assert f"cannot fetch {server.url}/x: its TLS certificate was not accepted (self-signed certificate)" in result[
            "msg"
        ].replace("self signed", "self-signed")
        assert run(entry, ca_path=str(certificate))["changed"]
        (tmp_path / "x").unlink()
        assert run(entry, validate_certs=False)["changed"]


def test_credentials_reach_the_mirror_and_nobody_else(run: Run, server: FaultServer, plain: Options) -> None:
    options = {"username": "me", "password": "s3cret-password", "headers": {"X-Token": "t0ken"}}
    with FaultServer() as other:
        other.files["/there"] = PLAIN
        server.faults["/up/plain"] = [Fault(status=302, headers={"Location": f"{other.url}/there"})]
        result = run(plain, **options)
        assert result["changed"]
        basic = "Basic " + base64.b64encode(b"me:s3cret-password").decode()
        assert (server.requests[0].headers["Authorization"], server.requests[0].headers["X-Token"]) == (basic, "t0ken")
        assert not {"Authorization", "X-Token", "X-token"} & set(other.requests[0].headers)
    assert "s3cret" not in json.dumps(result)
    assert "t0ken" not in json.dumps(result)
    server.faults["/up/plain"] = [Fault(status=401)]
    Path(plain["dest"]).unlink()
    assert "401 Unauthorized; give username and password, or headers" in run(plain)["msg"]


@pytest.mark.parametrize(
    "case",
    [
        ("mirror", {"mirror": ""}, "environment", "login", ""),
        ("mirror", {"mirror": ""}, "explicit", "login headers", ""),
        ("", {}, "environment", "", ""),
        ("", {}, "explicit", "login headers", "login headers"),
        ("", {}, "environment and headers", "headers", "headers"),
        ("", {"mirror": "other"}, "explicit", "", "login headers"),
    ],
)
def test_credentials_of_a_mirror_are_not_shown_upstream(
    run: Run, server: FaultServer, tmp_path: Path, case: tuple[str, Options, str, str, str]
) -> None:
    """`own`: what the second entry has of its own; `firsts`, `seconds`: what the servers of the two entries get to see."""
    mirror, own, options, firsts, seconds = case
    login = {"username": "me", "password": "s3cret-password"}
    environment = {f"GPUFLEET_MIRROR_{name.upper()}": value for name, value in login.items()}
    given: Options = {"headers": {"X-Token": "t0ken"}} if options != "environment" else {}
    given |= login if options == "explicit" else {"env": environment}
    with FaultServer() as other:
        server.files = {"/a": PLAIN, "/upstream.invalid/a": PLAIN}
        other.files = {"/b": TREE, "/b.sha256": sha(TREE).encode()}
        url = "http://upstream.invalid/a" if mirror else f"{server.url}/a"
        entries = [
            {"url": url, "checksum": sha(PLAIN), "dest": str(tmp_path / "a")},
            {"url": f"{other.url}/b", "checksum": f"{other.url}/b.sha256", "dest": str(tmp_path / "b")},
        ]
        entries[1] |= {key: other.url if value else "" for key, value in own.items()}
        result = run(*entries, mirror=server.url if mirror else "", **given)
        assert result.get("changed"), result
        for requests, expected in ((server.requests, firsts), (other.requests, seconds)):
            assert requests
            for request in requests:
                names = {name.lower() for name in request.headers}
                assert ("authorization" in names) == ("login" in expected)
                assert ("x-token" in names) == ("headers" in expected)


def test_proxy(run: Run, server: FaultServer, plain: Options) -> None:
    server.files["http://upstream.invalid/x"] = PLAIN
    assert run({**plain, "url": "http://upstream.invalid/x"}, env={"http_proxy": server.url, "no_proxy": ""})["changed"]
    assert [request.path for request in server.requests] == ["http://upstream.invalid/x"]


def test_two_runs_at_once(start: Start, run: Run, server: FaultServer, plain: Options) -> None:
    server.faults["/up/plain"] = [Fault(cut=MIB, stall=True)]
    first = start(plain)
    assert server.stalled.wait(60)
    second = run(plain)
    assert ".part is being downloaded by another run on this host" in second["msg"]
    first.kill()
    first.wait()
    assert run(plain)["changed"]


def test_a_run_does_not_sweep_away_what_another_one_has_downloaded(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends after the download of this one and before its first file is moved into place."""
    entries = [
        {"url": f"{server.url}/up/{name}", "checksum": sha(content)} for name, content in (("plain", PLAIN), ("tree.tgz", TREE))
    ]
    wished = [{**entry, "dest": str(tmp_path / "out" / str(number))} for number, entry in enumerate(entries)]
    put = ArtifactResource._put
    others = iter([wished[1]])

    def later(self: ArtifactResource, *arguments: t.Any) -> None:
        for other in others:
            here(other, record=str(tmp_path / "other.json"))
        put(self, *arguments)
        open_here = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        assert arguments[0].path not in open_here, "it could not be started"

    monkeypatch.setattr(ArtifactResource, "_put", later)
    assert here(wished[0], record=str(tmp_path / "record.json"))["changed"]
    assert [Path(entry["dest"]).read_bytes() for entry in wished] == [PLAIN, TREE]
    assert leftovers(tmp_path) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> t.Iterator[Path]:
    """A folder on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs a file system apart from that of /dev/shm")
        yield Path(folder)


def test_one_file_for_two_file_systems(run: Run, server: FaultServer, plain: Options, elsewhere: Path) -> None:
    wished = [plain, {**plain, "dest": str(elsewhere / "plain"), "mode": "0755"}]
    blocked = {**plain, "dest": str(elsewhere / "file/plain")}
    (elsewhere / "file").write_text("a file in the place of a folder")
    assert "rolled back" in run(*wished, blocked)["msg"]
    assert not Path(wished[0]["dest"]).exists()
    assert not Path(wished[1]["dest"]).exists()
    server.requests.clear()
    assert run(*wished)["changed"]
    assert not server.requests, "what was downloaded before the failure was kept"
    assert [Path(entry["dest"]).read_bytes() for entry in wished] == [PLAIN, PLAIN]
    assert Path(wished[1]["dest"]).stat().st_mode & 0o777 == 0o755
    assert leftovers(Path(plain["dest"]).parent) + leftovers(elsewhere) == []
    assert not run(*wished)["changed"]


def test_disk_full(run: Run, server: FaultServer, plain: Options, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system that can be filled")
    try:
        (small / "plain").write_text("old")
        result = run({**plain, "dest": str(small / "plain")})
        assert f"no space left for {plain['url']} in {small} (" in result["msg"]
        assert [path.name for path in small.iterdir()] == ["plain"], "a part fills the disk"
        assert (small / "plain").read_text() == "old"
    finally:
        subprocess.run(["umount", small], check=True)


# rollback and removal ------------------------------------------------------------------------------------------------


def test_when_one_file_cannot_be_moved_the_others_are_put_back(
    run: Run, server: FaultServer, plain: Options, tmp_path: Path
) -> None:
    Path(plain["dest"]).parent.mkdir()
    Path(plain["dest"]).write_text("old")
    (tmp_path / "tree/share/doc.txt").mkdir(parents=True)  # a folder where the archive, not seen before, has a file
    tree = {"url": f"{server.url}/up/tree.tgz", "checksum": sha(TREE), "dest": str(tmp_path / "tree"), "extract": ["*"]}
    result = run(plain, tree)
    assert "doc.txt" in result["msg"]
    assert f"rolled back: install {plain['dest']}" in result["msg"]
    assert Path(plain["dest"]).read_text() == "old"
    assert not (tmp_path / "tree/bin/tool").exists()
    assert "is a folder" in run(plain, tree, check=True)["msg"], "known by now, so refused before anything is touched"
    (tmp_path / "tree/share/doc.txt").rmdir()
    server.requests.clear()
    assert run(plain, tree)["changed"]
    assert not server.requests, "what was downloaded before the failure was kept"
    assert Path(plain["dest"]).read_bytes() == PLAIN


def test_absent_removes_what_was_brought_and_nothing_else(run: Run, server: FaultServer, plain: Options, tmp_path: Path) -> None:
    tree = {"url": f"{server.url}/up/tree.tgz", "dest": str(tmp_path / "out/tree"), "extract": ["*"]}
    run(plain, {**tree, "checksum": sha(TREE)})
    (tmp_path / "out/tree/bin/own").write_text("not ours")
    server.requests.clear()
    predicted = run(plain, tree, state="absent", check=True)
    result = run(plain, tree, state="absent")
    assert predicted["actions"] == result["actions"]
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["tree/bin/own"]
    assert not (tmp_path / "out/tree/share").exists()
    again = run(plain, tree, state="absent")
    assert not again["changed"] and "warnings" not in again, "what came from the archive is known while others' files are there"
    assert not server.requests
    assert not leftovers(tmp_path / "out")
    shutil.rmtree(tmp_path / "out/tree/bin")
    for _time in range(2):
        again = run(plain, tree, state="absent")
        assert not again["changed"] and "warnings" not in again
        assert not (tmp_path / "record.json").exists()


def test_absent_leaves_nothing_in_the_folder_of_the_record(run: Run, plain: Options, tmp_path: Path) -> None:
    """Also when a run was killed before it removed the folders, or the file was removed by somebody else."""
    options = {"record": str(tmp_path / "gpufleet/record.json")}
    file = tmp_path / "gpufleet/role/deep/file"
    wish = {**plain, "dest": str(file)}
    for kill in (lambda: None, lambda: (file.unlink(), file.parent.rmdir()), lambda: shutil.rmtree(tmp_path / "gpufleet/role")):
        assert run(wish, **options)["changed"]
        kill()
        run(wish, state="absent", **options)
        assert not (tmp_path / "gpufleet").exists()


def test_absent_without_a_record_says_what_it_cannot_know(run: Run, tmp_path: Path) -> None:
    (tmp_path / "whose").touch()
    result = run({"url": "https://h/x.tgz", "dest": str(tmp_path), "extract": ["*"]}, state="absent")
    assert not result["changed"]
    assert "is not recorded on this host" in result["warnings"][0]


# bad input -----------------------------------------------------------------------------------------------------------

GOOD = {"url": "https://h/x", "checksum": "0" * 64, "dest": "/nonexistent-root/x"}


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ({"checksum": "sha256:12"}, {}, "artifacts[0].checksum: 'sha256:12' is not a SHA-256"),
        ({"checksum": None}, {}, "artifacts[0].checksum is missing"),
        ({"url": "ftp://h/x"}, {}, "artifacts[0].url: 'ftp://h/x' is not a URL that can be fetched"),
        ({"url": "https://me:secret@h/x"}, {}, "artifacts[0].url carries a user name or password"),
        ({"dest": "relative"}, {}, "artifacts[0].dest: 'relative' is not an absolute path"),
        ({"mode": 755}, {}, "artifacts[0].mode: 755 is not a mode; write it in octal and quoted"),
        ({"owner": "nobody-of-that-name"}, {}, "artifacts[0].owner: this host has no user 'nobody-of-that-name'"),
        ({"extract": []}, {}, "artifacts[0].extract is empty"),
        ({"strip_components": 1}, {}, "artifacts[0].strip_components only has a meaning together with extract"),
        ({"member": "a", "extract": ["b"]}, {}, "mutually exclusive"),
        ({}, {"mirror": "mirror.example"}, "mirror: 'mirror.example' is not a URL that can be fetched"),
    ],
)
def test_bad_input_is_refused(run: Run, entry: Options, options: Options, message: str) -> None:
    result = run({**GOOD, **entry}, **options)
    assert result["failed"]
    assert message in result["msg"]
    assert "secret" not in result["msg"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_destination_that_cannot_be_looked_at(run: Run, plain: Options, tmp_path: Path, state: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    result = run({**plain, "dest": str(tmp_path / "loop")}, state=state)
    assert f"{tmp_path}/loop: cannot be looked at: Too many levels of symbolic links; correct `dest`" in result["msg"]


def test_two_artifacts_for_one_file_are_refused(run: Run, plain: Options) -> None:
    result = run(plain, {**plain, "url": plain["url"] + "2"})
    assert f"{plain['dest']} is the destination of two artifacts: {plain['url']} and {plain['url']}2" in result["msg"]
