# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What joining needs from the Kubernetes API, without kubeadm: certificate authority, endpoint, bootstrap tokens.

PRIVATE: this module util is for this collection only and may change without notice.

Bootstrap tokens: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import base64
import binascii
import typing as t
from datetime import datetime

from .._certificate import pins
from .._kube.client import KubeClient, KubeError
from .._plan import GpufleetError
from .duration import format_time, parse_time
from .join import parse_endpoint
from .planner import BootstrapToken, Cluster
from .store import Conflict

SECRETS = "/api/v1/namespaces/kube-system/secrets"
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
KUBEADM_CONFIG = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
TOKEN_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105  a type, not a token
JOIN_GROUP = "system:bootstrappers:kubeadm:default-node-token"  # to which `kubeadm init` grants what joining needs
# How tokens made here are recognised. The secret's name may hold characters that a label must not.
MANAGED_BY = {"app.kubernetes.io/managed-by": "gpufleet.k8s"}
OWNER = "gpufleet.k8s/join-secret"


def read_cluster(kube: KubeClient, with_certificates: bool) -> Cluster:
    """`with_certificates`: look for uploaded control plane certificates too. Raises KubeError, GpufleetError."""
    info = _get(kube, CLUSTER_INFO)
    if info is None:
        raise GpufleetError(
            f"{kube.server} has no ConfigMap kube-public/cluster-info, which `kubeadm join` starts from;"
            " `kubeadm init phase bootstrap-token` on a control plane makes it"
        )
    data = info.get("data") or {}
    pem, server = _kubeconfig(kube, data.get("kubeconfig") or "")
    endpoint, warnings = _endpoint(kube, server)
    try:
        hashes = pins(pem)
    except ValueError as error:
        raise GpufleetError(
            f"the certificate authority in kube-public/cluster-info of {kube.server} cannot be used: {error}"
        ) from error

    secrets = _secrets(kube)
    return Cluster(
        endpoint=endpoint,
        ca_hashes=hashes,
        tokens=_tokens(secrets),
        signed=frozenset(key.rpartition("-")[2] for key in data if key.startswith("jws-kubeconfig-")),
        certificates_expire=_certificates_expire(kube, secrets) if with_certificates else None,
        warnings=warnings,
    )


def read_tokens(kube: KubeClient) -> Cluster:
    """Its bootstrap tokens alone, which are there also without cluster-info. Raises KubeError."""
    return Cluster(endpoint="", ca_hashes=(), tokens=_tokens(_secrets(kube)))


def create_token(kube: KubeClient, token: BootstrapToken) -> None:
    """Raises Conflict when the id is taken, KubeError."""
    values = {
        "token-id": token.id,
        "token-secret": token.secret,
        "expiration": format_time(token.expires),
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": JOIN_GROUP,
        "description": f"gpufleet.k8s: published as {token.owner}",
    }
    metadata = {"name": _name(token.id), "labels": MANAGED_BY, "annotations": {OWNER: token.owner}}
    body = {"apiVersion": "v1", "kind": "Secret", "type": TOKEN_TYPE, "metadata": metadata, "stringData": values}
    try:
        kube.request("POST", SECRETS, body=body)
    except KubeError as error:
        if error.status == 409:
            raise Conflict(f"a bootstrap token {token.id} exists already") from error
        raise


def retire_token(kube: KubeClient, token: BootstrapToken, expires: datetime | None) -> None:
    """Moves the end of this very token to `expires`, or deletes it (None). Already gone is fine. Raises Conflict, KubeError."""
    path = f"{SECRETS}/{_name(token.id)}"
    try:
        if expires is None:
            kube.request("DELETE", path, body={"preconditions": {"uid": token.uid}} if token.uid else None)
        else:
            body = {
                "metadata": {"uid": token.uid},
                "data": {"expiration": base64.b64encode(str(format_time(expires)).encode()).decode()},
            }
            kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    except KubeError as error:
        if error.status == 409:
            raise Conflict(f"the bootstrap token {token.id} was replaced by somebody else at the same time") from error
        if error.status != 404:
            raise


