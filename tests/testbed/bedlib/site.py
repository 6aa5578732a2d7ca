# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bed up`, `bed down`: a site's network, services and nodes."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import re
import resource
import shutil
import tarfile
import typing as t
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from . import compiled, host, hyperpod, inventory, local, mirror
from .host import asked_podman, podman, podman_has
from .inventory import Site
from .prepare import Prepared, moto_folder
from .serve import AWS_PORT, MIRROR_PORT, REGISTRY_PORT
from .work import CLOCK, HERE, BedError, cache, lock, run, say, text, wait_for, write_atomic

LABEL = "gpufleet.site"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
CHANGES = {"network", "volume", "create", "run", "cp", "start", "kill", "rm"}  # what podman is asked for here
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
VOLUMES = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet"}


def sites() -> Path:
    return cache() / "sites"


def read(name: str) -> Site | None:
    path = sites() / name / "site.json"
    return Site(**json.loads(path.read_text())) if path.exists() else None


def _check(name: str) -> None:
    """Raises BedError for what is no name: an empty one would be a label of every site, `..` a folder that is not a site's."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise BedError(f"site name {name!r}: use up to 40 lower-case letters, digits and dashes, a letter first")


def _existing(name: str) -> Site:
    _check(name)
    site = read(name)
    if site is None:
        raise BedError(f"there is no site {name}; `bed list` names those that exist, `bed up {name}` makes it")
    return site


def known() -> list[str]:
    """Sites with a folder, a container or a network: what `down --all` removes."""
    folders = [path.name for path in sites().iterdir() if path.is_dir()] if sites().exists() else []
    labelled = []
    for kind in (["ps", "-a"], ["network", "ls"]) if shutil.which("podman") else ():
        labels = podman(*kind, "--filter", f"label={LABEL}", "--format", "json")
        labelled += [entry.get("Labels", entry.get("labels", {}))[LABEL] for entry in json.loads(labels or "[]") or []]
    return sorted({*folders, *labelled})


def free_network(taken: t.Iterable[str]) -> str:
    """The lowest free network for a site ("10.112.1"), given the networks in use as CIDR strings."""
    used = [ipaddress.ip_network(network) for network in taken]
    for number in range(1, 251):
        network = f"{inventory.PREFIX}.{number}"
        if not any(ipaddress.ip_network(f"{network}.0/24").overlaps(other) for other in used):
            return network
    raise BedError(
        f"every site network from {inventory.PREFIX}.1.0/24 to {inventory.PREFIX}.250.0/24 is in use on this machine:"
        " remove sites with `bed down SITE` (`bed list` names them), or the route that covers them (`ip route`)"
    )


def up(name: str, prepared: Prepared, nodes: int | None, control_planes: int | None, plain: bool | None) -> Site:
    """Makes what is not there yet; what is there and healthy stays as it is."""
    _check(name)
    with lock(f"site-{name}"):
        _settle(name)
        site = _claim(name, nodes, control_planes, plain)
        folder = sites() / name
        key = _ssh_key()
        (folder / "ssh").mkdir(mode=0o700, exist_ok=True)
        network = f"gpufleet-{name}"
        if not podman_has("network", network):
            subnet = ["--subnet", f"{site.network}.0/24", "--gateway", f"{site.network}.1"]
            podman("network", "create", "--label", f"{LABEL}={name}", "--disable-dns", *subnet, network)
        with CLOCK.phase("nodes"), ThreadPoolExecutor(8) as pool:
            services = pool.submit(_services, site, prepared)
            for made in [pool.submit(_node, site, prepared.image, key, *entry) for entry in site.hosts().items()]:
                made.result()
            services.result()
        registries = sorted({image.host for image in prepared.table.images})
        able = {"pinned": prepared.released, "cgroup_v2": host.cgroup_v2(), "can_lower_oom_score": host.can_lower_oom_score()}
        write_atomic(folder / "inventory" / "group_vars" / "all" / "testbed.yml", inventory.group_vars(site, registries, **able))
        write_atomic(folder / "inventory" / "hosts.yml", inventory.hosts(site, folder, key))
    say(f"{name}: {', '.join(site.hosts())} ready; ansible-playbook -i {folder}/inventory ...")
    return site


def down(name: str) -> None:
    """Also after an interrupted `up`: goes by the names and labels of what is there, not by what was recorded."""
    _check(name)
    with lock(f"site-{name}", keep=False):
        folder = sites() / name
        if shutil.which("podman") is None:  # a fresh machine: a scenario's first step is to remove what an earlier run left
            shutil.rmtree(folder, ignore_errors=True)
            say(f"{name}: nothing to remove, podman is not installed")
            return
        _settle(name)
        if folder.exists():
            for socket in (folder / "ssh").glob("*"):
                run(["ssh", "-F", "/dev/null", "-o", f'ControlPath="{socket}"', "-O", "exit", "node"], check=False)
        containers = podman("ps", "-a", "--filter", f"label={LABEL}={name}", "--format", "{{.Names}}").split()
        if containers:
            _remove(*containers)
        mine = re.compile(rf"gpufleet-{re.escape(name)}-ip-(\d+-){{4}}[a-z]+")
        volumes = [volume for volume in podman("volume", "ls", "-q").split() if mine.fullmatch(volume)]
        if volumes:
            podman("volume", "rm", "--force", *volumes)
        if podman_has("network", f"gpufleet-{name}"):
            podman("network", "rm", "--force", f"gpufleet-{name}")
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{name}: removed {len(containers)} containers and {len(volumes)} volumes")


def describe(name: str) -> str:
    site = read(name)
    if site is None:
        return f"{name}: not whole; `bed up {name}` or `bed down {name}`"
    states = {node: _state(f"gpufleet-{name}-{node}") or "missing" for node in (*site.hosts(), "services")}
    kind = "plain" if site.plain else "HyperPod files"
    return f"{name} ({kind}): {', '.join(f'{node} {state}' for node, state in states.items())}"


def inventory_folder(name: str) -> Path:
    return sites() / _existing(name).name / "inventory"


def ssh(name: str, node: str, command: list[str]) -> t.NoReturn:
    site = _existing(name)
    matches = [
        address
        for index, (host_name, address) in enumerate(site.hosts().items())
        if node in (host_name, address, host_name.rsplit("-", 1)[1], str(index))
    ]
    if not matches:
        raise BedError(f"site {name} has no node {node}; its nodes are {', '.join(site.hosts())} (or 0 to {site.nodes - 1})")
    os.execvp("ssh", _ssh(site, matches[0], command))


def _claim(name: str, nodes: int | None, control_planes: int | None, plain: bool | None) -> Site:
    """The site as recorded, else a new one with a network of its own, recorded before anything is made."""
    site = read(name)
    if site is None:
        with lock("sites"):
            site = Site(name, free_network(_networks()), nodes or 3, control_planes or 1, bool(plain))
            if not 1 <= site.control_planes <= site.nodes <= 200:
                raise BedError(
                    f"site {name}: --nodes {site.nodes} --control-planes {site.control_planes}: a site has 1 to 200 nodes,"
                    " of which at least one and at most all are control planes"
                )
            write_atomic(sites() / name / "site.json", json.dumps(asdict(site)) + "\n")
    for what, asked in (("nodes", nodes), ("control_planes", control_planes), ("plain", plain)):
        if asked is not None and asked != getattr(site, what):
            raise BedError(f"site {name} exists with {what}={getattr(site, what)}, not {asked}: `bed down {name}` first")
    return site


def _networks() -> list[str]:
    """What this machine routes, what sites recorded and what podman has, as CIDR strings."""
    routes = [entry["dst"] for entry in json.loads(text(["ip", "-j", "-4", "route", "show"])) if entry["dst"] != "default"]
    recorded = [f"{other.network}.0/24" for path in sites().glob("*/site.json") if (other := read(path.parent.name))]
    # Not `inspect` of what `ls` named: that fails when another run removes one of them in between.
    described = json.loads(podman("network", "ls", "--format", "json") or "[]") or []
    networks = [part["subnet"] for entry in described for part in entry.get("subnets") or []]
    return [*routes, *recorded, *(network for network in networks if ":" not in network)]


def _ssh_key() -> Path:
    path = cache() / "ssh" / "id_ed25519"
    with lock("ssh-key"):
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name("new")
            for old in (new, new.with_suffix(".pub")):
                old.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gpufleet test bed", "-f", new])
            new.with_suffix(".pub").rename(path.with_suffix(".pub"))
            new.rename(path)
    return path


def _ssh(site: Site, address: str, command: list[str]) -> list[str]:
    key = cache() / "ssh" / "id_ed25519"
    return ["ssh", *inventory.ssh_options(sites() / site.name), "-i", str(key), f"root@{address}", *command]


def _state(container: str) -> str:
    """podman's word for it ("running", "exited", "created", ...), or "" when there is none."""
    return podman("container", "inspect", "--format", "{{.State.Status}}", container, check=False)


