# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a bare node: Debian with systemd and sshd, and what a cloud image has. No containerd, no Kubernetes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

from .host import podman, podman_environment, podman_has
from .work import CLOCK, BedError, run_long, say, scratch

SUITE = "bookworm"  # its systemd 252 runs on cgroup v1 as well; from 256 that needs a switch, from 258 it is gone
PACKAGES = [
    # the system
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "iproute2", "iputils-ping", "openssh-server"),
    # what a cloud image brings
    *("sudo", "python3", "curl", "ca-certificates", "gnupg", "xz-utils", "less", "busybox-static", "tzdata"),
    # what the node_base role installs elsewhere: here for speed, and because the images of kube-proxy and flannel take them
    *("conntrack", "socat", "ethtool", "iptables", "nftables"),
]
# timers that would change packages under a test, and a console that no node has
MASKED = [
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("getty@tty1.service", "console-getty.service"),
]
FILES = {
    "etc/ssh/sshd_config.d/testbed.conf": "UseDNS no\nPasswordAuthentication no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
    # a real machine makes its host key at first boot
    "etc/systemd/system/ssh.service.d/host-key.conf": "[Service]\nExecStartPre=\nExecStartPre=/bin/sh -c 'test -s"
    ' /etc/ssh/ssh_host_ed25519_key || ssh-keygen -q -N "" -t ed25519 -f /etc/ssh/ssh_host_ed25519_key\'\n',
    "etc/sudoers.d/ubuntu": "ubuntu ALL=(ALL) NOPASSWD:ALL\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    # empty, so that each node makes its own; a shared one gives all nodes the same MAC addresses for flannel
    "etc/machine-id": "",
    "etc/hostname": "",
    "etc/resolv.conf": "",
}
# Programs (and the libraries that ldd names) for the "net" base of kube-proxy's and flannel's images.
NET_TOOLS = [
    *("/bin/dash", "/bin/sh", "/bin/cp", "/bin/cat", "/bin/ls", "/bin/mkdir", "/bin/mv", "/bin/rm", "/bin/sleep", "/bin/ip"),
    *("/sbin/ip", "/sbin/bridge", "/bin/kmod", "/sbin/modprobe", "/bin/lsmod", "/usr/sbin/nft", "/usr/sbin/conntrack"),
    *("/usr/sbin/" + name for name in ("iptables", "iptables-save", "iptables-restore", "xtables-nft-multi")),
    *("/usr/sbin/" + name for name in ("ip6tables", "ip6tables-save", "ip6tables-restore")),
]
GLIBC = [f"/lib/*/{name}.so.*" for name in ("libc", "libdl", "libpthread", "librt", "libm", "libgcc_s", "ld-linux-*")]
NET_FILES = ["/etc/protocols", "/etc/services", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/usr/lib/*/xtables/*.so"]

# Runs on the node image: a tar of the named files, of every link on the way to them and of their libraries.
_COLLECT = """
import glob, io, os, subprocess, sys, tarfile
tools, files = {tools!r}, [p for pattern in {files!r} for p in glob.glob(pattern)]
found = {{}}
def add(path):
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if path in found or not os.path.lexists(path):
        return
    found[path] = None
    if os.path.islink(path):
        add(os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))))
for path in files + tools:
    add(path)
for path in list(found):
    if os.access(path, os.X_OK) or '.so' in path:
        for word in subprocess.run(['ldd', path], capture_output=True, text=True).stdout.split():
            if word.startswith('/'):
                add(word)
out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|')
def put(path):
    info = out.gettarinfo(path, arcname=path.lstrip('/'))
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ''
    if info.islnk():  # a second name of one file: pack it again, its first name may not be here
        info.type, info.size = tarfile.REGTYPE, os.stat(path).st_size
    out.addfile(info, open(path, 'rb') if info.isreg() else None)
for path in ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']:
    if os.path.islink(path):
        put(path)
for path in sorted(found):
    put(path)
for name in {links!r}:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, '/bin/busybox'
    out.addfile(info)
out.close()
"""


def name() -> str:
    recipe = json.dumps([SUITE, PACKAGES, MASKED, FILES])
    return f"localhost/gpufleet-node:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def make() -> str:
    """The image's name; built when its recipe changed. Killed half-way, the chroot's processes and mounts go with it."""
    image = name()
    if podman_has("image", image):
        say(f"node image: {image} is there")
        return image
    with CLOCK.phase("node image", f"making {image}"), scratch("node") as work:
        root = work / "root"
        bootstrap("node image", PACKAGES, root)
        _configure(root)
        say("node image: importing")
        _import(root, image)
    return image


def bootstrap(what: str, packages: list[str], root: Path) -> None:
    """A Debian with these packages."""
    mirror = [os.environ["GPUFLEET_DEBIAN_MIRROR"]] if os.environ.get("GPUFLEET_DEBIAN_MIRROR") else []
    own_namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(root), *mirror]
    run_long(f"{what}: debootstrap", [*own_namespaces, *command])


def _configure(root: Path) -> None:
    run_long("node image: user", ["chroot", root, "useradd", "-m", "-s", "/bin/bash", "-G", "sudo", "-p", "*", "ubuntu"])
    for path, content in FILES.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    (root / "etc/sudoers.d/ubuntu").chmod(0o440)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    packages = ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/log/*.log")
    for pattern in ("etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", *packages):
        for left in root.glob(pattern):
            left.unlink()


def _import(root: Path, image: str) -> None:
    pack = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    changes = ["--change", 'CMD ["/lib/systemd/systemd"]', "--change", "STOPSIGNAL SIGRTMIN+3"]
    done = subprocess.run(
        ["podman", "import", "--quiet", *changes, "-", image],
        stdin=pack.stdout,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **podman_environment()},
    )
    if pack.wait() or done.returncode:
        raise BedError(f"podman import of the node image failed: {done.stderr.strip()}")
    for other in podman("images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/gpufleet-node").split():
        if other != image:
            podman("rmi", other, check=False)  # stays while a site's nodes still run on it


def base_recipe(base: str, image: str) -> list[t.Any]:
    """What `base_layer` depends on."""
    return [image, _COLLECT, *{"net": (NET_TOOLS, NET_FILES), "glibc": (GLIBC,)}.get(base, ())]


def base_layer(base: str, image: str) -> bytes:
    """An image's first layer, taken from the node image: "net", "busybox", or "glibc" (busybox and the shared libc)."""
    run_in = ["run", "--rm", "-i", "--network=none", "--log-driver=none", image]
    if base != "net":
        links = [f"bin/{applet}" for applet in podman(*run_in, "busybox", "--list").split() if applet != "busybox"]
        wanted: dict[str, t.Any] = {"tools": ["/bin/busybox"], "files": GLIBC if base == "glibc" else [], "links": links}
    else:
        wanted = {"tools": NET_TOOLS, "files": NET_FILES, "links": []}
    done = subprocess.run(
        ["podman", *run_in, "python3", "-"],
        input=_COLLECT.format(**wanted).encode(),
        capture_output=True,
        check=False,
        env={**os.environ, **podman_environment()},
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-2000:]
        raise BedError(f"collecting the {base!r} image base on {image} failed: {words}")
    return done.stdout
