# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_taint on the controller."""

from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.node_taint import SPEC, entry
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._action import ApiAction


class ActionModule(ApiAction):
    """See plugins/modules/node_taint.py."""

    MODULE = "gpufleet.k8s.node_taint"
    ENTRY = staticmethod(entry)
    SPEC = SPEC
