# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What hyperpod_token decides. Pure: no I/O, no clock, no randomness; all of these are part of what was observed.

Three rules make it safe to be killed anywhere, and for two writers to work at once:

* A token goes into the cluster before the secret names it, so a published token always exists.
* A token that was made but never published (a run died between the two) is published by the next run, not doubled.
* A token that is no longer published is not deleted at once: its end is moved to `grace` from now, for a worker that read
  the secret a moment ago. Kubernetes removes it then. Only tokens that this collection made for this secret are touched.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .._plan import Difference, Plan, PlanError, Step
from .duration import format_duration, format_time
from .join import SCHEMA_VERSION, JoinData, hand_over

#: Another writer may be about to publish a token this young, so it is left for a later run to judge.
SETTLING = timedelta(minutes=10)
FOREVER = timedelta.max


@dataclass(frozen=True)
class BootstrapToken:
    """A Secret of type bootstrap.kubernetes.io/token in kube-system."""

    id: str
    secret: str = field(repr=False)
    expires: datetime | None  # None: never
    usable: bool = True  # has the usages and the group that `kubeadm join` needs
    owner: str | None = None  # the secret it was made for by this collection; None: not made by it
    created: datetime | None = None
    uid: str = ""

    def life(self, now: datetime) -> timedelta:
        return self.expires - now if self.expires else FOREVER


@dataclass(frozen=True)
class Cluster:
    """What the Kubernetes API says. `endpoint` is host:port, the first CA hash is the one that signs."""

    endpoint: str
    ca_hashes: tuple[str, ...]
    tokens: tuple[BootstrapToken, ...] = ()
    signed: frozenset[str] = frozenset()  # ids of tokens for which cluster-info carries a signature
    certificates_expire: datetime | None = None  # end of the uploaded control plane certificates; None: there are none
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredSecret:
    """What Secrets Manager says. `version` is the id that AWSCURRENT is attached to."""

    state: str  # absent, present or scheduled (for deletion)
    version: str | None = None
    join: JoinData | None = None
    fault: str = ""  # why a present secret could not be read as join data
    created: datetime | None = None  # when that version was made, of a secret that can be read


@dataclass(frozen=True)
class Observed:
    now: datetime
    secret: StoredSecret
    cluster: Cluster | None  # None: nothing answers there (only with state: absent)
    candidate: tuple[str, str] = field(repr=False)  # (id, secret) for a new token, not used in the cluster
    unreachable: str = ""
    released: str | None = None  # the version that this run saw scheduled for deletion, before it or another one restored it


@dataclass(frozen=True)
class Wanted:
    present: bool
    secret_name: str
    cluster_id: str = ""
    endpoint: str | None = None
    ttl: timedelta = timedelta(hours=48)
    renew_before: timedelta = timedelta(hours=24)
    grace: timedelta = timedelta(minutes=15)
    certificate_key: str | None = field(default=None, repr=False)
    force_delete: bool = False


def check_lives(ttl: timedelta, renew_before: timedelta) -> None:
    """Raises PlanError when a new token would be renewed at once."""
    if not timedelta() < renew_before < ttl:
        raise PlanError(
            f"renew_before ({format_duration(renew_before)}) must be more than 0 and less than ttl"
            f" ({format_duration(ttl)}): a new token would be renewed again at once"
        )


def make_plan(observed: Observed, wanted: Wanted) -> Plan:
    """The steps from `observed` to `wanted`. Raises PlanError that names the option at fault."""
    return _present(observed, wanted) if wanted.present else _absent(observed, wanted)


