# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a host is to kubeadm right now, read from its files, its kubelet and the API; nothing is decided here.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .. import _certificate

#: What `kubeadm init` and `join` leave on a host, most telling first. A host with none of them is clean.
TRACES = (
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/bootstrap-kubelet.conf",
    "etc/kubernetes/admin.conf",
    "etc/kubernetes/super-admin.conf",
    "etc/kubernetes/controller-manager.conf",
    "etc/kubernetes/scheduler.conf",
    "etc/kubernetes/manifests/etcd.yaml",
    "etc/kubernetes/manifests/kube-apiserver.yaml",
    "etc/kubernetes/manifests/kube-controller-manager.yaml",
    "etc/kubernetes/manifests/kube-scheduler.yaml",
    "etc/kubernetes/pki/ca.crt",
    "etc/kubernetes/pki/ca.key",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
)
#: What pods and their network leave behind (glob patterns), which `kubeadm reset` says it does not remove. In /var/lib/cni only
#: what is flannel's, whose network is cbr0: podman before version 4 has its containers' addresses there too.
LEFTOVER_PATHS = (
    "etc/cni/net.d/10-flannel.conflist",
    "opt/cni/bin/flannel",
    "run/flannel",
    "var/lib/cni/cache/results/cbr0-*",
    "var/lib/cni/flannel",
    "var/lib/cni/networks/cbr0",
    "var/lib/cni/results/cbr0-*",
    "var/lib/etcd/member",
)
ROOTS_KUBECONFIG = "root/.kube/config"
LEFTOVER_LINKS = ("cni0", "flannel.1", "flannel-v6.1", "kube-ipvs0")
LEFTOVER_TABLES = ("ip kube-proxy", "ip6 kube-proxy", "ip flannel-ipv4", "ip6 flannel-ipv6")

CHAIN = re.compile(r"^:(\S+)", re.MULTILINE)
#: How the CNI plugin portmap gets to the chain with the ports of one container, here of flannel's network
PORTS_OF_CBR0 = re.compile(r'name: \\"cbr0\\" .*-j (CNI-\S+)')

#: What an API server holds once `kubeadm init` has run to its end; the last two are its add-ons.
CLUSTER_OBJECTS = ("configmap/kubeadm-config", "configmap/kubelet-config", "configmap/cluster-info")
ADDONS = {"coredns": "deployment.apps/coredns", "kube-proxy": "daemonset.apps/kube-proxy"}
PROXY_CONFIG = "configmap/kube-proxy"

UNIT = "etc/systemd/system/kubelet.service"

KUBECONFIG_FIELD = re.compile(r"^\s*(server|certificate-authority-data|client-certificate(?:-data)?):\s*(\S+)", re.MULTILINE)
ETCD_DATA_DIR = re.compile(r"--data-dir=(\S+)")


@dataclass(frozen=True)
class Kubeconfig:
    """`finalised`: it uses the kubelet's rotating certificate, which kubeadm arranges near the end of init and join."""

    server: str
    ca_cert_hash: str
    finalised: bool


@dataclass(frozen=True)
class Api:
    """The cluster as this host can see it. `error` is what was answered instead; empty when it answered.

    `node` is None when the API says that there is no such Node; `forbidden` when it does not accept the host's
    credentials, or when these are gone with the disk that they were on.
    `unasked`: it was not asked, because kubectl is not there, or does not run; `error` says why.
    """

    error: str = ""
    forbidden: bool = False
    unasked: bool = False
    node: t.Mapping[str, t.Any] | None = None
    objects: frozenset[str] = frozenset()
    cluster_configuration: str = ""
    kubelet_configuration: str = ""
    kube_proxy_configuration: str = ""


@dataclass(frozen=True)
class Service:
    """The kubelet to systemd. `outdated`: its unit changed after it had started, so it runs with what was there before.

    A change in the future counts when it has come: the host's clock was ahead then, and each run until that time would restart
    it.
    """

    enabled: bool = False
    outdated: bool = False


@dataclass(frozen=True)
class Observed:
    version: str = ""
    service: Service = field(default_factory=Service)
    traces: frozenset[str] = frozenset()
    kubeconfig: Kubeconfig | None = None
    etcd_data: str = ""
    api: Api = field(default_factory=Api)
    leftovers: tuple[str, ...] = ()
    certificates: t.Mapping[str, str] = field(default_factory=dict)

    def has(self, *names: str) -> bool:
        """Whether all of these files (last path components) are among the traces."""
        return {trace.rpartition("/")[2] for trace in self.traces}.issuperset(names)


