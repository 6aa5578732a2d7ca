# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that argument specs let through to filters: no filter ends in an error other than its own sentence."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.filter.gpufleet import FilterModule

FILTERS = FilterModule().filters()
ODD: list[t.Any] = [None, 1, 1.5, True, "", "x", [], {}, [None], [1], ["x"], [{}], {"a": 1}, {1: 2}, {None: None}, {"a": [None]}]
POD = {"template": {"spec": {"containers": [{"name": "a"}]}}}
LIVE = {"cluster_configuration": "controlPlaneEndpoint: a:1"}


def job(**spec: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "kubeflow.org/v1", "kind": "MPIJob", "metadata": {"name": "a"}, "spec": spec}


def kubeadm(name: str, wish: t.Any, **options: t.Any) -> t.Any:
    required = {"version": "1.36.3", "minors": ["1.36"], "control_planes": ["h"]}
    return FILTERS[name](wish, **(required if name == "kubeadm_problems" else {}), **options)


def documents(**options: t.Any) -> t.Any:
    return FILTERS["kubeadm_documents"]({}, join=True, name="n", address="10.0.0.1", version="1.36.3", **options)


def live(**options: t.Any) -> t.Any:
    found = {"ca_cert_hash": "x", "node": {}}
    return FILTERS["kubeadm_live_problems"]({}, host="h", found=found, version="1.36.3", bootstrap="h", live=LIVE, **options)


CASES: dict[str, t.Callable[[t.Any], t.Any]] = {
    "a key of kubeadm's": lambda x: kubeadm("kubeadm_problems", {"networking": {1: x}}, init={None: x}, kubelet={1: x}),
    "kubeadm_join": lambda x: kubeadm("kubeadm_problems", {}, join={1: x, "ca_cert_hashes": x}),
    "ca_cert_hashes": lambda x: documents(ca_cert_hashes=x, labels={1: x}),
    "expected": lambda x: live(expected=x, endpoint=x),
    "kubeadm_max_nodes": lambda x: FILTERS["pod_cidr_problems"](
        {}, max_nodes=x, host_networks=x if isinstance(x, list) else None
    ),
    "containerd_root": lambda x: FILTERS["containerd_config"]({}, version="2.3.5", root=x, sandbox_image="p"),
    "containerd_data_disks": lambda x: FILTERS["data_disk"]({}, [x], [x]),
    "node_base_kernel_modules": lambda x: FILTERS["kernel_plan"]({}, modules=[x]),
    "minimums": lambda x: FILTERS["nvidia_version_problems"]({"driver": "1.0"}, x, ["A100"], x),
    "a pattern": lambda x: FILTERS["nvidia_version_problems"]({"driver": "1.0"}, {}, ["A100"], {"(": x}),
    "fleet": lambda x: (FILTERS["mig_svg"](x) if isinstance(x, dict) else None, FILTERS["mig_svg"]({"h": x})),
    "MPIJob": FILTERS["mpijob_v2beta1"],
    "its metadata": lambda x: FILTERS["mpijob_v2beta1"]({**job(), "metadata": x}),
    "its spec": lambda x: FILTERS["mpijob_v2beta1"]({**job(), "spec": x}),
    "its replicas": lambda x: FILTERS["mpijob_v2beta1"](job(mpiReplicaSpecs=x)),
    "its worker": lambda x: FILTERS["mpijob_v2beta1"](job(mpiReplicaSpecs={"Worker": x})),
    "its count": lambda x: FILTERS["mpijob_v2beta1"](job(mpiReplicaSpecs={"Worker": {**POD, "replicas": x}})),
    "its pod": lambda x: FILTERS["mpijob_v2beta1"](job(mpiReplicaSpecs={"Worker": {"template": {"spec": {"containers": x}}}})),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_filter_says_what_is_wrong(name: str, value: t.Any) -> None:
    with contextlib.suppress(AnsibleFilterError):
        CASES[name](value)
