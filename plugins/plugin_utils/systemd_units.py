# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`systemctl show` as data."""

from __future__ import annotations


def systemd_units(text: str) -> dict[str, dict[str, str]]:
    """`{Id: {property: value}}`; a unit asked for twice is there once."""
    units = (dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in str(text).split("\n\n"))
    return {unit["Id"]: unit for unit in units if "Id" in unit}
