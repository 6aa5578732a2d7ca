# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role's argument_specs and defaults say the same: same variables, same values, all described and all used."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def load(path: Path) -> dict[str, t.Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def problems(role: Path) -> t.Iterator[str]:
    options = load(role / "meta" / "argument_specs.yml").get("argument_specs", {}).get("main", {}).get("options")
    if options is None:
        yield "meta/argument_specs.yml has no argument_specs.main.options"
        return
    defaults = load(role / "defaults" / "main.yml")
    if not (role / "README.md").exists():
        yield "README.md is missing"
    texts = "\n".join(
        path.read_text()
        for folder in ("tasks", "templates", "handlers", "vars", "defaults")
        for path in (role / folder).rglob("*.*")
    )
    for name in sorted(defaults.keys() - options.keys()):
        yield f"{name} has a default but no entry in argument_specs"
    for name, option in sorted(options.items()):
        if not name.startswith(f"{role.name}_"):
            yield f"{name} does not start with the role's name"
        if not option.get("description"):
            yield f"{name} has no description"
        yield from wrong_default(name, option, defaults)
        if texts.count(name) - texts.count(f"{name}_") <= (1 if name in defaults else 0):
            yield f"{name} is used nowhere"


def wrong_default(name: str, option: dict[str, t.Any], defaults: dict[str, t.Any]) -> t.Iterator[str]:
    if option.get("required"):
        if name in defaults or "default" in option:
            yield f"{name} is required and has a default"
    elif name not in defaults:
        yield f"{name} is in argument_specs but has no default in defaults/main.yml"
    elif "{{" in str(defaults[name]) and option["type"] in ("dict", "int", "bool", "float"):
        # antsibull-docs wants a value of the type there, and a template is text until it is rendered
        if "default" in option:
            yield f"{name}: its default is a template, which argument_specs cannot hold for a {option['type']}; describe it"
    elif option.get("default") != defaults[name]:
        yield f"{name}: argument_specs say default {option.get('default')!r}, defaults/main.yml says {defaults[name]!r}"


def main() -> int:
    roles = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
    found = [f"roles/{role.name}: {problem}" for role in roles for problem in problems(role)]
    print("\n".join(found) or f"{len(roles)} roles: argument_specs and defaults agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
