# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin are the same thing twice. What they do is in the integration target hyperpod_token."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.action import hyperpod_token as action
from ansible_collections.gpufleet.k8s.plugins.action import hyperpod_token_info as info_action
from ansible_collections.gpufleet.k8s.plugins.doc_fragments.aws import ModuleDocFragment
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod import args, info, token
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube.client import AUTH_SPEC
from ansible_collections.gpufleet.k8s.plugins.modules import hyperpod_token as module
from ansible_collections.gpufleet.k8s.plugins.modules import hyperpod_token_info as info_module

BOTH = [
    ("hyperpod_token", action.ActionModule, module, args.TOKEN_SPEC, token.entry),
    ("hyperpod_token_info", info_action.ActionModule, info_module, args.INFO_SPEC, info.entry),
]


@pytest.mark.parametrize(("name", "plugin", "documented", "spec", "entry"), BOTH)
def test_action_and_module_share_spec_and_entry(name: str, plugin: t.Any, documented: t.Any, spec: t.Any, entry: t.Any) -> None:
    assert plugin.SPEC is spec
    assert plugin.ENTRY is entry is documented.entry
    assert f"gpufleet.k8s.{name}" == plugin.MODULE


@pytest.mark.parametrize(("name", "plugin", "documented", "spec", "entry"), BOTH)
def test_the_documented_options_are_the_specs(name: str, plugin: t.Any, documented: t.Any, spec: t.Any, entry: t.Any) -> None:
    doc = yaml.safe_load(documented.DOCUMENTATION)
    options = dict(doc["options"])
    for fragment in doc["extends_documentation_fragment"]:
        if fragment.startswith("gpufleet.k8s.aws"):
            part = (fragment.split(".")[3:] or ["documentation"])[0].upper()
            options.update(yaml.safe_load(getattr(ModuleDocFragment, part))["options"])
    kube = set(AUTH_SPEC) if "gpufleet.k8s.kube" in doc["extends_documentation_fragment"] else set()
    assert set(options) | kube == set(spec["argument_spec"])
    for option, described in options.items():
        for field in ("type", "default", "choices", "required"):
            assert described.get(field) == spec["argument_spec"][option].get(field), (option, field)


@pytest.mark.parametrize("option", ["secret_key", "session_token", "certificate_key", "api_key"])
def test_secrets_are_hidden_from_logs(option: str) -> None:
    assert args.TOKEN_SPEC["argument_spec"][option]["no_log"] is True
