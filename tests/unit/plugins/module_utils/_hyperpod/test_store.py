# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secret's store over HTTP against the AWS stand-in: what it reads, and that a late writer is told so."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.aws import AwsError, Client
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.planner import StoredSecret
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.store import Conflict, SecretStore

NAME = "hyperpod-k8s-kb8v11zrrpvr"


@pytest.fixture
def store(aws: t.Any) -> SecretStore:
    return SecretStore(Client("secretsmanager", {}, "us-west-2", 5), NAME)


def hold(aws: t.Any, operation: str, then: t.Callable[[], object]) -> None:
    """Somebody else does `then` just before AWS sees the next such call."""
    from aws_api import Fault  # noqa: PLC0415 conftest sets the path

    aws.faults.append(Fault(operation, "hold", then=then))


class TestRead:
    def test_absent(self, store: SecretStore) -> None:
        assert store.read() == StoredSecret("absent")

    def test_without_a_value(self, store: SecretStore, aws: t.Any) -> None:
        aws.client().create_secret(Name=NAME)
        assert store.read() == StoredSecret("present", fault="it has no value")

    def test_binary(self, store: SecretStore, aws: t.Any) -> None:
        aws.client().create_secret(Name=NAME, SecretBinary=b"x")
        assert store.read().fault == "it is empty"

    def test_scheduled(self, store: SecretStore, aws: t.Any) -> None:
        version = aws.client().create_secret(Name=NAME, SecretString="x")["VersionId"]
        aws.client().delete_secret(SecretId=NAME)
        assert store.read() == StoredSecret("scheduled", version)

    def test_restored_while_it_is_read(self, store: SecretStore, aws: t.Any) -> None:
        aws.client().create_secret(Name=NAME, SecretString="x")
        aws.client().delete_secret(SecretId=NAME)
        hold(aws, "DescribeSecret", lambda: aws.client().restore_secret(SecretId=NAME))
        assert store.read().state == "present"

    def test_made_while_it_is_read(self, store: SecretStore, aws: t.Any) -> None:
        hold(aws, "DescribeSecret", lambda: aws.client().create_secret(Name=NAME, SecretString="x"))
        assert store.read().fault == "it is not JSON"


class TestWrite:
    def test_only_the_version_that_was_seen_is_replaced(self, store: SecretStore, aws: t.Any) -> None:
        store.create("one", "", None)
        seen = store.read().version
        hold(aws, "UpdateSecretVersionStage", lambda: aws.client().put_secret_value(SecretId=NAME, SecretString="theirs"))
        with pytest.raises(Conflict, match=f"the secret {NAME} was changed by somebody else at the same time"):
            store.publish("two", seen)
        assert aws.client().get_secret_value(SecretId=NAME)["SecretString"] == "theirs"
        store.publish("two", store.read().version)
        values = [aws.client().get_secret_value(SecretId=NAME, VersionStage=f"AWS{label}") for label in ("CURRENT", "PREVIOUS")]
        assert [value["SecretString"] for value in values] == ["two", "theirs"]

    def test_the_first_value(self, store: SecretStore, aws: t.Any) -> None:
        aws.client().create_secret(Name=NAME)
        store.publish("one", None)
        assert aws.client().get_secret_value(SecretId=NAME)["SecretString"] == "one"

    @pytest.mark.parametrize("deleted", [False, True])
    def test_a_name_that_is_taken(self, store: SecretStore, aws: t.Any, deleted: bool) -> None:
        aws.client().create_secret(Name=NAME, SecretString="theirs")
        if deleted:
            aws.client().delete_secret(SecretId=NAME)
        with pytest.raises(Conflict):
            store.create("mine", "", None)

    def test_deleted_meanwhile(self, store: SecretStore, aws: t.Any) -> None:
        store.create("one", "", None)
        seen = store.read().version
        aws.client().delete_secret(SecretId=NAME)
        with pytest.raises(Conflict):
            store.publish("two", seen)

    def test_a_failure_is_not_a_conflict(self, store: SecretStore, aws: t.Any) -> None:
        from aws_api import Fault  # noqa: PLC0415

        aws.faults.append(Fault("CreateSecret", "LimitExceededException"))
        with pytest.raises(AwsError, match="LimitExceededException"):
            store.create("one", "", None)

    def test_a_key_of_ones_own(self, store: SecretStore, aws: t.Any) -> None:
        store.create("one", "why", "alias/mine")
        described = aws.client().describe_secret(SecretId=NAME)
        assert (described["KmsKeyId"], described["Description"]) == ("alias/mine", "why")


class TestDelete:
    def test_with_a_recovery_window(self, store: SecretStore, aws: t.Any) -> None:
        store.create("one", "", None)
        store.delete(force=False)
        assert aws.calls[-1].arguments["RecoveryWindowInDays"] == 7
        store.restore()
        assert store.read().state == "present"

    def test_at_once_and_again(self, store: SecretStore) -> None:
        store.create("one", "", None)
        store.delete(force=True)
        assert store.read().state == "absent"
        store.delete(force=True)
        store.delete(force=False)

    def test_a_second_restore_is_fine_when_aws_refuses_it(self, store: SecretStore, aws: t.Any) -> None:
        from aws_api import Fault  # noqa: PLC0415

        store.create("one", "", None)
        aws.faults.append(Fault("RestoreSecret", "InvalidRequestException", message="it is not marked for deletion"))
        store.restore()
        store.delete(force=False)
        aws.faults.append(Fault("RestoreSecret", "InvalidRequestException", message="it cannot be restored"))
        with pytest.raises(AwsError, match="it cannot be restored"):
            store.restore()
