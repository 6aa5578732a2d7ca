# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What `artifact` accepts; shared by the module and its tests."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback

#: A password found here is a mirror's, and goes nowhere else.
MIRROR_PASSWORD = "GPUFLEET_MIRROR_PASSWORD"  # noqa: S105  a variable's name

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "artifacts": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "url": {"type": "str", "required": True},
                "checksum": {"type": "str"},
                "dest": {"type": "path", "required": True},
                "member": {"type": "str"},
                "extract": {"type": "list", "elements": "str"},
                "strip_components": {"type": "int", "default": 0},
                "mode": {"type": "raw"},
                "owner": {"type": "str"},
                "group": {"type": "str"},
                "mirror": {"type": "str"},
                "checksums": {"type": "str", "choices": ["pinned", "mirror"]},
            },
            "mutually_exclusive": [("member", "extract")],
        },
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mirror": {"type": "str", "default": ""},
        "checksums": {"type": "str", "choices": ["pinned", "mirror"], "default": "pinned"},
        "timeout": {"type": "int", "default": 30},
        "retries": {"type": "int", "default": 4},
        "headers": {"type": "dict", "no_log": True},
        "username": {"type": "str", "fallback": (env_fallback, ["GPUFLEET_MIRROR_USERNAME"])},
        "password": {"type": "str", "no_log": True, "fallback": (env_fallback, [MIRROR_PASSWORD])},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "record": {"type": "path", "default": "/var/lib/gpufleet/artifacts.json"},
    },
    "required_together": [("username", "password")],
}
