# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
from bedlib import table
from bedlib.work import HERE, BedError


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubeadm", "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubeadm"),
        ("https://mirror.example:8443/a/b.tgz", "mirror.example:8443/a/b.tgz"),
    ],
)
def test_a_file_lies_under_its_host_and_path(url: str, place: str) -> None:
    assert table.mirror_path(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "http://dl.k8s.io/kubeadm",
        "https:///kubeadm",
        "https://dl.k8s.io/",
        "https://dl.k8s.io",
        "https://dl.k8s.io/a//b",
        "https://dl.k8s.io/../b",
        "https://dl.k8s.io/a/./b",
        "https://dl.k8s.io/a?b=c",
        "https://dl.k8s.io/a#b",
    ],
)
def test_what_has_no_place_in_a_mirror_is_refused(url: str) -> None:
    with pytest.raises(BedError, match=r"https://|must name a file"):
        table.mirror_path(url)


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "artifacts.toml"
    path.write_text(content)
    return path


HEAD = '[versions]\na = "v1.2.3"\n[program.p]\npackages.p = "example.org/p"\n'


def test_one_entry_for_many_files(tmp_path: Path) -> None:
    file = '[[file]]\nurl = "https://x.io/{a}/{each}.yml"\nmodule_file = "m: example.org/m: {each}.yml"\neach = ["b/c", "d"]\n'
    loaded = table.load(written(tmp_path, HEAD + file + '[[image]]\nref = "r.io/p:{a}"\n'))
    assert [(entry.url, entry.module_file) for entry in loaded.files] == [
        ("https://x.io/v1.2.3/b/c.yml", "m: example.org/m: b/c.yml"),
        ("https://x.io/v1.2.3/d.yml", "m: example.org/m: d.yml"),
    ]


def test_versions_and_arch_are_filled_in(tmp_path: Path) -> None:
    file = '[[file]]\nurl = "https://x.io/{a}/p-{a.number}-{a.major}.{a.minor}-{arch}"\nprogram = "p/p"\n'
    loaded = table.load(written(tmp_path, HEAD + file + '[[image]]\nref = "r.io/p:{a}"\n'), "arm64")
    assert loaded.files[0].url == "https://x.io/v1.2.3/p-1.2.3-1.2-arm64"
    image = loaded.images[0]
    assert (image.host, image.repository, image.tag) == ("r.io", "p", "v1.2.3")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('[[file]]\nurl = "https://x.io/{b}"\nprogram = "p/p"', r"names \{b\}"),
        ('[[file]]\nurl = "https://x.io/{a.patch}"\nprogram = "p/p"', r"names \{a.patch\}"),
        ('[[file]]\nurl = "https://x.io/{}"\nprogram = "p/p"', r"names \{\}"),
        ('[[file]]\nurl = "https://x.io/a"', "exactly one of program, archive, module_file"),
        ('[[file]]\nurl = "https://x.io/a"\nprogram = "p/p"\nmodule_file = "p: m: f"', "exactly one of"),
        ('[[file]]\nurl = "https://x.io/a"\nprogram = "p/q"', "'p/q' is not PROGRAM/BINARY"),
        ('[[file]]\nurl = "https://x.io/a"\narchive.x = "q/q"', "'q/q' is not PROGRAM/BINARY"),
        ('[[file]]\nurl = "https://x.io/a"\nprogram = "p/p"\n' * 2, "https://x.io/a stands there twice"),
        ('[[file]]\nurl = "https://x.io/a"\nprogramme = "p/p"', "programme"),
        ('[[image]]\nref = "busybox:1"', "'busybox:1' is not HOST/REPOSITORY:TAG"),
        ('[[image]]\nref = "r.io/p:1"\nbase = "alpine"', "unknown base 'alpine'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: str, message: str) -> None:
    rest = "" if "[[image]]" in entry else "\n[[image]]\nref = 'r.io/p:1'"
    rest += "" if "[[file]]" in entry else "\n[[file]]\nurl = 'https://x.io/z'\nprogram = 'p/p'"
    with pytest.raises(BedError, match=message):
        table.load(written(tmp_path, HEAD + entry + rest))


LOADED = table.load(arch="amd64")
# The module of each program whose version upstream's URL or tag names: what is built must be what the name says.
MODULES = {
    "kubernetes": ("kubernetes", "k8s.io/kubernetes"),
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "coredns": ("coredns", "github.com/coredns/coredns"),
    "containerd": ("containerd", "github.com/containerd/containerd/v2"),
    "runc": ("runc", "github.com/opencontainers/runc"),
    "cni": ("cni-plugins", "github.com/containernetworking/plugins"),
    "crictl": ("cri-tools", "sigs.k8s.io/cri-tools"),
    "flannel": ("flannel", "github.com/flannel-io/flannel"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_build_is_of_the_version_that_its_name_says(name: str) -> None:
    folder, module = MODULES[name]
    required = re.search(
        rf"^(?:require)?\s*{re.escape(module)} (v\S+)", (HERE / "go" / folder / "go.mod").read_text(), re.MULTILINE
    )
    assert required is not None
    assert required[1] == LOADED.versions[name]


@pytest.mark.parametrize(
    "program", [program for program in LOADED.programs.values() if not program.c_source], ids=lambda p: p.name
)
def test_each_program_has_a_module_with_sums_that_knows_its_packages(program: table.Program) -> None:
    folder = HERE / "go" / program.module
    module = (folder / "go.mod").read_text()
    assert (folder / "go.sum").stat().st_size > 0
    for package in program.packages.values():
        assert package == "." or re.search(rf"^(tool |\t){re.escape(package)}$", module, re.MULTILINE)


def test_every_image_of_flannels_manifest_and_of_kubeadm_is_there() -> None:
    repositories = {f"{image.host}/{image.repository}" for image in LOADED.images}
    kubernetes = {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "pause", "coredns/coredns"}
    assert repositories >= {f"registry.k8s.io/{name}" for name in kubernetes}
    assert repositories >= {"ghcr.io/flannel-io/flannel", "ghcr.io/flannel-io/flannel-cni-plugin"}


def test_a_part_is_made_only_when_asked_for(tmp_path: Path) -> None:
    file = '[[file]]\nurl = "https://x.io/{}"\nprogram = "p/p"\n'
    loaded = table.load(
        written(
            tmp_path, HEAD + file.format("a") + file.format("b") + 'part = "jobs"\n[[image]]\nref = "r.io/p:{a}"\npart = "mig"\n'
        )
    )
    assert loaded.parts() == ["jobs", "mig"]
    for parts, files, images in (([], 1, 0), (["jobs"], 2, 0), (["jobs", "mig"], 2, 1)):
        made = loaded.only(parts)
        assert (len(made.files), len(made.images)) == (files, images)
    with pytest.raises(BedError, match=r"no such part: gpu; there are: jobs, mig"):
        loaded.only(["gpu"])


@pytest.mark.parametrize("script", ["training/resnet50", "mpi-pi/pi"])
def test_programs_of_images_are_python(script: str) -> None:
    compile((HERE / script).read_text(), script, "exec")  # no name ends with .py, so that no linter looks
