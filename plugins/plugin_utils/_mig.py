# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML with line numbers, parsed where Ansible runs.

PRIVATE: this plugin util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError


def parse(text: str, name: str) -> tuple[t.Any, dict[str, int]]:
    """A YAML (or JSON) document as plain data, and the line of every key and item by its path (`a/0/b`).

    Raises PlanError with the line: not YAML, several documents, or a key that stands twice (of which YAML libraries silently
    drop one).
    """
    loader = yaml.SafeLoader(text)
    lines: dict[str, int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            raise PlanError(f"{name}: it is empty")
        return _plain(loader, node, "", lines, name), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PlanError(f"{name}{f' line {mark.line + 1}' if mark else ''}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise PlanError(f"{name}: not YAML: {error}") from None
    finally:
        loader.dispose()


def _plain(loader: yaml.SafeLoader, node: yaml.Node, path: str, lines: dict[str, int], name: str) -> t.Any:
    below = f"{path}/" if path else ""
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        result: dict[t.Any, t.Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            place, line = f"{below}{key}", key_node.start_mark.line + 1
            if key in result:
                raise PlanError(f"{name} line {line}: {key!r} stands here again, first on line {lines[place]}")
            lines[place] = line
            result[key] = _plain(loader, value_node, place, lines, name)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for number, item in enumerate(node.value):
            lines[f"{below}{number}"] = item.start_mark.line + 1
            items.append(_plain(loader, item, f"{below}{number}", lines, name))
        return items
    return loader.construct_object(node, deep=True)
