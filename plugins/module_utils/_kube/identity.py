# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which API server, and as whom: options, kubeconfigs, service accounts.

PRIVATE: this module util is for this collection only and may change without notice.

Only kubeconfigs whose user is an exec plugin or an auth provider need the `kubernetes` package: it takes longer to import
than most tasks take to run, and nodes do not have it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import socket
import ssl
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._plan import GpufleetError
from .transport import bypasses

PACKAGE = "kubernetes>=24.2,<37"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Section = t.Mapping[str, t.Any]


@dataclass
class Identity:
    """A server and what to show it. Certificates and keys are PEM texts; `source` tells people where it is from."""

    source: str
    server: str = ""
    ca: str | None = None  # None: the system's
    certificate: str | None = None
    key: str | None = None
    authorization: t.Callable[[], str | None] = lambda: None  # asked for each request: tokens are renewed
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)

    def tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self.ca)
            if self.certificate:
                # OpenSSL reads client certificates from files only; this one is ours alone and gone at once.
                with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
                    pem.write(f"{self.certificate}\n{self.key or ''}")
                    pem.flush()
                    context.load_cert_chain(pem.name)
        except (OSError, ValueError) as error:
            raise GpufleetError(f"the certificates or the key are not PEM, or do not fit: {error} ({self.source})") from error
        # Strict from Python 3.13 on: refuses CAs of many running clusters, which Go, and so kubectl, accepts.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def identify(given: Section) -> Identity:
    """From the options of AUTH_SPEC that were given, in kubernetes.core's order: `host` with credentials needs nothing else;
    `kubeconfig` or `context` reads a kubeconfig; with neither, a pod's service account, then the default kubeconfig.
    Options override what was read. Runs the exec plugin of a kubeconfig. Raises GpufleetError.
    """
    found = _base(given)
    found.server = (given.get("host") or found.server).rstrip("/")
    if given.get("api_key") or given.get("username"):
        header = f"Bearer {given['api_key']}" if given.get("api_key") else _basic(given["username"], given.get("password"))
        found.authorization = lambda: header
        found.certificate = found.key = None  # a server would look at the certificate first
    for option, attribute in (("ca_cert", "ca"), ("client_cert", "certificate"), ("client_key", "key")):
        if given.get(option):
            setattr(found, attribute, _text(Path(given[option]), option))
    if "validate_certs" in given:
        found.verify = given["validate_certs"]
    if given.get("impersonate_user"):
        found.headers = [("Impersonate-User", given["impersonate_user"])]
        found.headers += [("Impersonate-Group", group) for group in given.get("impersonate_groups") or ()]
    found.proxy = given.get("proxy") or found.proxy or _variable(found.server.partition(":")[0] + "_proxy")
    if bypasses(found.server, given.get("no_proxy") or _variable("no_proxy")):
        found.proxy = None
    return found


def _base(given: Section) -> Identity:
    for options in (("api_key",), ("username", "password"), ("client_cert", "client_key")):
        if given.get("host") and all(given.get(option) for option in options):
            return Identity(f"identity from the option {options[0]} or its K8S_AUTH_* variable")
    kubeconfig, context = given.get("kubeconfig"), given.get("context")
    if not kubeconfig and not context and os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return _pod()
    try:
        return _kubeconfig(kubeconfig, context, bool(given.get("persist_config")))
    except KeyError as error:
        raise GpufleetError(f"{_name(kubeconfig)} cannot be used: it has no {error.args[0]}") from error


def _pod() -> Identity:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    return Identity(
        "identity of this pod's service account",
        f"https://{f'[{host}]' if ':' in host else host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        _text(SERVICE_ACCOUNT / "ca.crt", "the service account's CA"),
        authorization=_token_file(SERVICE_ACCOUNT / "token"),
    )


def _kubeconfig(kubeconfig: str | Section | None, context: str | None, persist: bool) -> Identity:
    name = _name(kubeconfig)
    config = kubeconfig if isinstance(kubeconfig, dict) else _read(_paths(kubeconfig), name)
    chosen = context or config.get("current-context")
    if not chosen:
        raise GpufleetError(f"{name} has no current-context; name one in the option context")
    names = _named(config, "contexts", "context", chosen)
    cluster = _named(config, "clusters", "cluster", names["cluster"])
    user = _named(config, "users", "user", names["user"]) if names.get("user") else {}
    found = Identity(
        f"identity from {name}, context {chosen}",
        cluster["server"],
        _pem(cluster, "certificate-authority"),
        _pem(user, "client-certificate"),
        _pem(user, "client-key"),
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )
    if user.get("as"):
        found.headers = [("Impersonate-User", user["as"]), *(("Impersonate-Group", one) for one in user.get("as-groups") or ())]
    if user.get("exec") or user.get("auth-provider"):
        _ask_plugin(found, kubeconfig, context, persist)
    elif user.get("token"):
        found.authorization = lambda: f"Bearer {user['token']}"
    elif user.get("tokenFile"):
        found.authorization = _token_file(_below(user["tokenFile"], user))
    elif user.get("username"):
        header = _basic(user["username"], user.get("password"))
        found.authorization = lambda: header
    return found


