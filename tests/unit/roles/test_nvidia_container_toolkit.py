# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs with something older than the files that are there, so that a run after a killed one restarts or reloads it."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.gpufleet.k8s.plugins.plugin_utils.grep_files import grep_files
from role_vars import evaluated

DROPIN = "/etc/containerd/conf.d/20-nvidia.toml"
PROGRAM = "/usr/bin/nvidia-container-runtime"
K3S = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
FACTS = {"ansible_facts": {"os_family": "Debian", "architecture": "x86_64"}}


def observed(units: t.Mapping[str, str], *lines: str, **more: t.Any) -> dict[str, t.Any]:
    """What preflight registers. `units`: those that run -> when they started."""
    shown = []
    for name in ("containerd", "docker", "kubelet", "k3s", "k3s-agent"):
        since = units.get(name)
        there = f"LoadState=loaded\nActiveState=active\nExecMainStartTimestamp=Sat {since} UTC"
        shown.append(
            f"Id={name}.service\n" + (there if since else "LoadState=not-found\nActiveState=inactive\nExecMainStartTimestamp=")
        )
    stdout = {"nvidia_container_toolkit__units": "\n\n".join(shown), "nvidia_container_toolkit__seen": "\n".join(lines)}
    return {**FACTS, **{name: {"stdout": text} for name, text in stdout.items()}, **more}


def test_containerd_and_k3s_that_started_before_their_runtime_came(tmp_path: Path) -> None:
    kube = {"containerd": "2026-11-28 10:00:05", "kubelet": "2026-11-28 10:00:06"}
    k3s = {"k3s": "2026-11-28 10:00:05"}
    found = f'{K3S}:[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."nvidia"]'
    hosts = {
        "killed": observed(kube, f"/changed{DROPIN}:2026-11-28 10:00:06.1"),
        "restarted": observed(kube, f"/changed{DROPIN}:2026-11-28 10:00:05.9"),
        "without": observed(kube),
        "stopped": observed({"kubelet": "2026-11-28 10:00:06"}, f"/changed{DROPIN}:2026-11-28 10:00:06.1"),
        "k3s-killed": observed(k3s, f"{K3S}:version = 2", f"/changed{PROGRAM}:2026-11-28 10:00:05.1"),
        "k3s-restarted": observed(k3s, found, f"/changed{PROGRAM}:2026-11-28 10:00:05.1"),
        "k3s-upgraded": observed(k3s, found, f"/changed{PROGRAM}:2026-11-28 12:00:00.0"),
        "k3s-template": observed(k3s, f"{K3S}:version = 2", f"/changed{PROGRAM}:2026-11-28 09:00:00.0"),
    }
    asked = {name: f"nvidia_container_toolkit__{name} | bool" for name in ("outdated", "k3s_outdated")}
    answers = evaluated(tmp_path, "nvidia_container_toolkit", asked, hosts)
    assert [host for host, answer in answers.items() if answer["outdated"]] == ["killed"]
    assert [host for host, answer in answers.items() if answer["k3s_outdated"]] == ["k3s-killed"]


def test_a_containerd_that_only_serves_docker_is_not_told(tmp_path: Path) -> None:
    now = "2026-11-28 10:00:05"
    hosts = {
        "docker": observed({"docker": now, "containerd": now}),
        "both": observed({"docker": now, "containerd": now, "kubelet": now}),
        "k3s": observed({"k3s": now, "containerd": now}),
    }
    answers = evaluated(tmp_path, "nvidia_container_toolkit", {"told": "nvidia_container_toolkit__runtimes"}, hosts)
    assert {host: sorted(answer["told"]) for host, answer in answers.items()} == {
        "docker": ["docker"],
        "both": ["containerd", "docker"],
        "k3s": ["k3s"],
    }


