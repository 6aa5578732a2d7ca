# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real, empty Kubernetes API for tests: etcd and kube-apiserver on loopback, gone when the block ends.

    with KubeApi() as api:
        api.kubectl("get", "namespaces")
        ... api.kubeconfig, api.server, api.token_kubeconfig("viewer")

or `kube_api.py run COMMAND...`, which runs COMMAND with KUBECONFIG and K8S_AUTH_KUBECONFIG set, or
`kube_api.py serve`, which prints the kubeconfig's path and ends at the end of its input.

There is no scheduler or kubelet, and no controller but those that a test starts with `control()`: nothing reacts to
objects. Standard library only; needs openssl.
Users are tokens named after them (`viewer` has the token `viewer-token`); `admin` is in system:masters, what the
others may do is up to RBAC objects that the test creates. Service accounts and their tokens work.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

TESTBED = Path(__file__).resolve().parents[1] / "testbed"
START_LIMIT = 120.0  # seconds until readyz; 5 to 10 are usual
KWOK_STAGES = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease", "pod/fast/pod-ready")
USERS = ("admin", "viewer", "tainter", "nobody")


@functools.cache
def binary(name: str) -> str:
    """The path of a program: from $GPUFLEET_KUBE_BIN, else what the test bed built, which is built now if it was not yet."""
    given = Path(os.environ.get("GPUFLEET_KUBE_BIN", "")) / name
    if os.environ.get("GPUFLEET_KUBE_BIN") and os.access(given, os.X_OK):
        return str(given)
    sys.path.insert(0, str(TESTBED))
    from bedlib.build import Builder  # noqa: PLC0415  needless with GPUFLEET_KUBE_BIN
    from bedlib.table import load  # noqa: PLC0415
    from bedlib.work import BedError, cache, lock  # noqa: PLC0415

    program = {"etcd": "etcd", "kwok": "kwok"}.get(name, "kubernetes")
    try:
        builder = Builder(load())
        built = cache() / "build" / program / builder.key(program) / name
        if not built.exists():
            with lock("prepare"):
                built = builder.binary(f"{program}/{name}")
    except BedError as error:
        raise SystemExit(
            f"no {name}: {error}. Run `tests/testbed/bed prepare`, or point GPUFLEET_KUBE_BIN at a folder with etcd, kubectl, "
            "kube-apiserver and kube-controller-manager"
        ) from error
    return str(built)


def _module_file(spec: str) -> Path:
    """A file of a Go module that is one of the test bed's: "folder under go/: module path: file"."""
    sys.path.insert(0, str(TESTBED))
    from bedlib.build import Builder  # noqa: PLC0415  only who has kwok needs it
    from bedlib.table import load  # noqa: PLC0415

    return Builder(load()).module_file(spec)


