# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images of jobs are made from: Debian with Open MPI and sshd ("mpi"), and packages from PyPI on top.

The MPI operator's workers are sshd, its launcher runs mpirun over ssh. Where its keys are and as whom it runs comes with the
job (role training_job mounts its own ssh_config, sshd_config and passwd), so that any user id works.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from .node_image import SUITE, bootstrap
from .work import CLOCK, BedError, cache, run_long, say, scratch

PACKAGES = ["openmpi-bin", "openssh-server", "openssh-client", "python3", "libopenblas0-pthread"]
PYTHON = "3.11"  # bookworm's
USER = "mpiuser"  # uid 1000, for jobs that bring no user of their own
FILES = {
    # A job's hosts are new each time; who they are is proved by the job's own key
    "etc/ssh/ssh_config.d/mpi.conf": "Port 2222\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n",
    f"home/{USER}/.sshd_config": f"Port 2222\nHostKey /home/{USER}/.ssh/id_rsa\nPidFile none\nStrictModes no\nUsePAM no\n",
}
UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/log",
    "var/cache/debconf",
)


def recipe() -> list[t.Any]:
    return [SUITE, PACKAGES, USER, FILES, UNNEEDED]


def _place() -> Path:
    return cache() / f"mpi-{hashlib.sha256(json.dumps(recipe()).encode()).hexdigest()[:12]}.tar"


def layer() -> bytes:
    """The "mpi" base as a tar; made when its recipe changed."""
    place = _place()
    if not place.exists():
        with CLOCK.phase("job image", f"making {place.name}"), scratch("job") as work:
            root = work / "root"
            bootstrap("job image", PACKAGES, root)
            _configure(root)
            pack(root, work / "layer.tar")
            (work / "layer.tar").rename(place)
        for old in cache().glob("mpi-*.tar"):
            if old != place:
                old.unlink()
    return place.read_bytes()


def _configure(root: Path) -> None:
    run_long("job image: user", ["chroot", root, "useradd", "-m", "-u", "1000", "-s", "/bin/bash", USER])
    for path, content in FILES.items():
        (root / path).write_text(content)
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    for path in UNNEEDED:
        shutil.rmtree(root / path)
        (root / path).mkdir()


def pack(root: Path, target: Path) -> None:
    """A tar that is the same bytes for the same tree."""
    same = ["--sort=name", "--mtime=@0", "--numeric-owner", "--exclude=./dev/*"]
    done = subprocess.run(["tar", "-C", root, *same, "-cf", target, "."], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"packing {root} failed: {done.stderr.strip()}")


def install(requirements: list[str], root: Path) -> None:
    """Wheels from PyPI for Debian's Python."""
    folder = root / "usr" / "local" / "lib" / f"python{PYTHON}" / "dist-packages"
    say(f"job image: {' '.join(requirements)}")
    only = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", "--no-compile"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run_long("job image: pip", [*pip, "--target", folder, *only, *requirements])
    # MLX's wheel for CPUs brings the reference BLAS: Debian's OpenBLAS in its place computes ten times as fast
    for slow in folder.glob("mlx_cpu.libs/libblas-*.so*"):
        slow.unlink()
        slow.symlink_to(f"/usr/lib/{platform.machine()}-linux-gnu/libblas.so.3")
