# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Options of `kubelet_config`."""

from __future__ import annotations

import typing as t

from .._kube import drain, lease
from .._kube.client import AUTH_SPEC

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        **AUTH_SPEC,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "settings": {"type": "dict"},
        "name": {"type": "str", "default": "gpufleet"},
        "priority": {"type": "int", "default": 50},
        "provider": {"type": "str", "choices": ["auto", "kubeadm", "k3s", "openshift"], "default": "auto"},
        "pool": {"type": "str"},
        "node_name": {"type": "str"},
        "drain": {
            "type": "dict",
            "apply_defaults": True,
            "options": {
                "mode": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
                **drain.SPEC,
            },
        },
        "lock": {
            "type": "dict",
            "apply_defaults": True,
            "options": lease.SPEC,
        },
        "verify_timeout": {"type": "int"},
        "rollback": {"type": "bool", "default": True},
    },
    "required_if": [("state", "present", ["settings"]), ("provider", "openshift", ["pool"])],
}
