# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What `kube_apply` accepts; shared by the module and its tests."""

from __future__ import annotations

import typing as t

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "manifests": {"type": "list", "elements": "path"},
        "content": {"type": "raw"},
        "kustomize": {"type": "path"},
        "namespace": {"type": "str", "default": "default"},
        "images": {"type": "dict"},
        "patches": {
            "type": "list",
            "elements": "dict",
            "options": {
                "kind": {"type": "str", "required": True},
                "name": {"type": "str"},
                "namespace": {"type": "str"},
                "patch": {"type": "raw", "required": True},
            },
        },
        "prune": {"type": "bool", "default": True},
        "inventory_namespace": {"type": "str", "default": "kube-system"},
        "field_manager": {"type": "str", "default": "gpufleet"},
        "force_conflicts": {"type": "bool", "default": True},
        "wait": {"type": "bool", "default": True},
        "wait_for": {
            "type": "list",
            "elements": "dict",
            "options": {
                "kind": {"type": "str", "required": True},
                "name": {"type": "str"},
                "namespace": {"type": "str"},
                "selector": {"type": "str"},
                "nodes": {"type": "list", "elements": "str"},
                "condition": {"type": "str"},
                "field": {"type": "str"},
                "value": {"type": "str"},
            },
            "mutually_exclusive": [("name", "selector"), ("condition", "field")],
            "required_together": [("field", "value")],
        },
        "wait_timeout": {"type": "int", "default": 300},
        "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
        "kubectl": {"type": "str", "default": "kubectl"},
    },
    "required_one_of": [("manifests", "content", "kustomize", "wait_for", "name")],
}
