# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Fetching over HTTP: retries with full jitter, Retry-After, resume by Range, and sums checked before anybody sees the file."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import random
import shutil
import socket
import ssl
import time
import typing as t
import urllib.error
from email.utils import parsedate_to_datetime
from pathlib import Path

from ansible.module_utils import urls as ansible_urls

from .._plan import ApplyError
from .archive import write_all
from .args import MIRROR_PASSWORD
from .planner import Download, Fetched
from .wish import mirrors

CHUNK = 1 << 20
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
TEXT_LIMIT = 4 << 20  # bytes; a checksum file is smaller
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)

T = t.TypeVar("T")


class _Failure(Exception):
    """One attempt failed. `progress`: it brought bytes that are kept, so the attempts are counted anew."""

    def __init__(self, message: str, again: bool, pause: float | None = None, progress: bool = False) -> None:
        super().__init__(message)
        self.message, self.again, self.pause, self.progress = message, again, pause, progress


class Fetcher:
    """The module's network options, applied to every request. Safe to use from several threads."""

    def __init__(self, params: t.Mapping[str, t.Any], sleep: t.Callable[[float], None] = time.sleep) -> None:
        self._params = params
        self._sleep = sleep
        # With a mirror, headers and credentials are the mirror's: an entry that is fetched from upstream all the same must not
        # show them there. The environment's are a mirror's even where the task has none.
        self._mirrors = mirrors(params)
        self._environments = params["password"] is not None and params["password"] == os.environ.get(MIRROR_PASSWORD)
        self._stopped = False
        self._held: dict[str, t.IO[bytes]] = {}  # finished parts; the lock on each ends with its file

    def stop(self) -> None:
        """Ends running downloads soon; their parts stay."""
        self._stopped = True

    def release(self, *parts: str) -> None:
        """Gives up these finished parts, or all: until then no other run takes one as its own, or sweeps it away.

        A program cannot be started while its file is open here, so what was moved into place must not be held.
        """
        for part in parts or tuple(self._held):
            self._held.pop(part).close()

    def text(self, url: str) -> str:
        """A small file such as a checksum file. Raises GpufleetError."""

        def attempt() -> str:
            with self._open(url, {}) as response:
                return response.read(TEXT_LIMIT).decode("utf-8", errors="replace")

        return self._persist(url, attempt)

    def size(self, url: str) -> int | None:
        """Asks for the first byte only, to learn that the file is there and how long it is. Raises GpufleetError."""

        def attempt() -> int | None:
            with self._open(url, {"Range": "bytes=0-0"}) as response:
                total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
                return int(total) if total.isdigit() else None

        return self._persist(url, attempt)

    def download(self, wanted: Download) -> Fetched:
        """Fetches into `wanted.part`, continuing what is there, and returns once its sum is right. Raises GpufleetError.

        The part stays for the next run unless its content is wrong or the disk is full.
        """
        started = time.monotonic()
        part = Path(wanted.part)
        part.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(part)
        try:
            digest = hashlib.sha256()
            file.seek(0)
            for chunk in iter(lambda: file.read(CHUNK), b""):
                digest.update(chunk)
            resumed_at = file.tell()
            received = 0
            if digest.hexdigest() != wanted.sha256:
                transfer = _Transfer(file, digest)
                self._persist(wanted.source, lambda: self._transfer(wanted, transfer))
                received = transfer.received
                resumed_at = 0 if transfer.restarted else resumed_at
        except BaseException:
            file.close()
            raise
        self._held[wanted.part] = file
        return Fetched(received, round(time.monotonic() - started, 3), resumed_at)

    def _transfer(self, wanted: Download, into: _Transfer) -> None:
        offset = into.file.tell()
        before = into.received
        try:
            with self._open(wanted.source, {"Range": f"bytes={offset}-"} if offset else {}) as response:
                if offset and response.status != 206:
                    into.restart()
                expected = response.headers.get("Content-Length")
                for chunk in iter(lambda: response.read(CHUNK), b""):
                    into.write(chunk)
                    if self._stopped:
                        raise ApplyError(f"the download of {wanted.source} was stopped because another one failed")
                if expected is not None and into.received - before < int(expected):
                    raise http.client.IncompleteRead(b"", int(expected) - (into.received - before))
        except _Failure as failure:
            if offset and "416" in failure.message:  # what we have is longer than what the server has
                into.restart()
                raise _Failure(failure.message, again=True, progress=True) from failure
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(Path(wanted.part).parent).free
                Path(wanted.part).unlink(missing_ok=True)
                raise ApplyError(
                    f"no space left for {wanted.source} in {Path(wanted.part).parent} ({free >> 20} MiB free); "
                    "make room or choose another dest"
                ) from error
            raise _failure(error, progress=into.received > before) from error
        except http.client.HTTPException as error:
            raise _failure(error, progress=into.received > before) from error
        got = into.digest.hexdigest()
        if got == wanted.sha256:
            return
        into.restart()
        if offset:  # the part that was there may have been another file's; once more from the start
            raise _Failure("the continued download had a wrong sum", again=True, progress=True)
        Path(wanted.part).unlink(missing_ok=True)
        raise ApplyError(
            f"{wanted.source} has a wrong checksum: expected sha256 {wanted.sha256}, got {got}; nothing was installed. Correct "
            "the checksum, or the file there (a mirror with files of its own needs their .sha256 there and checksums=mirror)",
            url=wanted.source,
            expected=wanted.sha256,
            got=got,
        )

    def _persist(self, url: str, attempt: t.Callable[[], T]) -> T:
        started = time.monotonic()
        count = 0
        attempts = 0
        while True:
            attempts += 1
            try:
                try:
                    return attempt()
                except (OSError, http.client.HTTPException) as error:
                    raise _failure(error) from error
            except _Failure as failure:
                count = 1 if failure.progress else count + 1
                if not failure.again or count > self._params["retries"]:
                    spent = f" (gave up after {attempts} attempts in {time.monotonic() - started:.1f} s)" if attempts > 1 else ""
                    raise ApplyError(f"cannot fetch {url}: {failure.message}{spent}", url=url) from failure
                pause = failure.pause
                if pause is None:
                    pause = random.uniform(0, FIRST_PAUSE_S * 2**count)  # noqa: S311 - jitter, not a secret
                self._sleep(min(pause, LONGEST_PAUSE_S))

    def _open(self, url: str, headers: dict[str, str]) -> t.Any:
        params = self._params
        trusted = not self._mirrors or url.startswith(self._mirrors)
        log_in = trusted and (bool(self._mirrors) or not self._environments)
        own = {str(key): str(value) for key, value in (params["headers"] or {}).items()} if trusted else {}
        try:
            return ansible_urls.open_url(
                url,
                method="GET",
                headers={**own, **headers},
                timeout=params["timeout"],
                validate_certs=params["validate_certs"],
                ca_path=params["ca_path"],
                url_username=params["username"] if log_in else None,
                url_password=params["password"] if log_in else None,
                force_basic_auth=True,
                http_agent="gpufleet.k8s",
                decompress=False,  # the sum is that of the file as it is served
                use_netrc=False,
                unredirected_headers=["Authorization", *own],  # never to another host
            )
        except (OSError, http.client.HTTPException, ansible_urls.ConnectionError, ValueError) as error:
            raise _failure(error) from error


