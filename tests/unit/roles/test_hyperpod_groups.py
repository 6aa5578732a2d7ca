# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role makes of the platform's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_groups_without_instances_are_passed_over(tmp_path: Path) -> None:
    arn = "arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr"
    instance = {"InstanceName": "w-1", "CustomerIpAddress": "192.0.2.9", "InstanceId": "i-0cbbe3075137ffa1d"}
    groups = [
        {"Name": "none"},
        {"Name": "null", "Instances": None},
        {"Name": "w", "InstanceType": "ml.m5.large", "Instances": [instance]},
    ]
    config = tmp_path / "resource_config.json"
    config.write_text(json.dumps({"ClusterConfig": {"ClusterArn": arn}, "InstanceGroups": groups}))
    addresses = {"all_ipv4_addresses": ["192.0.2.1", "192.0.2.9"], "default_ipv4": {"address": "192.0.2.1"}}
    tasks = [
        {"ansible.builtin.set_fact": {**addresses, "cacheable": True}},
        {"ansible.builtin.import_role": {"name": "gpufleet.k8s.hyperpod", "tasks_from": "identity"}},
        {"ansible.builtin.assert": {"that": "gpufleet_node.name == 'ip-192-0-2-9'"}},
    ]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    play["vars"] = {"hyperpod_resource_config": str(config), "ansible_python_interpreter": sys.executable}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(tmp_path / "ansible")}
    done = subprocess.run(["ansible-playbook", str(tmp_path / "play.yml")], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
