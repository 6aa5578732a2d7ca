# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves a pinned version: `python3 tools/bump.py containerd 2.3.7`, without arguments it shows what is pinned.

It reads the sums that the project publishes beside its files, for every architecture. Only then it rewrites defaults/main.yml,
meta/argument_specs.yml, README.md and vars/main/checksums.yml of the role that pins, and the version in
tests/testbed/artifacts.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import typing as t
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("amd64", "arm64")
TIMEOUT = 30  # seconds
SHA256 = re.compile(r"[0-9a-f]{64}")


class BumpError(Exception):
    """Nothing was changed; the message says why."""


@dataclass(frozen=True)
class Pin:
    """{v} is the version, {a} the architecture, {f} the file, {url} the file's URL.

    `sums`: URL of the checksum file; without one the file itself is fetched and summed.
    `entry`: where the sum of a file is in checksums.yml, for example containerd__sums/containerd/{v}/{a}.
    """

    role: str
    variable: str
    url: str
    sums: str
    entry: str
    files: tuple[str, ...] = ("",)
    testbed: str = ""  # its name in artifacts.toml


GITHUB = "https://github.com"
RAW = "https://raw.githubusercontent.com"
PINS = {
    "containerd": Pin(
        "containerd",
        "containerd_version",
        GITHUB + "/containerd/containerd/releases/download/v{v}/containerd-{v}-linux-{a}.tar.gz",
        "{url}.sha256sum",
        "containerd__sums/containerd/{v}/{a}",
        testbed="containerd",
    ),
    "runc": Pin(
        "containerd",
        "containerd_runc_version",
        GITHUB + "/opencontainers/runc/releases/download/v{v}/runc.{a}",
        GITHUB + "/opencontainers/runc/releases/download/v{v}/runc.sha256sum",
        "containerd__sums/runc/{v}/{a}",
        testbed="runc",
    ),
    "cni-plugins": Pin(
        "containerd",
        "containerd_cni_plugins_version",
        GITHUB + "/containernetworking/plugins/releases/download/v{v}/cni-plugins-linux-{a}-v{v}.tgz",
        "{url}.sha256",
        "containerd__sums/cni_plugins/{v}/{a}",
        testbed="cni",
    ),
    "crictl": Pin(
        "containerd",
        "containerd_crictl_version",
        GITHUB + "/kubernetes-sigs/cri-tools/releases/download/v{v}/crictl-v{v}-linux-{a}.tar.gz",
        "{url}.sha256",
        "containerd__sums/crictl/{v}/{a}",
        testbed="crictl",
    ),
    "kubernetes": Pin(
        "kubeadm",
        "kubeadm_version",
        "https://dl.k8s.io/release/v{v}/bin/linux/{a}/{f}",
        "{url}.sha256",
        "kubeadm__checksums/{v}/{a}/{f}",
        ("kubeadm", "kubelet", "kubectl"),
        testbed="kubernetes",
    ),
    "flannel": Pin(
        "flannel",
        "flannel_version",
        RAW + "/flannel-io/flannel/v{v}/Documentation/kube-flannel.yml",
        "",
        "flannel__sums/{v}",
        testbed="flannel",
    ),
    "mpi-operator": Pin(  # with --keep, for 0.2.3
        "mpi_operator",
        "mpi_operator_version",
        RAW + "/kubeflow/mpi-operator/v{v}/deploy/v2beta1/mpi-operator.yaml",
        "",
        "mpi_operator__sums/{v}",
        testbed="mpi_operator",
    ),
    "argo-workflows": Pin(
        "argo_workflows",
        "argo_workflows_version",
        RAW + "/argoproj/argo-workflows/v{v}/manifests/{f}.yaml",
        "",
        "argo_workflows__sums/{v}/{f}",
        tuple(
            next(
                iter(
                    yaml.safe_load((ROOT / "roles/argo_workflows/vars/main/checksums.yml").read_text())[
                        "argo_workflows__sums"
                    ].values()
                )
            )
        ),
        testbed="argo_workflows",
    ),
}


def fetch(url: str, mirror: str) -> bytes:
    """What a URL serves, from a mirror where one is given. Raises BumpError."""
    parts = urlsplit(url)
    source = f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}" if mirror else url
    try:
        with urllib.request.urlopen(source, timeout=TIMEOUT) as response:  # noqa: S310 - the URLs above, or the user's mirror
            return bytes(response.read())
    except (OSError, ValueError) as error:
        hint = "; is that a released version?" if isinstance(error, urllib.error.HTTPError) and error.code == 404 else ""
        raise BumpError(f"cannot fetch {source}: {error}{hint}") from error


def sum_in(text: str, url: str, source: str) -> str:
    """The sum of `url`'s file in a checksum file: a bare sum, or lines of `SUM  NAME`. Raises BumpError."""
    name = url.rpartition("/")[2]
    for line in text.splitlines():
        words = line.split()
        if words and SHA256.fullmatch(words[0].lower()) and (len(words) == 1 or words[-1].lstrip("*").rpartition("/")[2] == name):
            return words[0].lower()
    raise BumpError(f"{source} has no SHA-256 for {name}")


