# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The API server and the kubelet as a node sees them: with the kubelet's own certificate, or with a token that was handed in.

PRIVATE: this module util is for this collection only and may change without notice.

Standard library only: a node has no Kubernetes client.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .._kube.client import READ_TIMEOUT, KubeClient, KubeError
from .._plan import GpufleetError
from . import files

KUBELET_TIMEOUT = 10.0  # seconds
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Identity:
    """What a kubelet's kubeconfig says: the server, its CA (PEM), and the client certificate and key (PEM)."""

    path: str
    server: str
    ca: str
    certificate: str
    key: str

    def context(self, own_certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca)
        # Strict from Python 3.13 on: refuses CAs of many running clusters, which Go, and so the kubelet, accepts.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if own_certificate:
            _load(context, self.certificate, self.key)
        return context


def identity(path: Path) -> Identity:
    """Reads a kubeconfig with one cluster and one user. Raises GpufleetError."""
    try:
        config = files.read(path)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return Identity(
            str(path),
            cluster["server"],
            _pem(cluster, "certificate-authority"),
            _pem(user, "client-certificate"),
            _pem(user, "client-key"),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise GpufleetError(
            f"{path} is not the kubeconfig of a kubelet that has joined a cluster ({type(error).__name__}: {error}); "
            "join the node first"
        ) from error


def _pem(section: t.Mapping[str, t.Any], key: str) -> str:
    if section.get(f"{key}-data"):
        return base64.b64decode(section[f"{key}-data"]).decode("ascii")
    return Path(section[key]).read_text(encoding="ascii")


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # ssl reads client certificates from files only; the folder is root's and the file is gone at once.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
        pem.write(certificate + "\n" + key)
        pem.flush()
        context.load_cert_chain(pem.name)


class NodeClient(KubeClient):
    """The API server of `Identity`, by the kubelet's certificate or by a bearer token. `patient`: retries what may pass."""

    def __init__(self, who: Identity, token: str | None = None, patient: bool = True) -> None:
        source = "the token in api_key" if token else f"the kubelet's certificate ({who.path})"
        super().__init__(who.server.rstrip("/"), source, None, lambda: f"Bearer {token}" if token else None, {})
        self._context = who.context(own_certificate=not token)
        self._patient = patient

    def _send(self, method: str, target: str, data: bytes | None, content_type: str) -> tuple[int, t.Any, bytes]:
        headers = {"Accept": "application/json", "User-Agent": "gpufleet.k8s"}
        if data is not None:
            headers["Content-Type"] = content_type
        authorization = self._authorization()
        if authorization:
            headers["Authorization"] = authorization
        where = urlsplit(self.server)
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port or 443, context=self._context, timeout=READ_TIMEOUT
        )
        try:
            connection.request(method, where.path + target, body=data, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(method, target.partition("?")[0], error) from error
        finally:
            connection.close()

    def _pause(self, attempt: int, asked: str | None) -> bool:
        return self._patient and super()._pause(attempt, asked)


def configz(who: Identity, token: str | None, address: str, port: int, serving: t.Sequence[Path]) -> dict[str, t.Any]:
    """The kubelet's effective configuration, from the kubelet itself.

    `get` on nodes/configz is enough since KEP-2862 (fine-grained kubelet authorization; the gate is on from 1.33).
    The kubelet's serving certificate is its own (no CA vouches for it), so it must be one of the files that it keeps in
    `serving`: the token goes to the kubelet and to nobody else who may listen there. Raises KubeError.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if not token:
        _load(context, who.certificate, who.key)
    connection = http.client.HTTPSConnection(address, port, context=context, timeout=KUBELET_TIMEOUT)
    url = f"https://{address}:{port}/configz"
    try:
        connection.connect()
        shown = t.cast(ssl.SSLSocket, connection.sock).getpeercert(binary_form=True)
        if shown not in {known for path in serving for known in _certificates(path)}:
            raise KubeError(
                f"who listens at {address}:{port} shows another certificate than {' or '.join(str(path) for path in serving)}; "
                "it is not asked for its configuration"
            )
        connection.request("GET", "/configz", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise KubeError(f"{url} gave no answer: {error}") from error
    finally:
        connection.close()
    if status != 200:
        whom = "the token in api_key" if token else f"the kubelet's certificate ({who.path})"
        hint = ""
        if status in (401, 403):
            hint = (
                f"; {whom} needs `get` on nodes/configz (nodes/proxy before Kubernetes 1.33): "
                "see docs/kubelet.md and docs/policies/kubelet_config_clusterrole.yml"
            )
        raise KubeError(f"{url} answered {status}: {text.strip()[:200]}{hint}", status=status, reason=str(status))
    found: dict[str, t.Any] = json.loads(text)["kubeletconfig"]
    return found


def _certificates(path: Path) -> t.Iterator[bytes]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    for part in text.split(_CERTIFICATE)[1:]:
        yield ssl.PEM_cert_to_DER_cert(_CERTIFICATE + part.partition("-----END")[0] + "-----END CERTIFICATE-----\n")
