# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import http.server
import json
import ssl
import subprocess
import tarfile
import threading
import typing as t
import urllib.request
from io import BytesIO
from pathlib import Path

import pytest
from bedlib import images, mirror
from bedlib.build import Builder
from bedlib.table import File, Image, Program, Table
from bedlib.work import BedError

SUM = "a" * 64
OTHER = "b" * 64


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (f"{SUM}\n", SUM),
        (SUM.upper(), SUM),
        (f"{OTHER}  other\n{SUM}  file\n", SUM),
        (f"{SUM} *file\n", SUM),
        (f"-----BEGIN PGP SIGNED MESSAGE-----\n\n{OTHER}  file.asc\n{SUM}  file\n", SUM),
        (f"{OTHER}  other\n", None),
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_a_sum_is_found_in_every_form_that_projects_publish(listing: str, expected: str | None) -> None:
    assert mirror.checksum_in(listing, "file") == expected


def test_hosts_that_do_not_answer_are_not_reachable() -> None:
    assert mirror.reachable({"host.invalid"}) == set()


def test_an_archive_is_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    paths = {}
    for name, mode in (("b", 0o700), ("a", 0o400)):
        paths[f"bin/{name}"] = tmp_path / name
        paths[f"bin/{name}"].write_text(name)
        paths[f"bin/{name}"].chmod(mode)
    first = mirror.archive(paths)
    paths["bin/a"].touch()
    assert mirror.archive(dict(reversed(paths.items()))) == first
    with tarfile.open(fileobj=BytesIO(first)) as tar:
        assert [(info.name, info.mode, info.uid) for info in tar] == [("bin/a", 0o644, 0), ("bin/b", 0o755, 0)]


def test_a_debian_package_is_one(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    package = tmp_path / "tool.deb"
    control = {"Package": "tool", "Version": "1.0-1", "Architecture": "all", "Maintainer": "nobody", "Description": "a tool"}
    package.write_bytes(mirror.deb(control, {"usr/bin/tool": tmp_path / "tool"}))
    told = subprocess.run(["dpkg-deb", "--field", package, "Version"], capture_output=True, text=True, check=True)
    held = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True)
    assert told.stdout == "1.0-1\n" and held.stdout.rstrip().endswith("./usr/bin/tool")


