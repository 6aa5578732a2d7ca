# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import shlex
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from bedlib import hyperpod, inventory, site
from bedlib.inventory import Site
from bedlib.work import BedError

SITE = Site("dev", "10.112.7", nodes=3, control_planes=1, plain=False)
PLAIN = Site("dev", "10.112.7", nodes=3, control_planes=2, plain=True)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "10.112.1"),
        (["10.112.1.0/24", "10.112.3.0/24", "192.168.0.0/16"], "10.112.2"),
        (["10.112.0.0/21"], "10.112.8"),
        (["10.112.1.17"], "10.112.2"),
    ],
)
def test_a_site_gets_the_lowest_free_network(taken: list[str], expected: str) -> None:
    assert site.free_network(taken) == expected


@pytest.mark.parametrize("taken", [["10.112.0.0/16"], ["10.0.0.0/8"], [f"10.112.{number}.0/24" for number in range(1, 251)]])
def test_no_free_network_says_what_to_do(taken: list[str]) -> None:
    with pytest.raises(BedError, match=r"bed down SITE.*ip route"):
        site.free_network(taken)


def test_on_a_machine_without_podman_there_is_nothing_to_remove(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scenario's first step is `down`, also on a fresh machine."""
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    left = tmp_path / "sites" / "dev"
    left.mkdir(parents=True)
    assert site.known() == ["dev"]
    site.down("dev")
    assert not left.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "Dev", "a b"])
@pytest.mark.parametrize("what", [site.down, site.inventory_folder])
def test_what_is_no_name_touches_nothing(
    what: t.Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty name would be a label of every site, and `..` a folder that is not a site's."""
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "cache" / "sites" / "dev").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    with pytest.raises(BedError, match="use up to 40 lower-case letters"):
        what(name)
    assert (tmp_path / "cache" / "sites" / "dev").exists()
    assert (tmp_path / "x").exists()


def test_a_container_that_is_busy_for_a_moment_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an `up` that was killed had begun in it may end after the next one has started."""
    asked = tmp_path / "asked"
    stand_in = tmp_path / "podman"
    stand_in.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{asked}\n'
        f'[ "$1" != rm ] || [ "$(grep -c ^rm {asked})" -gt 1 ] || {{ echo busy >&2; exit 125; }}\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    site._remove("gpufleet-dev-services")
    assert asked.read_text().splitlines().count("rm --force --ignore gpufleet-dev-services") == 2


def test_sites_are_outside_kubeadms_service_addresses() -> None:
    """kube-proxy drops what goes to an address of the Service range that is no Service: 10.96.0.0/12."""
    assert not 96 <= int(inventory.PREFIX.split(".")[1]) <= 111


def test_hosts_are_named_and_grouped() -> None:
    described = yaml.safe_load(inventory.hosts(PLAIN, Path("/c/sites/dev"), Path("/c/ssh/key")))["all"]
    assert described["hosts"] == {f"ip-10-112-7-{n}": {"ansible_host": f"10.112.7.{n}"} for n in (11, 12, 13)}
    assert list(described["children"]["kube_control_plane"]["hosts"]) == ["ip-10-112-7-11", "ip-10-112-7-12"]
    assert list(described["children"]["kube_node"]["hosts"]) == ["ip-10-112-7-13"]
    assert """'UserKnownHostsFile="/c/sites/dev/known_hosts"'""" in described["vars"]["ansible_ssh_args"]


def test_a_folder_with_a_blank_reaches_ssh_whole() -> None:
    """ssh reads an option's value like a line of its configuration, and Ansible splits its variable like a shell."""
    described = yaml.safe_load(inventory.hosts(PLAIN, Path("/h ome/dev"), Path("/c/ssh/key")))["all"]
    words = shlex.split(described["vars"]["ansible_ssh_args"])
    assert words == inventory.ssh_options(Path("/h ome/dev"))
    assert {'ControlPath="/h ome/dev/ssh/%h"', 'UserKnownHostsFile="/h ome/dev/known_hosts"'} < set(words)