def _locked(part: Path) -> t.IO[bytes]:
    """The part, open, with a lock that nobody else has. Raises ApplyError when another run has it."""
    while True:
        file = part.open("a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise ApplyError(f"{part} is being downloaded by another run on this host; wait for it to end") from error
        # Its last owner may have moved it into place, or another run swept it away, between the two calls.
        try:
            if os.path.samestat(part.stat(), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
        file.close()


class _Transfer:
    """The part file while it grows."""

    def __init__(self, file: t.Any, digest: t.Any) -> None:
        self.file, self.digest = file, digest
        self.received = 0
        self.restarted = False

    def write(self, chunk: bytes) -> None:
        write_all(self.file.fileno(), chunk)
        self.digest.update(chunk)
        self.received += len(chunk)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.digest = hashlib.sha256()
        self.restarted = True


def _failure(error: BaseException, progress: bool = False) -> _Failure:  # noqa: PLR0911 - a table in the shape of a function
    """What an attempt's exception means, in words, and whether trying again can help."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        hint = {
            401: "; give username and password, or headers (with a mirror they are sent to the mirror alone)",
            403: "; these credentials may not read it",
            404: "; no such file there",
        }
        return _Failure(
            f"the server answered {error.code} {error.reason}{hint.get(error.code, '')}",
            again=error.code in RETRIED_STATUS,
            pause=_retry_after(error.headers.get("Retry-After")),
        )
    reason = error.reason if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _Failure(
            f"its TLS certificate was not accepted ({reason.verify_message}); give ca_path for a private authority", again=False
        )
    if isinstance(reason, (ssl.SSLError, ansible_urls.SSLValidationError)):
        return _Failure(f"TLS failed: {reason}", again=False)
    if isinstance(reason, socket.gaierror):
        again = reason.errno == socket.EAI_AGAIN
        return _Failure(f"its host name cannot be resolved ({reason.strerror}); check the URL, DNS and the mirror", again=again)
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return _Failure("no answer within the time limit of a request (option timeout)", again=True, progress=progress)
    if isinstance(reason, ConnectionRefusedError):
        return _Failure("connection refused; is the server or mirror running there?", again=True)
    if isinstance(reason, http.client.IncompleteRead):
        return _Failure(f"the connection ended {reason.expected or 'some'} bytes early", again=True, progress=progress)
    if isinstance(reason, FileNotFoundError):
        return _Failure("no such file", again=False)
    if isinstance(reason, (ValueError, http.client.InvalidURL)):
        return _Failure(str(reason), again=False)
    return _Failure(f"{type(reason).__name__}: {reason}", again=True, progress=progress)


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
