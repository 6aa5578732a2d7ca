# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All filters of the collection; what each does is in plugin_utils under its name, its documentation beside this file.

One file, and nothing imported before it is used: ansible-core looks through every file of this folder in every process of
every task that uses one of the filters (Jinja2Loader.get_with_context), which was a quarter of the work of ansible-playbook.
"""

from __future__ import annotations

import typing as t
from importlib import import_module

NAMES = (
    "allocatable_problems",
    "containerd_config",
    "data_disk",
    "from_toml",
    "grep_files",
    "hyperpod_instance",
    "hyperpod_problems",
    "identity_problems",
    "kernel_plan",
    "keys_ignored",
    "kubeadm_documents",
    "kubeadm_live_problems",
    "kubeadm_problems",
    "kubeadm_secrets",
    "mig_resources",
    "mig_svg",
    "mpijob_v2beta1",
    "node_address",
    "nodes_to_label",
    "nvidia_version_problems",
    "pod_cidr_problems",
    "registry_hosts",
    "secret_name_problem",
    "site_verdict",
    "structure_problems",
    "sysctl_path",
    "systemd_units",
    "to_toml",
    "token_life_problem",
)


def _filter(name: str) -> t.Callable[..., t.Any]:
    def call(*arguments: t.Any, **options: t.Any) -> t.Any:
        module = import_module(f"ansible_collections.gpufleet.k8s.plugins.plugin_utils.{name}")
        return getattr(module, name)(*arguments, **options)

    return call


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {name: _filter(name) for name in NAMES}
