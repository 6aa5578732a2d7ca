# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry's storage: images under their original repository paths, copied from upstream or built.

The images are written as the registry lays them out on disk (blobs by digest, links for tags), so that filling it needs
no running registry; sites serve it read-only.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from . import host, job_image, mirror, node_image
from .build import Builder
from .table import ARCH, Image, needs
from .work import CLOCK, HERE, BedError, beating, cache, run, say, scratch, write_atomic

RECIPE = "gpufleet.testbed.recipe"  # label on built images: what they were built from
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"  # not compressed: nobody pays for gzip on a bridge inside one machine


def root() -> Path:
    return cache() / "registry"


def fill(images: list[Image], builder: Builder, node: str, online: bool) -> None:
    missing = [image for image in images if not _current(image, builder, node)]
    if not missing:
        say(f"registry: all {len(images)} images are there")
        return
    with CLOCK.phase("reach the registries"):
        there = mirror.reachable({_api_host(image.host) for image in missing}) if online else set()
    if there:
        host.ensure(host.COPY)
    bases: dict[str, bytes] = {}
    for image in missing:
        official = _api_host(image.host) in there and _copy(image)
        if not official:
            _build(image, builder, node, bases)
        say(f"registry: {image.ref} ({'release' if official else 'built'})")


def _api_host(name: str) -> str:
    return "registry-1.docker.io" if name == "docker.io" else name


def _storage() -> Path:
    return root() / "docker" / "registry" / "v2"


def _blob(digest: str) -> Path:
    value = digest.removeprefix("sha256:")
    return _storage() / "blobs" / "sha256" / value[:2] / value / "data"


def _store(content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if not _blob(digest).exists():
        write_atomic(_blob(digest), content)
    return digest


def _publish(image: Image, manifest: bytes) -> None:
    """Links the image's blobs into its repository; the tag comes last."""
    described = json.loads(manifest)
    repository = _storage() / "repositories" / image.repository
    digest = _store(manifest)
    for blob in (described["config"]["digest"], *(layer["digest"] for layer in described["layers"])):
        write_atomic(repository / "_layers" / blob.replace(":", "/") / "link", blob)
    write_atomic(repository / "_manifests" / "revisions" / digest.replace(":", "/") / "link", digest)
    tag = repository / "_manifests" / "tags" / image.tag
    write_atomic(tag / "index" / digest.replace(":", "/") / "link", digest)
    write_atomic(tag / "current" / "link", digest)


def _recipe(image: Image, builder: Builder, node: str) -> str:
    base = job_image.recipe() if image.base == "mpi" else node_image.base_recipe(image.base, node) if image.base else []
    scripts = [(HERE / name).read_text() for name in image.scripts.values()]
    parts = [str(image), base, scripts, *image.env, *(builder.key(name) for name in needs(image))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _current(image: Image, builder: Builder, node: str) -> bool:
    link = _storage() / "repositories" / image.repository / "_manifests" / "tags" / image.tag / "current" / "link"
    try:
        config = json.loads(_blob(link.read_text()).read_bytes())["config"]["digest"]
        labels = json.loads(_blob(config).read_bytes())["config"].get("Labels") or {}
    except FileNotFoundError:
        return False
    return labels.get(RECIPE) in (None, _recipe(image, builder, node))  # without the label it is upstream's own


def _copy(image: Image) -> bool:
    with CLOCK.phase("copy images"), scratch("image") as work:
        with beating(f"registry: {image.ref}", lambda: f"{sum(path.stat().st_size for path in work.glob('*')) >> 20} MiB so far"):
            done = run(["skopeo", "copy", f"docker://{image.ref}", f"dir:{work}"], check=False)
        if done.returncode:
            say(f"registry: {image.ref}: {done.stderr.decode(errors='replace').strip()[-300:]}; building instead")
            return False
        for path in work.iterdir():
            if path.name not in ("manifest.json", "version"):
                _store(path.read_bytes())
        _publish(image, (work / "manifest.json").read_bytes())
    return True


def _build(image: Image, builder: Builder, node: str, bases: dict[str, bytes]) -> None:
    made = {path: builder.binary(need) for path, need in image.files.items()}
    made |= {path: HERE / name for path, name in image.scripts.items()}
    if image.base and image.base not in bases:
        with CLOCK.phase("image bases"):
            bases[image.base] = job_image.layer() if image.base == "mpi" else node_image.base_layer(image.base, node)
    with CLOCK.phase("build images"):
        layers = [bases[image.base]] if image.base else []
        if made:
            layers.append(_layer(made))
        if image.python:
            layers.append(_python(image.python))
        if not layers:
            raise BedError(f"image {image.ref} has neither a base nor content: correct artifacts.toml")
        settings = {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *image.env],
            "Entrypoint": image.entrypoint or None,
            "Cmd": image.cmd or None,
            "User": image.user,
            "Labels": {RECIPE: _recipe(image, builder, node)},
        }
        config = {
            "architecture": ARCH,
            "os": "linux",
            "config": {key: value for key, value in settings.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
            "history": [{"created_by": "gpufleet.k8s test bed"}] * len(layers),
        }
        packed = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(packed), "digest": _store(packed)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": _store(layer)} for layer in layers],
        }
        _publish(image, json.dumps(manifest).encode())


def _python(requirements: list[str]) -> bytes:
    with scratch("python") as work:
        job_image.install(requirements, work / "root")
        job_image.pack(work / "root", work / "layer.tar")
        return (work / "layer.tar").read_bytes()


def _layer(files: dict[str, Path]) -> bytes:
    """A tar of executables and their parent folders, and /tmp; the same bytes for the same content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folders = {str(parent).lstrip("/") for path in files for parent in Path(path).parents} - {""}
        for folder in sorted(folders | {"tmp"}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(info)
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = content.stat().st_size, 0o755
            with content.open("rb") as stream:
                tar.addfile(info, stream)
    return packed.getvalue()
