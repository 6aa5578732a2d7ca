# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys of a configuration a program silently left out."""

from __future__ import annotations

import typing as t


def keys_ignored(wished: t.Mapping[str, t.Any], effective: t.Mapping[str, t.Any], path: str = "") -> list[str]:
    """Paths of keys that are in `wished` and not in `effective`, in order."""
    missing = []
    for key, value in wished.items():
        here = f"{path}['{key}']" if "." in key else f"{path}.{key}".lstrip(".")
        if key not in effective:
            missing += [here] if value else []
        elif isinstance(value, t.Mapping) and isinstance(effective[key], t.Mapping):
            missing += keys_ignored(value, effective[key], here)
    return missing
