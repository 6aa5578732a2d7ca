# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is decides what is done with it: a table of every state that a killed kubeadm, or an operator, can leave."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.host import (
    ADDONS,
    CLUSTER_OBJECTS,
    TRACES,
    Api,
    Kubeconfig,
    Observed,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.planner import (
    LABEL_MANAGER,
    LOOK_AGAIN,
    Wish,
    plan,
    plan_absent,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import HIDDEN, PlanError
from hypothesis import given
from hypothesis import strategies as st

PIN = "sha256:" + "a" * 64
INIT = {"InitConfiguration": {}, "ClusterConfiguration": {}}
JOIN = {"JoinConfiguration": {"discovery": {"bootstrapToken": {"caCertHashes": [PIN]}}}}
WORKER_FILES = {
    trace for trace in TRACES if trace.endswith(("kubelet.conf", "ca.crt", "config.yaml", "flags.env")) and "boot" not in trace
}
ALL_FILES = {trace for trace in TRACES if "bootstrap" not in trace}
NODE = {"metadata": {}, "spec": {}, "status": {}}
OBJECTS = frozenset([*CLUSTER_OBJECTS, *ADDONS.values()])
NO_KUBECTL = Api(error="No such file or directory: 'kubectl'", unasked=True)


def kubeconfig(finalised=True, pin=PIN):
    return Kubeconfig("https://10.0.0.1:6443", pin, finalised)


def observed(files=(), **more):
    return Observed(traces=frozenset(files), **more)


def control_plane(**more):
    base = {"kubeconfig": kubeconfig(), "etcd_data": "/var/lib/etcd", "api": Api(node=NODE, objects=OBJECTS)}
    return observed(ALL_FILES, **{**base, **more})


def worker(**more):
    return observed(WORKER_FILES, **{"kubeconfig": kubeconfig(), "api": Api(node=NODE), **more})


def actions(state, config):
    return [step.action for step in plan(state, Wish("n", config)).steps]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (observed(), ["init"]),
        (observed(["etc/kubernetes/pki/ca.crt"]), ["reset the unfinished kubeadm on", "init"]),  # killed among the certificates
        (observed(ALL_FILES, kubeconfig=kubeconfig(finalised=False)), ["reset the unfinished kubeadm on", "init"]),  # before etcd
        (
            control_plane(kubeconfig=kubeconfig(finalised=False), api=Api(error="refused")),
            ["resume init of"],
        ),  # static pods start
        (control_plane(kubeconfig=kubeconfig(finalised=False)), ["resume init of"]),  # before kubelet-finalize
        (control_plane(api=Api(node=NODE, objects=OBJECTS - {CLUSTER_OBJECTS[2]})), ["resume init of"]),
        (control_plane(api=Api(node=NODE, objects=OBJECTS - {ADDONS["kube-proxy"]})), ["install the add-ons of"]),
        (control_plane(), []),
        (control_plane(api=Api(node=None, objects=OBJECTS)), ["restart the kubelet of"]),  # somebody deleted the Node
        (control_plane(api=NO_KUBECTL), [LOOK_AGAIN]),
        (control_plane(kubeconfig=kubeconfig(finalised=False), api=NO_KUBECTL), ["resume init of"]),
        (
            control_plane(kubeconfig=kubeconfig(finalised=False), etcd_data="", api=NO_KUBECTL),
            ["reset the unfinished kubeadm on", "init"],
        ),
    ],
)
def test_a_host_that_begins_a_cluster(state, expected):
    assert actions(state, INIT) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (observed(), ["join"]),
        (
            observed(["etc/kubernetes/bootstrap-kubelet.conf", "etc/kubernetes/pki/ca.crt"]),
            ["reset the unfinished kubeadm on", "join"],
        ),
        (observed(["etc/kubernetes/kubelet.conf"]), ["reset the unfinished kubeadm on", "join"]),  # cut off: no kubeconfig in it
        (worker(), []),
        (worker(api=Api(node=None)), ["restart the kubelet of"]),
        (worker(api=NO_KUBECTL), [LOOK_AGAIN]),
        (worker(kubeconfig=kubeconfig(finalised=False), api=NO_KUBECTL), [LOOK_AGAIN]),
        (
            observed(WORKER_FILES | {"etc/kubernetes/bootstrap-kubelet.conf"}, kubeconfig=kubeconfig(), api=Api(node=NODE)),
            ["forget the bootstrap token of"],
        ),
    ],
)
def test_a_host_that_joins(state, expected):
    assert actions(state, JOIN) == expected


