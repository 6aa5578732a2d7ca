# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What `training_job` accepts; shared by the module, its action plugin and their tests."""

from __future__ import annotations

import typing as t

SPEC: dict[str, t.Any] = {
    "argument_spec": {
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "default": "default"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mode": {"type": "str", "choices": ["multi_node", "single_node"], "default": "multi_node"},
        "rerun": {"type": "bool", "default": False},
        "create": {"type": "bool", "default": True},
        "image": {"type": "str"},
        "registry": {"type": "str"},
        "command": {"type": "list", "elements": "str"},
        "replicas": {"type": "int", "default": 2},
        "slots_per_worker": {"type": "int", "default": 1},
        "mpirun_args": {"type": "list", "elements": "str", "default": ["--bind-to", "none"]},
        "resources": {"type": "dict", "default": {}},
        "launcher_resources": {"type": "dict", "default": {"cpu": "100m", "memory": "128Mi"}},
        "pinned": {"type": "bool", "default": False},
        "spread": {"type": "bool", "default": True},
        "node_selector": {"type": "dict", "default": {}},
        "tolerations": {"type": "list", "elements": "dict", "default": []},
        "pod_spec": {"type": "dict", "default": {}},
        "uid": {"type": "int", "default": 1000},
        "gid": {"type": "int", "default": 1000},
        "fs_group": {"type": "int"},
        "dataset_dir": {"type": "str"},
        "model_dir": {"type": "str"},
        "output_dir": {"type": "str"},
        "volumes": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "str", "required": True},
                "source": {"type": "dict", "required": True},
                "read_only": {"type": "bool"},
            },
        },
        "shm_size": {"type": "str"},
        "environment": {"type": "dict", "default": {}},
        "environment_file": {"type": "str"},
        "ssh_port": {"type": "int", "default": 2222},
        "time_limit": {"type": "int"},
        "backoff_limit": {"type": "int", "default": 0},
        "ttl_after_finished": {"type": "int"},
        "clean_pod_policy": {"type": "str", "choices": ["None", "Running", "All"], "default": "Running"},
        "suspend": {"type": "bool", "default": False},
        "allow_pending": {"type": "bool", "default": False},
        "on_failure": {"type": "str", "choices": ["remove", "keep"], "default": "remove"},
        "start_timeout": {"type": "int", "default": 300},
        "wait": {"type": "int", "default": 0},
        "logs_dir": {"type": "path"},
        "kustomize_dir": {"type": "path"},
        "patterns": {
            "type": "dict",
            "default": {"loss": r"loss[ =:]+([0-9.eE+-]+)", "images_per_second": r"images/sec[ =:]+([0-9.eE+-]+)"},
        },
        "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
        "kubectl": {"type": "str", "default": "kubectl"},
    },
    "required_if": [("state", "present", ("image", "command"))],
}
