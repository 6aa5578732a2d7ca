# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.instance import find_instance
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError


def hyperpod_instance(resource_config: t.Any, ip: str, availability_zone_id: str = "") -> dict[str, str]:
    try:
        return find_instance(resource_config, ip, availability_zone_id)
    except GpufleetError as error:
        raise AnsibleFilterError(f"gpufleet.k8s.hyperpod_instance: {error.message}") from error