def test_how_running_daemons_say_that_they_have_the_runtime(tmp_path: Path) -> None:
    now = {"docker": "2026-11-28 10:00:05"}
    default = '/etc/docker/daemon.json:{"default-runtime": "runc"}'
    hosts = {
        "plain": observed(now, "/changed/usr/local/bin/crictl:2026"),
        "default": observed(now, nvidia_container_toolkit_set_as_default=True),
        "removed": observed(now, default),
    }
    asked = {name: f"nvidia_container_toolkit__{name}" for name in ("ask", "shows")}
    answers = evaluated(tmp_path, "nvidia_container_toolkit", asked, hosts)
    ours, other = f"runtimes.nvidia={PROGRAM};runtimes.runc=runc;default=", "runtimes.nvidia-cdi=x;runtimes.runc=runc;default="
    for host, right in (("plain", {"runc", "nvidia"}), ("default", {"nvidia"}), ("removed", {"runc"})):
        for runtime in ("runc", "nvidia"):
            assert bool(re.search(answers[host]["shows"]["docker"], f"{ours}{runtime};")) == (runtime in right)
            assert not re.search(answers[host]["shows"]["docker"], f"{other}{runtime};")
    info = '"defaultRuntimeName": "runc", "runtimes": {{"{}": {{"runtimeType": "io.containerd.runc.v2"}}}}'
    says = answers["plain"]["shows"]["containerd"]
    assert re.search(says, info.format("nvidia")) and not re.search(says, info.format("nvidia-cdi"))
    assert answers["plain"]["ask"]["containerd"] == [
        "/usr/local/bin/crictl", "--runtime-endpoint", "unix:///run/containerd/containerd.sock", "info",
    ]  # fmt: skip
    assert answers["default"]["ask"]["containerd"] == ["containerd", "config", "dump"]


KEPT = "/var/lib/gpufleet/docker-default-runtime.json"


def test_docker_gets_its_old_default_back_if_this_role_had_changed_it(tmp_path: Path) -> None:
    now = {"docker": "2026-11-28 10:00:05"}

    def host(default: str, kept: str, wished: bool) -> dict[str, t.Any]:
        lines = [f'/etc/docker/daemon.json:{{"default-runtime": "{default}", "debug": true}}'] if default else []
        lines += [f'{KEPT}:{{"default-runtime": "{kept}"}}'] if kept else []
        return observed(now, *lines, nvidia_container_toolkit_set_as_default=wished)

    hosts = {
        "wished": host("crun", "", True),
        "again": host("nvidia", "crun", True),
        "no-longer": host("nvidia", "crun", False),
        "taken-back": host("crun", "crun", False),  # killed before the kept one went
        "of-others": host("nvidia", "", False),
        "changed-since": host("other", "crun", False),
        "never": host("", "", False),
    }
    asked = {name: f"nvidia_container_toolkit__{name}" for name in ("docker", "docker_left", "shows")}
    answers = evaluated(tmp_path, "nvidia_container_toolkit", asked, hosts)
    left = {name: answer["docker_left"].get("default-runtime") for name, answer in answers.items()}
    # Without the runtime it cannot be the default, whoever set it.
    assert left == {
        "wished": "crun",
        "again": "crun",
        "no-longer": "crun",
        "taken-back": "crun",
        "of-others": "runc",
        "changed-since": "other",
        "never": None,
    }
    assert {name: answer["docker"].get("default-runtime") for name, answer in answers.items()} == {
        "wished": "nvidia",
        "again": "nvidia",
        "no-longer": "crun",
        "taken-back": "crun",
        "of-others": "nvidia",
        "changed-since": "other",
        "never": None,
    }
    assert all(answer["docker"]["debug"] for name, answer in answers.items() if name != "never")
    # A Docker that still has it is reloaded, whoever was killed before.
    said = f"runtimes.nvidia={PROGRAM};runtimes.runc=runc;default=nvidia;"
    assert not re.search(answers["no-longer"]["shows"]["docker"], said)
    assert not re.search(answers["taken-back"]["shows"]["docker"], said)


