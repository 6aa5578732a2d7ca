# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import TOKEN_SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.token import entry
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._action import ApiAction


class ActionModule(ApiAction):
    MODULE = "gpufleet.k8s.hyperpod_token"
    ENTRY = staticmethod(entry)
    SPEC = TOKEN_SPEC
