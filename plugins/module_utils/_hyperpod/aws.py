# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""AWS calls: options as in amazon.aws, retries with full jitter within a budget, errors as sentences.

boto3 is imported when the first client is made, so that a check of the options needs no package. What boto3 reads
itself (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, AWS_CA_BUNDLE, instance roles, ...) is left to it, with its
precedence; only AWS_REGION, which it does not know, is read here.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import os
import random
import re
import socket
import sys
import time
import typing as t
from urllib.parse import urlsplit

from .._plan import GpufleetError

AWS_SPEC: dict[str, dict[str, t.Any]] = {
    "region": {"type": "str"},
    "profile": {"type": "str"},
    "access_key": {"type": "str", "no_log": False},  # an id
    "secret_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
    "endpoint_url": {"type": "str"},
    "aws_ca_bundle": {"type": "path"},
    "retry_budget": {"type": "int", "default": 30},
}
AWS_RULES: dict[str, t.Any] = {
    "mutually_exclusive": [("profile", "access_key")],
    "required_together": [("access_key", "secret_key")],
}

CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 15  # seconds; Secrets Manager answers in less than one
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 8.0  # seconds; the ceiling of the first pause is doubled up to the longest

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html and Secrets Manager's own
_THROTTLED = {
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown", "PriorRequestNotComplete",
    "TransactionInProgressException", "ProvisionedThroughputExceededException",
}  # fmt: skip
_FAULTS = {"InternalServiceError", "InternalServiceErrorException", "InternalFailure", "ServiceUnavailable", "RequestTimeout"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN = {"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "IncompleteSignature",
            "MissingAuthenticationToken", "InvalidSignatureException", "SignatureDoesNotMatch"}  # fmt: skip
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "KMSAccessDeniedException"}
_KMS = {"DecryptionFailure", "EncryptionFailure"}


class AwsError(GpufleetError):
    """A call failed. `code` is AWS's (or botocore's class name), `said` its message, `passing`: may succeed a moment later."""

    def __init__(self, message: str, code: str, said: str = "", passing: bool = False) -> None:
        super().__init__(message, aws_error=code)
        self.code = code
        self.said = said
        self.passing = passing


