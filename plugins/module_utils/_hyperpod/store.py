# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The secret in Secrets Manager: read it, write it so that a concurrent writer is noticed, remove it.

Secrets Manager has no conditional write, but moving a label is one: UpdateSecretVersionStage fails unless AWSCURRENT is
attached to the version that the caller names. So a new value is first put under a label of its own and then made current
only if the version that the plan was made from still is.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import typing as t
import uuid

from .._plan import ApplyError
from .aws import AwsError, Client
from .join import Malformed, parse
from .planner import StoredSecret

PENDING = "GPUFLEET-PENDING"
LOOKS = 5  # at a secret that others keep changing
RECOVERY_WINDOW_DAYS = 7  # the shortest that AWS allows; creating it again meanwhile restores it


class Conflict(ApplyError):
    """Somebody else changed the same thing since it was observed. Observing and planning again settles it."""


class SecretStore:
    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def read(self) -> StoredSecret:
        """The secret as it is, for its owner (needs DescribeSecret too). Raises AwsError."""
        for _look in range(LOOKS):
            try:
                return self.read_value()
            except AwsError as error:
                if error.code not in ("ResourceNotFoundException", "InvalidRequestException"):
                    raise
                reading = error
            try:
                description = self._call("DescribeSecret")
            except AwsError as error:
                if error.code == "ResourceNotFoundException":
                    return StoredSecret("absent")
                raise
            stages = description.get("VersionIdsToStages") or {}
            version = next((version for version, labels in stages.items() if "AWSCURRENT" in labels), None)
            if description.get("DeletedDate"):
                return StoredSecret("scheduled", version)
            if version is None:
                return StoredSecret("present", fault="it has no value")
            # Made or restored between the two calls: look again.
        raise reading

    def read_value(self) -> StoredSecret:
        """The secret as a worker sees it: one GetSecretValue. Raises AwsError."""
        answer = self._call("GetSecretValue", VersionStage="AWSCURRENT")
        try:
            join = parse(answer.get("SecretString"))
            return StoredSecret("present", answer["VersionId"], join, created=answer.get("CreatedDate"))
        except Malformed as error:
            return StoredSecret("present", answer["VersionId"], fault=str(error))

    def create(self, text: str, description: str, kms_key_id: str | None) -> None:
        """Raises Conflict when the name is taken, AwsError."""
        version = str(uuid.uuid4())
        extra = {"KmsKeyId": kms_key_id} if kms_key_id else {}
        try:
            self._call("CreateSecret", "Name", SecretString=text, Description=description, ClientRequestToken=version, **extra)
        except AwsError as error:
            self._lost(error, version, "ResourceExistsException")

    def publish(self, text: str, base: str | None) -> None:
        """Makes `text` the current value if version `base` still is (None: no version is). Raises Conflict, AwsError."""
        version = str(uuid.uuid4())
        try:
            self._call("PutSecretValue", SecretString=text, ClientRequestToken=version, VersionStages=[PENDING])
            extra = {"RemoveFromVersionId": base} if base else {}
            self._call("UpdateSecretVersionStage", VersionStage="AWSCURRENT", MoveToVersionId=version, **extra)
        except AwsError as error:
            # InvalidParameter: AWSCURRENT is not on base any more.
            self._lost(error, version, "InvalidParameterException", "ResourceNotFoundException")

    def restore(self) -> None:
        try:
            self._call("RestoreSecret")
        except AwsError as error:  # another writer may have done it
            if error.code != "InvalidRequestException" or self.read().state == "scheduled":
                raise

    def delete(self, force: bool) -> None:
        how: dict[str, t.Any] = {"ForceDeleteWithoutRecovery": True} if force else {"RecoveryWindowInDays": RECOVERY_WINDOW_DAYS}
        try:
            self._call("DeleteSecret", **how)
        except AwsError as error:
            if error.code != "ResourceNotFoundException" and not _scheduled(error):
                raise

    def _call(self, operation: str, key: str = "SecretId", **arguments: t.Any) -> dict[str, t.Any]:
        return self.client.call(operation, f"secret {self.name}", **{key: self.name}, **arguments)

    def _lost(self, error: AwsError, version: str, *codes: str) -> None:
        """Tells the refusal of a late writer from a failure. Raises Conflict, or `error` itself.

        Returns when our version is the current one after all: a call was repeated because its first answer was lost.
        """
        if error.code not in codes and not _scheduled(error):
            raise error
        if self.read().version != version:
            text = f"the secret {self.name} was changed by somebody else at the same time ({error.code}: {error.said})"
            raise Conflict(text) from error


def _scheduled(error: AwsError) -> bool:
    return error.code == "InvalidRequestException" and "delet" in error.said
