# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin are the same thing twice. What they do is in the integration target node_taint."""

from __future__ import annotations

import yaml
from ansible_collections.gpufleet.k8s.plugins.action.node_taint import ActionModule
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import node_taint as shared
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import AUTH_SPEC
from ansible_collections.gpufleet.k8s.plugins.modules import node_taint as module


def test_action_and_module_share_spec_and_entry() -> None:
    assert ActionModule.SPEC is shared.SPEC is module.SPEC
    assert ActionModule.ENTRY is shared.entry is module.entry
    assert ActionModule.MODULE == "gpufleet.k8s.node_taint"


def test_the_documented_options_are_the_specs() -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert set(documented) | set(AUTH_SPEC) == set(shared.SPEC["argument_spec"])
    for name, option in documented.items():
        spec = shared.SPEC["argument_spec"][name]
        for field in ("type", "elements", "default", "choices", "required"):
            assert option.get(field) == spec.get(field), (name, field)