def _settle(name: str) -> None:
    """Waits for what podman still does for an earlier run of this site, which was killed."""
    mine = re.compile(rf"gpufleet-{re.escape(name)}(-services|-ip-[-\d]+[a-z]*)?(:/)?")

    def ended() -> tuple[bool, str]:
        at_work = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_text(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0] == "podman" and CHANGES.intersection(words[1:2]) and any(map(mine.fullmatch, words)):
                at_work.append(" ".join(words[:2]))
        return not at_work, ", ".join(at_work)

    wait_for(f"{name}: what an earlier run began", ended)


def _remove(*containers: str) -> None:
    """At once: `podman rm --time 0` would do, but podman 3 (Ubuntu 22.04) does not know it.

    And again while podman refuses: a container whose `podman cp` was killed stays busy for a moment (about one in fifty).
    """

    def removed() -> tuple[bool, str]:
        podman("kill", *containers, check=False)
        done = asked_podman("rm", "--force", "--ignore", *containers, check=False)
        return done.returncode == 0, done.stderr.decode(errors="replace").strip()

    wait_for(f"removal of {', '.join(containers)}", removed)


def _services(site: Site, prepared: Prepared) -> None:
    name = f"gpufleet-{site.name}-services"
    if _state(name) != "running":
        _remove(name)
        mounts = {
            mirror.root(): "/srv/mirror",
            cache() / "registry": "/srv/registry",
            prepared.registry.parent: "/opt/registry",
            moto_folder(): "/opt/moto",
            HERE / "bedlib" / "serve.py": "/opt/serve.py",
        }
        volumes = [word for source, target in mounts.items() for word in ("-v", f"{source}:{target}:ro")]
        options = ["--network", f"gpufleet-{site.name}", "--ip", site.services, "--label", f"{LABEL}={site.name}"]
        options += ["--stop-signal", "TERM", "-e", "PYTHONPATH=/opt/moto", *volumes]
        command = ["python3", "/opt/serve.py", "/srv/mirror", "/opt/registry/registry", "/srv/registry"]
        podman("run", "-d", "--name", name, *options, prepared.image, *command)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answer() -> tuple[bool, str]:
        for url in (f":{MIRROR_PORT}/", f":{REGISTRY_PORT}/v2/", f":{AWS_PORT}/moto-api/data.json"):
            try:
                direct.open(f"http://{site.services}{url}", timeout=5).close()
            except urllib.error.HTTPError:
                continue  # the mirror has no listing
            except OSError as error:
                logs = podman("logs", "--tail", "5", name, check=False)
                return False, f"{url} {error}; its log: {logs}"
        return True, ""

    wait_for(f"{name}: mirror, registry and AWS stand-in", answer, 120)