def test_one_command_reads_all_files_and_when_they_changed(tmp_path: Path) -> None:
    answers = evaluated(tmp_path, "nvidia_container_toolkit", {"read": "nvidia_container_toolkit__read"}, {"host": observed({})})
    root = tmp_path / "root"
    for name in (DROPIN, PROGRAM, K3S, KEPT, "/etc/containerd/certs.d/docker.io/hosts.toml", "/usr/bin/crictl"):
        path = root / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of {name}\n")
    argv = [f"{root}{part}" if re.match(r"/(etc|usr|var)/", part) else part for part in answers["host"]["read"]]
    done = subprocess.run(argv, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    files = grep_files(done.stdout.replace(str(root), ""))
    assert done.returncode <= 1
    assert {path for path in files if not path.startswith("/changed")} == {
        DROPIN,
        K3S,
        KEPT,
        "/etc/containerd/certs.d/docker.io/hosts.toml",
    }
    assert {path for path in files if path.startswith("/changed")} == {
        f"/changed{name}" for name in (DROPIN, PROGRAM, "/usr/bin/crictl")
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\n", files[f"/changed{DROPIN}"])
    # The clock has been set back since: of what is in the future only that it is there
    argv = ["1 hour ago" if part == "now" else part for part in argv]
    done = subprocess.run(argv, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    files = grep_files(done.stdout.replace(str(root), ""))
    assert {path for path in files if path.startswith("/changed")} == {"/changed/usr/bin/crictl"}


OTHER = "/etc/containerd/conf.d/99-nvidia.toml"
CRI = 'plugins."io.containerd.cri.v1.runtime".containerd'


def test_a_drop_in_goes_where_another_file_has_the_runtime_later(tmp_path: Path) -> None:
    kube = {"containerd": "2026-11-28 10:00:05", "kubelet": "2026-11-28 10:00:06"}
    cgroup = [f"[{CRI}.runtimes.nvidia.options]", "SystemdCgroup = true"]
    default = [f"[{CRI}]", 'default_runtime_name = "nvidia"']

    def host(ours: t.Sequence[str], theirs: t.Sequence[str], merged: t.Sequence[str]) -> dict[str, t.Any]:
        lines = [f"{DROPIN}:{line}" for line in ours] + [f"{OTHER}:{line}" for line in theirs]
        says = {"nvidia_container_toolkit__judged": {"rc": 0, "stdout": "\n".join(merged)}}
        return observed(kube, "/etc/containerd/config.toml:version = 3", *lines, **says)

    bare = [f"[{CRI}.runtimes.nvidia]"]
    hosts = {
        "ours": host(cgroup, [], [*default, *cgroup]),
        "theirs": host([], cgroup, cgroup),
        "theirs-wrong": host([], bare, bare),
        "both": host([*default, *cgroup], cgroup, [*default, *cgroup]),
        "both-right": host(cgroup, [*default, *cgroup], [*default, *cgroup]),
        "both-wrong": host(cgroup, bare, cgroup),
        "emptied": host(["version = 3"], cgroup, cgroup),  # by a run that was killed then
    }
    asked = {name: f"nvidia_container_toolkit__{name} | bool" for name in ("second", "right", "is_default")}
    asked["trial"] = "nvidia_container_toolkit__trial"
    answers = evaluated(tmp_path, "nvidia_container_toolkit", asked, hosts)
    assert {name for name, answer in answers.items() if answer["second"]} == {"both", "both-right", "both-wrong", "emptied"}
    assert {name for name, answer in answers.items() if not answer["right"]} == {"theirs-wrong", "both-wrong"}
    assert {name for name, answer in answers.items() if answer["is_default"]} == {"ours", "both-right"}
    assert "nvidia" in str(answers["ours"]["trial"]["plugins"])
    assert answers["both"]["trial"] == {"version": 3, "imports": ["/etc/containerd/config.toml"]}
