# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""hyperpod_token_info: wait until the secret holds data that a worker can join with.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import random
import time
import typing as t
from datetime import datetime, timedelta

from .._plan import GpufleetError, PlanError
from .args import which
from .aws import AwsError, Client
from .duration import format_duration, format_time, now, parse_duration
from .join import JoinData, hand_over, normal_hash
from .store import SecretStore

# Seconds between two looks, at most; each pause is drawn from 0 to this, so that a thousand workers spread out.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 15.0


def fault(join: JoinData, at: datetime, min_life: timedelta, cluster_id: str, ca_cert_hash: str | None) -> str:
    """Why a worker of this cluster cannot use `join`, as the end of a sentence; "" when it can. Pure."""
    if cluster_id and join.cluster_id and join.cluster_id != cluster_id:
        return f"it is of the HyperPod cluster {join.cluster_id}, not of {cluster_id}"
    if ca_cert_hash and ca_cert_hash not in join.ca_hashes:
        return (
            f"it is of another Kubernetes cluster, with the certificate authority {', '.join(join.ca_hashes)}, not {ca_cert_hash}"
        )
    life = join.expires - at if join.expires else timedelta.max
    if life <= timedelta():
        return f"its token {join.token_id} expired at {format_time(join.expires)}"
    if life < min_life:
        return f"its token {join.token_id} ends in {format_duration(life)}, less than min_life ({format_duration(min_life)})"
    return ""


def entry(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:  # noqa: ARG001  it only reads
    """The module's result. Raises GpufleetError; its facts hold what was seen last."""
    secret_name, cluster_id, region = which(params)
    min_life = parse_duration("min_life", params["min_life"])
    try:
        wanted_hash = normal_hash(params["ca_cert_hash"]) if params["ca_cert_hash"] else None
    except ValueError as error:
        raise PlanError(f"ca_cert_hash: {error}") from error

    client = Client("secretsmanager", params, region, params["retry_budget"])
    store = SecretStore(client, secret_name)
    started, attempts, ceiling = time.monotonic(), 0, FIRST_PAUSE
    while True:
        attempts += 1
        look = _look(store)
        state, seen, join = look.state, look.seen, look.join
        if join:
            state, seen = "unusable", fault(join, now(), min_life, cluster_id, wanted_hash)
            if not seen:
                waited = round(time.monotonic() - started, 1)
                facts = {"token_id": join.token_id, "expires": format_time(join.expires), "version_id": look.version}
                return {"changed": False, "join": join.document(), "waited": waited, "secret_name": secret_name, **facts}
        left = params["wait_timeout"] - (time.monotonic() - started)
        if left <= 0:
            theirs = join.cluster_id if join and cluster_id and join.cluster_id != cluster_id else ""
            mend = (
                hand_over(secret_name, theirs) if theirs else "hyperpod_token, run where the cluster's API answers, puts it right"
            )
            raise GpufleetError(
                f"no usable join data in the secret {secret_name} in {client.region} after {params['wait_timeout']} s"
                f" ({attempts} looks): {seen}. {mend}",
                last_state=state,
                last_seen=seen,
                attempts=attempts,
            )
        time.sleep(min(left, random.uniform(0, ceiling)))  # noqa: S311
        ceiling = min(LONGEST_PAUSE, ceiling * 1.5)


class Look(t.NamedTuple):
    state: str  # of a secret without join data: absent, scheduled, malformed; unreachable: AWS did not answer
    seen: str  # the same, as the end of a sentence
    join: JoinData | None = None
    version: str | None = None


def _look(store: SecretStore) -> Look:
    """Raises AwsError for what waiting does not mend."""
    try:
        stored = store.read_value()
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return Look("absent", "there is no such secret (yet)")
        if error.code == "InvalidRequestException":
            return Look("scheduled", f"it cannot be read ({error.said})")
        if error.passing:
            return Look("unreachable", error.message)
        raise
    return Look("malformed", stored.fault, stored.join, stored.version)