def _node(site: Site, image: str, key: Path, name: str, address: str) -> None:
    container = f"gpufleet-{site.name}-{name}"
    state = _state(container)
    fresh = state in ("", "created", "configured", "initialized")  # killed before it first started
    if fresh:
        _remove(container)
        podman("create", *_options(site, container, name, address), image, "/lib/systemd/systemd")
        files = _files(site, key.with_suffix(".pub").read_bytes(), name)
        try:
            podman("cp", "-", f"{container}:/", data=files)
        except BedError:
            # Seen once in some hundred starts, on a loaded machine: podman's copying subprocess ends early ("broken pipe").
            podman("cp", "-", f"{container}:/", data=files)
    if state != "running":
        podman("start", container)

    def booted() -> tuple[bool, str]:
        seen = podman("exec", container, "systemctl", "is-system-running", check=False)
        return seen in ("running", "degraded"), seen or "no systemd"

    def answers() -> tuple[bool, str]:
        done = run(_ssh(site, address, ["true"]), check=False)
        return done.returncode == 0, done.stderr.decode(errors="replace").strip()

    wait_for(f"{name}: systemd", booted, 120)
    if fresh:
        failed = podman("exec", container, "systemctl", "list-units", "--failed", "--plain", "--no-legend", check=False)
        if failed:
            raise BedError(f"{name} started with failed units: {failed}; look with `podman exec {container} journalctl -b`")
    wait_for(f"{name}: ssh to {address}", answers, 60)


