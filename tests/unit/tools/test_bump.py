# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/bump.py on a copy of the roles, against a server that publishes sums as the projects do."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BUMP = ROOT / "tools" / "bump.py"
GITHUB = "github.com/containerd/containerd/releases/download"


@pytest.fixture(name="tree")
def tree_fixture(tmp_path):
    """A checkout with what bump.py touches."""
    tree = tmp_path / "tree"
    for part in ("roles/containerd", "roles/kubeadm", "roles/flannel"):
        shutil.copytree(ROOT / part, tree / part)
    (tree / "tests/testbed").mkdir(parents=True)
    shutil.copy(ROOT / "tests/testbed/artifacts.toml", tree / "tests/testbed")
    return tree


@pytest.fixture(name="site")
def site_fixture(tmp_path):
    """A folder and the URL at which it is served."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def publish(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def bump(tree, *arguments):
    return subprocess.run(
        [sys.executable, str(BUMP), "--root", str(tree), *arguments], capture_output=True, text=True, check=False
    )


def contents(tree):
    return {path: path.read_text() for path in tree.rglob("*") if path.is_file()}


def test_without_arguments_it_shows_the_pins():
    done = bump(ROOT)
    version = yaml.safe_load((ROOT / "roles/containerd/defaults/main.yml").read_text())["containerd_version"]
    assert f"containerd   {version}" in done.stdout


@pytest.mark.parametrize("keep", [False, True])
def test_version_and_sums_move_together_everywhere(tree, site, keep):
    folder, mirror = site
    old = yaml.safe_load((tree / "roles/containerd/defaults/main.yml").read_text())["containerd_version"]
    names = [f"containerd-9.8.7-linux-{architecture}.tar.gz" for architecture in ("amd64", "arm64")]
    for name in names:
        publish(folder, f"{GITHUB}/v9.8.7/{name}.sha256sum", f"{digest(name)}  {name}\n")
    before = contents(tree)
    done = bump(tree, "--mirror", mirror, *(["--keep"] if keep else []), "containerd", "v9.8.7")
    assert done.returncode == 0, done.stderr

    role = tree / "roles/containerd"
    assert yaml.safe_load((role / "defaults/main.yml").read_text())["containerd_version"] == "9.8.7"
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert options["containerd_version"]["default"] == "9.8.7"
    sums = yaml.safe_load((role / "vars/main/checksums.yml").read_text())["containerd__sums"]
    assert sums["containerd"]["9.8.7"] == {"amd64": digest(names[0]), "arm64": digest(names[1])}
    assert list(sums["containerd"]) == (["9.8.7", old] if keep else ["9.8.7"])
    assert "| `containerd_version` | `9.8.7` |" in (role / "README.md").read_text()
    assert '\ncontainerd = "v9.8.7"\n' in (tree / "tests/testbed/artifacts.toml").read_text()

    # Nothing else moved: undoing the version gives the old files back, and the other sums and the comments are still there.
    checksums = role / "vars/main/checksums.yml"
    after = contents(tree)
    assert {path: text.replace("9.8.7", old) for path, text in after.items() if path != checksums} == {
        path: text for path, text in before.items() if path != checksums
    }
    assert {**sums, "containerd": None} == {**yaml.safe_load(before[checksums])["containerd__sums"], "containerd": None}
    assert after[checksums].partition("containerd__sums:")[0] == before[checksums].partition("containerd__sums:")[0]


def test_several_files_and_bare_sums(tree, site):
    folder, mirror = site
    for architecture in ("amd64", "arm64"):
        for name in ("kubeadm", "kubelet", "kubectl"):
            publish(folder, f"dl.k8s.io/release/v9.8.7/bin/linux/{architecture}/{name}.sha256", digest(name + architecture))
    role = tree / "roles/kubeadm"
    done = bump(tree, "--mirror", mirror, "kubernetes", "9.8.7")
    assert done.returncode == 0, done.stderr
    sums = yaml.safe_load((role / "vars/main/checksums.yml").read_text())["kubeadm__checksums"]
    assert sums["9.8.7"]["arm64"]["kubelet"] == digest("kubeletarm64")
    assert sums["9.8.7"]["amd64"] == {name: digest(name + "amd64") for name in ("kubeadm", "kubelet", "kubectl")}


@pytest.mark.parametrize(
    ("arguments", "published", "message"),
    [
        (["containerd", "9.8.7"], {}, "404"),
        (
            ["containerd", "9.8.7"],
            {"amd64": "no sum at all\n", "arm64": ""},
            "has no SHA-256 for containerd-9.8.7-linux-amd64.tar.gz",
        ),
        (
            ["containerd", "9.8.7"],
            {"amd64": f"{'0' * 64}  another-file\n"},
            "has no SHA-256 for containerd-9.8.7-linux-amd64.tar.gz",
        ),
        (["containerd", "9.8.7"], {"amd64": "0" * 64}, "404"),  # one architecture is not enough
        (["containerd", "latest"], {}, "'latest' is not a version such as 1.2.3"),
        (["containerd", "../9.8.7"], {}, "is not a version such as 1.2.3"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_changed(tree, site, arguments, published, message):
    folder, mirror = site
    for architecture, text in published.items():
        publish(folder, f"{GITHUB}/v9.8.7/containerd-9.8.7-linux-{architecture}.tar.gz.sha256sum", text)
    before = contents(tree)
    done = bump(tree, "--mirror", mirror, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Nothing was changed." in done.stderr
    assert contents(tree) == before
