# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A lock for the whole cluster: a Lease object, held and renewed while work goes on, free again when its holder dies.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import threading
import time
import typing as t
from contextlib import contextmanager
from datetime import datetime, timezone

from .._plan import ApplyError
from .client import KubeClient, KubeError

DURATION = 30  # seconds that a lock outlives its holder's crash
FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"

#: Suboptions that `lock` has in every module that takes a node out of service (doc_fragments/kube.py): all hold the same Lease.
SPEC: dict[str, dict[str, t.Any]] = {
    "enabled": {"type": "bool", "default": True},
    "namespace": {"type": "str", "default": "kube-system"},
    "name": {"type": "str", "default": "gpufleet-kubelet-config"},
    "timeout": {"type": "int", "default": 600},
}


@contextmanager
def held(
    client: KubeClient, namespace: str, name: str, *, holder: str, timeout: float, duration: int = DURATION
) -> t.Iterator[t.Callable[[], None]]:
    """Runs the body while `holder` has the lock. Waits up to `timeout` seconds for another holder to finish or expire.

    The same holder gets it again at once: a run that was killed does not make its successor wait. The body gets a function
    that raises ApplyError when the lock was lost, or may be: after a break of the connection that is longer than the lease,
    another run may have it, so the function looks. Raises ApplyError, KubeError.
    """
    lock = _Lock(client, namespace, name, holder, duration)
    lock.acquire(time.monotonic() + timeout, timeout)
    stop = threading.Event()
    renewing = threading.Thread(target=lock.renew, args=(stop,), daemon=True)
    renewing.start()
    try:
        yield lock.check
    finally:
        stop.set()
        renewing.join()
        lock.release()


def forget(client: KubeClient, namespace: str, name: str, holder: str) -> None:
    """Deletes the Lease that a killed run of `holder` left, so that others need not wait until it expires."""
    _Lock(client, namespace, name, holder, DURATION).release()


class _Lock:
    def __init__(self, client: KubeClient, namespace: str, name: str, holder: str, duration: int) -> None:
        self.client = client
        self.collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.path = f"{self.collection}/{name}"
        self.namespace, self.name = namespace, name
        self.holder = holder
        self.duration = duration
        self.lost = threading.Event()
        self.renewed = 0.0  # by time.monotonic(): before that write was sent

    def check(self) -> None:
        while not self.lost.is_set() and time.monotonic() - self.renewed > self.duration:
            try:
                self._renew()
            except KubeError as error:
                raise ApplyError(
                    f"{self.holder} cannot tell whether it still has the lock (Lease {self.namespace}/{self.name}), which it "
                    f"could not renew for more than {self.duration} s: {error.message}"
                ) from None
        if self.lost.is_set():
            raise ApplyError(
                f"{self.holder} has lost the lock (Lease {self.namespace}/{self.name}) to another run, after the API server gave "
                f"no answer for more than {self.duration} s"
            )

    def acquire(self, deadline: float, timeout: float) -> None:
        # Other machines' clocks may differ: a lease is expired when it has not changed for its duration by this clock.
        seen: tuple[str, float] = ("", 0.0)
        while True:
            lease = self._read()
            if lease is None:
                if self._write("POST", None):
                    return
                continue
            spec = lease["spec"]
            version = lease["metadata"]["resourceVersion"]
            if version != seen[0]:
                seen = (version, time.monotonic())
            other = spec.get("holderIdentity") or ""
            expired = time.monotonic() - seen[1] > (spec.get("leaseDurationSeconds") or self.duration)
            if other in ("", self.holder) or expired:
                if self._write("PUT", version):
                    return
                continue
            if time.monotonic() > deadline:
                raise ApplyError(
                    f"{other} has held the lock (Lease {self.namespace}/{self.name}) for the {timeout:.0f} s that this run "
                    "waited; let that run finish, or raise lock.timeout"
                )
            time.sleep(1)

    def renew(self, stop: threading.Event) -> None:
        while not stop.wait(self.duration / 3):
            try:
                self._renew()
            except KubeError:
                continue  # the API server may be restarting with this very kubelet
            if self.lost.is_set():
                return

    def _renew(self) -> None:
        lease = self._read()
        if lease is None or lease["spec"].get("holderIdentity") != self.holder:
            self.lost.set()  # somebody took it after a long break; writing again would make two holders
        else:
            self._write("PUT", lease["metadata"]["resourceVersion"])

    def release(self) -> None:
        """Deletes the Lease, if it is still this holder's."""
        try:
            lease = self._read()
            if lease and lease["spec"].get("holderIdentity") == self.holder:
                version = lease["metadata"]["resourceVersion"]
                self.client.request("DELETE", self.path, body={"preconditions": {"resourceVersion": version}})
        except KubeError:
            pass  # it expires by itself

    def _read(self) -> dict[str, t.Any] | None:
        try:
            lease: dict[str, t.Any] = self.client.request("GET", self.path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return lease

    def _write(self, method: str, version: str | None) -> bool:
        """False when somebody else was faster."""
        begin, now = time.monotonic(), datetime.now(timezone.utc).strftime(FORMAT)
        metadata: dict[str, t.Any] = {"name": self.name, "namespace": self.namespace}
        if version:
            metadata["resourceVersion"] = version
        spec = {"holderIdentity": self.holder, "leaseDurationSeconds": self.duration, "acquireTime": now, "renewTime": now}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        try:
            self.client.request(method, self.collection if method == "POST" else self.path, body=body)
        except KubeError as error:
            if error.status == 409 or (error.status == 404 and method == "PUT"):
                return False
            raise
        self.renewed = begin
        return True
