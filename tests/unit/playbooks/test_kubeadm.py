# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kubeadm refuses on a bare host, and that it shows no secret."""

from __future__ import annotations

import sys
import typing as t

import pytest

TOKEN, OTHER, KEY = "abcdef.0123456789abcdef", "fedcba.fedcba9876543210", "0123456789abcdef" * 4


def preflight(play: t.Any, *arguments: str, hosts: str = "head", **variables: t.Any) -> t.Any:
    role = {"ansible.builtin.import_role": {"name": "gpufleet.k8s.kubeadm", "tasks_from": "preflight"}}
    return play(
        [{"name": "Look", "hosts": hosts, "gather_facts": False, "tasks": [role]}],
        *arguments,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        **variables,
    )


def test_tokens_and_keys_of_the_user_are_not_shown(play: t.Any) -> None:
    """What a module logs is what it says with -vvv."""
    said = preflight(
        play,
        "-vvv",
        "--diff",
        kubeadm_init_configuration={"bootstrapTokens": [{"token": TOKEN}, {"token": OTHER}], "certificateKey": KEY},
    )
    assert said.status == 0, said.text
    assert "bootstrapTokens" in said.text
    assert not [secret for secret in (TOKEN, OTHER, KEY) if secret in said.text]


def test_wrong_types_are_refused_by_name(play: t.Any) -> None:
    said = preflight(
        play,
        kubeadm_cluster_configuration={
            "controllerManager": {"extraArgs": {"node-cidr-mask-size": "25"}},
            "networking": ["x"],
            "etcd": 5,
        },
        kubeadm_init_configuration={"nodeRegistration": {"kubeletExtraArgs": {"v": "4"}}},
        kubeadm_kubelet_configuration={"maxPods": "many"},
        kubeadm_control_plane_endpoint="https://lb:6443",
    )
    assert said.status == 2
    for says in (
        "kubeadm_cluster_configuration.controllerManager.extraArgs must be a list, not a dictionary",
        "kubeadm_cluster_configuration.networking must be a dictionary, not a list",
        "kubeadm_cluster_configuration.etcd must be a dictionary, not 5",
        "kubeadm_init_configuration.nodeRegistration.kubeletExtraArgs must be a list, not a dictionary",
        "kubeadm_kubelet_configuration.maxPods must be a whole number",
        "kubeadm_control_plane_endpoint is 'https://lb:6443'",
    ):
        assert says in said.text, said.text


def test_empty_keys_are_as_if_absent(play: t.Any) -> None:
    said = preflight(
        play,
        kubeadm_cluster_configuration={"networking": None, "dns": None, "etcd": None, "controllerManager": None},
        kubeadm_init_configuration={"nodeRegistration": None, "localAPIEndpoint": None},
        kubeadm_join_configuration=None,
        kubeadm_kubelet_configuration={"maxPods": None},
    )
    assert said.status == 0, said.text


@pytest.mark.parametrize(
    ("worker", "status", "says"),
    [("same", 2, "kubeadm_node_name is same for head and worker: they would be one Node."), ("other", 0, "")],
)
def test_two_hosts_with_one_name(play: t.Any, worker: str, status: int, says: str) -> None:
    each = {"worker": {"kubeadm_node_name": worker}}
    said = preflight(play, hosts="all", kubeadm_node_name="same", each=each)
    assert said.status == status, said.text
    assert says in said.text
