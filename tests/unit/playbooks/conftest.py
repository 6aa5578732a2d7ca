# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks where no host answers: what they say then, and that they do not go on."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "testbed"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))
from bedlib import local

GROUPS = {"kube_control_plane": ["head"], "kube_node": ["worker"]}


class Said(t.NamedTuple):
    status: int
    text: str  # with every run of white space as one space


Play = t.Callable[..., Said]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """`play(PLAYBOOK, arguments..., **variables of all hosts)`; PLAYBOOK is a name in gpufleet.k8s, or a list of plays.

    Hosts are those of `groups`, at a closed port of this machine; `each` has variables of single hosts.
    """

    def run(
        playbook: str | list[dict[str, t.Any]],
        *arguments: str,
        groups: dict[str, list[str]] | None = None,
        each: dict[str, dict[str, t.Any]] | None = None,
        **variables: t.Any,
    ) -> Said:
        if not isinstance(playbook, str):
            path = tmp_path / "play.yml"
            path.write_text(json.dumps(playbook))
            playbook = str(path)
        everywhere = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_become": False, **variables}
        children = {
            group: {"hosts": {host: (each or {}).get(host, {}) for host in hosts}} for group, hosts in (groups or GROUPS).items()
        }
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"all": {"vars": everywhere, "children": children}}))
        done = subprocess.run(
            ["ansible-playbook", "--inventory", str(inventory), *arguments, playbook],
            env={**local.environment(), "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Said(done.returncode, " ".join(done.stdout.split()))

    return run


@pytest.fixture(scope="session")
def aws_server() -> t.Iterator[t.Any]:
    from aws_api import AwsApi  # noqa: PLC0415 the path is set above

    with AwsApi() as api:
        yield api


@pytest.fixture
def aws(aws_server: t.Any) -> t.Any:
    """An empty AWS; its `url` and its KEYS go into hyperpod_aws."""
    aws_server.reset()
    return aws_server
