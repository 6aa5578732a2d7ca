# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way an AWS call fails, as the sentence that a user gets: over HTTP, from the AWS stand-in behind its faulty proxy."""

from __future__ import annotations

import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.aws import AwsError, Client
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

WHERE = "secretsmanager:GetSecretValue for secret s in us-west-2"
ME = "arn:aws:sts::123456789012:user/moto"


def fault(*arguments: t.Any, **keywords: t.Any) -> t.Any:
    from aws_api import Fault  # noqa: PLC0415 conftest sets the path

    return Fault(*arguments, **keywords)


def get(budget: float = 1, region: str | None = "us-west-2", **params: t.Any) -> dict[str, t.Any]:
    return Client("secretsmanager", params, region, budget).call("GetSecretValue", "secret s", SecretId="s")


def refused(aws: t.Any, code: str, message: str) -> AwsError:
    aws.faults.append(fault("GetSecretValue", code, message=message))
    with pytest.raises(AwsError) as caught:
        get()
    assert caught.value.code == code
    assert not caught.value.passing
    return caught.value


@pytest.mark.parametrize("code", ["ExpiredTokenException", "ExpiredToken", "RequestExpired"])
def test_expired_credentials_name_call_region_and_identity(aws: t.Any, code: str) -> None:
    message = refused(aws, code, "The security token included in the request is expired").message
    assert message.startswith(f"{WHERE}: the credentials of {ME} have expired ({code}): renew them")


def test_when_sts_refuses_too_the_start_of_the_key_is_named(aws: t.Any) -> None:
    aws.faults += [fault(operation, "ExpiredTokenException") for operation in ("GetSecretValue", "GetCallerIdentity")]
    with pytest.raises(AwsError, match=r"credentials of access key AKIATEST\.\.\. \(from env\) have expired"):
        get()


def test_unknown_credentials(aws: t.Any) -> None:
    message = refused(aws, "UnrecognizedClientException", "The security token included in the request is invalid.").message
    assert f"AWS does not accept {ME} (UnrecognizedClientException" in message
    assert "partition" in message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            f"User: {ME} is not authorized to perform: secretsmanager:GetSecretValue on resource: s because no"
            " identity-based policy allows the secretsmanager:GetSecretValue action",
            "it needs secretsmanager:GetSecretValue (User:",
        ),
        (
            f"User: {ME} is not authorized to perform: secretsmanager:GetSecretValue on resource: s with an explicit deny",
            "it needs secretsmanager:GetSecretValue, which a policy denies explicitly (User:",
        ),
        ("Access to KMS is not allowed", "it needs kms:Decrypt and kms:GenerateDataKey on the secret's KMS key (Access"),
        (
            f"User: {ME} is not authorized to perform: kms:Decrypt on this resource",
            "it needs kms:Decrypt on the secret's KMS key (User:",
        ),
        ("", "it needs secretsmanager:GetSecretValue ("),
    ],
)
def test_a_denied_call_names_the_permission(aws: t.Any, said: str, expected: str) -> None:
    message = refused(aws, "AccessDeniedException", said).message
    assert message.startswith(f"{WHERE} was denied to {ME}: {expected}")


@pytest.mark.parametrize("code", ["DecryptionFailure", "EncryptionFailure"])
def test_kms(aws: t.Any, code: str) -> None:
    assert "check that the KMS key is enabled" in refused(aws, code, "KMS key is disabled").message


def test_anything_else_is_passed_on(aws: t.Any) -> None:
    assert refused(aws, "LimitExceededException", "too many").message == f"{WHERE} failed with LimitExceededException: too many"


class TestRetries:
    @pytest.mark.parametrize("kind", ["throttle", "InternalServiceError", "drop", "TooManyRequestsException"])
    def test_passing_failures_are_tried_again(self, aws: t.Any, kind: str) -> None:
        aws.client().create_secret(Name="s", SecretString="x")
        aws.faults.append(fault("*", kind, times=3))
        assert get(budget=30)["SecretString"] == "x"
        assert len(aws.calls) == 4

    def test_within_a_budget_for_all_calls_together(self, aws: t.Any) -> None:
        aws.faults.append(fault("*", "throttle", times=1000))
        client = Client("secretsmanager", {}, "us-west-2", 0.8)
        started = time.monotonic()
        for _index in range(5):
            with pytest.raises(
                AwsError, match=r"was throttled \(ThrottlingException: Rate exceeded\), at the last of \d+ attempts"
            ):
                client.call("GetSecretValue", "secret s", SecretId="s")
        assert client._budget < 0.8
        assert time.monotonic() - started < 8

    def test_no_budget_is_one_attempt(self, aws: t.Any) -> None:
        aws.faults.append(fault("*", "throttle", times=1000))
        with pytest.raises(AwsError) as caught:
            get(budget=0)
        assert caught.value.passing
        assert len(aws.calls) == 1


def test_an_endpoint_where_nothing_answers(aws: t.Any) -> None:
    with pytest.raises(
        AwsError, match=r"http://127\.0\.0\.1:9 gave no usable answer to \d+ attempts .*check endpoint_url or AWS_ENDPOINT_URL"
    ):
        get(budget=0.3, endpoint_url="http://127.0.0.1:9")


def test_no_credentials(aws: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AwsError, match=f"{WHERE}: no usable AWS credentials .*set AWS_PROFILE or AWS_ACCESS_KEY_ID"):
        get()


def test_an_unknown_profile(aws: t.Any) -> None:
    with pytest.raises(AwsError, match=r"the AWS configuration cannot be used: .*\(nobody\)"):
        get(profile="nobody")


def test_an_endpoint_that_is_no_url(aws: t.Any) -> None:
    with pytest.raises(AwsError, match="cannot talk to AWS secretsmanager in us-west-2: Invalid endpoint: nonsense"):
        get(endpoint_url="nonsense")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_an_endpoint_whose_port_cannot_be(aws: t.Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:99999")
    with pytest.raises(AwsError, match=r"//localhost:99999: Port out of range 0-65535; check endpoint_url or AWS"):
        get(**({"endpoint_url": "http://localhost:99999"} if how == "option" else {}))


def test_options_beat_the_environment(aws: t.Any) -> None:
    aws.faults += [fault("*", "ExpiredTokenException", times=9)]
    with pytest.raises(AwsError, match=r"access key AKIAMINE\.\.\. \(from explicit\)"):
        get(access_key="AKIAMINEMINEMINE", secret_key="x")


class TestRegion:
    @pytest.fixture(autouse=True)
    def _no_region(self, aws: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert Client("secretsmanager", {}, None, 0).region == "eu-west-1"
        monkeypatch.setenv("AWS_REGION", "eu-west-2")
        assert Client("secretsmanager", {}, None, 0).region == "eu-west-2"
        assert Client("secretsmanager", {}, "us-gov-west-1", 0).region == "us-gov-west-1"

    def test_none(self) -> None:
        with pytest.raises(GpufleetError, match="no AWS region: give cluster_arn"):
            get(region=None)


def test_without_boto3_the_sentence_says_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(GpufleetError, match=r"Python on .* cannot import boto3; install the package there: .*pip install boto3"):
        get()
