# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel would not take is refused before there is a cluster, by the variable's name; another manifest's images are not
known then."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "flannel"
OLD = {"flannel_images": {"docker.io/flannel/flannel": "x/y"}}
REFUSED = "flannel_images: no container uses docker.io/flannel/flannel; the images of flannel_version"
SUMS = yaml.safe_load((ROLE / "vars/main/checksums.yml").read_text())["flannel__sums"]
CASES: list[tuple[dict[str, t.Any], str]] = [
    ({}, ""),
    ({"flannel_images": {"ghcr.io/flannel-io/flannel": "x/y", "ghcr.io/flannel-io/flannel-cni-plugin:v1": "x/z:1"}}, ""),
    ({"flannel_images": {"ghcr.io/flannel-io/flannel@sha256:0": "x/y"}}, ""),
    ({"flannel_images": {"ghcr.io/flannel-io/flannel-cni": "x/y"}}, "no container uses ghcr.io/flannel-io/flannel-cni;"),
    (OLD, REFUSED),
    ({**OLD, "flannel_mirror": "http://m"}, REFUSED),
    ({**OLD, "flannel_mirror_checksums": "mirror"}, REFUSED),  # of no mirror
    ({**OLD, "flannel_mirror": "http://m", "flannel_mirror_checksums": "mirror"}, ""),
    ({**OLD, "flannel_version": "0.25.1", "flannel_checksum": "f" * 64}, ""),
    ({**OLD, "flannel_checksum": "f" * 64}, ""),
    ({**OLD, "flannel_checksum": [*SUMS.values()][-1]}, REFUSED),
    ({"flannel_net_conf": {"Backend": {"Type": "vxlan"}, "SubnetLen": 24}}, ""),
    ({"flannel_net_conf": {"Backend": {}}}, "flannel_net_conf is {'Backend': {}}; its keys can be EnableIPv4"),
    ({"flannel_net_conf": {"Backend": 5}, **OLD}, "Backend is a dictionary such as {'Type': 'vxlan', 'MTU': 8951}. " + REFUSED),
    ({"flannel_net_conf": {"Port": 5}}, "flannel_net_conf is {'Port': 5}"),
    ({"flannel_net_conf": {"Network": "10.0.0.0/8"}}, "flannel_net_conf has Network;"),
    ({"flannel_version": "0.1.0"}, "flannel_version 0.1.0 has no pinned sum"),
]


def test_preflight(play: t.Any) -> None:
    """All in one run, which takes as long as one of them."""
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.flannel", "tasks_from": "preflight"}}
    tasks = [
        {
            "name": f"Case {number}",
            "block": [
                {"name": "Role", **role, "vars": given},
                {"name": "Fine", "ansible.builtin.debug": {"msg": f"case {number}: <>"}},
            ],
            "rescue": [
                {"name": "Refused", "ansible.builtin.debug": {"msg": f"case {number}: <{{{{ ansible_failed_result.msg }}}}>"}}
            ],
        }
        for number, (given, _says) in enumerate(CASES)
    ]
    said = play(
        [{"name": "Look", "hosts": "head", "gather_facts": False, "tasks": tasks}],
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )
    assert said.status == 0, said.text
    answers = [said.text.rpartition(f"case {number}: <")[2].partition('>"')[0] for number in range(len(CASES))]
    assert [answer for answer, (_given, says) in zip(answers, CASES) if says not in answer or bool(says) != bool(answer)] == [], (
        said.text
    )
    assert all("Nothing was changed" in answer for answer in answers if answer)


def test_the_names_of_images_are_those_that_the_test_bed_has_for_the_pinned_manifest() -> None:
    table = (ROLE.parents[1] / "tests/testbed/artifacts.toml").read_text()
    names = [
        line.split('"')[1].rpartition(":")[0] for line in table.splitlines() if line.startswith('ref = "ghcr.io/flannel-io/')
    ]
    assert sorted(names) == sorted(yaml.safe_load((ROLE / "vars/main/main.yml").read_text())["flannel__images"])