def leftover_chains(rules: str) -> set[str]:
    """Of what `iptables-save` prints: the chains of Kubernetes and flannel. Pure.

    With them go those that portmap shares among all networks, unless another network has ports in them.
    """
    chains = set(CHAIN.findall(rules))
    ours = {chain for chain in chains if chain.startswith(("KUBE-", "FLANNEL-"))} | set(PORTS_OF_CBR0.findall(rules))
    if ours and not any(chain.startswith("CNI-DN-") for chain in chains - ours):
        ours |= {chain for chain in chains if chain.startswith("CNI-HOSTPORT-")}
    return ours


class Host:
    """Reads (and only reads) one host. `root` and `run` are for tests."""

    def __init__(self, bin_dir: str, root: str = "/", run: t.Callable[..., t.Any] = subprocess.run) -> None:
        self.bin = Path(bin_dir)
        self.root = Path(root)
        self._run = run

    def command(self, *argv: str, stdin: str = "", timeout: float = 20) -> tuple[int, str, str]:
        """(exit status, stdout, stderr); 127 when there is no program of that name, 124 when it took longer than `timeout` s."""
        try:
            # run_command has no time limit
            # pylint: disable-next=ansible-bad-function
            done = self._run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        except OSError as error:
            return 127, "", str(error)
        except subprocess.TimeoutExpired:
            return 124, "", f"no answer within {timeout:.0f} s"
        return done.returncode, done.stdout, done.stderr.strip()

    def observe(self, name: str, leftovers: bool) -> Observed:
        """The state of the host that should be (or stop being) the Node `name`."""
        traces = frozenset(trace for trace in TRACES if (self.root / trace).exists())
        kubeconfig = self._kubeconfig()
        return Observed(
            version=self._version(joined="etc/kubernetes/kubelet.conf" in traces),
            service=self._service(),
            traces=traces,
            kubeconfig=kubeconfig,
            etcd_data=self._etcd_data(),
            api=self.api(name, admin="etc/kubernetes/admin.conf" in traces) if kubeconfig and not leftovers else Api(),
            leftovers=self._leftovers() if leftovers else (),
            certificates=self._certificates(),
        )

    def _version(self, joined: bool) -> str:
        """Of the installed kubelet. Where a node has none, of the one that runs: it must not change its version unseen."""
        status, out, _error = self.command(str(self.bin / "kubelet"), "--version")
        if status == 127 and joined:
            process = self.command("systemctl", "show", "kubelet.service", "--property=MainPID", "--value")[1].strip()
            if process not in ("", "0"):
                out = self.command(f"/proc/{process}/exe", "--version")[1]
        return out.strip().rpartition(" ")[2].lstrip("v")

    def _service(self) -> Service:
        wanted = "UnitFileState,ActiveState,ExecMainStartTimestampMonotonic"
        lines = self.command("systemctl", "show", "kubelet.service", f"--property={wanted}")[1].splitlines()
        unit = dict(line.partition("=")[::2] for line in lines)
        enabled = unit.get("UnitFileState") == "enabled"
        try:
            changed = (self.root / UNIT).stat().st_ctime
        except FileNotFoundError:
            return Service(enabled)
        now = time.time()
        start = now - time.monotonic() + int(unit.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
        return Service(enabled, unit.get("ActiveState") == "active" and start < changed <= now)

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _kubeconfig(self) -> Kubeconfig | None:
        fields = dict(KUBECONFIG_FIELD.findall(self._text("etc/kubernetes/kubelet.conf")))
        try:
            authority = _certificate.read(base64.b64decode(fields["certificate-authority-data"]).decode("ascii"))
            return Kubeconfig(fields["server"], authority.spki_hash, "client-certificate" in fields)
        except (KeyError, ValueError):
            return None  # absent, or cut off by whatever killed kubeadm while it wrote the file

    def _etcd_data(self) -> str:
        found = ETCD_DATA_DIR.search(self._text("etc/kubernetes/manifests/etcd.yaml"))
        path = found.group(1) if found else "/var/lib/etcd"
        return path if (self.root / path.lstrip("/") / "member").is_dir() else ""

    def kubectl(self, admin: bool, *argv: str) -> tuple[int, str, str]:
        config = self.root / "etc/kubernetes" / ("admin.conf" if admin else "kubelet.conf")
        return self.command(str(self.bin / "kubectl"), "--kubeconfig", str(config), "--request-timeout=10s", *argv)

    def api(self, name: str, admin: bool) -> Api:
        """With `admin`, also whether the objects that kubeadm makes are there (a kubelet may not read those)."""
        status, out, error = self.kubectl(admin, "get", "node", name, "--show-managed-fields", "-o", "json")
        if status == 127:
            return Api(error=error, unasked=True)
        if status and "(NotFound)" not in error:
            forbidden = any(word in error for word in ("Unauthorized", "(Forbidden)", "x509:", "unable to read client-"))
            return Api(error=error.splitlines()[-1] if error else f"kubectl ended with {status}", forbidden=forbidden)
        node = json.loads(out) if not status else None
        if not admin:
            return Api(node=node)
        wanted = [*CLUSTER_OBJECTS[:2], *(name.replace(".apps", "") for name in ADDONS.values()), PROXY_CONFIG]
        status, out, error = self.kubectl(admin, "-n", "kube-system", "get", *wanted, "--ignore-not-found", "-o", "json")
        # cluster-info is what joining nodes read first
        public = ("-n", "kube-public", "get", CLUSTER_OBJECTS[2], "--ignore-not-found", "-o", "name")
        public_status, found, public_error = self.kubectl(admin, *public)
        if status or public_status:
            return Api(error=error or public_error)
        items = json.loads(out).get("items", []) if out else []
        kinds = {"ConfigMap": "configmap", "Deployment": "deployment.apps", "DaemonSet": "daemonset.apps"}
        objects = {f"{kinds[item['kind']]}/{item['metadata']['name']}" for item in items} | set(found.split())
        data = {item["metadata"]["name"]: item.get("data") or {} for item in items if item["kind"] == "ConfigMap"}
        return Api(
            node=node,
            objects=frozenset(objects),
            cluster_configuration=data.get("kubeadm-config", {}).get("ClusterConfiguration", ""),
            kubelet_configuration=data.get("kubelet-config", {}).get("kubelet", ""),
            kube_proxy_configuration=data.get("kube-proxy", {}).get("config.conf", ""),
        )

    def _certificates(self) -> dict[str, str]:
        """Expiry (ISO 8601) by file, for what kubeadm and the kubelet use; a kubeconfig counts with its client certificate."""
        kubelet = self.root / "var/lib/kubelet/pki/kubelet-client-current.pem"
        kubeconfigs = set(self.root.glob("etc/kubernetes/*.conf"))
        found = {}
        for path in sorted({*self.root.glob("etc/kubernetes/pki/**/*.crt"), kubelet, *kubeconfigs}):
            pem = self._text(str(path.relative_to(self.root)))
            try:
                if path in kubeconfigs:
                    encoded = dict(KUBECONFIG_FIELD.findall(pem)).get("client-certificate-data", "")
                    pem = base64.b64decode(encoded).decode("ascii", "replace")
                found["/" + str(path.relative_to(self.root))] = _certificate.read(pem).not_after.isoformat()
            except ValueError:
                continue  # not there, without a certificate, or cut off by whatever killed kubeadm
        return found

    def _leftovers(self) -> tuple[str, ...]:
        paths = (path for pattern in LEFTOVER_PATHS for path in sorted(self.root.glob(pattern)))
        found = [f"path /{path.relative_to(self.root)}" for path in paths]
        # The copy that `kubeadm init` tells to make; any other may know clusters that have nothing to do with this one.
        admin = self._text("etc/kubernetes/admin.conf")
        found += [f"path /{ROOTS_KUBECONFIG}"] if admin and self._text(ROOTS_KUBECONFIG) == admin else []
        found += [f"link {link}" for link in LEFTOVER_LINKS if (self.root / "sys/class/net" / link).exists()]
        if shutil.which("nft"):
            tables = self.command("nft", "list", "tables")[1]
            found += [f"nft {table}" for table in LEFTOVER_TABLES if f"table {table}\n" in tables]
        for tables in ("iptables", "ip6tables"):
            if shutil.which(f"{tables}-save") and leftover_chains(self.command(f"{tables}-save")[1]):
                found.append(f"{tables} rules")
        return tuple(found)
