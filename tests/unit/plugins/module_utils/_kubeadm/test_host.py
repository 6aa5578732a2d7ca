# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host: a real tree of files, and a kubectl that answers as the real one does."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import time

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm import node as node_module
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.host import (
    ADDONS,
    CLUSTER_OBJECTS,
    PROXY_CONFIG,
    Host,
    leftover_chains,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubeadm.node import KubeadmNode
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import ApplyError, PlanError, Step, run

UTC = datetime.timezone.utc
KUBECONFIG = """apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ENCODED
    server: https://10.0.0.1:6443
  name: kubernetes
users:
- name: default-auth
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
"""


@pytest.fixture
def pem(make_pem):
    return make_pem(datetime.datetime(2030, 1, 1, tzinfo=UTC))


def encoded(pem):
    return base64.b64encode(pem.encode()).decode()


@pytest.fixture
def kubeconfig(pem):
    return KUBECONFIG.replace("ENCODED", encoded(pem))


def embedding(kubeconfig, pem):
    """With the client certificate in the file, as kubeadm writes it first."""
    return kubeconfig.replace(
        "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem", f"client-certificate-data: {encoded(pem)}"
    )


@pytest.fixture
def host(tmp_path):
    """`write(path, text)` and `kubectl(script)` make the host; `look()` is what is observed."""

    class Made:
        def write(self, path, text=""):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

        def program(self, name, script):
            self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)

        def look(self, leftovers=False):
            return Host(str(tmp_path / "bin"), str(tmp_path)).observe("n", leftovers)

    return Made()


def test_a_bare_host(host):
    found = host.look()
    assert (found.version, found.traces, found.kubeconfig, found.etcd_data, found.api.node) == ("", frozenset(), None, "", None)


def test_a_worker(host, kubeconfig, pem):
    host.write("etc/kubernetes/kubelet.conf", kubeconfig)
    host.write("etc/kubernetes/pki/ca.crt", pem)
    host.write("var/lib/kubelet/pki/kubelet-client-current.pem", pem)
    host.program("kubelet", "echo Kubernetes v1.36.3")
    host.program("kubectl", """echo '{"metadata": {"name": "n"}}'""")
    found = host.look()
    assert found.version == "1.36.3"
    assert found.kubeconfig.server == "https://10.0.0.1:6443"
    assert found.kubeconfig.finalised
    assert found.api.node == {"metadata": {"name": "n"}}
    assert sorted(found.certificates) == ["/etc/kubernetes/pki/ca.crt", "/var/lib/kubelet/pki/kubelet-client-current.pem"]
    assert found.certificates["/etc/kubernetes/pki/ca.crt"] == "2030-01-01T00:00:00+00:00"


