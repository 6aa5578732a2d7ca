# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd is restarted for what was replaced, by the role or by the play that fetches all files before it. What others had
where the role writes is theirs again after a removal."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

OLD, NEW = {"artifacts": [{"changed": False}, {"changed": True}]}, {"artifacts": [{"changed": True}, {"changed": False}]}


CASES: list[tuple[dict[str, t.Any], bool]] = [
    ({}, False),
    ({"containerd__installed": OLD}, False),
    ({"containerd__installed": NEW}, True),
    ({"containerd__installed": {"skipped": True}}, False),
    ({"containerd__installed": {"msg": "it failed"}}, False),
]


def test_restart(play: t.Any) -> None:
    """All in one run, which takes as long as one of them."""
    tasks: list[dict[str, t.Any]] = [
        {
            "name": "Tell",
            "ansible.builtin.debug": {"msg": f"case {number} restart: {{{{ containerd__restart }}}}"},
            "vars": {"containerd__outdated": False, "containerd__to_write": [], **given},
        }
        for number, (given, _restart) in enumerate(CASES)
    ]
    role = {"name": "gpufleet.k8s.containerd", "tasks_from": "install"}
    tasks.append({"name": "Role", "ansible.builtin.import_role": role, "when": False})
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": tasks}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )
    wrong = [given for number, (given, restart) in enumerate(CASES) if f"case {number} restart: {restart}" not in said.text]
    assert wrong == [], said.text


@pytest.mark.parametrize(
    ("services", "says"), [(["x.service", "y.mount"], ""), (["x.service", "dlami-nvme"], "dlami-nvme is no name of a")]
)
def test_services_have_names_of_units(play: t.Any, tmp_path: Path, services: list[str], says: str) -> None:
    systemctl = tmp_path / "systemctl"
    shown = "".join(
        f"Id={unit}\nActiveState=inactive\nFragmentPath=\n\n" for unit in ("containerd.service", "var-lib-kubelet.mount")
    )
    systemctl.write_text(f"#!/bin/sh\ncat <<END\n{shown}END\n")
    systemctl.chmod(0o755)
    role = {
        "name": "Preflight",
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.containerd", "tasks_from": "preflight"},
        "vars": {"containerd__utc": {"PATH": f"{tmp_path}:/usr/bin:/bin"}, "containerd__kubelet_moves": False},
    }
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        containerd_data_disk_services=services,
    )
    assert said.status == (2 if says else 0), said.text
    assert says in said.text


SYSTEMCTL = """#!/bin/sh
echo "$*" >> log
state=inactive enabled=disabled
[ -e up ] && state=active enabled=enabled
case "$*" in
daemon-reload) [ ! -e kill-reload ] || { rm kill-reload; exit 1; } ;;
enable*|start*) touch up ;;
disable*|stop*) rm -f up ;;
is-enabled*) echo $enabled; [ $enabled = enabled ] ;;
show*)
    path=$(ls "$PWD/etc/containerd.service" "$PWD/lib/containerd.service" 2>/dev/null | head -n 1)
    load=loaded; [ -n "$path" ] || load=not-found
    printf 'Id=containerd.service\nFragmentPath=%s\nLoadState=%s\n' "$path" $load
    printf 'ActiveState=%s\nUnitFileState=%s\n' $state $enabled
    printf 'ActiveEnterTimestamp=Sun 2026-11-29 00:00:00 UTC\n'
    [ $# = 2 ] || for unit in kubelet.service var-lib-kubelet.mount; do
        printf '\nId=%s\nFragmentPath=\nLoadState=not-found\nActiveState=inactive\n' $unit
    done ;;
esac
"""
MV = """#!/bin/sh
[ ! -e kill-mv ] || { rm kill-mv; exit 1; }
exec /bin/mv "$@"
"""
FOREIGN_UNIT = "[Service]\nExecStart=/usr/bin/containerd\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with the files of one host, and programs that act there; those with a file kill-NAME fail once."""
    for name, script in {"systemctl": SYSTEMCTL, "mv": MV}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script.replace("#!/bin/sh\n", f"#!/bin/sh\ncd {tmp_path}\n"))
        program.chmod(0o755)
    for folder in ("etc/certs.d/one.example", "etc/certs.d/two.example", "lib"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def role(part: str, host: Path) -> dict[str, t.Any]:
    return {
        "name": part,
        "ansible.builtin.import_role": {"name": "gpufleet.k8s.containerd", "tasks_from": part},
        "environment": {"PATH": f"{host}/bin:/usr/bin:/bin"},
    }


def run(play: t.Any, host: Path, tasks: list[dict[str, t.Any]], *arguments: str, **more: t.Any) -> t.Any:
    paths = {
        "unit": f"{host}/etc/containerd.service",
        "mount_unit": f"{host}/etc/var-lib-kubelet.mount",
        "base_file": f"{host}/etc/config.toml",
        "dropin_file": f"{host}/etc/10-gpufleet.toml",
        "certs_dir": f"{host}/etc/certs.d",
        "crictl_file": f"{host}/etc/crictl.yaml",
        "program": f"{host}/none",
    }
    overrides = {**{f"containerd__{name}": path for name, path in paths.items()}, "containerd__artifacts": [], **more}
    return play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": tasks}],
        "--extra-vars",
        json.dumps(overrides),
        *arguments,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )


