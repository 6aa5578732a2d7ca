# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The argument specs of mig_parted and mig_info.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t

from .._kube import drain, lease
from .._kube.client import AUTH_SPEC

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "state": {"type": "str", "choices": ["present"], "default": "present"},
        "config": {"type": "dict"},
        "config_name": {"type": "str", "default": "config"},
        "config_lines": {"type": "dict", "default": {}},
        "src": {"type": "path"},
        "remote_src": {"type": "bool", "default": False},
        "selected": {"type": "str"},
        "layout": {"type": "dict"},
        "allow_busy": {"type": "bool", "default": False},
        "reset": {"type": "bool", "default": True},
        "stop_services": {"type": "list", "elements": "str", "default": []},
        "refresh_cdi": {"type": "bool", "default": True},
        "assume_gpus": {"type": "list", "elements": "str", "default": []},
        "boot": {"type": "bool"},
        "drain": {
            "type": "dict",
            "apply_defaults": True,
            "options": {
                "enabled": {"type": "bool", "default": False},
                **drain.SPEC,
                "node_name": {"type": "str"},
                "kubeconfig": {"type": "path"},
            },
        },
        "lock": {"type": "dict", "apply_defaults": True, "options": lease.SPEC},
        "api_key": AUTH_SPEC["api_key"],
        "timeout": {"type": "int", "default": 600},
    },
    "mutually_exclusive": [("config", "src", "layout"), ("selected", "layout")],
    "required_one_of": [("config", "src", "layout", "selected")],
}

INFO_SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "label": {"type": "str", "default": "current"},
        "placement": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    },
}