def test_a_kubeconfig_that_was_cut_off_is_none(host, kubeconfig):
    for length in (0, 40, len(kubeconfig) // 2):
        host.write("etc/kubernetes/kubelet.conf", kubeconfig[:length])
        assert host.look().kubeconfig is None


def test_a_client_certificate_that_was_cut_off_has_no_expiry(host, kubeconfig, pem):
    whole = embedding(kubeconfig, pem)
    start = whole.index("client-certificate-data: ") + len("client-certificate-data: ")
    for length in range(start, start + 9):  # not only whole groups of base64
        host.write("etc/kubernetes/admin.conf", whole[:length])
        assert host.look().certificates == {}
    host.write("etc/kubernetes/admin.conf", whole)
    assert list(host.look().certificates) == ["/etc/kubernetes/admin.conf"]


@pytest.mark.parametrize(
    ("says", "error", "forbidden"),
    [
        ('Error from server (NotFound): nodes "n" not found', "", False),
        ("error: You must be logged in to the server (Unauthorized)", "Unauthorized", True),
        ("Unable to connect to the server: x509: certificate signed by unknown authority", "x509", True),
        ("unable to read client-key /var/lib/kubelet/pki/kubelet-client-current.pem", "unable to read", True),  # its disk is lost
        ("The connection to the server 10.0.0.1:6443 was refused", "refused", False),
    ],
)
def test_what_the_api_says(host, kubeconfig, says, error, forbidden):
    host.write("etc/kubernetes/kubelet.conf", kubeconfig)
    host.program("kubectl", f"echo '{says}' >&2; exit 1")
    api = host.look().api
    assert api.node is None
    assert error in api.error
    assert bool(api.error) == bool(error)
    assert api.forbidden == forbidden


@pytest.mark.parametrize(
    "kubectl",
    [None, "", "\x7fELF", "#!/nowhere/sh\n", "#!/bin/sh\nexec /nowhere/kubectl\n"],
    ids=["missing", "empty", "cut off", "for another system", "a link of sorts"],
)
def test_without_a_kubectl_the_next_look_asks(host, kubeconfig, tmp_path, kubectl):
    def node():
        config = [{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration"}]
        params = {"name": "n", "state": "present", "config": config, "timeout": 5, "bin_dir": ""}
        return KubeadmNode(params, Host(str(tmp_path / "bin"), str(tmp_path)))

    host.write("etc/kubernetes/kubelet.conf", kubeconfig)
    if kubectl is not None:
        host.write("bin/kubectl", kubectl)
        (tmp_path / "bin/kubectl").chmod(0o755)
    looked = run(node(), check_mode=True)
    assert looked["actions"] == ["look again, with a kubectl, at n"]
    assert (looked["server"], looked["node"]) == ("https://10.0.0.1:6443", {})
    with pytest.raises(
        ApplyError, match=r"could not look again, with a kubectl, at n: there is no kubectl in .*/bin to ask n's API with"
    ):
        run(node(), check_mode=False)
    host.program("kubectl", """echo '{"metadata": {"name": "n"}}'""")
    again = run(node(), check_mode=False)
    assert (again["changed"], again["actions"], again["node"]["name"]) == (False, [], "n")


@pytest.mark.parametrize(
    ("installed", "process", "version"),
    [
        ("v1.36.3", "7", "1.36.3"),
        (None, "7", "1.35.1"),  # the one that runs, from another bin_dir
        (None, "0", ""),
        (None, "", ""),
    ],
)
def test_the_version_of_a_kubelet_that_runs_but_is_not_there(host, tmp_path, installed, process, version):
    def answer(argv, **_options):
        said = {
            "systemctl": f"{process}\n" if "--value" in argv else "",
            "/proc/7/exe": "Kubernetes v1.35.1\n",
            f"{tmp_path}/bin/kubelet": f"Kubernetes {installed}\n",
        }
        if argv[0] not in said or (argv[0].endswith("/kubelet") and installed is None):
            raise FileNotFoundError(argv[0])
        return subprocess.CompletedProcess(argv, 0, said[argv[0]], "")

    host.write("etc/kubernetes/kubelet.conf")
    assert Host(str(tmp_path / "bin"), str(tmp_path), answer).observe("n", leftovers=False).version == version


def test_a_control_plane(host, kubeconfig, pem, make_pem):
    not_after = datetime.datetime(2028, 2, 3, tzinfo=UTC)
    host.write("etc/kubernetes/kubelet.conf", embedding(kubeconfig, pem))
    host.write("etc/kubernetes/admin.conf", embedding(kubeconfig, make_pem(not_after)))
    host.write("etc/kubernetes/manifests/etcd.yaml", "    - --data-dir=/data/etcd\n")
    host.write("data/etcd/member/snap")
    items = [
        {"kind": "ConfigMap", "metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": "networking: {}\n"}},
        {"kind": "ConfigMap", "metadata": {"name": "kubelet-config"}, "data": {"kubelet": "maxPods: 1\n"}},
        {"kind": "Deployment", "metadata": {"name": "coredns"}},
        {"kind": "DaemonSet", "metadata": {"name": "kube-proxy"}},
        {"kind": "ConfigMap", "metadata": {"name": "kube-proxy"}, "data": {"config.conf": "mode: x\n"}},
    ]
    host.write("objects.json", json.dumps({"items": items}))
    host.program(
        "kubectl",
        """case "$*" in
        *admin.conf*get\\ node*) echo '{"metadata": {"name": "n"}}' ;;
        *admin.conf*kube-system*) cat "$(dirname "$0")/../objects.json" ;;
        *admin.conf*kube-public*) echo configmap/cluster-info ;;
        *) echo "not with $*" >&2; exit 1 ;;
        esac""",
    )
    found = host.look()
    assert not found.kubeconfig.finalised
    assert found.etcd_data == "/data/etcd"
    assert found.api.error == ""
    assert found.api.objects == frozenset([*CLUSTER_OBJECTS, *ADDONS.values(), PROXY_CONFIG])
    assert found.api.cluster_configuration == "networking: {}\n"
    assert (found.api.kubelet_configuration, found.api.kube_proxy_configuration) == ("maxPods: 1\n", "mode: x\n")
    assert found.certificates["/etc/kubernetes/admin.conf"] == not_after.isoformat()


def test_leftovers_are_looked_for_on_request_only(host):
    host.write("etc/cni/net.d/10-flannel.conflist")
    host.write("sys/class/net/cni0/address")
    assert host.look().leftovers == ()
    found = host.look(leftovers=True).leftovers
    assert "path /etc/cni/net.d/10-flannel.conflist" in found
    assert "link cni0" in found


def test_in_the_folder_of_cni_only_flannels_is_a_leftover(host):
    # podman 3.4 keeps its networks and results there as well
    for path in (
        "networks/podman/10.88.0.2",
        "networks/podman/lock",
        "results/podman-0a1b-eth0",
        "cache/results/podman-0a1b-eth0",
    ):
        host.write(f"var/lib/cni/{path}")
    assert host.look(leftovers=True).leftovers == ()
    for path in ("networks/cbr0/10.244.1.2", "results/cbr0-4c5d-eth0", "flannel/4c5d"):
        host.write(f"var/lib/cni/{path}")
    assert host.look(leftovers=True).leftovers == (
        "path /var/lib/cni/flannel",
        "path /var/lib/cni/networks/cbr0",
        "path /var/lib/cni/results/cbr0-4c5d-eth0",
    )


SHARED = """*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
"""
PODMAN = """:CNI-DN-111111 - [0:0]
:CNI-2222222222222222 - [0:0]
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \\"podman\\" id: \\"0a1b\\"" -j CNI-2222222222222222
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"podman\\" id: \\"0a1b\\"" -m multiport --dports 1 -j CNI-DN-111111
"""
FLANNEL = """:CNI-DN-333333 - [0:0]
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"4c5d\\"" -m multiport --dports 80 -j CNI-DN-333333
"""
KUBE = ":KUBE-FIREWALL - [0:0]\n:FLANNEL-FWD - [0:0]\n"


@pytest.mark.parametrize(
    ("rules", "chains"),
    [
        (SHARED, set()),  # of a podman that runs no container with ports now
        (SHARED + PODMAN, set()),
        (SHARED + FLANNEL, {"CNI-DN-333333", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ"}),
        (SHARED + PODMAN + FLANNEL, {"CNI-DN-333333"}),
        (SHARED + KUBE, {"KUBE-FIREWALL", "FLANNEL-FWD", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ"}),
        (SHARED + PODMAN + KUBE, {"KUBE-FIREWALL", "FLANNEL-FWD"}),
    ],
)
def test_of_the_packet_filters_chains_only_those_of_kubernetes_go(rules, chains):
    assert leftover_chains(rules) == chains


@pytest.mark.parametrize(("roots", "goes"), [("this cluster", True), ("this cluster and others", False)])
def test_of_roots_kubeconfigs_only_a_copy_is_a_leftover(host, roots, goes):
    host.write("root/.kube/config", roots)
    assert "path /root/.kube/config" not in host.look(leftovers=True).leftovers
    host.write("etc/kubernetes/admin.conf", "this cluster")
    assert ("path /root/.kube/config" in host.look(leftovers=True).leftovers) == goes


@pytest.mark.parametrize(
    ("enabled", "active", "started_before_the_unit", "outdated"),
    [("enabled", "active", True, True), ("enabled", "active", False, False), ("disabled", "inactive", True, False)],
)
def test_a_kubelet_that_runs_with_an_older_unit(tmp_path, enabled, active, started_before_the_unit, outdated):
    unit = tmp_path / "etc/systemd/system/kubelet.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("")
    start = time.monotonic() + (-60 if started_before_the_unit else 0.1)

    def run(argv, **_options):
        shown = f"UnitFileState={enabled}\nActiveState={active}\nExecMainStartTimestampMonotonic={int(start * 1e6)}\n"
        return subprocess.CompletedProcess(argv, 0, shown if argv[:2] == ("systemctl", "show") else "", "")

    service = Host("/bin", str(tmp_path), run).observe("n", leftovers=False).service
    assert (service.enabled, service.outdated) == (enabled == "enabled", outdated)


def test_a_unit_from_the_hosts_future_is_no_reason_to_restart_the_kubelet(tmp_path, monkeypatch):
    """The clock has been set back since it was written: each run would restart it until that time comes again."""
    unit = tmp_path / "etc/systemd/system/kubelet.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("")

    def run(argv, **_options):
        shown = "UnitFileState=enabled\nActiveState=active\nExecMainStartTimestampMonotonic=1\n"
        return subprocess.CompletedProcess(argv, 0, shown if argv[:2] == ("systemctl", "show") else "", "")

    now = time.time()
    for clock, outdated in ((now + 1, True), (now - 3600, False)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        assert Host("/bin", str(tmp_path), run).observe("n", leftovers=False).service.outdated == outdated


def test_fields_that_kubeadm_does_not_know_are_refused_and_what_is_only_missing_is_not(host, tmp_path):
    # What kubeadm 1.36.3 says
    unknown = """error: error unmarshaling configuration schema.GroupVersionKind{Group:"kubeadm.k8s.io", Version:"v1beta4", \\
Kind:"ClusterConfiguration"}: strict decoding error: unknown field "networkin"
To see the stack trace of this error execute with --v=5 or higher""".replace("\\\n", "")
    missing = "error: [discovery.bootstrapToken: Required value: APIServerEndpoint is not set]"
    host.program("kubeadm", f"grep -q networkin && echo '{unknown}' >&2 || echo '{missing}' >&2; exit 1")

    def planned(**fields):
        config = [{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", **fields}]
        node = KubeadmNode({"name": "n", "state": "present", "config": config, "timeout": 1, "bin_dir": ""}, made)
        return node.plan(made.observe("n", leftovers=False))

    made = Host(str(tmp_path / "bin"), str(tmp_path))
    assert planned().changed
    with pytest.raises(PlanError, match=r'the ClusterConfiguration for n: strict .* unknown field "networkin"'):
        planned(networkin={})


def test_tokens_that_kubeadm_prints_are_not_shown(host, tmp_path):
    host.program(
        "kubeadm",
        "echo '[bootstrap-token] Using token: abcdef.0123456789abcdef'; echo to join: 9s08es.a9de0cq5xmd3r5f3 >&2; exit 1",
    )
    made = Host(str(tmp_path / "bin"), str(tmp_path))
    node = KubeadmNode({"name": "n", "state": "absent", "timeout": 60, "bin_dir": ""}, made)
    with pytest.raises(ApplyError) as caught:
        node._run([str(tmp_path / "bin" / "kubeadm"), "init"])
    shown = f"{caught.value.message} {caught.value.facts}"
    assert "Using token: " in shown
    assert "0123456789abcdef" not in shown
    assert "a9de0cq5xmd3r5f3" not in shown


@pytest.mark.parametrize(
    ("discovery", "given"),
    [
        (None, {"bootstrapToken": {"token": "t"}}),
        ({"bootstrapToken": None}, {"bootstrapToken": {"token": "t"}}),
        (
            {"bootstrapToken": {"caCertHashes": []}, "file": None},
            {"bootstrapToken": {"caCertHashes": [], "token": "t"}, "file": None},
        ),
        ({"file": {"kubeConfigPath": "/x"}}, {"file": {"kubeConfigPath": "/x"}}),  # kubeadm takes one of both
    ],
)
def test_how_a_host_joins(host, tmp_path, monkeypatch, discovery, given):
    monkeypatch.setattr(node_module, "LOCK", str(tmp_path / "lock"))
    host.program("kubeadm", f"cat > {tmp_path}/given")
    config = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration", "discovery": discovery, "controlPlane": None}
    params = {"name": "n", "config": [config], "timeout": 10, "bin_dir": "", "token": "t", "certificate_key": "k"}
    KubeadmNode(params, Host(str(tmp_path / "bin"), str(tmp_path))).apply(Step("join", "n"))
    assert json.loads((tmp_path / "given").read_text()) == {**config, "discovery": given}
