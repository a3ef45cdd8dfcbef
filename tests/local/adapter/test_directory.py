"""Identity stores on the local AWS emulator: a user who was made is found by id, by whoever may look for users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

STORE, NOBODY = "d-1234567890", "544894e8-80c1-707f-60e3-3ba6510dfac1"
USERS = "arn:aws:identitystore:::user/*"


@pytest.fixture
def laptop(emulator: Emulator) -> EmulatorAccount:
    return EmulatorAccount.on(emulator)


def made(laptop: EmulatorAccount, name: str = "anaya") -> str:
    person: str = laptop.client("identitystore").create_user(IdentityStoreId=STORE, UserName=name)[
        "UserId"
    ]
    return person


def as_role(
    laptop: EmulatorAccount, *resources: str, action: str = "identitystore:DescribeUser"
) -> Any:
    role = laptop.role({"Effect": "Allow", "Action": action, "Resource": list(resources)})
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return laptop.client("identitystore", key=key)


def store_arn(laptop: EmulatorAccount) -> str:
    return f"arn:aws:identitystore::{laptop.account}:identitystore/*"


def refused(client: Any, **asked: str) -> dict[str, Any]:
    with pytest.raises(ClientError) as error:
        client.describe_user(**{"IdentityStoreId": STORE, "UserId": NOBODY, **asked})
    return dict(error.value.response)


def test_a_user_is_found_by_the_id_that_it_was_given(laptop: EmulatorAccount) -> None:
    """Identity Store API Reference, CreateUser and DescribeUser."""
    person = made(laptop)
    found = laptop.client("identitystore").describe_user(IdentityStoreId=STORE, UserId=person)
    assert (found["UserName"], found["UserId"], found["IdentityStoreId"]) == (
        "anaya",
        person,
        STORE,
    )


@pytest.mark.parametrize("where", ["id", "store", "region", "account"])
def test_a_user_is_nowhere_else(laptop: EmulatorAccount, where: str) -> None:
    person = made(laptop)
    client = laptop.client("identitystore", region="us-east-1" if where == "region" else "")
    if where == "account":
        client = EmulatorAccount.on(laptop.emulator).client("identitystore")
    answer = refused(
        client,
        IdentityStoreId="d-0987654321" if where == "store" else STORE,
        UserId=NOBODY if where == "id" else person,
    )
    assert (answer["Error"]["Code"], answer["ResourceType"]) == (
        "ResourceNotFoundException",
        "USER",
    )


@pytest.mark.parametrize(
    "asked", [{"IdentityStoreId": "store"}, {"UserId": "anaya"}, {"UserId": f"{NOBODY}x"}]
)
def test_an_id_of_another_form_is_refused(laptop: EmulatorAccount, asked: dict[str, str]) -> None:
    """Identity Store API Reference, DescribeUser: the patterns of its parameters."""
    assert (
        refused(laptop.client("identitystore"), **asked)["Error"]["Code"] == "ValidationException"
    )


def test_who_may_look_for_users_in_the_store_finds_them(laptop: EmulatorAccount) -> None:
    person = made(laptop)
    client = as_role(laptop, store_arn(laptop), USERS)
    assert client.describe_user(IdentityStoreId=STORE, UserId=person)["UserName"] == "anaya"
    assert {
        (one["action"], one["resource"], one["allowed"])
        for one in laptop.emulator.decisions(laptop.account)
    } == {
        (
            "identitystore:DescribeUser",
            f"arn:aws:identitystore::{laptop.account}:identitystore/{STORE}",
            True,
        ),
        ("identitystore:DescribeUser", f"arn:aws:identitystore:::user/{person}", True),
    }


@pytest.mark.parametrize("allowed", ["store", "users", "nothing"])
def test_the_store_and_the_user_must_both_be_allowed(laptop: EmulatorAccount, allowed: str) -> None:
    """Service Authorization Reference, AWS Identity Store: both are required, and the refusal names what is missing."""
    person = made(laptop)
    arns = {"store": store_arn(laptop), "users": USERS}
    client = as_role(laptop, arns.get(allowed, "arn:aws:identitystore:::group/*"))
    answer = refused(client, UserId=person)
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (
        "AccessDeniedException",
        400,
    )
    named = {
        "store": f"identitystore::{laptop.account}:identitystore/{STORE} ",
        "users": f"identitystore:::user/{person} ",
    }
    for name, arn in named.items():
        assert (arn in answer["Error"]["Message"]) == (name != allowed)


def test_a_role_makes_users_only_where_it_may(laptop: EmulatorAccount) -> None:
    reader = as_role(laptop, store_arn(laptop), USERS)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        reader.create_user(IdentityStoreId=STORE, UserName="anaya")
    writer = as_role(laptop, store_arn(laptop), USERS, action="identitystore:CreateUser")
    assert writer.create_user(IdentityStoreId=STORE, UserName="anaya")["UserId"]


def test_a_request_that_is_signed_with_another_secret_is_refused(laptop: EmulatorAccount) -> None:
    role = laptop.role({"Effect": "Allow", "Action": "identitystore:DescribeUser", "Resource": "*"})
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    client = laptop.client("identitystore", key={**key, "SecretAccessKey": "another"})
    assert refused(client)["Error"]["Code"] == "InvalidSignatureException"


def test_an_operation_that_nobody_here_needs_is_refused(laptop: EmulatorAccount) -> None:
    with pytest.raises(ClientError, match="UnknownOperationException"):
        laptop.client("identitystore").list_users(IdentityStoreId=STORE)