class Built:
    """A Builder whose programs are files that are there already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = "1"
        self.asked: list[str] = []

    def binary(self, name: str) -> Path:
        self.asked.append(name)
        path = self.folder / name.replace("/", "-")
        path.write_text(f"{name} {self.recipe}")
        return path

    def key(self, name: str) -> str:
        return f"{name} {self.recipe}"


FILE = File(url="https://x.io/v1/p", program="p/p")
PLACE = "x.io/v1/p"


def test_a_file_is_built_once_and_again_when_its_recipe_changes(cache: Path, tmp_path: Path) -> None:
    builder = Built(tmp_path)
    mirror.fill([FILE], builder, online=False)  # type: ignore[arg-type]
    mirror.fill([FILE], builder, online=False)  # type: ignore[arg-type]
    assert builder.asked == ["p/p"]
    content = (cache / "mirror" / PLACE).read_bytes()
    assert (cache / "mirror" / f"{PLACE}.sha256").read_text() == f"{hashlib.sha256(content).hexdigest()}  p\n"
    assert not mirror.released(FILE)

    builder.recipe = "2"
    mirror.fill([FILE], builder, online=False)  # type: ignore[arg-type]
    assert (cache / "mirror" / PLACE).read_text() == "p/p 2"


@pytest.mark.parametrize("lost", [f"mirror/{PLACE}", f"mirror/{PLACE}.sha256", f"sources/{PLACE}.json"])
def test_a_run_that_was_killed_half_way_is_made_good(cache: Path, tmp_path: Path, lost: str) -> None:
    builder = Built(tmp_path)
    mirror.fill([FILE], builder, online=False)  # type: ignore[arg-type]
    (cache / lost).unlink()
    mirror.fill([FILE], builder, online=False)  # type: ignore[arg-type]
    assert all((cache / name).is_file() for name in (f"mirror/{PLACE}", f"mirror/{PLACE}.sha256", f"sources/{PLACE}.json"))
    assert not list((cache / "tmp").iterdir())


class Releases:
    """A project's download site: HTTPS, with what `files` holds now."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, bytes] = {}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = site.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
        subprocess.run([*make, *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.certificate = certificate
        self.server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def file(self) -> File:
        url = f"https://localhost:{self.server.server_port}/v1/p"
        return File(url=url, checksum=f"{url}.sha256", program="p/p")


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Releases]:
    made = Releases(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setattr(urllib.request, "_opener", None)  # Ansible's open_url installs one of its own for the whole process
    monkeypatch.setattr(mirror, "PROBE", 60.0)  # a busy machine is not an unreachable one
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_release_comes_before_a_build(cache: Path, tmp_path: Path, releases: Releases) -> None:
    builder, entry = Built(tmp_path), releases.file()
    releases.files = {"/v1/p": b"released", "/v1/p.sha256": hashlib.sha256(b"released").hexdigest().encode()}
    mirror.fill([entry], builder, online=True)  # type: ignore[arg-type]
    place = cache / "mirror" / entry.url.removeprefix("https://")
    assert (place.read_bytes(), builder.asked, mirror.released(entry)) == (b"released", [], True)
    builder.recipe = "2"  # nothing that concerns a release
    mirror.fill([entry], builder, online=True)  # type: ignore[arg-type]
    assert builder.asked == []


@pytest.mark.parametrize("listing", [OTHER, "no sum here"])
def test_a_release_that_is_not_what_its_project_says_is_an_error(
    cache: Path, tmp_path: Path, releases: Releases, listing: str
) -> None:
    builder, entry = Built(tmp_path), releases.file()
    releases.files = {"/v1/p": b"released", "/v1/p.sha256": listing.encode()}
    with pytest.raises(BedError, match=r"its SHA-256 is .* but .*\.sha256 says b+; kept nothing|holds no SHA-256 of p"):
        mirror.fill([entry], builder, online=True)  # type: ignore[arg-type]
    assert builder.asked == []
    assert not (cache / "mirror").exists()


@pytest.mark.parametrize("there", [{}, {"/v1/p": b"released"}])
def test_what_a_project_does_not_publish_is_built(
    cache: Path, tmp_path: Path, releases: Releases, there: dict[str, bytes]
) -> None:
    builder, entry = Built(tmp_path), releases.file()
    releases.files = there
    mirror.fill([entry], builder, online=True)  # type: ignore[arg-type]
    assert (builder.asked, mirror.released(entry)) == (["p/p"], False)


def test_offline_nobody_is_asked(cache: Path, tmp_path: Path, releases: Releases) -> None:
    builder, entry = Built(tmp_path), releases.file()
    releases.files = {"/v1/p": b"released", "/v1/p.sha256": hashlib.sha256(b"released").hexdigest().encode()}
    mirror.fill([entry], builder, online=False)  # type: ignore[arg-type]
    assert builder.asked == ["p/p"]


def test_an_image_lies_as_the_registry_reads_it(cache: Path, tmp_path: Path) -> None:
    builder, image = Built(tmp_path), Image(ref="r.io/a/b:v1", files={"/usr/bin/p": "p/p"}, entrypoint=["/usr/bin/p"], user="1:1")
    images.fill([image], builder, "node", online=False)  # type: ignore[arg-type]
    storage = cache / "registry" / "docker" / "registry" / "v2"
    repository = storage / "repositories" / "a" / "b"

    def blob(digest: str) -> bytes:
        content = (storage / "blobs" / "sha256" / digest[7:9] / digest[7:] / "data").read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return content

    digest = (repository / "_manifests" / "tags" / "v1" / "current" / "link").read_text()
    manifest = json.loads(blob(digest))
    config = json.loads(blob(manifest["config"]["digest"]))
    layer = blob(manifest["layers"][0]["digest"])
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert (config["config"]["Entrypoint"], config["config"]["User"]) == (["/usr/bin/p"], "1:1")
    assert manifest["layers"][0]["size"] == len(layer)
    for part in (manifest["config"], *manifest["layers"]):
        assert (repository / "_layers" / part["digest"].replace(":", "/") / "link").read_text() == part["digest"]
    with tarfile.open(fileobj=BytesIO(layer)) as tar:
        assert [(info.name, info.mode) for info in tar] == [
            ("tmp", 0o1777),
            ("usr", 0o755),
            ("usr/bin", 0o755),
            ("usr/bin/p", 0o755),
        ]

    images.fill([image], builder, "node", online=False)  # type: ignore[arg-type]
    assert builder.asked == ["p/p"]
    builder.recipe = "2"
    images.fill([image], builder, "node", online=False)  # type: ignore[arg-type]
    assert (repository / "_manifests" / "tags" / "v1" / "current" / "link").read_text() != digest


def test_an_image_holds_scripts_of_the_test_bed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, image = Built(tmp_path), Image(ref="r.io/a/b:v1", scripts={"/usr/bin/train": "train.py"})
    monkeypatch.setattr(images, "HERE", tmp_path)
    tags = cache / "registry/docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link"
    found = set()
    for content in ("one", "one", "two"):
        (tmp_path / "train.py").write_text(content)
        images.fill([image], builder, "node", online=False)  # type: ignore[arg-type]
        found.add(tags.read_text())
    assert len(found) == 2  # made anew when its content changed, and only then


def test_a_build_has_a_new_place_when_its_recipe_changes(cache: Path) -> None:
    def key(**changes: object) -> str:
        program = Program(name="runc", packages={"runc": "github.com/opencontainers/runc"}, module="runc", **changes)  # type: ignore[arg-type]
        return Builder(Table({}, {"runc": program}, [], [])).key("runc/runc")

    assert key() == key()
    assert len({key(), key(tags=["seccomp"]), key(stamp={"v": "1"}), key(cgo=True)}) == 4
