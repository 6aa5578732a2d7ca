# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's GPUs will be in Kubernetes."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible.errors import AnsibleFilterError

GPU = "nvidia.com/gpu"


def mig_resources(gpus: t.Sequence[t.Mapping[str, t.Any]], strategy: str) -> dict[str, int]:
    """Resource -> count. Pure. Raises AnsibleFilterError when the strategy contradicts the layout."""
    cut = [gpu for gpu in gpus if gpu["mig"]]
    slices: Counter[str] = Counter()
    for gpu in cut:
        for instance in gpu["instances"]:
            for device in instance["devices"]:
                if device["profile"] != instance["profile"]:
                    raise _refused(
                        strategy, f"GPU {gpu['index']} has a {device['profile']}, which the device plugin does not offer"
                    )
                slices[device["profile"]] += 1
    if strategy == "none":
        if cut:
            raise _refused(strategy, f"{_named(cut)} in MIG mode would be offered whole; say single or mixed")
        return {GPU: len(gpus)} if gpus else {}
    if strategy == "mixed":
        found = {f"nvidia.com/mig-{profile.replace('+', '.')}": count for profile, count in sorted(slices.items())}
        whole = len(gpus) - len(cut)
        return {**({GPU: whole} if whole else {}), **found}
    if strategy != "single":
        raise _refused(strategy, "the device plugin knows none, single and mixed")
    if not cut:
        return {GPU: len(gpus)} if gpus else {}
    if len(cut) < len(gpus):
        raise _refused(strategy, f"{_named(cut)} is cut and {_named([gpu for gpu in gpus if not gpu['mig']])} is not; say mixed")
    empty = [gpu for gpu in cut if not gpu["instances"]]
    if empty:
        raise _refused(strategy, f"{_named(empty)} has no slice")
    if len(slices) > 1:
        raise _refused(strategy, f"there are slices of different sizes ({', '.join(sorted(slices))}); say mixed")
    return {GPU: slices.total()}


def _named(gpus: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    return f"GPU {', '.join(str(gpu['index']) for gpu in gpus)}"


def _refused(strategy: str, why: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"strategy {strategy!r} cannot serve this layout: {why}")
