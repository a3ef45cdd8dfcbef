"""Stand-ins for boto3's clients, written by hand: what a module of the tooling asks of them, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.deploy.account import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ACCOUNT, REGION = "111122223333", "eu-west-1"
STACK_ID = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/signwatch/1"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/anna"


def client_error(code: str, message: str = "no", operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Session:
    """A boto3 session that hands out the given clients."""

    def __init__(self, clients: Mapping[str, Any]) -> None:
        self.clients = clients

    def client(self, service: str, **_: Any) -> Any:
        return self.clients[service]


def account(**clients: Any) -> Account:
    """An opened account whose clients are the given ones."""
    return Account(Session(clients), ACCOUNT, REGION, CALLER)


class Paginator:
    """A paginator that asks ``pages`` for its pages."""

    def __init__(self, pages: Callable[..., Iterator[dict[str, Any]]]) -> None:
        self.paginate = pages


class Parameters:
    """SSM with the given parameters, a page for each of them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def get_paginator(self, name: str) -> Paginator:
        assert name == "get_parameters_by_path"

        def pages(Path: str, **more: bool) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own name
            assert more == (
                {"WithDecryption": True} if Path.endswith("/bootstrap") else {"Recursive": False}
            )
            for key, value in self.values.items():
                if key.startswith(f"{Path}/"):
                    yield {"Parameters": [{"Name": key, "Value": value}]}

        return Paginator(pages)

    def put_parameter(self, **asked: Any) -> None:
        assert (asked["Type"], asked["Overwrite"]) == ("String", True)
        self.values[asked["Name"]] = asked["Value"]

    def delete_parameter(self, **asked: Any) -> None:
        if asked["Name"] not in self.values:
            raise client_error("ParameterNotFound", "gone", "DeleteParameter")
        del self.values[asked["Name"]]


@dataclass
class Objects:
    """S3: objects by bucket and key, and every upload that was tried."""

    stored: dict[tuple[str, str], str | None] = field(default_factory=dict)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    before_put: Callable[[], None] = lambda: None

    def head_object(self, **asked: Any) -> dict[str, Any]:
        place = (asked["Bucket"], asked["Key"])
        if place not in self.stored:
            raise client_error("404", "Not Found", "HeadObject")
        checksum = self.stored[place]
        return {"ChecksumSHA256": checksum} if checksum else {}

    def put_object(self, **asked: Any) -> None:
        self.uploads.append(asked)
        self.before_put()
        place = (asked["Bucket"], asked["Key"])
        if place in self.stored and asked.get("IfNoneMatch") == "*":
            raise client_error("PreconditionFailed", "exists", "PutObject")
        assert checksum(asked["Body"]) == asked["ChecksumSHA256"]
        self.stored[place] = asked["ChecksumSHA256"]

    def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        keys = [
            key
            for bucket, key in self.stored
            if bucket == asked["Bucket"] and key.startswith(asked["Prefix"])
        ]
        return {"Contents": [{"Key": key} for key in keys]} if keys else {}


def checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


class Aliases:
    """IAM with the account's alias, or with a refusal to tell it."""

    def __init__(self, *aliases: str, refused: bool = False) -> None:
        self.aliases, self.refused = aliases, refused

    def list_account_aliases(self) -> dict[str, Any]:
        if self.refused:
            raise client_error("AccessDenied", "no", "ListAccountAliases")
        return {"AccountAliases": list(self.aliases)}


@dataclass
class CloudFormation:
    """One stack, and the calls that were made. ``ends`` is its status after whatever is executed."""

    stack: dict[str, Any] | None = None
    ends: str = "CREATE_COMPLETE"
    changes: list[dict[str, Any]] = field(default_factory=list)
    happens: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def asked(self, name: str) -> dict[str, Any]:
        (found,) = [asked for called, asked in self.calls if called == name]
        return found

    def describe_stacks(self, **asked: Any) -> dict[str, Any]:
        if self.stack is None:
            raise client_error(
                "ValidationError", f"Stack with id {asked['StackName']} does not exist"
            )
        return {"Stacks": [self.stack]}

    def create_change_set(self, **asked: Any) -> dict[str, Any]:
        self.calls.append(("create_change_set", asked))
        if self.stack is None or self.stack["StackStatus"] == "DELETE_COMPLETE":
            self.stack = {"StackId": STACK_ID, "StackStatus": "REVIEW_IN_PROGRESS"}
        return {"Id": "change-set", "StackId": STACK_ID}

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"Status": "CREATE_COMPLETE"}

    def delete_change_set(self, **asked: Any) -> None:
        self.calls.append(("delete_change_set", asked))

    def update_termination_protection(self, **asked: Any) -> None:
        self.calls.append(("update_termination_protection", asked))

    def execute_change_set(self, **asked: Any) -> None:
        self.calls.append(("execute_change_set", asked))
        assert self.stack is not None
        made = self.asked("create_change_set")
        self.stack |= {
            "StackStatus": self.ends,
            "Parameters": made["Parameters"],
            "Tags": made["Tags"],
            "Outputs": [{"OutputKey": "FunctionName", "OutputValue": "signwatch-function"}],
        }
        self.events += self.happens

    def delete_stack(self, **asked: Any) -> None:
        self.calls.append(("delete_stack", asked))
        assert self.stack is not None
        self.stack["StackStatus"] = "DELETE_COMPLETE"
        self.events += self.happens

    def get_paginator(self, name: str) -> Paginator:
        def pages(**_: Any) -> Iterator[dict[str, Any]]:
            if name == "describe_change_set":
                yield {
                    "StackName": "signwatch",
                    "Changes": [{"ResourceChange": change} for change in self.changes],
                }
            else:
                yield {"StackEvents": list(reversed(self.events))}

        return Paginator(pages)


def event(number: int, status: str, resource: str = "Function", **changes: str) -> dict[str, Any]:
    """A stack event as DescribeStackEvents answers it; ``number`` is its id and its second."""
    return {
        "EventId": str(number),
        "Timestamp": datetime(2026, 11, 24, 10, 0, number, tzinfo=UTC),
        "StackName": "signwatch",
        "LogicalResourceId": resource,
        "ResourceType": "AWS::Lambda::Function",
        "ResourceStatus": status,
        **changes,
    }
