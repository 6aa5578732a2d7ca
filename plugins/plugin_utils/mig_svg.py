# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's slices as a drawing."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import picture


def mig_svg(fleet: t.Mapping[str, t.Any]) -> str:
    """Pure. Raises AnsibleFilterError for a host that is nothing of that."""
    if not isinstance(fleet, t.Mapping):
        raise AnsibleFilterError(f"mig_svg: the input is a {type(fleet).__name__}, not a dictionary of hosts")
    try:
        return picture.svg({host: _gpus(host, found) for host, found in fleet.items()})
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"mig_svg: what is drawn are GPUs as mig_info tells them ({type(error).__name__}: {error})"
        ) from error


def _gpus(host: str, found: t.Any) -> t.Sequence[picture.Described]:
    gpus = found.get("gpus", found.get("after")) if isinstance(found, t.Mapping) else found
    if not isinstance(gpus, t.Sequence) or isinstance(gpus, str):
        raise AnsibleFilterError(f"mig_svg: {host} has neither GPUs nor a result of mig_info or mig_parted, but {found!r}")
    return gpus
