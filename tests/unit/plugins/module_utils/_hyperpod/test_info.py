# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import INFO_SPEC, TOKEN_SPEC, Which, which
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.info import entry, fault
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import JoinData
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError, PlanError

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
CA = "sha256:" + "a" * 64
MINUTE = timedelta(minutes=1)


def join(seconds: float | None, cluster_id: str = "kb8v11zrrpvr") -> JoinData:
    end = None if seconds is None else NOW + timedelta(seconds=seconds)
    return JoinData("10.0.0.1:6443", "abcdef", "0123456789abcdef", (CA,), end, cluster_id)


@pytest.mark.parametrize(
    ("data", "cluster_id", "ca_cert_hash", "reason"),
    [
        (join(3600), "kb8v11zrrpvr", CA, ""),
        (join(None), "", None, ""),
        (join(60), "", None, ""),
        (join(3600, ""), "kb8v11zrrpvr", None, ""),  # the original scripts do not say
        (join(59), "", None, "its token abcdef ends in 59s, less than min_life (1m)"),
        (join(0), "", None, "its token abcdef expired at 2026-11-23T12:00:00Z"),
        (join(-60), "", None, "its token abcdef expired at 2026-11-23T11:59:00Z"),
        (join(3600, "other"), "kb8v11zrrpvr", None, "it is of the HyperPod cluster other, not of kb8v11zrrpvr"),
        (
            join(3600),
            "",
            "sha256:" + "b" * 64,
            f"it is of another Kubernetes cluster, with the certificate authority {CA}, not sha256:{'b' * 64}",
        ),
    ],
)
def test_fault(data: JoinData, cluster_id: str, ca_cert_hash: str | None, reason: str) -> None:
    assert fault(data, NOW, MINUTE, cluster_id, ca_cert_hash) == reason


def ask(**options: t.Any) -> dict[str, t.Any]:
    result = ArgumentSpecValidator(**INFO_SPEC).validate({"cluster_id": "kb8v11zrrpvr", "wait_timeout": 0, **options})
    assert not result.error_messages
    return entry(result.validated_parameters, False)


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        (None, "absent", "there is no such secret"),
        ("hunter2", "malformed", "it is not JSON"),
        (join(-(10**8)).text(), "unusable", "its token abcdef expired at"),
        (join(3600, "other").text(), "unusable", "it is of the HyperPod cluster other"),
        ('{"token": "abcdef.0123456789abcdef"}', "malformed", "it "),
    ],
)
def test_what_was_seen_last_is_said(aws: t.Any, text: str | None, state: str, reason: str) -> None:
    if text:
        aws.client().create_secret(Name="hyperpod-k8s-kb8v11zrrpvr", SecretString=text)
    with pytest.raises(GpufleetError, match=f"in us-west-2 after 0 s \\(1 looks\\): {reason}") as caught:
        ask()
    assert caught.value.facts["last_seen"].startswith(reason)
    assert caught.value.facts["last_state"] == state
    assert ("delete-secret --secret-id" in caught.value.message) == ("other" in reason)
    said = caught.value.message + str(caught.value.facts)  # roles show the message, and the task's no_log does not help there
    assert "hunter2" not in said and "0123456789abcdef" not in said


def test_an_aws_that_does_not_answer(aws: t.Any) -> None:
    with pytest.raises(GpufleetError, match=r"http://127\.0\.0\.1:9 gave no usable answer") as caught:
        ask(endpoint_url="http://127.0.0.1:9")
    assert caught.value.facts["last_state"] == "unreachable"


def test_a_secret_scheduled_for_deletion(aws: t.Any) -> None:
    aws.client().create_secret(Name="hyperpod-k8s-kb8v11zrrpvr", SecretString="x")
    aws.client().delete_secret(SecretId="hyperpod-k8s-kb8v11zrrpvr")
    with pytest.raises(GpufleetError, match="it cannot be read") as caught:
        ask()
    assert caught.value.facts["last_state"] == "scheduled"


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "DecryptionFailure"])
def test_what_waiting_does_not_mend_ends_it_at_once(aws: t.Any, code: str) -> None:
    from aws_api import Fault  # noqa: PLC0415 conftest sets the path

    aws.faults.append(Fault("GetSecretValue", code))
    with pytest.raises(GpufleetError, match="GetSecretValue for secret hyperpod-k8s-kb8v11zrrpvr"):
        ask(wait_timeout=300)