@pytest.mark.parametrize(
    ("own", "resolved", "expected"),
    [
        ("search x\nnameserver 10.0.0.2\n", "", "search x\nnameserver 10.0.0.2\n"),
        ("nameserver 127.0.0.1\nnameserver 10.0.0.2\n", "", "nameserver 10.0.0.2\n"),
        ("nameserver 127.0.0.53\n", "# x\nnameserver 10.0.0.2\n", "# x\nnameserver 10.0.0.2\n"),
        ("nameserver 127.0.0.53\n", None, "nameserver 10.112.7.1\n"),
        ("nameserver ::1\n", "nameserver 127.0.0.1\n", "nameserver 10.112.7.1\n"),
        (None, None, "nameserver 10.112.7.1\n"),
    ],
)
def test_nodes_ask_no_resolver_that_only_this_machine_reaches(
    tmp_path: Path, own: str | None, resolved: str | None, expected: str
) -> None:
    places = tmp_path / "own", tmp_path / "resolved"
    for place, content in zip(places, (own, resolved), strict=True):
        if content is not None:
            place.write_text(content)
    assert site.resolvers("10.112.7", places) == expected


def test_one_node_is_a_control_plane_without_workers() -> None:
    one = Site("dev", "10.112.7", nodes=1, control_planes=1, plain=True)
    described = yaml.safe_load(inventory.hosts(one, Path("/c"), Path("/k")))["all"]
    assert described["children"]["kube_node"]["hosts"] == {}


@pytest.mark.parametrize(
    ("able", "kubelet", "ignored", "containerd"),
    [
        ({"cgroup_v2": True, "can_lower_oom_score": True}, {}, 1, False),
        ({"cgroup_v2": False, "can_lower_oom_score": False}, {"failCgroupV1": False}, 2, True),
    ],
)
def test_settings_follow_what_the_host_can_do(
    able: dict[str, bool], kubelet: dict[str, bool], ignored: int, containerd: bool
) -> None:
    variables = yaml.safe_load(inventory.group_vars(SITE, ["registry.k8s.io"], pinned=False, **able))
    assert variables["gpufleet_mirror"] == "http://10.112.7.2:8080"
    assert variables["gpufleet_registry_mirrors"] == {"registry.k8s.io": ["http://10.112.7.2:5000"]}
    found = variables["kubeadm_kubelet_configuration"]
    assert found.pop("failSwapOn") is False
    assert found.pop("imageGCHighThresholdPercent") == 100
    assert found.pop("evictionHard")["nodefs.available"] == "0%"
    assert found == kubelet
    assert len(variables["kubeadm_ignore_preflight_errors"]) == ignored
    assert ("containerd_config" in variables) is containerd


@pytest.mark.parametrize(("pinned", "expected"), [(True, "pinned"), (False, "mirror")])
def test_pinned_sums_hold_only_for_releases(pinned: bool, expected: str) -> None:
    variables = inventory.group_vars(SITE, [], pinned=pinned, cgroup_v2=True, can_lower_oom_score=True)
    assert yaml.safe_load(variables)["gpufleet_mirror_checksums"] == expected


def test_resource_config_has_the_platforms_shape() -> None:
    config = json.loads(hyperpod.resource_config("dev", SITE.addresses(), 1))
    assert config["ClusterConfig"]["ClusterName"] == "dev"
    assert len(config["ClusterConfig"]["ClusterArn"].rpartition("/")[2]) == 12
    controllers, workers = config["InstanceGroups"]
    assert (controllers["InstanceType"], workers["InstanceType"]) == ("ml.m5.2xlarge", "ml.p5.48xlarge")
    assert [entry["CustomerIpAddress"] for entry in workers["Instances"]] == ["10.112.7.12", "10.112.7.13"]
    everyone = controllers["Instances"] + workers["Instances"]
    for what in ("InstanceId", "AgentIpAddress", "InstanceName"):
        assert len({entry[what] for entry in everyone}) == 3


