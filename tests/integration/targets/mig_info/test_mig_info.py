# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mig_info through ansible, on a host with stand-in GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from fakegpu import Host
from onhost import info, parted


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host.make(tmp_path / "host", ["A100-40", "A30", "T4"])
    assert parted(made, layout={0: ["3g.20gb:4", "2g.10gb:0"]}).ok
    return made


def test_facts_through_ansible(host: Host, tmp_path: Path) -> None:
    task = {"name": "Read", "gpufleet.k8s.mig_info": {"label": "now"}, "register": "mig"}
    copy = {"name": "Keep", "ansible.builtin.copy": {"content": "{{ mig | to_json }}", "dest": str(tmp_path / "mig.json")}}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task, copy]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    command = ["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml")]
    environment = host.env(ANSIBLE_PYTHON_INTERPRETER=sys.executable)
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    mig = json.loads((tmp_path / "mig.json").read_text())
    assert not mig["changed"] and mig["driver"] == "580.65.06"
    assert [gpu["mig"] for gpu in mig["gpus"]] == [True, False, None]
    assert [gpu["reset_needed"] for gpu in mig["gpus"][:2]] == [True, True]
    first = mig["gpus"][0]
    assert [(i["profile"], i["start"]) for i in first["instances"]] == [("2g.10gb", 0), ("3g.20gb", 4)]
    assert {p["name"]: p["starts"] for p in first["profiles"]}["3g.20gb"] == [0, 4]
    assert first["layouts"]["all-1g.10gb"] == {"1g.10gb": 4} and first["layouts"]["all-disabled"] == {}
    assert mig["gpus"][1]["layouts"]["all-1g.6gb"] == {"1g.6gb": 4}
    assert mig["gpus"][2]["layouts"] == {} and mig["gpus"][2]["profiles"] == []
    assert "  slots 4-7  3g.20gb" in mig["picture"] and mig["svg"].startswith("<svg")
    assert yaml.safe_load(mig["config_yaml"]) == mig["config"] and list(mig["config"]["mig-configs"]) == ["now"]


def test_what_it_exports_is_what_is(host: Host) -> None:
    for placement in (False, True):
        config = info(host, placement=placement).result["config"]
        again = parted(host, config=config)
        assert again.ok and not again.result["changed"], again.msg


@pytest.mark.parametrize("faults", ["nvmlDeviceGetName return 999", "gpu 1 lost", "nvmlInitWithFlags return 18"])
def test_a_driver_in_trouble_is_a_sentence(host: Host, faults: str) -> None:
    outcome = info(host, faults=faults)
    assert not outcome.ok and "nvml" in outcome.msg and outcome.msg.count(";") >= 1
    assert t.cast(int, outcome.result["nvml_code"]) > 0


def test_a_driver_that_answers_about_profiles_only_with_mig_on(host: Host) -> None:
    """Driver 535: the table of known boards serves instead."""
    outcome = info(host, faults="nvmlDeviceGetGpuInstanceProfileInfoV return 3")
    assert [profile["name"] for profile in outcome.result["gpus"][0]["profiles"]][:2] == ["1g.5gb", "1g.5gb+me"]