def _secrets(kube: KubeClient) -> list[t.Any]:
    return list(kube.list(SECRETS, fieldSelector=f"type={TOKEN_TYPE}"))


def _tokens(secrets: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[BootstrapToken, ...]:
    return tuple(token for token in map(_token, secrets) if token)


def _name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def _get(kube: KubeClient, path: str) -> t.Any:
    try:
        return kube.request("GET", path)
    except KubeError as error:
        if error.status == 404:
            return None
        raise


def _kubeconfig(kube: KubeClient, text: str) -> tuple[str, str]:
    """CA bundle (PEM) and server of cluster-info's kubeconfig."""
    import yaml  # noqa: PLC0415  comes with the kubernetes package

    try:
        cluster = yaml.safe_load(text)["clusters"][0]["cluster"]
        return base64.b64decode(cluster["certificate-authority-data"]).decode(), cluster["server"]
    except (yaml.YAMLError, binascii.Error, UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
        raise GpufleetError(
            f"the ConfigMap kube-public/cluster-info of {kube.server} holds no kubeconfig with a CA and a server"
            f" ({type(error).__name__}); `kubeadm init phase bootstrap-token` on a control plane makes it again"
        ) from error


def _endpoint(kube: KubeClient, server: str) -> tuple[str, tuple[str, ...]]:
    """controlPlaneEndpoint where kubeadm was given one, else the server of cluster-info; and a warning when they differ."""
    import yaml  # noqa: PLC0415

    config = (_get(kube, KUBEADM_CONFIG) or {}).get("data", {}).get("ClusterConfiguration", "")
    try:
        loaded = yaml.safe_load(config)
        wished = loaded.get("controlPlaneEndpoint") if isinstance(loaded, dict) else None
        endpoint = parse_endpoint(server)
        if not wished:
            return endpoint, ()
        wished = parse_endpoint(str(wished))
    except (yaml.YAMLError, ValueError) as error:
        raise GpufleetError(f"the cluster at {kube.server} names an API endpoint that cannot be used: {error}") from error
    if wished == endpoint:
        return endpoint, ()
    return wished, (
        f"kubeadm-config says controlPlaneEndpoint {wished}, cluster-info says {endpoint}: workers look at the first and then"
        " talk to the second; `kubeadm init phase bootstrap-token` on a control plane brings cluster-info up to date",
    )


def _token(secret: t.Mapping[str, t.Any]) -> BootstrapToken | None:
    """None for a Secret that Kubernetes itself would not take as a token."""
    data, metadata = _text(secret), secret["metadata"]
    token_id = data.get("token-id", "")
    if metadata["name"] != _name(token_id) or metadata.get("deletionTimestamp"):
        return None
    usages = all(data.get(f"usage-bootstrap-{usage}") == "true" for usage in ("authentication", "signing"))
    mine = MANAGED_BY.items() <= (metadata.get("labels") or {}).items()
    return BootstrapToken(
        id=token_id,
        secret=data.get("token-secret", ""),
        expires=_expiration(data),
        usable=usages and JOIN_GROUP in data.get("auth-extra-groups", "").split(","),
        owner=(metadata.get("annotations") or {}).get(OWNER) if mine else None,
        created=parse_time(metadata["creationTimestamp"]),
        uid=metadata["uid"],
    )


def _expiration(data: t.Mapping[str, str]) -> datetime | None:
    if "expiration" not in data:
        return None
    try:
        return parse_time(data["expiration"])
    except ValueError:
        return parse_time("1970-01-01T00:00:00Z")  # Kubernetes takes an unreadable end as expired


def _certificates_expire(kube: KubeClient, tokens: t.Sequence[t.Mapping[str, t.Any]]) -> datetime | None:
    """The uploaded certificates live as long as the token that owns them (kubeadm makes one for two hours)."""
    uploaded = _get(kube, f"{SECRETS}/kubeadm-certs")
    owners = {owner["name"] for owner in (uploaded or {}).get("metadata", {}).get("ownerReferences") or ()}
    return next((_expiration(_text(token)) for token in tokens if token["metadata"]["name"] in owners), None)


def _text(secret: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()}
