# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role hyperpod refuses before other roles take their defaults from it."""

from __future__ import annotations

import json
import socket
import sys
import typing as t
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "hyperpod_resource_config is {path}: "),
        ("{{", "hyperpod_resource_config is {path} on head, and that is not JSON"),
        ("{}", "hyperpod_zone_id is 'usw2 az1', which is no id"),
    ],
)
def test_refused(play: t.Any, tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "resource_config.json"
    if content is not None:
        path.write_text(content)
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": "identity"}}
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": [role]}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        hyperpod_resource_config=str(path),
        hyperpod_zone_id="usw2 az1",
    )
    assert said.status == 2
    assert says.format(path=path) in said.text, said.text
    assert "Nothing was changed." in said.text


def test_the_platforms_file_is_not_kept_for_each_host(play: t.Any, tmp_path: Path) -> None:
    """With a thousand instances it is 200 KB, and the controller would hold it a thousand times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.connect(("192.0.2.1", 9))  # sends nothing
        instance = {"InstanceName": "w-1", "InstanceId": "i-07259dd159a1c7130", "CustomerIpAddress": outside.getsockname()[0]}
    config = {
        "ClusterConfig": {"ClusterName": "a", "ClusterArn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"},
        "InstanceGroups": [{"Name": "w", "InstanceType": "ml.m5.2xlarge", "Instances": [instance]}],
    }
    (tmp_path / "resource_config.json").write_text(json.dumps(config))
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": "identity"}}
    tell = {"ansible.builtin.debug": {"msg": "{{ gpufleet_node.provider_id }} file={{ hyperpod__file }}"}}
    said = play(
        [
            {
                "name": "Look",
                "hosts": "head",
                "gather_facts": True,
                "gather_subset": ["!all", "!min", "network"],
                "tasks": [role, role, tell],
            }
        ],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        hyperpod_resource_config=str(tmp_path / "resource_config.json"),
        hyperpod_zone_id="usw2-az1",
    )
    assert said.status == 0, said.text
    assert "hyperpod-kb8v11zrrpvr-i-07259dd159a1c7130 file={}" in said.text, said.text
