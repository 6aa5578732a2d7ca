# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No condition of a role or playbook ends in a text: ansible-core refuses such from 2.19 on, even one that is true."""

from __future__ import annotations

import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from jinja2 import nodes

ROOT = Path(__file__).resolve().parents[3]
FILES = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]
KEYWORDS = ("when", "that", "failed_when", "changed_when", "until")
OTHER_TYPES = {
    name
    for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    for spec in yaml.safe_load(path.read_text())["argument_specs"].values()
    for name, option in spec["options"].items()
    if option["type"] != "bool"
}


def conditions(part: t.Any) -> t.Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key in KEYWORDS:
                yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))
            yield from conditions(value)
    elif isinstance(part, list):
        for each in part:
            yield from conditions(each)


def results(node: nodes.Node) -> t.Iterator[nodes.Node]:
    """What an expression may be, by Jinja's rule that `and` and `or` give one of their operands."""
    if isinstance(node, (nodes.And, nodes.Or)):
        yield from results(node.left)
        yield from results(node.right)
    elif isinstance(node, nodes.CondExpr):
        yield from results(node.expr1)
        yield from results(node.expr2) if node.expr2 else ()
    else:
        yield node


def texts(condition: str) -> list[str]:
    """Variables that are no booleans and that the condition may be."""
    tree = jinja2.Environment(autoescape=True).parse(f"{{{{ {condition} }}}}")
    output = next(tree.find_all(nodes.Output)).nodes[0]
    return [found.name for found in results(output) if isinstance(found, nodes.Name) and found.name in OTHER_TYPES]


def test_what_is_found() -> None:
    assert texts("flannel_checksum or flannel_version in sums or (flannel_mirror and flannel_mirror_checksums == 'mirror')") == [
        "flannel_checksum",
        "flannel_mirror",
    ]
    assert texts("not flannel_checksum or flannel_mirror | length > 0") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_condition_is_a_text(path: Path) -> None:
    every = [each for document in yaml.safe_load_all(path.read_text()) for each in conditions(document)]
    assert {each: texts(each) for each in every if texts(each)} == {}