@pytest.mark.parametrize(
    ("state", "config", "says"),
    [
        (observed(etcd_data="/var/lib/etcd"), INIT, "holds the data of an etcd"),
        (observed(etcd_data="/data/etcd"), JOIN, "/data/etcd on n holds the data of an etcd"),
        (worker(kubeconfig=kubeconfig(pin="sha256:" + "b" * 64)), JOIN, "n belongs to another cluster"),
        (worker(), INIT, "has joined https://10.0.0.1:6443 as a worker"),
        (control_plane(), JOIN, "is a control plane of https://10.0.0.1:6443"),
        (control_plane(etcd_data=""), INIT, "etcd data is gone"),
        (
            control_plane(api=Api(error="connection refused")),
            INIT,
            "its API does not answer (https://10.0.0.1:6443: connection refused)",
        ),
        (worker(api=Api(error="Unauthorized", forbidden=True)), JOIN, "no longer accepts the credentials of n"),
        (worker(api=Api(error="no route to host")), JOIN, "which does not answer: no route to host"),
        # What the host's files tell is told without a kubectl, too
        (worker(kubeconfig=kubeconfig(pin="sha256:" + "b" * 64), api=NO_KUBECTL), JOIN, "n belongs to another cluster"),
        (worker(api=NO_KUBECTL), INIT, "has joined https://10.0.0.1:6443 as a worker"),
        (control_plane(api=NO_KUBECTL), JOIN, "is a control plane of https://10.0.0.1:6443"),
        (control_plane(etcd_data="", api=NO_KUBECTL), INIT, "etcd data is gone"),
    ],
)
def test_what_is_refused(state, config, says):
    with pytest.raises(PlanError) as error:
        plan(state, Wish("n", config))
    assert says in error.value.message


@pytest.mark.parametrize(
    "config",
    [
        {**INIT, "ClusterConfiguration": {"proxy": {"disabled": True}}},
        {**INIT, "InitConfiguration": {"skipPhases": ["addon/kube-proxy"]}},
        {**INIT, "InitConfiguration": {"skipPhases": ["addon"]}},
    ],
)
def test_an_addon_that_is_not_wished_is_not_missed(config):
    assert actions(control_plane(api=Api(node=NODE, objects=OBJECTS - {ADDONS["kube-proxy"]})), config) == []


@pytest.mark.parametrize("what", [None, "x", ["x"]])
def test_null_and_what_kubeadm_would_not_take_is_as_if_absent(what):
    cluster = dict.fromkeys(["etcd", "dns", "proxy"], what)
    init = {"InitConfiguration": {"skipPhases": what and 5}, "ClusterConfiguration": cluster}
    assert actions(control_plane(), init) == []
    assert actions(control_plane(), {**INIT, "ClusterConfiguration": {"etcd": {"external": None}}}) == []
    for discovery in (what, {"bootstrapToken": what}, {"bootstrapToken": {"caCertHashes": what and "x"}}):
        assert actions(worker(), {"JoinConfiguration": {"discovery": discovery, "controlPlane": None}}) == []


def test_a_control_plane_with_etcd_elsewhere_is_never_reset():
    config = {**INIT, "ClusterConfiguration": {"etcd": {"external": {"endpoints": []}}}}
    assert actions(control_plane(etcd_data=""), config) == []
    assert actions(control_plane(etcd_data="", kubeconfig=kubeconfig(finalised=False)), config) == ["resume init of"]


