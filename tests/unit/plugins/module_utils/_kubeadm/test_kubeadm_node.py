# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a look waits, what kubeadm is given, and what a step does, on a host that is only described."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm import node as module
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.host import Api, Host, Kubeconfig, Observed
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.node import KubeadmNode
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError, Step, VerifyError

SILENT, ANSWER = Api(error="refused"), Api(node={"metadata": {"name": "n"}})
JOIN = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration"}


class Described(Host):
    """What it is found to be at each look, the last of them for ever."""

    def __init__(self, *looks):
        super().__init__("/nowhere")
        self.looks = list(looks)

    def observe(self, name, leftovers):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def look(api, finalised=True, joined=True):
    return Observed(kubeconfig=Kubeconfig("https://10.0.0.1:6443", "sha256:a", finalised) if joined else None, api=api)


def made(host, **params):
    return KubeadmNode({"name": "n", "state": "present", "config": [JOIN], "timeout": 100, "bin_dir": "/nowhere", **params}, host)


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Seconds that were waited. Time passes in waits only."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(module, "LOCK", str(tmp_path / "lock"))
    return lambda: now[0] - 1000


@pytest.mark.parametrize(
    ("looks", "waited", "error"),
    [
        ([look(ANSWER)], 0, ""),
        ([look(SILENT), look(SILENT), look(ANSWER)], 2, ""),  # static pods start after a reboot
        ([look(SILENT)], 21, "refused"),  # a fifth of the timeout
        ([look(Api(error="Unauthorized", forbidden=True))], 0, "Unauthorized"),
        ([look(Api(error="no kubectl", unasked=True))], 0, "no kubectl"),
        ([look(SILENT, finalised=False)], 0, "refused"),
        ([look(Api(), joined=False)], 0, ""),
    ],
)
def test_a_look_waits_for_an_api_that_may_come_and_for_no_other(clock, looks, waited, error):
    assert made(Described(*looks)).observe().api.error == error
    assert clock() == waited


@pytest.mark.parametrize(
    ("document", "params", "expected"),
    [
        ({}, {"token": "t"}, {"discovery": {"bootstrapToken": {"token": "t"}}}),
        (
            {"discovery": {"bootstrapToken": {"token": "own", "caCertHashes": ["x"]}}},
            {},
            {"discovery": {"bootstrapToken": {"token": "own", "caCertHashes": ["x"]}}},
        ),
        ({"discovery": {"bootstrapToken": {"token": "own"}}}, {"token": "t"}, {"discovery": {"bootstrapToken": {"token": "t"}}}),
        (
            {},
            {"token": "t", "certificate_key": "k"},
            {"discovery": {"bootstrapToken": {"token": "t"}}},
        ),  # a worker has no use for it
        (
            {"controlPlane": {}},
            {"token": "t", "certificate_key": "k"},
            {"controlPlane": {"certificateKey": "k"}, "discovery": {"bootstrapToken": {"token": "t"}}},
        ),
    ],
)
def test_what_kubeadm_is_given_to_join(document, params, expected):
    node = made(Described(look(ANSWER)), config=[{**JOIN, **document}], **params)
    assert json.loads(node._documents()) == {**JOIN, **expected}
    assert node.params["config"] == [{**JOIN, **document}]  # what a diff shows is without secrets


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "config: it needs one of InitConfiguration, ClusterConfiguration, JoinConfiguration, or"),
        (None, "config: it needs one of InitConfiguration, ClusterConfiguration, JoinConfiguration, or"),
        ([{**JOIN, "kind": "KubeletConfiguration"}], "config: it needs one of"),
        ([{**JOIN, "kind": "JoinConfiguraton"}], "config: the kind 'JoinConfiguraton' is none of Init"),
        ([JOIN, {**JOIN, "kind": None}], "config: the kind None is none of"),
        ([JOIN, {**JOIN, "kind": {}}], "config: the kind {} is none of"),
        ([JOIN, {1: 2}], "has no apiVersion or no kind: it has 1"),
    ],
)
def test_what_does_not_say_whether_to_join_is_refused(config, says):
    """kubeadm ignores a document whose kind it does not know, and with a ClusterConfiguration makes a cluster of its own."""
    with pytest.raises(PlanError, match=says):
        made(Described(look(ANSWER)), config=config)
    if config is None:
        made(Described(look(ANSWER)), config=config, state="absent")


def test_a_join_without_a_token_is_refused():
    with pytest.raises(PlanError, match="there is no token to join n with"):
        made(Described(look(ANSWER)))._documents()


@pytest.mark.parametrize(
    ("document", "says"),
    [({"kind": "JoinConfiguration"}, "it has kind"), ({"apiVersion": "v1"}, "it has apiVersion"), ({}, "it has nothing")],
)
def test_a_document_of_no_kind_is_refused(document, says):
    with pytest.raises(PlanError, match=f"a document of `config` has no apiVersion or no kind: {says}"):
        made(Described(look(ANSWER)), config=[document])


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step("look again, with a kubectl, at", "n"), "there is no kubectl in /nowhere to ask n's API with"),
        (Step("join", "n"), "/nowhere/kubeadm is not installed"),
    ],
)
def test_steps_without_their_program(clock, step, says):
    with pytest.raises(ApplyError, match=says):
        made(Described(look(ANSWER)), token="t").apply(step)


def test_what_is_done_is_waited_for_as_long_as_the_timeout_and_told(clock):
    unregistered = look(Api(node=None))
    node = made(Described(unregistered, unregistered, look(ANSWER)))
    assert node.verify(node.plan(unregistered))["node"]["name"] == "n"
    assert clock() == 1
    node = made(Described(unregistered))
    with pytest.raises(VerifyError, match="n is not what was asked within 100 s, still to do: restart the kubelet of n"):
        node.verify(node.plan(unregistered))
    assert clock() == pytest.approx(101.5)
