# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One Node: read it, cordon it so that the next run knows whose cordon it is, wait until it is Ready again.

PRIVATE: this module util is for this collection only and may change without notice.

All of it is allowed to the kubelet's own client certificate, for its own Node.
"""

from __future__ import annotations

import time
import typing as t
from datetime import datetime, timezone

from .._plan import ApplyError
from .client import KubeClient, KubeError

MERGE_PATCH = "application/merge-patch+json"


def path(name: str) -> str:
    return f"/api/v1/nodes/{name}"


def read(client: KubeClient, name: str) -> dict[str, t.Any]:
    """The Node object. Raises KubeError."""
    node: dict[str, t.Any] = client.request("GET", path(name))
    return node


def set_schedulable(
    client: KubeClient,
    name: str,
    schedulable: bool,
    annotation: str,
    mark: str | None,
    *,
    labels: t.Mapping[str, str | None] | None = None,
) -> None:
    """Cordons or uncordons, and sets the annotation and labels (None removes one), in one call: never one without the other."""
    metadata = {"annotations": {annotation: mark}, "labels": dict(labels or {})}
    body = {"spec": {"unschedulable": None if schedulable else True}, "metadata": metadata}
    client.request("PATCH", path(name), body=body, content_type=MERGE_PATCH)


def readiness(node: t.Mapping[str, t.Any]) -> tuple[str, float, str]:
    """(status of the condition Ready, time of its last heartbeat in seconds since 1970, message)."""
    for condition in node.get("status", {}).get("conditions") or ():
        if condition["type"] == "Ready":
            return condition["status"], _seconds(condition.get("lastHeartbeatTime")), condition.get("message") or ""
    return "Unknown", 0.0, "the Node has no condition Ready yet"


def wait_ready(
    client: KubeClient, name: str, *, since: float, deadline: float, alive: t.Callable[[], None], pause: float = 0.5
) -> None:
    """Waits until the Node is Ready by a heartbeat that is not older than `since` (whole seconds count: the API keeps no more).

    `deadline` is of time.monotonic(). `alive` is called before each look and raises what makes waiting pointless. An API
    server that does not answer (it may be a pod of this very node) is asked again. Raises ApplyError with what was seen last.
    """
    while True:
        alive()
        try:
            status, heartbeat, message = readiness(read(client, name))
            if status == "True" and heartbeat >= int(since):
                return
            seen = f"Ready is {status} ({message}), last heartbeat {int(time.time() - heartbeat)} s ago"
        except KubeError as error:
            seen = error.message
        if time.monotonic() > deadline:
            raise ApplyError(f"node {name} did not become Ready in time; seen last: {seen}")
        time.sleep(pause)


def _seconds(text: str | None) -> float:
    if not text:
        return 0.0
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