def _present(observed: Observed, wanted: Wanted) -> Plan:
    now, cluster, secret = observed.now, observed.cluster, observed.secret
    if cluster is None:
        raise AssertionError("the observer fails when a wanted cluster does not answer")
    check_lives(wanted.ttl, wanted.renew_before)
    owner = _other_owner(secret, wanted)
    if owner and not _handed_over(observed, cluster, wanted):
        raise PlanError(
            f"the secret {wanted.secret_name} is of the HyperPod cluster {owner}, and this run is for {wanted.cluster_id}: two"
            f" clusters would take it from each other. {hand_over(wanted.secret_name, owner)}"
        )
    if wanted.certificate_key and not cluster.certificates_expire:
        raise PlanError(
            "certificate_key was given, but the cluster holds no uploaded certificates (Secret kube-system/kubeadm-certs;"
            " kubeadm removes it after two hours); `kubeadm init phase upload-certs --upload-certs` makes it and prints the key"
        )

    current = secret.join
    published = _published(cluster, current)
    steps: list[Step] = []
    differences: list[Difference] = []
    fresh: dict[str, t.Any] = {}
    if published and published.life(now) >= wanted.renew_before:
        token = published
    else:
        token = _unpublished(cluster, wanted, now) or BootstrapToken(
            *observed.candidate, expires=now + wanted.ttl, owner=wanted.secret_name, created=now
        )
        if token.id == observed.candidate[0]:
            fresh = {"token_id": "(new)"}  # a check run's random id would never be seen again
            differences.append(Difference("bootstrap token", None, {**_shown(token), **fresh}))
            steps.append(Step("create", "bootstrap token", {"token": token}))

    desired = _join_data(cluster, token, current, wanted, now)
    reason = _reason(secret, published, desired)
    if secret.state == "scheduled":
        steps.append(Step("restore", f"secret {wanted.secret_name}", {"secret": secret}))
    if desired != current or secret.state != "present":
        before = current.public() if current else None
        differences.append(Difference(f"secret {wanted.secret_name}", before, {**desired.public(), **fresh}))
        steps.append(Step("publish", f"secret {wanted.secret_name}", {"join": desired, "secret": secret}))
    for old in cluster.tokens:
        superseded = current is not None and old.id == current.token_id
        settled = superseded or old.created is None or now - old.created > SETTLING
        if old.owner == wanted.secret_name and old.id != token.id and settled and old.life(now) > wanted.grace:
            end = now + wanted.grace if wanted.grace else None
            after = {**_shown(old), "expires": format_time(end)} if end else None
            differences.append(Difference(f"bootstrap token {old.id}", _shown(old), after))
            steps.append(Step("retire", f"bootstrap token {old.id}", {"token": old, "expires": end}))

    facts: dict[str, t.Any] = {"reason": reason, "secret_name": wanted.secret_name}
    if not steps:
        facts.update(desired.public(), version_id=secret.version)
    return Plan(tuple(differences), tuple(steps), _warnings(secret, cluster, desired, wanted, reason), facts)


def _absent(observed: Observed, wanted: Wanted) -> Plan:
    secret, cluster = observed.secret, observed.cluster
    steps: list[Step] = []
    differences: list[Difference] = []
    warnings: list[str] = []
    owner = _other_owner(secret, wanted)
    if owner:
        warnings.append(
            f"the secret {wanted.secret_name} stays: it is of the HyperPod cluster {owner}, not of {wanted.cluster_id}"
        )
    elif secret.state == "present" or (secret.state == "scheduled" and wanted.force_delete):
        before = secret.join.public() if secret.join else {"state": secret.state}
        differences.append(Difference(f"secret {wanted.secret_name}", before, None))
        steps.append(Step("delete", f"secret {wanted.secret_name}"))
    for token in cluster.tokens if cluster else ():
        if token.owner == wanted.secret_name:
            differences.append(Difference(f"bootstrap token {token.id}", _shown(token), None))
            steps.append(Step("retire", f"bootstrap token {token.id}", {"token": token, "expires": None}))
    if not cluster:
        warnings.append(f"no token was revoked, each ends by its own expiry: {observed.unreachable}")
    return Plan(tuple(differences), tuple(steps), tuple(warnings), {"secret_name": wanted.secret_name})


def _other_owner(secret: StoredSecret, wanted: Wanted) -> str:
    """The HyperPod cluster that the secret in use is of, where that is known and not the wished one; else ""."""
    found = secret.join.cluster_id if secret.join and secret.state == "present" else ""
    return found if wanted.cluster_id and found != wanted.cluster_id else ""