def _options(site: Site, container: str, name: str, address: str) -> list[str]:
    """How a node runs: a system container that may nest others, on cgroup v1 and v2."""
    limits = []
    for limit, number, most in (("nofile", resource.RLIMIT_NOFILE, 1 << 20), ("nproc", resource.RLIMIT_NPROC, 30000)):
        hard = resource.getrlimit(number)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        limits += ["--ulimit", f"{limit}={value}:{value}"]
    volumes = {**VOLUMES} if site.plain else {**VOLUMES, "nvme": hyperpod.DATA_DISK}
    as_on_a_disk = "exec,suid,dev"  # podman's volumes forbid these
    mounts = [word for what, target in volumes.items() for word in ("-v", f"{container}-{what}:{target}:{as_on_a_disk}")]
    mounts += ["-v", f"{local.kept()}:{compiled.FOLDER}"]
    if Path("/lib/modules").is_dir():
        mounts += ["-v", "/lib/modules:/lib/modules:ro"]
    return [
        *("--name", container, "--hostname", name, "--label", f"{LABEL}={site.name}"),
        *("--network", f"gpufleet-{site.name}", "--ip", address),
        *("--no-hosts", "--dns=none"),  # /etc/hosts and /etc/resolv.conf are the node's own files, as on a machine
        *("--privileged", "--cgroupns=private", "--pids-limit=-1", *limits),
        *("--systemd=false", "--stop-signal", "37", "-e", "container=podman"),  # podman's own systemd mode breaks nested runc
        *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),  # noqa: S108
        *mounts,
    ]


def resolvers(network: str, places: t.Sequence[Path] = RESOLVERS) -> str:
    """This machine's resolv.conf without what listens on its loopback only, such as systemd-resolved on Ubuntu.

    In CoreDNS' pod that address would be CoreDNS itself, which ends with "Loop detected". Where no other is known, the network's
    gateway, where nobody answers: CoreDNS does not start without a resolver.
    """
    for place in places:
        lines = place.read_text().splitlines() if place.exists() else []
        kept = [line for line in lines if not re.match(r"\s*nameserver\s+(127\.|::1)", line)]
        if any(line.split()[:1] == ["nameserver"] for line in kept):
            return "\n".join(kept) + "\n"
    return f"nameserver {network}.1\n"


def _files(site: Site, public_key: bytes, name: str) -> bytes:
    """A tar of what the machine's image would have brought: its name, its neighbours, its key, its HyperPod files."""
    packed = io.BytesIO()
    hosts = "".join(f"{address} {other}\n" for other, address in site.hosts().items())
    with tarfile.open(fileobj=packed, mode="w") as tar:

        def add(path: str, content: str | bytes, mode: int = 0o644, owner: int = 0) -> None:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.uid, info.gid = len(data), mode, owner, owner
            tar.addfile(info, io.BytesIO(data))

        def folder(path: str, mode: int, owner: int = 0) -> None:
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
            tar.addfile(info)

        add("etc/hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{hosts}")
        add("etc/hostname", f"{name}\n")
        add("etc/resolv.conf", resolvers(site.network))
        if TRUSTED.exists():  # behind a proxy with a CA of its own, nodes trust it as this machine does
            add(str(TRUSTED).lstrip("/"), TRUSTED.read_bytes())
        add(f"{compiled.PACKAGES}/{compiled.MODULE}.py", Path(compiled.__file__).read_bytes())
        add(f"{compiled.PACKAGES}/{compiled.MODULE}.pth", f"import {compiled.MODULE}; {compiled.MODULE}.keep()\n")
        for home, owner in (("root", 0), ("home/ubuntu", 1000)):
            folder(f"{home}/.ssh", 0o700, owner)
            add(f"{home}/.ssh/authorized_keys", public_key, 0o600, owner)
        if not site.plain:
            folder("opt/ml/config", 0o755)
            resources = hyperpod.resource_config(site.name, site.addresses(), site.control_planes)
            add(hyperpod.RESOURCE_CONFIG.lstrip("/"), resources, 0o600)
            add("etc/systemd/system/dlami-nvme.service", hyperpod.NVME_UNIT)
            link = tarfile.TarInfo("etc/systemd/system/multi-user.target.wants/dlami-nvme.service")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/systemd/system/dlami-nvme.service"
            tar.addfile(link)
    return packed.getvalue()
