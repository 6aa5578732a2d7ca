# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads TOML, as a program's own "show me your configuration" prints it."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

try:
    import tomllib
except ImportError:  # only so that the file can be imported (and its documentation read) by an older Python
    tomllib = None  # type: ignore[assignment]


def from_toml(text: t.Any) -> dict[str, t.Any]:
    """TOML text as a dictionary. Raises AnsibleFilterError with line and column of what is no TOML."""
    if tomllib is None:
        raise AnsibleFilterError("from_toml needs Python 3.11 or newer on the controller")
    if not isinstance(text, str):
        raise AnsibleFilterError(f"from_toml: the input is a {type(text).__name__}, not a string")
    try:
        return tomllib.loads(str(text))
    except tomllib.TOMLDecodeError as error:
        raise AnsibleFilterError(f"from_toml: {error}") from error
