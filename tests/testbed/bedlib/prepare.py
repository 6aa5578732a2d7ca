# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bed prepare`: everything that sites are made from, kept in the cache."""

from __future__ import annotations

import shutil
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import host, images, job_image, mirror, node_image, table
from .build import Builder
from .table import Table
from .work import CLOCK, cache, ending_others, lock, run_long, scratch, sweep_scratch

MOTO = "5.2.5"
NODE_PYTHON = "3.11"  # bookworm's: moto runs in a container of the node image


@dataclass(frozen=True)
class Prepared:
    table: Table
    registry: Path  # the registry's binary
    image: str  # the node image
    released: bool  # every file in the mirror is upstream's own, so that pinned sums hold


def moto_folder() -> Path:
    return cache() / f"moto-{MOTO}-py{NODE_PYTHON}"


def prepare(parts: t.Sequence[str] = (), *, everything: bool = False, online: bool = True) -> Prepared:
    """What every site needs, and these parts of artifacts.toml.

    Safe to kill at any point, and to run twice at once: what is complete is kept, and renamed into place when it is.
    """
    with lock("prepare"):
        sweep_scratch()
        host.ensure(host.COMMANDS)
        known = table.load()
        wanted = known.only(known.parts() if everything else parts)
        builder = Builder(known)
        with ThreadPoolExecutor(3) as pool, ending_others():  # builds use all cores at times; debootstrap and pip mostly wait
            node = pool.submit(node_image.make)
            moto = pool.submit(_moto)
            job = pool.submit(job_image.layer) if any(made.base == "mpi" for made in wanted.images) else None
            mirror.fill(wanted.files, builder, online)
            registry = builder.binary("registry/registry")
            image = node.result()
            moto.result()
            if job:
                job.result()
        images.fill(wanted.images, builder, image, online)
    return Prepared(known, registry, image, all(map(mirror.released, wanted.files)))


def _moto() -> None:
    folder = moto_folder()
    if folder.is_dir():
        return
    with CLOCK.phase("moto", f"installing moto {MOTO} for the nodes' Python {NODE_PYTHON}"), scratch("moto") as work:
        only = ["--only-binary=:all:", "--python-version", NODE_PYTHON, "--implementation", "cp"]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run_long("moto", [*pip, "--target", work / "site", *only, f"moto[server]=={MOTO}"])
        (work / "site").rename(folder)
    for old in cache().glob("moto-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
