# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drawing that the role mig writes of all hosts: what they have, or after a dry run would have. No host is asked."""

from __future__ import annotations

import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, plan


def after(*profiles: str) -> dict[str, t.Any]:
    gpus = resource.assumed(["A100-40GB"])
    wishes = config.resolve(config.from_layout({0: list(profiles)}), gpus, True)
    return {"after": plan(gpus, wishes, Options()).facts["after"]}


TASK = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.mig", "tasks_from": "picture"}}
PLAYS = [
    {
        "name": "One host at a time",
        "hosts": "gpu",
        "serial": 1,
        "gather_facts": False,
        "tasks": [
            # As register does; the first host differs, the others' task was skipped.
            {"ansible.builtin.set_fact": {"mig__plan": after("3g.20gb"), "mig__done": {"skipped": True}}},
            {"ansible.builtin.set_fact": {"mig__done": after("2g.10gb")}, "when": "inventory_hostname == 'a'"},
        ],
    },
    {"name": "Draw", "hosts": "gpu", "gather_facts": False, "tasks": [TASK]},
]


# It is drawn by who runs Ansible, whom nobody gives other rights.
BECOME = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/nowhere/sudo"}


@pytest.mark.parametrize(("flags", "variables"), [([], {}), (["--check"], BECOME)])
def test_all_hosts_are_on_it_and_nothing_counts_as_changed(
    play: t.Any, tmp_path: Path, flags: list[str], variables: dict[str, t.Any]
) -> None:
    file = tmp_path / "layout.svg"
    said = play(PLAYS, *flags, groups={"gpu": ["a", "b"]}, mig_picture=str(file), **variables)
    assert said.status == 0 and "changed=0" in said.text and "changed=1" not in said.text, said.text
    described = ElementTree.fromstring(file.read_text()).find("{http://www.w3.org/2000/svg}desc")  # noqa: S314 made here
    assert described is not None and described.text is not None
    first, second = described.text.split("; ")
    assert first.startswith("a, GPU 0") and "2g.10gb" in first and second.startswith("b, GPU 0") and "3g.20gb" in second


def test_none_is_drawn_unless_it_is_wished(play: t.Any, tmp_path: Path) -> None:
    said = play(PLAYS, groups={"gpu": ["a"]})
    assert said.status == 0 and not list(tmp_path.glob("*.svg")), said.text
