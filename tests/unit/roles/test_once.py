# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reads the variables of all hosts is asked for once: by each of them, the time of a run grows with their square."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]


def reads_all(text: t.Any) -> bool:
    return isinstance(text, str) and "ansible_play_hosts" in text and "hostvars" in text


def of_roles() -> set[str]:
    found = [yaml.safe_load(path.read_text()) or {} for path in ROOT.glob("roles/*/vars/**/*.yml")]
    return {name for document in found for name, value in document.items() if reads_all(value)}


def each_host(part: t.Any, known: t.AbstractSet[str], conditions: tuple[str, ...] = ()) -> t.Iterator[str]:
    """Tasks of which every host asks a condition that needs one of `known`, or a variable around it that reads all."""
    if isinstance(part, list):
        for item in part:
            yield from each_host(item, known, conditions)
    elif isinstance(part, dict) and not part.get("run_once"):
        own = {name for name, value in (part.get("vars") or {}).items() if reads_all(value)}
        within = {*known, *own}
        within |= {name for name, value in (part.get("vars") or {}).items() if set(re.findall(r"\w+", str(value))) & within}
        conditions = (*conditions, str(part.get("when", "")))
        children = [key for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks") if key in part]
        for key in children:
            yield from each_host(part[key], within, conditions)
        if not children and set(re.findall(r"\w+", " ".join(conditions))) & within:
            yield str(part.get("name"))


def test_what_is_found() -> None:
    everyone = "{{ ansible_play_hosts | map('extract', hostvars) }}"
    tasks = [{"name": "each", "when": "b"}, {"name": "one", "run_once": True, "when": "a"}]
    block = {"vars": {"a": everyone, "b": "{{ a }}"}, "block": tasks}
    assert list(each_host([block, {"name": "role", "when": "known"}], {"known"})) == ["each", "role"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_host_asks_for_all(path: Path) -> None:
    assert list(each_host(yaml.safe_load(path.read_text()), of_roles())) == []