def test_throttling_is_waited_out(aws: t.Any) -> None:
    from aws_api import Fault  # noqa: PLC0415

    good = JoinData("h:1", "abcdef", "0123456789abcdef", (CA,), None)
    aws.client().create_secret(Name="hyperpod-k8s-kb8v11zrrpvr", SecretString=good.text())
    aws.faults += [Fault("GetSecretValue", "throttle"), Fault("GetSecretValue", "drop")]
    result = ask(wait_timeout=60)
    assert (result["join"]["token"], result["expires"], result["changed"]) == ("abcdef.0123456789abcdef", None, False)


@pytest.mark.parametrize(("retry_budget", "looks"), [(0, 1), (60, 3)])
def test_one_look_may_be_several_attempts(aws: t.Any, monkeypatch: pytest.MonkeyPatch, retry_budget: int, looks: int) -> None:
    from aws_api import Fault  # noqa: PLC0415

    monkeypatch.setattr("random.uniform", lambda *_: 0.001)
    aws.faults += [Fault("GetSecretValue", "throttle", times=2)]
    with pytest.raises(GpufleetError, match=r"\(1 looks\)") as caught:
        ask(retry_budget=retry_budget)
    assert caught.value.facts["last_state"] == ("unreachable" if looks == 1 else "absent")
    assert len(aws.calls) == looks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ca_cert_hash": "sha256:12"}, "ca_cert_hash: 'sha256:12' is not the hash of a certificate authority"),
        ({"min_life": "1"}, "min_life: '1' is not a duration"),
        ({"cluster_id": "arn:aws:x"}, "cluster_id: 'arn:aws:x' is not the id of a HyperPod cluster; give an ARN as cluster_arn"),
        ({"secret_name": "join data"}, "secret_name: 'join data' cannot be the name of a secret"),
        ({"secret_name": "j" * 513}, "at most 512 ASCII letters, digits and"),
    ],
)
def test_bad_options_are_named(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ask(**options)


ARN = "arn:aws-cn:sagemaker:cn-north-1:123456789012:cluster/kb8v11zrrpvr"


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"cluster_arn": ARN}, Which("hyperpod-k8s-kb8v11zrrpvr", "kb8v11zrrpvr", "cn-north-1")),
        ({"cluster_arn": ARN, "region": "cn-northwest-1"}, Which("hyperpod-k8s-kb8v11zrrpvr", "kb8v11zrrpvr", "cn-northwest-1")),
        ({"cluster_arn": ARN, "secret_name": "join"}, Which("join", "kb8v11zrrpvr", "cn-north-1")),
        ({"cluster_id": "kb8v11zrrpvr"}, Which("hyperpod-k8s-kb8v11zrrpvr", "kb8v11zrrpvr", None)),
        ({"secret_name": "join"}, Which("join", "", None)),
    ],
)
def test_which_secret_is_meant(options: dict[str, str], meant: Which) -> None:
    assert which(ArgumentSpecValidator(**INFO_SPEC).validate(options).validated_parameters) == meant


@pytest.mark.parametrize("spec", [INFO_SPEC, TOKEN_SPEC])
@pytest.mark.parametrize(
    "options", [{"cluster_id": ""}, {"cluster_arn": ""}, {"secret_name": ""}, {"cluster_id": "", "secret_name": ""}]
)
def test_an_empty_option_is_none(spec: dict[str, t.Any], options: dict[str, str]) -> None:
    named = " and ".join(options)
    with pytest.raises(PlanError, match=f"^{named}: empty, so it is not known which secret is meant; give .* secret_name$"):
        which(ArgumentSpecValidator(**spec).validate(options).validated_parameters)