def _name(kubeconfig: str | Section | None) -> str:
    return "kubeconfig given as a dict" if isinstance(kubeconfig, dict) else f"kubeconfig {_paths(kubeconfig)}"


def _paths(kubeconfig: t.Any) -> str:
    return kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"


def _read(paths: str, name: str) -> Section:
    """Merges the files as kubectl does: the first one that names something wins; relative paths are relative to their file."""
    try:
        import yaml  # noqa: PLC0415  ansible-core brings it; a node has it only if somebody installed it
    except ImportError as error:
        raise GpufleetError(
            f"Python on {socket.gethostname()} cannot import yaml, which reads kubeconfigs; "
            f"install PyYAML there: {sys.executable} -m pip install PyYAML"
        ) from error
    merged: dict[str, t.Any] = {"clusters": [], "users": [], "contexts": []}
    files = [path for path in (Path(part).expanduser() for part in paths.split(os.pathsep) if part) if path.is_file()]
    if not files:
        raise GpufleetError(f"{name} does not exist; give kubeconfig, or host with api_key, or run in a pod")
    for path in files:
        try:
            content = yaml.safe_load(path.read_bytes())
        except (OSError, yaml.YAMLError) as error:
            raise GpufleetError(f"kubeconfig {path} cannot be used: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise GpufleetError(f"kubeconfig {path} cannot be used: it is no mapping")
        for kind in ("clusters", "users", "contexts"):
            for entry in content.get(kind) or ():
                body = entry.get(kind[:-1])
                if isinstance(body, dict):
                    body[_FOLDER] = path.parent
                merged[kind].append(entry)
        merged["current-context"] = merged.get("current-context") or content.get("current-context")
    return merged


_FOLDER = "(folder of the file)"


def _named(config: Section, kind: str, key: str, name: str) -> Section:
    for entry in config.get(kind) or ():
        if entry.get("name") == name:
            return entry.get(key) or {}
    raise KeyError(f"{key} named {name!r}")


def _pem(section: Section, key: str) -> str | None:
    if section.get(f"{key}-data"):
        try:
            return base64.b64decode(section[f"{key}-data"]).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise GpufleetError(f"{key}-data of the kubeconfig is not PEM in base64: {error}") from error
    return _text(_below(section[key], section), key) if section.get(key) else None


def _below(path: str, section: Section) -> Path:
    return t.cast(Path, section.get(_FOLDER, Path())) / Path(path).expanduser()


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise GpufleetError(f"{what} {path} cannot be read: {error}") from error


def _token_file(path: Path) -> t.Callable[[], str]:
    return lambda: f"Bearer {_text(path, 'token file').strip()}"


def _basic(username: str, password: str | None) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password or ''}".encode()).decode()


def _variable(name: str) -> str | None:
    return os.environ.get(name) or os.environ.get(name.upper())


def _ask_plugin(found: Identity, kubeconfig: t.Any, context: str | None, persist: bool) -> None:
    """Exec plugins and auth providers, by the kubernetes package. It renews the token when it is about to expire."""
    name = _name(kubeconfig)
    try:
        from kubernetes import client, config  # noqa: PLC0415
    except ImportError as error:
        raise GpufleetError(
            f"{name} asks a plugin for its credentials, but Python on {socket.gethostname()} cannot import {error.name}; "
            f"install the package there: {sys.executable} -m pip install '{PACKAGE}'"
        ) from error
    configuration = client.Configuration()
    options: dict[str, t.Any] = {"context": context, "client_configuration": configuration, "persist_config": persist}
    errors = _Errors()
    logging.getLogger().addHandler(errors)  # where the package reports a plugin that failed, and goes on without
    try:
        with _no_files_left():
            if isinstance(kubeconfig, dict):
                config.load_kube_config_from_dict(kubeconfig, **options)
            else:
                config.load_kube_config(config_file=_paths(kubeconfig), **options)
            for file, attribute in ((configuration.cert_file, "certificate"), (configuration.key_file, "key")):
                if file:
                    setattr(found, attribute, _text(Path(file), "the plugin's"))
    except GpufleetError:
        raise
    except Exception as error:  # the package raises whatever YAML, files and plugins raise
        raise GpufleetError(f"{name} cannot be used: {type(error).__name__}: {error}") from error
    finally:
        logging.getLogger().removeHandler(errors)
    if errors.messages:
        raise GpufleetError(f"{name} gives no credentials: {'; '.join(errors.messages)}")

    def authorization() -> str | None:
        for setting in configuration.auth_settings().values():
            return t.cast("str | None", setting["value"])
        return None

    found.authorization = authorization


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


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