def sums_of(pin: Pin, version: str, mirror: str) -> dict[tuple[str, ...], str]:
    """Path in checksums.yml -> sum, for all files of all architectures. Raises BumpError."""
    found: dict[tuple[str, ...], str] = {}
    for architecture in ARCHITECTURES:
        for file in pin.files:
            names = {"v": version, "a": architecture, "f": file}
            url = pin.url.format(**names)
            path = tuple(part.format(**names) for part in pin.entry.split("/"))  # split first: a version may not hold a slash
            if path in found:
                continue  # the same file for every architecture
            if pin.sums:
                source = pin.sums.format(url=url, **names)
                found[path] = sum_in(fetch(source, mirror).decode(errors="replace"), url, source)
            else:
                found[path] = hashlib.sha256(fetch(url, mirror)).hexdigest()
    return found


def with_sums(text: str, entry: str, sums: t.Mapping[tuple[str, ...], str], keep: bool) -> str:
    """checksums.yml with these sums in, newest version first; other versions of the same file go unless `keep`."""
    comment = re.match(r"(?:---\n)?(?:#.*\n)*", text)
    document = yaml.safe_load(text) or {}
    depth = entry.split("/").index("{v}")
    versions = document
    for part in next(iter(sums))[:depth]:
        versions = versions.setdefault(part, {})
    old = dict(versions) if keep else {}
    versions.clear()
    for path, value in sums.items():
        branch = versions
        for part in path[depth:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    versions.update({version: entry for version, entry in old.items() if version not in versions})
    return (comment.group() if comment else "") + yaml.safe_dump(document, sort_keys=False, width=200)


def replaced(text: str, pattern: str, replacement: str, where: str) -> str:
    """`text` with the one match of `pattern` replaced. Raises BumpError when it is not there, so that nothing is half done."""
    result, count = re.subn(pattern, lambda match: match.expand(replacement), text, flags=re.M)
    if count != 1:
        raise BumpError(f"{where}: expected one line like {pattern!r}, found {count}")
    return result


def bump(root: Path, name: str, version: str, mirror: str = "", keep: bool = False) -> list[Path]:
    """Moves one pin and returns the files that changed. Raises BumpError before it writes anything."""
    pin = PINS[name]
    number = version.removeprefix("v")
    if not re.fullmatch(r"\d+\.\d+\.\d+(?:[-.+][0-9A-Za-z.-]+)?", number):
        raise BumpError(f"{version!r} is not a version such as 1.2.3")
    sums = sums_of(pin, number, mirror)
    role = root / "roles" / pin.role
    value = r"(?:\"|')?\d[^\s`\"']*(?:\"|')?"
    edits: list[tuple[Path, t.Callable[[str], str]]] = [
        (role / "defaults/main.yml", lambda text: replaced(text, rf"^({pin.variable}:) {value}", rf"\1 {number}", pin.variable)),
        (
            role / "meta/argument_specs.yml",  # eight spaces or more: lines of the same option
            lambda text: replaced(
                text, rf"^( +{pin.variable}:\n(?: {{8,}}.*\n)*? +default:) {value}", rf"\1 {number}", pin.variable
            ),
        ),
        (role / "vars/main/checksums.yml", lambda text: with_sums(text, pin.entry, sums, keep)),
        (
            role / "README.md",
            lambda text: re.sub(rf"^(\| `{pin.variable}` \| `){value}", rf"\g<1>{number}", text, flags=re.M),
        ),
        (
            root / "tests/testbed/artifacts.toml",
            lambda text: replaced(text, rf'^({pin.testbed} = )"v[^"]+"', rf'\1"v{number}"', pin.testbed),
        ),
    ]
    texts = {path: (path.read_text(), edit(path.read_text())) for path, edit in edits if path.exists()}
    changed = [path for path, (before, after) in texts.items() if before != after]
    for path in changed:
        path.write_text(texts[path][1])
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(PINS))
    parser.add_argument("version", nargs="?")
    parser.add_argument("--keep", action="store_true", help="keep the sums of the versions that were pinned before")
    parser.add_argument("--mirror", default="", help="fetch https://HOST/PATH from MIRROR/HOST/PATH")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.name is None or options.version is None:
        for name, pin in PINS.items():
            defaults = yaml.safe_load((options.root / "roles" / pin.role / "defaults/main.yml").read_text())
            sys.stdout.write(f"{name:12} {defaults[pin.variable]:10} {pin.variable}\n")
        return 0
    try:
        changed = bump(options.root, options.name, options.version, options.mirror, options.keep)
    except BumpError as error:
        sys.stderr.write(f"{error}\nNothing was changed.\n")
        return 1
    for path in changed:
        sys.stdout.write(f"{path.relative_to(options.root)}\n")
    if any(path.name == "artifacts.toml" for path in changed):
        sys.stdout.write("The test bed builds what it cannot download: move its Go module below tests/testbed/go too.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
