# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A Kubernetes API server as JSON in, JSON out.

PRIVATE: this module util is for this collection only and may change without notice.

The `kubernetes` package reads kubeconfigs, runs exec plugins and refreshes tokens; the calls themselves are plain
urllib3, because its model objects cost more than the call and lose fields that they do not know.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gc
import importlib
import json
import logging
import random
import re
import socket
import ssl
import sys
import threading
import time
import typing as t
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.basic import env_fallback

from .._plan import GpufleetError

PACKAGE = "kubernetes>=24.2,<37"

#: Names, aliases and K8S_AUTH_* variables are those of kubernetes.core, so that its users change nothing.
AUTH_SPEC: dict[str, dict[str, t.Any]] = {
    # no_log: as a dict it holds secrets
    "kubeconfig": {"type": "raw", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
    "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
    "host": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_HOST"])},
    "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_API_KEY"])},
    "username": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_USERNAME"])},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_PASSWORD"])},
    "validate_certs": {
        "type": "bool",
        "aliases": ["verify_ssl"],
        "fallback": (env_fallback, ["K8S_AUTH_VALIDATE_CERTS", "K8S_AUTH_VERIFY_SSL"]),
    },
    "ca_cert": {
        "type": "path",
        "aliases": ["ssl_ca_cert"],
        "fallback": (env_fallback, ["K8S_AUTH_CA_CERT", "K8S_AUTH_SSL_CA_CERT"]),
    },
    "client_cert": {
        "type": "path",
        "aliases": ["cert_file"],
        "fallback": (env_fallback, ["K8S_AUTH_CLIENT_CERT", "K8S_AUTH_CERT_FILE"]),
    },
    "client_key": {
        "type": "path",
        "aliases": ["key_file"],
        "no_log": False,  # a path
        "fallback": (env_fallback, ["K8S_AUTH_CLIENT_KEY", "K8S_AUTH_KEY_FILE"]),
    },
    "proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY"])},
    "no_proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_NO_PROXY"])},
    "proxy_headers": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": {
                "type": "str",
                "no_log": True,
                "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH"]),
            },
            "basic_auth": {
                "type": "str",
                "no_log": True,
                "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_BASIC_AUTH"]),
            },
            "user_agent": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY_HEADERS_USER_AGENT"])},
        },
    },
    "persist_config": {"type": "bool", "fallback": (env_fallback, ["K8S_AUTH_PERSIST_CONFIG"])},
    "impersonate_user": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_IMPERSONATE_USER"])},
    "impersonate_groups": {
        "type": "list",
        "elements": "str",
        "fallback": (env_fallback, ["K8S_AUTH_IMPERSONATE_GROUPS"]),
    },
}

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0  # seconds: the API server's own limit for a request
ATTEMPTS = 6  # of one request: with the pauses below about 6 s
FIRST_PAUSE = 0.2  # seconds, doubled at each attempt
LONGEST_PAUSE = 10.0  # seconds, also for what the server asks for in Retry-After
RETRY_BUDGET = 60.0  # seconds of pauses that all requests of one client may add up to
RETRIED = frozenset({429, 500, 502, 503, 504})


