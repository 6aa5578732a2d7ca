# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Options of `host_files`."""

from __future__ import annotations

import typing as t

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "files": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "path", "required": True},
                "content": {"type": "str", "required": True},
                "mode": {"type": "str", "default": "0644"},
            },
        },
        "folders": {"type": "list", "elements": "path", "default": []},
    },
}