class Client:
    """One service in one region with one identity.

    `retry_budget` is how many seconds pauses between attempts may add up to, for all calls of this client together.
    Every call made must be safe to repeat: give `ClientRequestToken` where AWS takes one.
    """

    def __init__(self, service: str, params: t.Mapping[str, t.Any], region: str | None, retry_budget: float) -> None:
        self.service = service
        self._params = params
        self._budget = retry_budget
        session = _session(params)
        self.region = region or params.get("region") or os.environ.get("AWS_REGION") or session.region_name
        if not self.region:
            raise GpufleetError(
                "no AWS region: give cluster_arn (its region is used) or region, or set AWS_REGION or the profile's region"
            )
        self._session = session
        self._client = self._make(service, READ_TIMEOUT)

    def call(self, operation: str, subject: str, **arguments: t.Any) -> dict[str, t.Any]:
        """`call("GetSecretValue", "secret NAME", SecretId=...)`; `subject` is for error messages. Raises AwsError."""
        import botocore.exceptions as aws  # noqa: PLC0415
        from botocore import xform_name  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        method = getattr(self._client, xform_name(operation))
        attempt = 0
        while True:
            attempt += 1
            try:
                return t.cast("dict[str, t.Any]", method(**arguments))
            except (aws.BotoCoreError, aws.ClientError, ResponseParserError) as error:
                failure = self._translate(error, operation, subject, attempt)
            # Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
            pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt))  # noqa: S311  spreads clients, no secret
            if not failure.passing or pause > self._budget:
                raise failure
            self._budget -= pause
            time.sleep(pause)

    def _make(self, service: str, read_timeout: float) -> t.Any:
        import botocore.exceptions as aws  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},  # ours are above
            user_agent_extra="gpufleet.k8s",
        )
        try:
            client = self._session.client(
                service,
                region_name=self.region,
                endpoint_url=self._params.get("endpoint_url"),
                verify=self._params.get("aws_ca_bundle"),
                config=config,
            )
            self._check_port(client.meta.endpoint_url)
        except (aws.BotoCoreError, ValueError) as error:
            raise AwsError(f"cannot talk to AWS {service} in {self.region}: {error}", type(error).__name__) from error
        return client

    @staticmethod
    def _check_port(address: str) -> None:
        """botocore looks at it in the first call, and lets the ValueError through."""
        try:
            int(urlsplit(address).port or 0)
        except ValueError as error:
            raise ValueError(f"{address}: {error}; check endpoint_url or AWS_ENDPOINT_URL") from None

    def _translate(self, error: Exception, operation: str, subject: str, attempt: int) -> AwsError:
        """The sentence for an error: which call, where, as whom, and what to do."""
        response = getattr(error, "response", None)
        where = f"{self.service}:{operation} for {subject} in {self.region}"
        if response is None:
            return self._no_answer(error, where, attempt)
        code, said = response["Error"].get("Code", "Unknown"), response["Error"].get("Message", "")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _THROTTLED or code in _FAULTS or status in (429, 500, 502, 503, 504):
            what = "was throttled" if code in _THROTTLED or status == 429 else "failed inside AWS"
            text = f"{where} {what} ({code}: {said}), at the last of {attempt} attempts; try later or raise retry_budget"
            return AwsError(text, code, said, passing=True)
        text = f"{where} failed with {code}: {said}"
        if code in _EXPIRED:
            hint = "renew them (aws sso login, a new session token, or the role's refresh), and check this machine's clock"
            text = f"{where}: the credentials of {self._identity()} have expired ({code}): {hint}"
        elif code in _UNKNOWN:
            hint = "check access key, secret key and session token, that they belong to this partition, and this machine's clock"
            text = f"{where}: AWS does not accept {self._identity()} ({code}: {said}); {hint}"
        elif code in _DENIED:
            text = f"{where} was denied to {self._identity()}: {_missing(self.service, operation, said)}"
        elif code in _KMS:
            hint = "check that the KMS key is enabled, not pending deletion, and usable by this identity"
            text = f"{where}, as {self._identity()}: {code}: {said}; {hint}"
        return AwsError(text, code, said)

    def _no_answer(self, error: Exception, where: str, attempt: int) -> AwsError:
        import botocore.exceptions as aws  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        name = type(error).__name__
        if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)):
            hint = "give profile or access_key and secret_key, set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine a role"
            return AwsError(f"{where}: no usable AWS credentials ({error}); {hint}", name)
        if isinstance(error, aws.SSLError):
            return AwsError(f"{where}: {error}; give the endpoint's certificate authority in aws_ca_bundle", name)
        if isinstance(error, (aws.ConnectionError, aws.HTTPClientError, ResponseParserError)):  # refused, cut, timed out, not AWS
            address = self._client.meta.endpoint_url
            hint = "check endpoint_url or AWS_ENDPOINT_URL, the region, the proxy and the VPC endpoint"
            text = f"{where}: {address} gave no usable answer to {attempt} attempts ({name}: {error}); {hint}"
            return AwsError(text, name, passing=True)
        return AwsError(f"{where}: {name}: {error}", name)

    def _identity(self) -> str:
        """Who AWS says we are (the call needs no permission), else the start of the access key's id, else nothing known."""
        import botocore.exceptions as aws  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        try:
            return str(self._make("sts", 3).get_caller_identity()["Arn"])
        except (aws.BotoCoreError, aws.ClientError, ResponseParserError, AwsError):
            pass  # for example a VPC endpoint of Secrets Manager alone
        credentials = self._session.get_credentials()
        return f"access key {credentials.access_key[:8]}... (from {credentials.method})" if credentials else "nobody"


def _session(params: t.Mapping[str, t.Any]) -> t.Any:
    try:
        import boto3  # noqa: PLC0415
        import botocore.exceptions as aws  # noqa: PLC0415
    except ImportError as error:
        raise GpufleetError(
            f"Python on {socket.gethostname()} cannot import {error.name}; "
            f"install the package there: {sys.executable} -m pip install boto3"
        ) from error
    try:
        return boto3.session.Session(
            profile_name=params.get("profile"),
            aws_access_key_id=params.get("access_key"),
            aws_secret_access_key=params.get("secret_key"),
            aws_session_token=params.get("session_token"),
        )
    except aws.BotoCoreError as error:
        raise AwsError(f"the AWS configuration cannot be used: {error}", type(error).__name__) from error


def _missing(service: str, operation: str, said: str) -> str:
    """Which permission is missing, from AWS's message where it says so."""
    if "KMS" in said or "kms:" in said:
        action = re.search(r"kms:\w+", said)
        return f"it needs {action[0] if action else 'kms:Decrypt and kms:GenerateDataKey'} on the secret's KMS key ({said})"
    named = re.search(r"not authorized to perform: ([\w:-]+)", said)
    action_name = named[1] if named else f"{service}:{operation}"
    explicit = ", which a policy denies explicitly" if "explicit deny" in said else ""
    return f"it needs {action_name}{explicit} ({said}); the policies that suffice are in docs/policies"