class KubeError(GpufleetError):
    """A call to the API server failed.

    `status` is the HTTP status, None when no answer came; `reason` is the server's word for it (`Forbidden`,
    `NotFound`, `Conflict`, `Expired`, ...), or `Unreachable`; `body` is the server's Status object, if it sent one. `unsure`:
    an earlier attempt of the same call got no answer, so the server may have executed that.
    """

    def __init__(
        self, message: str, status: int | None = None, reason: str = "Unreachable", body: t.Mapping[str, t.Any] | None = None
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.status = status
        self.reason = reason
        self.body = body or {}
        self.unsure = False


class NoKubeconfig(GpufleetError):
    """There is no identity for any API server, because there is no such kubeconfig."""


class KubeClient:
    """One API server with one identity. Safe to use from many threads at once.

    `server` is its URL; `source` says where the identity comes from, for error messages. `base` is what `pool` wants before
    the path of a call.
    """

    def __init__(
        self,
        server: str,
        source: str,
        pool: t.Any,
        authorization: t.Callable[[], str | None],
        headers: t.Any,
        *,
        base: str = "",
    ) -> None:
        self.server = server
        self.source = source
        self._pool = pool
        self._base = base
        self._headers = headers
        self._authorization = authorization
        self._lock = threading.Lock()
        self._budget = RETRY_BUDGET

    def request(
        self,
        method: str,
        path: str,
        *,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
    ) -> t.Any:
        """Sends one call and returns the parsed JSON answer (None when it is empty).

        Tried again, with growing pauses, when the server is overloaded (429, 5xx) or the connection breaks; a POST
        only where it cannot have been executed. Raises KubeError.
        """
        target = path + ("?" + urlencode({k: v for k, v in query.items() if v is not None}, doseq=True) if query else "")
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        unsure = False
        for attempt in range(ATTEMPTS):
            try:
                status, headers, answer = self._send(method, target, data, content_type)
            except KubeError as error:
                if method == "POST" or not passing(error) or not self._pause(attempt, None):
                    raise
                unsure = True
                continue
            if status < 300:
                return json.loads(answer) if answer else None
            retriable = status == 429 or (status in RETRIED and method != "POST")
            if not retriable or not self._pause(attempt, headers.get("Retry-After")):
                refusal = self._refusal(method, path, status, answer)
                refusal.unsure = unsure
                raise refusal
        raise AssertionError("the last attempt returns or raises")

    def list(self, path: str, *, limit: int = 500, **query: t.Any) -> t.Iterator[dict[str, t.Any]]:
        """Yields the items of a collection, fetched `limit` at a time.

        When a list takes so long that its snapshot expires (410), the server hands out a token for the rest of the
        list as it is by then; that is used: each item is still whole. Raises KubeError.
        """
        token = None
        while True:
            try:
                page = self.request("GET", path, query={**query, "limit": limit, "continue": token})
            except KubeError as error:
                fresh = error.body.get("metadata", {}).get("continue")
                if error.status != 410 or not fresh or fresh == token:
                    raise
                token = fresh
                continue
            yield from page.get("items") or ()
            token = page.get("metadata", {}).get("continue")
            if not token:
                return

    def _send(self, method: str, target: str, data: bytes | None, content_type: str) -> tuple[int, t.Any, bytes]:
        import urllib3  # noqa: PLC0415  comes with the kubernetes package

        headers = self._headers.copy()
        if data is not None:
            headers["Content-Type"] = content_type
        with self._lock:  # an expired token is fetched once, not by every thread
            authorization = self._authorization()
        if authorization:
            headers["Authorization"] = authorization
        try:
            answer = self._pool.request(method, self._base + target, body=data, headers=headers, retries=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(method, target.partition("?")[0], error) from error
        except ValueError:  # it quotes the header, which may be the token
            raise GpufleetError(
                "the token, user or group cannot be sent to the API server, perhaps for a line break at its end: see api_key, "
                f"impersonate_user and impersonate_groups ({self.source})"
            ) from None
        return answer.status, answer.headers, answer.data

    def _pause(self, attempt: int, asked: str | None) -> bool:
        """Waits before the next attempt. False when there shall be none."""
        pause = FIRST_PAUSE * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311  spreads clients, no secret
        if asked and asked.isdigit():
            pause = max(pause, float(asked))
        pause = min(pause, LONGEST_PAUSE)
        with self._lock:
            if attempt + 1 >= ATTEMPTS or self._budget < pause:
                return False
            self._budget -= pause
        time.sleep(pause)
        return True

    def _unreachable(self, method: str, path: str, error: Exception) -> KubeError:
        cause = str(error)
        hint = "check that the server runs and that this machine reaches it"
        if "CERTIFICATE_VERIFY_FAILED" in cause or "certificate" in cause.lower():
            hint = "give the cluster's CA in ca_cert or in the kubeconfig, and a host name that the certificate holds"
        # urllib3 puts its own object in front: "<...HTTPSConnection object at 0x7f..>: Failed to ..."
        cause = re.sub(r"<[^>]* object at 0x[0-9a-f]+>: |\w+\(host=[^)]*\): ", "", cause)
        return KubeError(f"{self.server} gave no answer to {method} {path}: {cause}; {hint} ({self.source})")

    def _refusal(self, method: str, path: str, status: int, answer: bytes) -> KubeError:
        body: t.Any
        try:
            body = json.loads(answer)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {"message": answer.decode(errors="replace").strip()[:200]}
        said = body.get("message") or "nothing"
        hint = ""
        if status == 401:
            hint = f"; the credentials are wrong or no longer valid{_expiry(self._authorization())}: {self.source}"
        elif status == 403:
            hint = missing_permission(said)
        return KubeError(
            f"{self.server} refused {method} {path} with {status}: {said}{hint}",
            status=status,
            reason=body.get("reason") or str(status),
            body=body,
        )


def connect(params: t.Mapping[str, t.Any], *, connections: int = 1) -> KubeClient:
    """Makes a client from the options of AUTH_SPEC; `connections` is how many calls will run at once.

    As in kubernetes.core: `host` with credentials needs nothing else; `kubeconfig` or `context` reads a kubeconfig;
    with neither, a pod's service account, then the default kubeconfig. Options override what was read.
    No call is made yet, but an exec plugin of the kubeconfig runs. Raises NoKubeconfig, GpufleetError.
    """
    with configured(params) as (configuration, source):
        tls = _tls(configuration)
    import urllib3  # noqa: PLC0415
    from requests.utils import should_bypass_proxies  # noqa: PLC0415  as the kubernetes package decides it

    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
    options: dict[str, t.Any] = {"num_pools": 1, "maxsize": connections, "ssl_context": tls, "timeout": timeout}
    if getattr(configuration, "tls_server_name", None):
        options["server_hostname"] = configuration.tls_server_name
    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # it was asked for
    server = configuration.host.rstrip("/")
    try:
        if configuration.proxy and not should_bypass_proxies(server, no_proxy=configuration.no_proxy or ""):
            pool: t.Any = urllib3.ProxyManager(configuration.proxy, proxy_headers=configuration.proxy_headers, **options)
            base = server
        else:  # one host's pool: a manager would look for it again at each call
            pool, base = urllib3.PoolManager(**options).connection_from_url(server), urlsplit(server).path
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise GpufleetError(f"proxy {configuration.proxy!r} cannot be used: {error}") from error

    def authorization() -> str | None:
        if configuration.username:
            return t.cast(str, configuration.get_basic_auth_token())
        for setting in configuration.auth_settings().values():
            return t.cast("str | None", setting["value"])
        return None

    headers = getattr(urllib3.response, "HTTPHeaderDict")(Accept="application/json")  # noqa: B009  exported from 2.0 on
    headers["User-Agent"] = "gpufleet.k8s"
    if params.get("impersonate_user"):
        headers["Impersonate-User"] = params["impersonate_user"]
    for group in params.get("impersonate_groups") or ():
        headers.add("Impersonate-Group", group)
    return KubeClient(server, source, pool, authorization, headers, base=base)


@contextlib.contextmanager
def configured(params: t.Mapping[str, t.Any], *modules: str, package: str = PACKAGE) -> t.Iterator[tuple[t.Any, str]]:
    """The kubernetes package's Configuration from the options of AUTH_SPEC, and where the identity comes from, in words.

    The files that it names are gone at the end of the block. `modules` must be importable too; `package` brings them.
    """
    gc.disable()  # the package is some hundred thousand objects, which each collection would look at again
    try:
        for name in ("urllib3", "kubernetes", "requests", *modules):
            importlib.import_module(name)
    except ImportError as error:
        raise GpufleetError(
            f"Python on {socket.gethostname()} cannot import {error.name}; "
            f"install the package there: {sys.executable} -m pip install '{package}'"
        ) from error
    finally:
        gc.freeze()
        gc.enable()
    from kubernetes import client  # noqa: PLC0415

    given = {name: params.get(name) for name in AUTH_SPEC if params.get(name) is not None}
    configuration = client.Configuration()
    with _no_files_left():
        source = _load(configuration, given)
        _override(configuration, given)
        if not re.match(r"https?://[^/]", str(configuration.host)):  # a token would go out in clear, to port 80
            raise GpufleetError(
                f"host is {configuration.host!r}: write the API server's URL with its scheme, such as "
                f"https://{str(configuration.host).rpartition('//')[2] or '192.0.2.7:6443'} ({source})"
            )
        yield configuration, source


@contextlib.contextmanager
def _no_files_left() -> t.Iterator[None]:
    """Removes the files that the package makes of certificates and keys inside a kubeconfig, for OpenSSL to read.

    It does so itself at the end of a process, but Ansible's workers end without that.
    """
    from kubernetes.config import kube_config  # noqa: PLC0415

    others = dict(kube_config._temp_files)
    try:
        yield
    finally:
        for content, path in [*kube_config._temp_files.items()]:
            if content not in others:
                del kube_config._temp_files[content]
                Path(path).unlink()


def _load(configuration: t.Any, given: t.Mapping[str, t.Any]) -> str:
    """Fills `configuration` from what the options name. Returns where the identity comes from, in words."""
    from kubernetes import config  # noqa: PLC0415
    from kubernetes.config import kube_config  # noqa: PLC0415

    for name, wanted in (
        ("api_key", ("host", "api_key")),
        ("username", ("host", "username", "password")),
        ("client_cert", ("host", "client_cert", "client_key")),
    ):
        if all(given.get(option) for option in wanted):
            return f"identity from the option {name} or its K8S_AUTH_* variable"

    kubeconfig, context = given.get("kubeconfig"), given.get("context")
    if not kubeconfig and not context:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            pass  # not in a pod
        else:
            return "identity of this pod's service account"

    options = {
        "context": context,
        "client_configuration": configuration,
        "persist_config": bool(given.get("persist_config")),
    }
    where = "kubeconfig given as a dict"
    errors = _Errors()
    logging.getLogger().addHandler(errors)  # where the package reports a failed exec plugin, and goes on without
    try:
        if isinstance(kubeconfig, dict):
            config.load_kube_config_from_dict(kubeconfig, **options)
        else:
            path = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
            where = f"kubeconfig {path}"
            if not any(Path(part).expanduser().is_file() for part in path.split(":") if part):
                raise NoKubeconfig(f"{where} does not exist; give kubeconfig, or host with api_key, or run in a pod")
            config.load_kube_config(config_file=path, **options)
    except GpufleetError:
        raise
    except Exception as error:  # the package raises whatever YAML, files and plugins raise
        raise GpufleetError(f"{where} cannot be used: {type(error).__name__}: {error}") from error
    finally:
        logging.getLogger().removeHandler(errors)
    if errors.messages:
        raise GpufleetError(f"{where} gives no credentials: {'; '.join(errors.messages)}")
    return f"identity from {where}" + (f", context {context}" if context else "")


def _override(configuration: t.Any, given: t.Mapping[str, t.Any]) -> None:
    import urllib3  # noqa: PLC0415

    for option, attribute in (
        ("host", "host"),
        ("username", "username"),
        ("password", "password"),
        ("validate_certs", "verify_ssl"),
        ("ca_cert", "ssl_ca_cert"),
        ("client_cert", "cert_file"),
        ("client_key", "key_file"),
        ("proxy", "proxy"),
        ("no_proxy", "no_proxy"),
    ):
        if option in given:
            setattr(configuration, attribute, given[option])
    if "api_key" in given:
        configuration.refresh_api_key_hook = None
        configuration.api_key = {"authorization": f"Bearer {given['api_key']}"}
    headers = {name: value for name, value in given.get("proxy_headers", {}).items() if value}
    if headers:
        configuration.proxy_headers = urllib3.make_headers(**headers)


def _tls(configuration: t.Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except OSError as error:
        raise GpufleetError(
            f"TLS files cannot be used: {error} (CA: {configuration.ssl_ca_cert or 'the system'}, "
            f"client certificate: {configuration.cert_file}, key: {configuration.key_file})"
        ) from error
    # Strict from Python 3.13 on: refuses CAs of many running clusters, which Go, and so kubectl, accepts.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def passing(error: KubeError) -> bool:
    """Whether the same call may succeed a moment later: wrong names and certificates do not heal."""
    cause = str(error.__cause__)
    return not ("certificate" in cause.lower() or "CERTIFICATE" in cause or "resolve" in cause)


def missing_permission(said: str) -> str:
    """From RBAC's message, the sentence that says what to grant."""
    match = re.search(
        r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
        r'(?: in the namespace "(?P<namespace>[^"]+)")?',
        said,
    )
    if not match:
        return ""
    resource = match["resource"] + (f".{match['group']}" if match["group"] else "")
    scope = f"Role in namespace {match['namespace']}" if match["namespace"] else "ClusterRole"
    return f"; grant {match['user']} a {scope} with verb {match['verb']} on {resource}"


def _expiry(authorization: str | None) -> str:
    """When the bearer token ended, if it says so itself (JSON Web Token, RFC 7519: `exp` in seconds since 1970)."""
    try:
        payload = (authorization or "").split(".")[1]
        ended = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return ""
    if ended > time.time():
        return ""
    return f" (the token expired at {datetime.fromtimestamp(ended, timezone.utc):%Y-%m-%dT%H:%M:%SZ})"
