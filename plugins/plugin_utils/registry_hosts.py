# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd's certs.d from the registry mirrors of a site."""

from __future__ import annotations

import base64
import re
import typing as t
from urllib.parse import urlsplit

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.to_toml import to_toml

HEADER = "# Managed by gpufleet.k8s (role containerd, variable containerd_registry_mirrors): changes here are lost."
_REGISTRY = re.compile(r"_default|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_CAPABILITIES = ("pull", "resolve", "push")
_FIELDS = {
    "url": str,
    "capabilities": list,
    "skip_verify": bool,
    "ca": str,
    "username": str,
    "password": str,
    "override_path": bool,
}


def registry_hosts(mirrors: t.Any, certs_dir: str) -> dict[str, str]:
    """`{path of hosts.toml: content}`. Raises AnsibleFilterError naming the entry at fault, never a password."""
    if not isinstance(mirrors, t.Mapping):
        raise _refused("", f"is a {_kind(mirrors)}; it must be a dictionary of registry host to a list of endpoints")
    return {
        f"{certs_dir}/{registry}/hosts.toml": _hosts_toml(registry, endpoints) for registry, endpoints in sorted(mirrors.items())
    }


def _hosts_toml(registry: t.Any, endpoints: t.Any) -> str:
    where = f"[{_bare(str(registry))!r}]"
    if not isinstance(registry, str) or not _REGISTRY.fullmatch(registry):
        raise _refused(where, "is no registry host; write HOST or HOST:PORT without a scheme or path, or _default")
    if not isinstance(endpoints, (list, tuple)) or not endpoints:
        what = "an empty list" if isinstance(endpoints, (list, tuple)) else f"a {_kind(endpoints)}"
        raise _refused(where, f"must be a list of at least one endpoint, not {what}")
    hosts: dict[str, dict[str, t.Any]] = {}
    for number, endpoint in enumerate(endpoints):
        url, host = _host(endpoint, f"{where}[{number}]")
        if url in hosts:
            raise _refused(f"{where}[{number}]", f"names {url} a second time")
        hosts[url] = host
    # One document for each, joined: their order is the order in which they are tried, and to_toml sorts.
    return "\n".join([HEADER + "\n", *(to_toml({"host": {url: host}}) for url, host in hosts.items())])


def _host(endpoint: t.Any, where: str) -> tuple[str, dict[str, t.Any]]:
    given = {"url": endpoint} if isinstance(endpoint, str) else endpoint
    if not isinstance(given, t.Mapping):
        raise _refused(where, f"is a {_kind(endpoint)}; an endpoint is a URL or a dictionary with 'url'")
    for field, value in given.items():
        if field not in _FIELDS:
            raise _refused(where, f"has an unknown key {_bare(str(field))!r}; known are {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[field]):
            raise _refused(f"{where}.{field}", f"is a {_kind(value)}, not a {_FIELDS[field].__name__}")
    url = str(given.get("url", ""))
    try:
        parts = urlsplit(url)
    except ValueError:  # it quotes what it could not split
        raise _refused(f"{where}.url", f"{_bare(url)!r} is no URL") from None
    if parts.username or parts.password:
        raise _refused(f"{where}.url", "carries a user name or password; give them as username and password")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused(f"{where}.url", f"{_bare(url)!r} is no http:// or https:// URL")
    host: dict[str, t.Any] = {"capabilities": list(given.get("capabilities", ["pull", "resolve"]))}
    if not host["capabilities"] or not set(host["capabilities"]) <= set(_CAPABILITIES):
        raise _refused(f"{where}.capabilities", f"{host['capabilities']!r} must be some of {', '.join(_CAPABILITIES)}")
    host.update({field: given[field] for field in ("skip_verify", "ca", "override_path") if field in given})
    if ("username" in given) != ("password" in given):
        raise _refused(where, f"has a {'username' if 'username' in given else 'password'} without the other; give both or none")
    if "username" in given:
        basic = base64.b64encode(f"{given['username']}:{given['password']}".encode()).decode()
        host["header"] = {"Authorization": f"Basic {basic}"}
    return url, host


def _bare(url: str) -> str:
    """Without a user name and password, also where a missing scheme hides from urlsplit that they are there."""
    return re.sub(r"(?s)^.*@", "", url)


def _kind(value: t.Any) -> str:
    """A type's name, without ansible-core's own kinds of it."""
    kinds = {bool: "bool", str: "str", t.Mapping: "dict", list: "list"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), type(value).__name__)


def _refused(where: str, why: str) -> AnsibleFilterError:
    return AnsibleFilterError(f"registry mirrors{where} {why}")
