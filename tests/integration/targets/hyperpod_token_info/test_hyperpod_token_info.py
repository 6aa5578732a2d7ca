# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hyperpod_token_info through ansible, by its action plugin and as a module: what a worker is refused, and that nothing is shown.

With the module that publishes, and on a real API server, it is tested in the target hyperpod_token.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from aws_api import ACCOUNT, KEYS, AwsApi, Fault

ID, OTHER_ID, REGION = "kb8v11zrrpvr", "zz8v11zrrpvr", "us-gov-west-1"
ARN = f"arn:aws-us-gov:sagemaker:{REGION}:{ACCOUNT}:cluster/{ID}"
NAME = f"hyperpod-k8s-{ID}"
SECRET = "0123456789abcdef"
PAST = "2020-01-01T00:00:00Z"
GOOD = {
    "schema_version": 1,
    "master_addr_port": "[fd00::1]:6443",
    "endpoint": "https://[fd00::1]:6443",
    "token": f"abcdef.{SECRET}",
    "discovery_token_ca_cert_hash": "a" * 64,
    "ca_cert_hashes": ["sha256:" + "a" * 64],
    "expires": "2999-01-01T00:00:00Z",
    "cluster_id": ID,
}


@pytest.fixture(scope="session")
def server() -> t.Iterator[AwsApi]:
    with AwsApi() as api:
        yield api


@pytest.fixture
def aws(server: AwsApi) -> AwsApi:
    server.reset()
    return server


Ask = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def ask(aws: AwsApi, tmp_path: Path) -> Ask:
    """Runs the task with these options and returns its result."""

    def run(*flags: str, module: bool = False, environment: dict[str, str] | None = None, **options: t.Any) -> dict[str, t.Any]:
        file = tmp_path / "result.json"
        task = {
            "gpufleet.k8s.hyperpod_token_info": {"cluster_arn": ARN, "wait_timeout": 0, **options},
            # Only the module sees a task's environment.
            "environment": {"GPUFLEET_TEST": "1"} if module else {},
            "register": "result",
            "ignore_errors": True,
            "no_log": True,
        }
        save = {"copy": {"content": "{{ result | to_json }}", "dest": str(file)}, "check_mode": False, "no_log": True}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task, save]}
        (tmp_path / "play.yml").write_text(json.dumps([play]))
        variables = {**aws.environment(), **(environment or {})}
        command = ["ansible-playbook", "-i", "localhost,", "-vvv", *flags, str(tmp_path / "play.yml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == 0, done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        assert ("AnsiballZ_hyperpod_token_info" in done.stdout) == module
        return t.cast("dict[str, t.Any]", json.loads(file.read_text()))

    return run


def store(aws: AwsApi, text: str) -> None:
    aws.client(REGION).create_secret(Name=NAME, SecretString=text)


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("flags", [[], ["--check", "--diff"]])
def test_what_a_worker_joins_with(aws: AwsApi, ask: Ask, flags: list[str], module: bool) -> None:
    store(aws, json.dumps(GOOD))
    result = ask(*flags, module=module, ca_cert_hash="a" * 64)
    assert (result["changed"], result["join"], result["token_id"]) == (False, GOOD, "abcdef")
    assert [call.action for call in aws.calls] == ["secretsmanager:GetSecretValue"]
    assert aws.calls[0].region == REGION


@pytest.mark.parametrize(
    ("text", "options", "seen"),
    [
        ("hunter2", {}, ("malformed", "it is not JSON")),
        (json.dumps({**GOOD, "token": "hunter2"}), {}, ("malformed", "its token is not id.secret as kubeadm makes it")),
        (json.dumps({**GOOD, "expires": PAST}), {}, ("unusable", f"its token abcdef expired at {PAST}")),
        (
            json.dumps({**GOOD, "cluster_id": OTHER_ID}),
            {},
            ("unusable", f"it is of the HyperPod cluster {OTHER_ID}, not of {ID}"),
        ),
        (json.dumps(GOOD), {"ca_cert_hash": "b" * 64}, ("unusable", "it is of another Kubernetes cluster, with the certificate")),
        (None, {}, ("absent", "there is no such secret (yet)")),
    ],
    ids=["garbage", "no token", "expired", "another cluster", "another authority", "absent"],
)
def test_what_is_refused(aws: AwsApi, ask: Ask, text: str | None, options: dict[str, str], seen: tuple[str, str]) -> None:
    state, reason = seen
    if text:
        store(aws, text)
    result = ask(**options)
    assert result["failed"]
    assert (result["last_state"], result["last_seen"][: len(reason)]) == (state, reason)
    assert result["msg"].startswith(f"no usable join data in the secret {NAME} in {REGION} after 0 s (1 looks): {reason}")
    assert "hunter2" not in json.dumps(result)


def test_an_endpoint_where_nothing_answers(aws: AwsApi, ask: Ask) -> None:
    result = ask(endpoint_url="http://127.0.0.1:9")
    assert result["failed"] and result["last_state"] == "unreachable"
    assert "http://127.0.0.1:9 gave no usable answer to 1 attempts" in result["msg"]


def test_no_credentials(aws: AwsApi, ask: Ask, tmp_path: Path) -> None:
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")}
    result = ask(environment={**dict.fromkeys(map(str.upper, KEYS), ""), **nowhere}, wait_timeout=300)
    assert result["failed"] and "no usable AWS credentials" in result["msg"]


def test_missing_permission(aws: AwsApi, ask: Ask) -> None:
    aws.policy = {"Statement": []}
    result = ask(module=True, wait_timeout=300)
    assert result["failed"] and "it needs secretsmanager:GetSecretValue" in result["msg"]


def test_it_waits_for_what_passes(aws: AwsApi, ask: Ask) -> None:
    store(aws, "garbage")
    client = aws.client(REGION)
    publish = Fault("GetSecretValue", "hold", then=lambda: client.put_secret_value(SecretId=NAME, SecretString=json.dumps(GOOD)))
    aws.faults += [Fault("GetSecretValue", "throttle"), Fault("GetSecretValue", "drop"), Fault("GetSecretValue", "hold"), publish]
    result = ask(wait_timeout=60)
    assert result["join"] == GOOD
    assert len(aws.calls) == 4
