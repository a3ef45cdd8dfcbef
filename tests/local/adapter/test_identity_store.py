"""Identity stores on the local AWS emulator: users by id, permissions, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount

pytestmark = [pytest.mark.local]

STORE, NOBODY = "d-1234567890", "544894e8-80c1-707f-60e3-3ba6510dfac1"
USERS = "arn:aws:identitystore:::user/*"


def create_user(account: EmulatorAccount, name: str = "anaya") -> str:
    client = account.client("identitystore")
    user_id: str = client.create_user(IdentityStoreId=STORE, UserName=name)["UserId"]
    return user_id


def client_of_role(
    account: EmulatorAccount, *resources: str, action: str = "identitystore:DescribeUser"
) -> Any:
    role = account.create_role({"Effect": "Allow", "Action": action, "Resource": list(resources)})
    key = account.assume_role(role)
    return account.client("identitystore", key=key)


def store_arn(account: EmulatorAccount) -> str:
    return f"arn:aws:identitystore::{account.account_id}:identitystore/*"


def describe_refused(client: Any, **request: str) -> dict[str, Any]:
    with pytest.raises(ClientError) as error:
        client.describe_user(**{"IdentityStoreId": STORE, "UserId": NOBODY, **request})
    return dict(error.value.response)


def test_user_is_described_by_its_id(account: EmulatorAccount) -> None:
    """Identity Store API Reference, CreateUser and DescribeUser."""
    user_id = create_user(account)
    user = account.client("identitystore").describe_user(IdentityStoreId=STORE, UserId=user_id)
    assert (user["UserName"], user["UserId"]) == ("anaya", user_id)
    assert user["IdentityStoreId"] == STORE


@pytest.mark.parametrize("where", ["id", "store", "region", "account"])
def test_user_exists_only_in_its_store_region_and_account(
    account: EmulatorAccount, where: str
) -> None:
    user_id = create_user(account)
    client = account.client("identitystore", region="us-east-1" if where == "region" else "")
    if where == "account":
        client = EmulatorAccount.on(account.emulator).client("identitystore")
    response = describe_refused(
        client,
        IdentityStoreId="d-0987654321" if where == "store" else STORE,
        UserId=NOBODY if where == "id" else user_id,
    )
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert response["ResourceType"] == "USER"


@pytest.mark.parametrize(
    "changes", [{"IdentityStoreId": "store"}, {"UserId": "anaya"}, {"UserId": f"{NOBODY}x"}]
)
def test_malformed_id_is_refused(account: EmulatorAccount, changes: dict[str, str]) -> None:
    """Identity Store API Reference, DescribeUser: the patterns of its parameters."""
    response = describe_refused(account.client("identitystore"), **changes)
    assert response["Error"]["Code"] == "ValidationException"


def test_role_with_store_and_users_can_describe_a_user(account: EmulatorAccount) -> None:
    user_id = create_user(account)
    client = client_of_role(account, store_arn(account), USERS)
    assert client.describe_user(IdentityStoreId=STORE, UserId=user_id)["UserName"] == "anaya"
    decisions = {
        (decision["action"], decision["resource"], decision["allowed"])
        for decision in account.emulator.decisions(account.account_id)
    }
    store = f"arn:aws:identitystore::{account.account_id}:identitystore/{STORE}"
    assert decisions == {
        ("identitystore:DescribeUser", store, True),
        ("identitystore:DescribeUser", f"arn:aws:identitystore:::user/{user_id}", True),
    }


@pytest.mark.parametrize("allowed", ["store", "users", "nothing"])
def test_refusal_names_each_missing_resource(account: EmulatorAccount, allowed: str) -> None:
    """Service Authorization Reference, AWS Identity Store: store and user are required."""
    user_id = create_user(account)
    arns = {"store": store_arn(account), "users": USERS}
    client = client_of_role(account, arns.get(allowed, "arn:aws:identitystore:::group/*"))
    response = describe_refused(client, UserId=user_id)
    assert response["Error"]["Code"] == "AccessDeniedException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    arns_in_message = {
        "store": f"identitystore::{account.account_id}:identitystore/{STORE} ",
        "users": f"identitystore:::user/{user_id} ",
    }
    for name, arn in arns_in_message.items():
        assert (arn in response["Error"]["Message"]) == (name != allowed)


def test_role_needs_the_permission_to_create_a_user(account: EmulatorAccount) -> None:
    reader = client_of_role(account, store_arn(account), USERS)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        reader.create_user(IdentityStoreId=STORE, UserName="anaya")
    writer = client_of_role(account, store_arn(account), USERS, action="identitystore:CreateUser")
    assert writer.create_user(IdentityStoreId=STORE, UserName="anaya")["UserId"]


def test_request_signed_with_another_secret_is_refused(account: EmulatorAccount) -> None:
    role = account.create_role(
        {"Effect": "Allow", "Action": "identitystore:DescribeUser", "Resource": "*"}
    )
    key = account.assume_role(role)
    client = account.client("identitystore", key={**key, "SecretAccessKey": "another"})
    assert describe_refused(client)["Error"]["Code"] == "InvalidSignatureException"


def test_unknown_operation_is_refused(account: EmulatorAccount) -> None:
    with pytest.raises(ClientError, match="UnknownOperationException"):
        account.client("identitystore").list_users(IdentityStoreId=STORE)