MIRRORS = {"one.example": ["https://m.example"], "two.example": ["https://m.example"], "three.example": ["https://m.example"]}


@pytest.mark.parametrize("unit", ["lib/containerd.service", "etc/containerd.service"])
def test_what_others_had_is_theirs_again(play: t.Any, host: Path, unit: str) -> None:
    """A removal that is killed before a file is put back, and before systemd knows of it, is finished by the next one."""
    theirs = {
        unit: FOREIGN_UNIT,
        "etc/config.toml": "version = 2\n",
        "etc/crictl.yaml": "timeout: 9\n",
        "etc/certs.d/one.example/hosts.toml": "server = 'x'\n",
        "etc/certs.d/two.example/ca.crt": "PEM\n",
    }
    for path, content in theirs.items():
        (host / path).write_text(content)
    (host / "etc/config.toml").chmod(0o640)
    if unit.startswith("etc"):
        made = run(play, host, [role("preflight", host)])
        assert f"is set up by {host}/{unit}" in made.text
    wishes = {"containerd_takeover": True, "containerd_registry_mirrors": MIRRORS}
    made = run(play, host, [role("preflight", host), role("apply", host)], **wishes)
    assert made.status == 0, made.text
    for path in theirs:
        assert (host / path).read_text().startswith("# Managed by gpufleet.k8s") == (
            path not in ("lib/containerd.service", [*theirs][-1])
        )
    # A tool that writes config.toml anew does not make it a file of before the first run
    (host / "etc/config.toml").write_text("version = 3\n")
    fewer = {**wishes, "containerd_registry_mirrors": {"two.example": ["https://m.example"]}}
    made = run(play, host, [role("preflight", host), role("apply", host)], **fewer)
    assert made.status == 0, made.text
    assert (host / "etc/certs.d/one.example/hosts.toml").read_text() == "server = 'x'\n"
    assert not (host / "etc/certs.d/three.example").exists()

    (host / "up").touch()
    (host / "kill-mv").touch()
    (host / "kill-reload").touch()
    again = {"name": "Again", "block": [role("remove", host)], "rescue": [role("remove", host)]}
    removed = run(play, host, [{"name": "First", "block": [role("remove", host)], "rescue": [again]}], containerd_state="absent")
    assert removed.status == 0, removed.text
    assert "rescued=2" in removed.text
    for _second_time in range(2):
        found = {str(path.relative_to(host)) for path in [*host.glob("etc/**/*"), *host.glob("lib/*")] if path.is_file()}
        assert found == set(theirs)
        assert {path: (host / path).read_text() for path in theirs} == theirs
        assert (host / "etc/config.toml").stat().st_mode & 0o777 == 0o640
        assert (host / "up").exists()
        if not _second_time:
            removed = run(play, host, [role("remove", host)], containerd_remove_data=True, containerd__root_now=str(host / "lib"))
            assert "changed=0" in removed.text, removed.text


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("root", ["old", "new"])
def test_docker_keeps_control_of_its_running_containers(play: t.Any, host: Path, root: str, running: bool) -> None:
    (host / "lib/containerd.service").write_text(FOREIGN_UNIT)
    (host / "etc/config.toml").write_text(f'version = 2\nroot = "{host}/old"\n')
    container = "0123456789ab" + "c" * 52
    if running:
        (host / "moby" / container).mkdir(parents=True)
    wishes = {"containerd_takeover": True, "containerd_root": f"{host}/{root}", "containerd__docker_tasks": f"{host}/moby"}
    said = run(play, host, [role("preflight", host)], **wishes)
    refused = running and root == "new"
    assert said.status == (2 if refused else 0), said.text
    assert ("would lose control of them: 0123456789ab (docker ps shows" in said.text) == refused, said.text


def test_a_host_of_nobody_else_is_empty_again(play: t.Any, host: Path) -> None:
    (host / "etc/certs.d/two.example").rmdir()
    (host / "etc/certs.d/one.example").rmdir()
    made = run(play, host, [role("preflight", host), role("apply", host)], containerd_registry_mirrors=MIRRORS)
    assert made.status == 0, made.text
    (host / "etc/config.toml").write_text("version = 3\n")  # by a tool
    (host / "data").mkdir()
    (host / "data/image").touch()
    wishes = {"containerd_remove_data": True, "containerd__root_now": str(host / "data")}
    foretold = run(play, host, [role("remove", host)], "--check", **wishes)
    removed = run(play, host, [role("remove", host)], **wishes)
    assert removed.status == 0, removed.text
    assert foretold.text.rpartition("changed=")[2][0] == removed.text.rpartition("changed=")[2][0] != "0", foretold.text
    assert [*host.glob("etc/**/*")] == [host / "etc/certs.d"]
    assert [*host.glob("data/*")] == []
    assert not (host / "up").exists()