def test_a_group_without_instances_is_null_as_the_platform_writes_it() -> None:
    groups = json.loads(hyperpod.resource_config("one", ["10.112.7.11"], 1))["InstanceGroups"]
    assert groups[1]["Instances"] is None


def unpacked(which: Site) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    packed = site._files(which, b"ssh-ed25519 KEY\n", "ip-10-112-7-12")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        streams = {info.name: (info, tar.extractfile(info) if info.isreg() else None) for info in tar}
        return {name: (info, stream.read() if stream else b"") for name, (info, stream) in streams.items()}


def test_a_hyperpod_host_has_its_files_for_root_only() -> None:
    files = unpacked(SITE)
    info, content = files["opt/ml/config/resource_config.json"]
    assert (info.mode, info.uid) == (0o600, 0)
    assert json.loads(content)["InstanceGroups"]
    assert "etc/systemd/system/dlami-nvme.service" in files


def test_a_plain_host_has_none_of_them() -> None:
    files = unpacked(PLAIN)
    assert not [name for name in files if "opt/ml" in name or "nvme" in name]
    assert files["etc/hostname"][1] == b"ip-10-112-7-12\n"
    assert b"10.112.7.13 ip-10-112-7-13\n" in files["etc/hosts"][1]
    info, key = files["home/ubuntu/.ssh/authorized_keys"]
    assert (info.mode, info.uid, key) == (0o600, 1000, b"ssh-ed25519 KEY\n")


def test_only_a_host_with_hyperpod_files_has_the_data_disk() -> None:
    def volumes(which: Site) -> list[str]:
        return [word for word in site._options(which, "c", "n", "10.112.7.12") if word.startswith("c-")]

    assert any(hyperpod.DATA_DISK in volume for volume in volumes(SITE))
    assert not any(hyperpod.DATA_DISK in volume for volume in volumes(PLAIN))


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [1, "x: y", True]}, "c": {}, "d": [], "e": None},
        {"key: with": {"quote": '"'}, "1.2": "#no comment", "yes": "no"},
    ],
)
def test_yaml_is_what_was_meant(value: dict[str, t.Any]) -> None:
    assert yaml.safe_load(inventory.to_yaml(value)) == value


def test_a_network_that_goes_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two runs at once: one removes its network while the other asks which are taken."""
    stand_in = tmp_path / "podman"
    listed = json.dumps([{"name": "podman", "subnets": [{"subnet": "10.112.1.0/24"}]}, {"name": "old", "plugins": []}])
    stand_in.write_text(f"#!/bin/sh\n[ \"$2\" = ls ] || {{ echo network not found >&2; exit 125; }}\necho '{listed}'\n")
    (tmp_path / "ip").write_text('#!/bin/sh\necho \'[{"dst": "default"}]\'\n')
    for program in (stand_in, tmp_path / "ip"):
        program.chmod(0o755)
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert site._networks() == ["10.112.1.0/24"]


def test_what_a_killed_run_began_in_this_site_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "create").write_text("echo begun; sleep 0.5; touch ended")
    (tmp_path / "cp").write_text("echo begun; read line")

    def podman(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["podman", *words], executable="/bin/sh", cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout and process.stdout.readline() == b"begun\n"
        return process

    with (
        podman("cp", "-", "gpufleet-dev-two-ip-10-112-1-11:/") as another_site,
        podman("create", "--name", "gpufleet-dev-services"),
    ):
        site._settle("dev")
        assert (tmp_path / "ended").exists()
        monkeypatch.setattr(site, "wait_for", lambda _what, check: pytest.fail(check()[1]))
        with pytest.raises(pytest.fail.Exception, match="podman cp"):
            site._settle("dev-two")
        another_site.communicate(b"on\n")
