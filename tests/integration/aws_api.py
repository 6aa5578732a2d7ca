# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for AWS Secrets Manager and STS on loopback, for tests: moto, with a proxy in front.

    with AwsApi() as aws:
        aws.faults.append(Fault("GetSecretValue", "throttle", times=3))
        ... call the code with endpoint_url=aws.url, or run a command with aws.environment() ...
        aws.calls, aws.client().get_secret_value(...)

moto accepts what AWS refuses in places that matter here; those are put right by `as_aws_refuses`. The proxy records every
call, breaks some as told, and refuses what an IAM policy does not allow.
"""

from __future__ import annotations

import fnmatch
import http.client
import json
import logging
import os
import threading
import typing as t
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import boto3
from moto.secretsmanager.exceptions import InvalidParameterException, InvalidRequestException
from moto.secretsmanager.models import SecretsManagerBackend, secretsmanager_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"  # moto's own
KEYS = {"aws_access_key_id": "AKIATESTTESTTESTTEST", "aws_secret_access_key": "not-a-key"}


@dataclass
class Call:
    action: str  # secretsmanager:GetSecretValue
    region: str
    arguments: dict[str, t.Any]


@dataclass
class Fault:
    """What happens to the next `times` calls of an operation ("*": any).

    kind: throttle, drop (the connection ends before AWS sees the call), lose (AWS executes the call, the answer is lost),
    hold (`then` is called before AWS sees the call), or an AWS error code such as ExpiredTokenException.
    """

    operation: str
    kind: str
    times: int = 1
    message: str = "as the test wishes"
    then: t.Callable[[], None] | None = None


class AwsApi:
    """A running stand-in. `policy`: an IAM policy document that every call is held against."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.policy: dict[str, t.Any] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> AwsApi:
        as_aws_refuses()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self._backend = "{}:{}".format(*self._moto.get_host_and_port())
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()

    def reset(self) -> None:
        """Forgets secrets, calls, faults and policy."""
        self.calls.clear()
        self.faults.clear()
        self.policy = None
        self.forward("POST", "/moto-api/reset", {}, b"")

    def backdate(self, name: str, seconds: int, region: str = "us-west-2") -> None:
        """Makes all versions of a secret older."""
        for version in secretsmanager_backends[ACCOUNT][region].secrets[name].versions.values():
            version["createdate"] -= seconds

    def client(self, region: str = "us-west-2", service: str = "secretsmanager") -> t.Any:
        """Straight to moto: not recorded, no faults, no policy."""
        return boto3.client(service, region_name=region, endpoint_url=f"http://{self._backend}", **KEYS)

    def environment(self) -> dict[str, str]:
        hidden = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION")
        return {
            **{name: value for name, value in os.environ.items() if name not in hidden},
            "AWS_ENDPOINT_URL": self.url,
            **{name.upper(): value for name, value in KEYS.items()},
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def take_fault(self, operation: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.operation in ("*", operation):
                    fault.times -= 1
                    return fault
        return None

    def denied(self, call: Call) -> str | None:
        """The resource that `policy` does not allow for this call, or None."""
        if self.policy is None or call.action.startswith("sts:"):  # GetCallerIdentity needs no permission
            return None
        resource = self._resource(call)
        allowed = any(
            statement["Effect"] == "Allow"
            and any(fnmatch.fnmatchcase(call.action, pattern) for pattern in _listed(statement["Action"]))
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
            for statement in self.policy["Statement"]
        )
        return None if allowed else resource

    def _resource(self, call: Call) -> str:
        """The secret's ARN; where there is none, its ARN without the random end, which is what AWS has to go by."""
        name = call.arguments.get("SecretId") or call.arguments.get("Name")
        client = self.client(call.region)
        try:
            return str(client.describe_secret(SecretId=name)["ARN"])
        except client.exceptions.ResourceNotFoundException:
            partition = boto3.session.Session().get_partition_for_region(call.region)
            return f"arn:{partition}:secretsmanager:{call.region}:{ACCOUNT}:secret:{name}"

    def forward(self, method: str, path: str, headers: t.Mapping[str, str], body: bytes) -> tuple[int, list[t.Any], bytes]:
        connection = http.client.HTTPConnection(self._backend, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    api: AwsApi
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = self._call(body)
        operation = call.action.partition(":")[2]
        self.api.calls.append(call)
        fault = self.api.take_fault(operation)
        if fault and fault.then:
            fault.then()
        if fault and fault.kind == "drop":
            self._hang_up()
        elif fault and fault.kind == "throttle":
            self._refuse(400, "ThrottlingException", "Rate exceeded")
        elif fault and fault.kind not in ("lose", "hold"):
            self._refuse(400, fault.kind, fault.message)
        elif resource := self.api.denied(call):
            who = f"arn:aws:sts::{ACCOUNT}:assumed-role/node/i-1"
            self._refuse(
                400, "AccessDeniedException", f"User: {who} is not authorized to perform: {call.action} on resource: {resource}"
            )
        else:
            status, headers, answer = self.api.forward("POST", self.path, self.headers, body)
            if fault and fault.kind == "lose":
                self._hang_up()
            else:
                self._answer(status, [(k, v) for k, v in headers if k.lower() not in ("connection", "content-length")], answer)

    def _call(self, body: bytes) -> Call:
        # Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...
        scope = self.headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")
        if target := self.headers.get("X-Amz-Target"):
            return Call(f"{scope[3]}:{target.partition('.')[2]}", scope[2], json.loads(body))
        return Call(f"{scope[3]}:{parse_qs(body.decode())['Action'][0]}", scope[2], {})

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.headers.get("X-Amz-Target"):
            kind, text = "application/x-amz-json-1.1", json.dumps({"__type": code, "Message": message})
        else:  # STS speaks XML
            error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            kind, text = "text/xml", f"<ErrorResponse>{error}</ErrorResponse>"
        self._answer(status, [("Content-Type", kind)], text.encode())

    def _answer(self, status: int, headers: list[t.Any], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


def _listed(value: t.Any) -> list[str]:
    return value if isinstance(value, list) else [value]


_backend_lock = threading.RLock()


def as_aws_refuses() -> None:
    """Makes moto's Secrets Manager refuse what AWS's does, and do each call at once.

    AWS: a secret scheduled for deletion can only be described, restored or deleted by force, and its name cannot be used
    again (InvalidRequestException); a staging label is on one version at most.
    """
    backend: t.Any = SecretsManagerBackend
    if getattr(backend, "as_aws_refuses", False):
        return
    backend.as_aws_refuses = True

    def guard(name: str, check: t.Callable[..., None]) -> None:
        original = getattr(backend, name)

        def guarded(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            with _backend_lock:
                check(self, *args, **kwargs)
                return original(self, *args, **kwargs)

        setattr(backend, name, guarded)

    def not_scheduled(self: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
        secret = self.secrets.get(kwargs.get("secret_id") or kwargs.get("name") or args[0])
        if secret and secret.is_deleted():
            raise InvalidRequestException(
                "You can't perform this operation on the secret because it was marked for deletion."
                if "secret_id" in kwargs
                else "You can't create this secret because a secret with this name is already scheduled for deletion."
            )

    def one_label(self: t.Any, secret_id: str, version_stage: str, remove_from_version_id: str, move_to_version_id: str) -> None:
        not_scheduled(self, secret_id=secret_id)
        secret = self.secrets.get(secret_id)
        on = [version for version, value in secret.versions.items() if version_stage in value["version_stages"]] if secret else []
        if move_to_version_id and on and on[0] not in (move_to_version_id, remove_from_version_id):
            raise InvalidParameterException(
                f"The parameter RemoveFromVersionId isn't valid. Staging label {version_stage} is not currently attached to"
                f" version {remove_from_version_id}."
            )

    guard("create_secret", not_scheduled)
    guard("put_secret_value", not_scheduled)
    guard("update_secret", not_scheduled)
    guard("update_secret_version_stage", one_label)
    for name in ("get_secret_value", "describe_secret", "delete_secret", "restore_secret"):
        guard(name, lambda *_args, **_kwargs: None)
