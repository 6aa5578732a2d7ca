# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One run at a time on a host.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import fcntl
import time
import typing as t
from contextlib import contextmanager
from pathlib import Path

from ._plan import PlanError

BUSY = 120  # seconds to wait for another run on this host


@contextmanager
def alone(lock: str | Path, busy: float = BUSY) -> t.Iterator[None]:
    """Runs the body while no other process has `lock`; a run that was killed holds nothing. Raises PlanError after `busy` s."""
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    with Path(lock).open("a", encoding="utf-8") as file:
        deadline = time.monotonic() + busy
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PlanError(f"another run is still at work here after {busy:.0f} s; `fuser -v {lock}` shows it") from None
                time.sleep(0.2)
        yield