class KubeApi:
    """A running API server. `users`: the names that get a token; `flags`: more arguments of kube-apiserver.

    `durable`: etcd waits for the disk, as in production; otherwise it is quicker.
    """

    def __init__(self, users: t.Sequence[str] = USERS, flags: t.Sequence[str] = (), durable: bool = False) -> None:
        self.users = users
        self.flags = flags
        self.durable = durable

    def __enter__(self) -> KubeApi:
        self._processes: list[subprocess.Popen[bytes]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="kube-api-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            _end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        etcd_port, peer_port, port = _free_ports(3)
        self.etcd, self.server = f"http://127.0.0.1:{etcd_port}", f"https://127.0.0.1:{port}"
        self._run(
            "etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={self.etcd}", f"--advertise-client-urls={self.etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}", "--log-level=warn",
            *([] if self.durable else ["--unsafe-no-fsync"]),
        )  # fmt: skip
        self.service_account_key = self.folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", self.service_account_key, "2048"], check=True, stderr=subprocess.DEVNULL)
        tokens = self.folder / "tokens.csv"
        groups = {"admin": "system:masters"}
        tokens.write_text("".join(f'{user}-token,{user},{user},"{groups.get(user, "")}"\n' for user in self.users))
        self._run(
            "kube-apiserver", f"--etcd-servers={self.etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}",
            f"--cert-dir={self.folder}/pki", f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={self.service_account_key}",
            f"--service-account-signing-key-file={self.service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
            # Without its controller no namespace has the default service account that this plugin asks of each pod.
            "--disable-admission-plugins=ServiceAccount", "--allow-privileged", *self.flags,
        )  # fmt: skip
        self.ca = self.folder / "pki" / "apiserver.crt"  # signed by itself
        self._wait()
        self.kubeconfig = self.token_kubeconfig("admin")

    @contextlib.contextmanager
    def kwok(self) -> t.Iterator[None]:
        """kwok plays the kubelets of all nodes while the block lasts: it makes them Ready and renews their leases."""
        stages = (f"--config={_module_file(f'kwok: sigs.k8s.io/kwok: kustomize/stage/{name}.yaml')}" for name in KWOK_STAGES)
        process = self._run(
            "kwok", f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes", "--node-lease-duration-seconds=40", *stages
        )
        try:
            yield
        finally:
            _end(process)
            self._processes.remove(process)

    @contextlib.contextmanager
    def control(self, *controllers: str, flags: t.Sequence[str] = ()) -> t.Iterator[None]:
        """Runs kube-controller-manager with only these controllers while the block lasts."""
        process = self._run(
            "kube-controller-manager", f"--kubeconfig={self.kubeconfig}", f"--controllers={','.join(controllers)}",
            "--leader-elect=false", "--secure-port=0", *flags,
        )  # fmt: skip
        try:
            yield
        finally:
            _end(process)
            self._processes.remove(process)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [binary(program), *arguments], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent, start_new_session=True,  # noqa: PLW1509
            )  # fmt: skip
        self._processes.append(process)
        return process

    def _wait(self) -> None:
        deadline, seen = time.monotonic() + START_LIMIT, "no answer"
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    name = Path(str(t.cast("list[str]", process.args)[0])).name
                    log = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n" + "\n".join(log))
            try:
                self.call("GET", "/readyz")
            except (OSError, urllib.error.HTTPError) as error:
                seen = str(error)
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"kube-apiserver is not ready after {START_LIMIT:.0f} s; seen last: {seen}")

    def call(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> t.Any:
        """One call as admin, without any of the project's code. Returns parsed JSON, or text. Raises HTTPError."""
        request = urllib.request.Request(self.server + path, method=method)  # noqa: S310
        request.add_header("Authorization", "Bearer admin-token")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content_type)
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def token_kubeconfig(self, user: str, token: str | None = None, server: str | None = None) -> Path:
        """Writes a kubeconfig for a user of the token file, or for any bearer token, and returns its path."""
        path = self.folder / f"{user}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": user,
            "clusters": [{"name": "test", "cluster": {"server": server or self.server, "certificate-authority": str(self.ca)}}],
            "users": [{"name": user, "user": {"token": token or f"{user}-token"}}],
            "contexts": [{"name": user, "context": {"cluster": "test", "user": user}}],
        }
        path.write_text(json.dumps(content, indent=2))
        path.chmod(0o600)
        return path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as admin; returns its output. Raises CalledProcessError."""
        command = [binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, text=True).stdout

    def cpu_seconds(self) -> float:
        """What the servers have used so far."""
        ticks = 0
        for process in self._processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)
        return ticks / os.sysconf("SC_CLK_TCK")

    def environment(self) -> dict[str, str]:
        """This process's environment with the variables that point kubectl and Ansible at this server."""
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "K8S_AUTH_KUBECONFIG": str(self.kubeconfig),
            "KUBE_API_FOLDER": str(self.folder),
            "PATH": f"{Path(binary('kubectl')).parent}:{os.environ['PATH']}",
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _port in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: nothing is left when a test run is killed. On SIGTERM an API server whose etcd is gone would linger.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def end_on_sigterm() -> None:
    """Lets `with` blocks end properly, and so remove what they made, when this process is terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main(arguments: list[str]) -> int:
    end_on_sigterm()
    if not arguments or arguments[0] not in ("run", "serve") or (arguments[0] == "run") != (len(arguments) > 1):
        print("usage: kube_api.py run COMMAND... | kube_api.py serve", file=sys.stderr)
        return 2
    with KubeApi() as api:
        if arguments[0] == "run":
            return subprocess.run(arguments[1:], check=False, env=api.environment()).returncode
        print(api.kubeconfig, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
