# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said without Go about the files that tools/kubelet_types writes: their releases, and that no line is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import table

ROOT = Path(__file__).resolve().parents[3]


def test_the_releases_are_those_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools/kubelet_types"))
    import generate  # noqa: PLC0415  a script's folder

    assert table.RELEASES == generate.RELEASES
    version = yaml.safe_load((ROOT / "roles/kubeadm/defaults/main.yml").read_text())["kubeadm_version"]
    assert version.split(".")[1] in {release.split(".")[1] for release in table.RELEASES}


@pytest.mark.parametrize("section", ["FIELDS", "DEFAULTS", "GATES", "DEPENDENCIES", "FLAGS", "OPTIONS"])
def test_lines_are_sorted_and_each_name_is_there_once(section: str) -> None:
    names = [line.split(" ")[0] for line in getattr(table, section).splitlines()]
    assert names == sorted(set(names))


def test_each_verdict_has_a_letter_for_each_release() -> None:
    lines = (ROOT / "tests/unit/plugins/module_utils/_kubelet/kubelet_verdicts.txt").read_text().splitlines()
    cases = [line.partition(" ")[2] for line in lines]
    assert len(lines) > 400 and cases == sorted(set(cases)) and all(json.dumps(json.loads(case)) == case for case in cases)
    assert {len(line.partition(" ")[0]) for line in lines} == {len(table.RELEASES)}
    assert {letter for line in lines for letter in line.partition(" ")[0]} == {"y", "n"}
