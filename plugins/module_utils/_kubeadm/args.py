# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Options of `kubeadm_node`."""

from __future__ import annotations

import typing as t

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "name": {"type": "str", "required": True},
        "config": {"type": "list", "elements": "dict"},
        "token": {"type": "str", "no_log": True},
        "labels": {"type": "dict", "default": {}},
        "certificate_key": {"type": "str", "no_log": True},
        "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
        "bin_dir": {"type": "path", "default": "/usr/local/bin"},
        "timeout": {"type": "int", "default": 300},
    },
    "required_if": [("state", "present", ["config"])],
}
