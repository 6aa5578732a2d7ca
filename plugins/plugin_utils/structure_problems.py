# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists and dictionaries that came as text, and numbers below what an option can mean."""

from __future__ import annotations

import typing as t

from ansible_collections.gpufleet.k8s.plugins.module_utils._numbers import number_problem

STRUCTURES = {"list": ("a list", "[...]"), "dict": ("a dictionary", "{...}")}
#: What may hold a password, token or key. `no_log` in their specs would refuse what Ansible cannot take for text: a time in a
#: document of kubeadm, a value from a vault.
SECRET = {
    "containerd_config",
    "containerd_registry_mirrors",
    "hyperpod_aws",
    "kubeadm_cluster_configuration",
    "kubeadm_init_configuration",
    "kubeadm_join",
    "kubeadm_join_configuration",
    "kubeadm_kubelet_configuration",
    "mig_lock",
    "training_job_env",
    "training_job_pod_spec",
}
#: Of these the roles cannot do with null, which Ansible's own check of argument specs lets through.
NEVER_NULL = {
    "containerd_checksums",
    "containerd_data_disk_services",
    "containerd_data_disks",
    "flannel_images",
    "flannel_net_conf",
    "kubeadm_checksums",
    "kubeadm_node_labels",
    "node_base_extra_packages",
    "node_base_kernel_modules",
    "node_base_sysctls",
    "node_base_sysctls_optional",
}


def structure_problems(variables: t.Mapping[str, t.Any], options: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """Sentences naming variable, value and remedy. Pure. What is in SECRET, or has `no_log`, is not shown."""
    problems = []
    for name, option in options.items():
        value = variables.get(name)
        if name in NEVER_NULL and value is None and name in variables:
            empty = "[]" if option.get("type") == "list" else "{}"
            problems.append(f"{name} is null, as is what has nothing behind its colon in YAML; write {empty} for none")
        elif option.get("type") in STRUCTURES and isinstance(value, str):
            what, example = STRUCTURES[option["type"]]
            shown = "text" if name in SECRET or option.get("no_log") else f"the text {str(value)!r}"
            problems.append(f"{name} is {shown} and must be {what}; on the command line write -e '{{\"{name}\": {example}}}'")
        elif problem := number_problem(name, option, value):
            problems.append(problem)
    return problems