states = st.builds(
    Observed,
    traces=st.frozensets(st.sampled_from(TRACES)),
    kubeconfig=st.none() | st.builds(Kubeconfig, st.just("s"), st.sampled_from([PIN, "x"]), st.booleans()),
    etcd_data=st.sampled_from(["", "/var/lib/etcd"]),
    api=st.builds(
        Api,
        error=st.sampled_from(["", "no"]),
        forbidden=st.booleans(),
        unasked=st.booleans(),
        node=st.sampled_from([None, NODE]),
        objects=st.frozensets(st.sampled_from(sorted(OBJECTS))),
    ),
)


@given(states, st.sampled_from([INIT, JOIN]))
def test_data_of_an_etcd_is_never_reset(state, config):
    try:
        steps = actions(state, config)
    except PlanError:
        return
    if state.etcd_data:
        assert "reset the unfinished kubeadm on" not in steps


def test_tokens_are_not_in_the_plan():
    config = {"JoinConfiguration": {"discovery": {"bootstrapToken": {"token": "abcdef.s3cret", "caCertHashes": [PIN]}}}}
    made = plan(observed(), Wish("n", config))
    assert "s3cret" not in repr(made) + str(made.result())
    assert HIDDEN in str(made.result())


def test_absent():
    assert not plan_absent(observed(), "n").changed
    steps = [str(step) for step in plan_absent(observed(WORKER_FILES, leftovers=("link cni0", "iptables rules")), "n").steps]
    assert steps == ["reset n", "remove link cni0", "remove iptables rules", "sweep what running pods leave"]


@pytest.mark.parametrize(
    ("found", "wished", "expected"),
    [
        ({"zone": "a", "other": "x"}, {"zone": "a"}, {}),
        ({"zone": "b"}, {"zone": "a"}, {"zone": "a"}),
        ({"zone": "a"}, {"zone": "a", "size": 8}, {"zone": "a", "size": "8"}),  # all, so that server-side apply drops none
        ({"size": "8"}, {"size": 8}, {}),
        ({}, {}, {}),
        (None, {"zone": "a"}, {}),  # not registered
    ],
)
def test_labels_are_compared_with_those_of_the_node(found, wished, expected):
    node = None if found is None else {**NODE, "metadata": {"name": "n", "labels": found}}
    assert plan(worker(api=Api(node=node)), Wish("n", JOIN, wished)).facts["relabel"] == expected


def fields(manager, *labels, operation="Update"):
    """As an API server notes them."""
    return {
        "manager": manager,
        "operation": operation,
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, **{f"f:{name}": {} for name in labels}}}},
    }


APPLIED = {"team": "a", "example.com/x": "1"}


@pytest.mark.parametrize(
    ("others", "wished", "unlabel"),
    [
        ([], APPLIED, []),
        ([], {"team": "a"}, ["example.com/x"]),
        ([], {}, ["example.com/x", "team"]),
        ([fields("kubelet", "team")], {}, ["example.com/x"]),  # registered with it, and applied together with the other
        ([fields("kubectl-label", "team", "example.com/x")], {}, []),
        ([fields(LABEL_MANAGER, "team")], {}, ["example.com/x"]),  # not by server-side apply
        ([{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {}}}], {}, ["example.com/x", "team"]),
    ],
)
def test_labels_that_were_applied_and_are_no_longer_wished_go(others, wished, unlabel):
    applied = fields(LABEL_MANAGER, *APPLIED, operation="Apply")
    metadata = {"name": "n", "labels": {**APPLIED, "of-a-person": "x"}, "managedFields": [applied, *others]}
    facts = plan(worker(api=Api(node={**NODE, "metadata": metadata})), Wish("n", JOIN, wished)).facts
    assert facts["unlabel"] == unlabel
    assert facts["relabel"] == (wished if unlabel else {})