def _handed_over(observed: Observed, cluster: Cluster, wanted: Wanted) -> bool:
    """Whether another cluster's secret was deleted and is only there again because a run for this one restored it to replace it.

    This run saw it so. Or there is a token for it that is younger than its value: no run makes one while another cluster's secret
    is in use, so that run was killed, or is at work, between restoring and publishing.
    """
    secret = observed.secret
    if observed.released is not None and secret.version == observed.released:
        return True
    mine = [token.created for token in cluster.tokens if token.owner == wanted.secret_name]
    return any(made is not None and secret.created is not None and made > secret.created for made in mine)


def _published(cluster: Cluster, current: JoinData | None) -> BootstrapToken | None:
    """The cluster's token that the secret names, if it is good for joining."""
    if current is None:
        return None
    wish = (current.token_id, current.token_secret)
    return next((token for token in cluster.tokens if (token.id, token.secret) == wish and token.usable), None)


def _unpublished(cluster: Cluster, wanted: Wanted, now: datetime) -> BootstrapToken | None:
    """The longest-living token that an earlier or concurrent run made for this secret and nobody retired."""
    lasting = max(wanted.renew_before, wanted.grace)
    mine = [token for token in cluster.tokens if token.owner == wanted.secret_name and token.usable and token.life(now) > lasting]
    return max(mine, key=lambda token: (token.life(now), token.id), default=None)


def _join_data(cluster: Cluster, token: BootstrapToken, current: JoinData | None, wanted: Wanted, now: datetime) -> JoinData:
    key, key_expires = wanted.certificate_key, cluster.certificates_expire
    published_until = current.certificate_key_expires if current and current.ca_hashes[0] in cluster.ca_hashes else None
    if key is None and current and published_until and published_until > now:
        # not asked for now, but published by an earlier run for this cluster and still good
        key, key_expires = current.certificate_key, current.certificate_key_expires
    return JoinData(
        endpoint=wanted.endpoint or cluster.endpoint,
        token_id=token.id,
        token_secret=token.secret,
        ca_hashes=cluster.ca_hashes,
        expires=token.expires,
        cluster_id=wanted.cluster_id or (current.cluster_id if current else ""),
        certificate_key=key,
        certificate_key_expires=key_expires if key is not None else None,
        schema_version=max(SCHEMA_VERSION, current.schema_version if current else 0),
    )


def _reason(secret: StoredSecret, published: BootstrapToken | None, desired: JoinData) -> str:
    current = secret.join
    if current is None:
        return {"absent": "create", "scheduled": "undelete"}.get(secret.state, "repair")
    if current.ca_hashes[0] not in desired.ca_hashes or current.endpoint != desired.endpoint:
        return "replace"
    if published is None:
        return "restore"
    if published.id != desired.token_id:
        return "renew"
    return "none" if current == desired else "update"


def _warnings(secret: StoredSecret, cluster: Cluster, desired: JoinData, wanted: Wanted, reason: str) -> tuple[str, ...]:
    warnings = list(cluster.warnings)
    if reason == "repair":
        warnings.append(
            f"the secret {wanted.secret_name} held something else ({secret.fault}) and is replaced;"
            " Secrets Manager keeps the old value under the label AWSPREVIOUS"
        )
    if reason == "replace" and secret.join and secret.join.ca_hashes[0] not in desired.ca_hashes:
        warnings.append(
            f"the secret {wanted.secret_name} was of a cluster with another certificate authority ({secret.join.ca_hashes[0]},"
            f" {secret.join.endpoint}) and is replaced; if that cluster still runs, give each one a secret_name of its own"
        )
    if reason == "none" and desired.token_id not in cluster.signed:
        warnings.append(
            f"kube-public/cluster-info carries no signature for the token {desired.token_id}, without which `kubeadm join` waits;"
            " kube-controller-manager's bootstrapsigner makes it: does it run?"
        )
    return tuple(warnings)


def _shown(token: BootstrapToken) -> dict[str, t.Any]:
    return {"token_id": token.id, "expires": format_time(token.expires)}
