# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server that misbehaves as asked. What a real API server does is in the integration target."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kube import client
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

ROOT = Path(__file__).parents[5]


class Server(ThreadingHTTPServer):
    """Answers with `script`, one entry a request: (status, body[, headers]), or None to cut the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        self.script: list[t.Any] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server = t.cast(Server, self.server)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.seen.append((self.command, self.path, dict(self.headers.items()), data))
        step = server.script.pop(0)
        if step is None:
            self.close_connection = True
            return
        status, body, *headers = step
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers[0].items() if headers else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PATCH = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> t.Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(client.time, "sleep", taken.append)
    return taken


@pytest.fixture(autouse=True)
def no_other_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def connected(server: Server, **params: t.Any) -> client.KubeClient:
    return client.connect({"host": server.url, "api_key": "secret", **params})


def test_sends_json_with_the_identity(server: Server) -> None:
    server.script = [(200, {"ok": True})]
    answer = connected(server).request("PATCH", "/a", query={"b": ["c d", "e"], "f": None}, body=[{}], content_type="x/y")
    assert answer == {"ok": True}
    method, path, headers, data = server.seen[0]
    assert (method, path, data) == ("PATCH", "/a?b=c+d&b=e", b"[{}]")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "x/y"


def test_basic_authentication_and_impersonation(server: Server) -> None:
    server.script = [(200, {})]
    kube = client.connect(
        {"host": server.url, "username": "u", "password": "p", "impersonate_user": "other", "impersonate_groups": ["g", "h"]}
    )
    kube.request("GET", "/")
    headers = server.seen[0][2]
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert headers["Impersonate-User"] == "other"
    assert headers["Impersonate-Group"] == "h"  # the last of the two headers


@pytest.mark.parametrize("trouble", [(429, {}), (500, {}), (503, b"<html>"), (504, {}), None])
def test_passing_trouble_is_tried_again(server: Server, pauses: list[float], trouble: t.Any) -> None:
    server.script = [trouble, trouble, (200, {"n": 1})]
    assert connected(server).request("PATCH", "/a", body={}) == {"n": 1}
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]


@pytest.mark.parametrize(("trouble", "unsure"), [(None, True), ((503, {}), False)])
def test_a_refusal_tells_whether_an_earlier_attempt_had_no_answer(
    server: Server, pauses: list[float], trouble: t.Any, unsure: bool
) -> None:
    server.script = [trouble, (409, {"message": "modified"})]
    with pytest.raises(client.KubeError) as failed:
        connected(server).request("PATCH", "/a", body={})
    assert failed.value.status == 409 and failed.value.unsure is unsure


def test_retry_after_is_honoured(server: Server, pauses: list[float]) -> None:
    server.script = [(429, {}, {"Retry-After": "3"}), (429, {}, {"Retry-After": "99"}), (200, {})]
    connected(server).request("GET", "/a")
    assert pauses == [3.0, client.LONGEST_PAUSE]


def test_a_post_is_not_repeated_when_it_may_have_been_executed(server: Server, pauses: list[float]) -> None:
    for trouble in (None, (500, {}), (504, {})):
        server.script = [trouble]
        with pytest.raises(client.KubeError):
            connected(server).request("POST", "/a", body={})
    server.script = [(429, {}), (200, {})]  # refused before it was executed
    connected(server).request("POST", "/a", body={})
    assert len(pauses) == 1


def test_attempts_end(server: Server, pauses: list[float]) -> None:
    server.script = [(503, {"message": "etcd is gone", "reason": "ServiceUnavailable"})] * client.ATTEMPTS
    with pytest.raises(client.KubeError) as failed:
        connected(server).request("GET", "/a")
    assert failed.value.message == f"{server.url} refused GET /a with 503: etcd is gone"
    assert (failed.value.status, failed.value.reason) == (503, "ServiceUnavailable")
    assert len(pauses) == client.ATTEMPTS - 1


def test_the_budget_is_shared_by_all_calls(server: Server, pauses: list[float]) -> None:
    server.script = [(429, {}, {"Retry-After": "10"})] * 100
    kube = connected(server)
    for _call in range(5):
        with pytest.raises(client.KubeError):
            kube.request("GET", "/a")
    assert sum(pauses) == client.RETRY_BUDGET


def test_lists_page_by_page(server: Server) -> None:
    server.script = [
        (200, {"items": [1, 2], "metadata": {"continue": "next"}}),
        (410, {"code": 410, "reason": "Expired", "metadata": {"continue": "fresh"}}),
        (200, {"items": [3], "metadata": {}}),
    ]
    assert list(connected(server).list("/items", limit=2, labelSelector="a=b")) == [1, 2, 3]
    assert [path for _method, path, _headers, _data in server.seen] == [
        "/items?labelSelector=a%3Db&limit=2",
        "/items?labelSelector=a%3Db&limit=2&continue=next",
        "/items?labelSelector=a%3Db&limit=2&continue=fresh",
    ]


def test_an_expired_list_without_a_new_token_fails(server: Server) -> None:
    server.script = [(410, {"code": 410, "reason": "Expired", "message": "too old"})]
    with pytest.raises(client.KubeError, match="410: too old"):
        list(connected(server).list("/items"))


def test_missing_permission_is_named(server: Server) -> None:
    said = 'nodes "n" is forbidden: User "u" cannot patch resource "nodes" in API group "" at the cluster scope'
    there = 'x is forbidden: User "u" cannot list resource "jobs" in API group "batch" in the namespace "ns"'
    server.script = [(403, {"message": said, "reason": "Forbidden"}), (403, {"message": there, "reason": "Forbidden"})]
    with pytest.raises(client.KubeError, match=r"; grant u a ClusterRole with verb patch on nodes$"):
        connected(server).request("GET", "/a")
    with pytest.raises(client.KubeError, match=r"; grant u a Role in namespace ns with verb list on jobs.batch$"):
        connected(server).request("GET", "/a")


def test_an_expired_token_says_when_it_ended(server: Server) -> None:
    def token(ends: float) -> str:
        return "x." + base64.urlsafe_b64encode(json.dumps({"exp": ends}).encode()).decode().rstrip("=") + ".x"

    server.script = [(401, {"message": "Unauthorized", "reason": "Unauthorized"})] * 3
    with pytest.raises(
        client.KubeError, match=r"\(the token expired at 2001-09-09T01:46:40Z\): identity from the option api_key"
    ):
        connected(server, api_key=token(10**9)).request("GET", "/a")
    for other in (token(time.time() + 60), "no JWT"):
        with pytest.raises(client.KubeError, match="no longer valid: identity from the option api_key"):
            connected(server, api_key=other).request("GET", "/a")


def test_an_unreachable_server_is_named(pauses: list[float]) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(client.KubeError) as failed:
        client.connect({"host": url, "api_key": "secret"}).request("GET", "/a")
    assert failed.value.message.startswith(f"{url} gave no answer to GET /a: ")
    assert "Connection refused; check that the server runs" in failed.value.message
    assert "object at 0x" not in failed.value.message
    assert (failed.value.status, failed.value.reason) == (None, "Unreachable")
    assert len(pauses) == client.ATTEMPTS - 1


def test_a_proxy_is_used_except_where_it_must_not(server: Server) -> None:
    server.script = [(200, {"via": "proxy"})]
    kube = client.connect(
        {"host": "http://kube.invalid", "api_key": "secret", "proxy": server.url, "proxy_headers": {"user_agent": "me"}}
    )
    assert kube.request("GET", "/a") == {"via": "proxy"}
    assert server.seen[0][1] == "http://kube.invalid/a"
    server.script = [(200, {"via": None})]
    direct = connected(server, proxy="http://proxy.invalid:1", no_proxy="127.0.0.0/8")
    assert direct.request("GET", "/a") == {"via": None}
    with pytest.raises(GpufleetError, match=r"proxy 'gopher://x' cannot be used"):
        connected(server, proxy="gopher://x")


def kubeconfig(server: Server, **user: t.Any) -> dict[str, t.Any]:
    return {
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": user}, {"name": "v", "user": {"token": "of-v"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "v"}},
        ],
    }


def test_kubeconfig_as_file_as_dict_and_by_context(server: Server, tmp_path: Path) -> None:
    server.script = [(200, {})] * 3
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(kubeconfig(server, token="of-u")))
    client.connect({"kubeconfig": str(path)}).request("GET", "/")
    client.connect({"kubeconfig": kubeconfig(server, token="of-u")}).request("GET", "/")
    client.connect({"kubeconfig": str(path), "context": "two"}).request("GET", "/")
    assert [seen[2]["Authorization"] for seen in server.seen] == ["Bearer of-u", "Bearer of-u", "Bearer of-v"]


def test_an_exec_plugin_gives_the_token_or_says_why_not(server: Server) -> None:
    def plugin(script: str) -> dict[str, t.Any]:
        version = "client.authentication.k8s.io/v1"
        command = {"apiVersion": version, "command": "sh", "args": ["-c", script], "interactiveMode": "Never"}
        return {"kubeconfig": kubeconfig(server, exec=command)}

    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-exec"}}
    server.script = [(200, {})]
    client.connect(plugin(f"echo '{json.dumps(credential)}'")).request("GET", "/")
    assert server.seen[0][2]["Authorization"] == "Bearer from-exec"
    with pytest.raises(GpufleetError, match=r"kubeconfig given as a dict gives no credentials: .*not logged in"):
        client.connect(plugin("echo not logged in >&2; exit 3"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist; give kubeconfig, or host"), ("[", "cannot be used: "), ("{}", "cannot be used: ")],
)
def test_bad_kubeconfigs(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(GpufleetError, match=f"^kubeconfig {path} {message}"):
        client.connect({"kubeconfig": str(path)})


@pytest.mark.parametrize("host", ["127.0.0.1:6443", "tcp://127.0.0.1:6443", "https://", "//127.0.0.1:6443"])
def test_a_token_goes_to_nothing_that_is_no_url(host: str) -> None:
    with pytest.raises(GpufleetError, match=rf"^host is '{host}': write .* such as https://\S+:6443 \(identity from the option"):
        client.connect({"host": host, "api_key": "secret"})


def test_bad_certificate_files(server: Server) -> None:
    with pytest.raises(GpufleetError, match=r"TLS files cannot be used: .*No such file.*CA: /nowhere/ca"):
        connected(server, ca_cert="/nowhere/ca")


def test_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are kubernetes.core's."""
    monkeypatch.setenv("K8S_AUTH_HOST", "https://example.invalid")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "false")
    monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", "/ca")
    monkeypatch.setenv("K8S_AUTH_PROXY_HEADERS_USER_AGENT", "me")
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_GROUPS", "a,b")
    validated = ArgumentSpecValidator(client.AUTH_SPEC).validate({})
    assert not validated.error_messages
    given = validated.validated_parameters
    assert (given["host"], given["validate_certs"], given["ca_cert"]) == ("https://example.invalid", False, "/ca")
    assert given["proxy_headers"]["user_agent"] == "me"
    assert given["impersonate_groups"] == ["a", "b"]


def test_options_are_documented_with_their_variables() -> None:
    from ansible_collections.gpufleet.k8s.plugins.doc_fragments.kube import ModuleDocFragment  # noqa: PLC0415

    options = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(options) == set(client.AUTH_SPEC)
    for name, spec in client.AUTH_SPEC.items():
        for variable in spec.get("fallback", (None, []))[1]:
            assert f"E({variable})" in str(options[name]["description"]), variable


def test_a_missing_package_says_where_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(GpufleetError, match=rf"{sys.executable} -m pip install 'kubernetes>=24.2,<37'"):
        client.connect({})


def test_the_pin_is_the_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.PACKAGE in (ROOT / "requirements.txt").read_text().replace(" ", "")


@pytest.mark.parametrize("params", [{"api_key": "hunter2\n"}, {"api_key": "x", "impersonate_user": "hunter2\n"}])
def test_what_no_header_can_hold_is_not_shown(server: Server, params: dict[str, str]) -> None:
    with pytest.raises(GpufleetError, match=r"cannot be sent .*see api_key, impersonate_user") as caught:
        connected(server, **params).request("GET", "/api")
    assert "hunter2" not in caught.value.message and caught.value.__suppress_context__
