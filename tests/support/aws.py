"""Fakes of boto3's clients, written by hand: only the calls that the tooling makes."""

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
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def client_error(code: str, message: str = "no", operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Session:
    """A boto3 session that hands out the given clients."""

    def __init__(self, clients: Mapping[str, Any]) -> None:
        self.clients = clients

    def client(self, service: str, **_: Any) -> Any:
        return self.clients[service]


def account(**clients: Any) -> Account:
    """An opened account with the given clients."""
    return Account(Session(clients), ACCOUNT, REGION, CALLER)


class Paginator:
    """A paginator whose pages come from the function ``pages``."""

    def __init__(self, pages: Callable[..., Iterator[dict[str, Any]]]) -> None:
        self.paginate = pages


class Parameters:
    """SSM with the given parameters, written at the same time, one on each page."""

    def __init__(self, values: Mapping[str, str], modified: datetime = LONG_AGO) -> None:
        self.values = dict(values)
        self.modified = modified

    def get_paginator(self, name: str) -> Paginator:
        assert name == "get_parameters_by_path"

        def pages(Path: str, **options: bool) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own name
            is_contract = Path.endswith("/bootstrap")
            assert options == ({"WithDecryption": True} if is_contract else {"Recursive": False})
            for key, value in self.values.items():
                if key.startswith(f"{Path}/"):
                    parameter = {"Name": key, "Value": value, "LastModifiedDate": self.modified}
                    yield {"Parameters": [parameter]}

        return Paginator(pages)

    def put_parameter(self, **request: Any) -> None:
        assert (request["Type"], request["Overwrite"]) == ("String", True)
        self.values[request["Name"]] = request["Value"]

    def delete_parameter(self, **request: Any) -> None:
        if request["Name"] not in self.values:
            raise client_error("ParameterNotFound", "gone", "DeleteParameter")
        del self.values[request["Name"]]


@dataclass
class S3:
    """S3: the checksum of each object by bucket and key, and every upload that was tried."""

    checksums: dict[tuple[str, str], str | None] = field(default_factory=dict)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    before_put: Callable[[], None] = lambda: None

    def head_object(self, **request: Any) -> dict[str, Any]:
        place = (request["Bucket"], request["Key"])
        if place not in self.checksums:
            raise client_error("404", "Not Found", "HeadObject")
        stored_checksum = self.checksums[place]
        return {"ChecksumSHA256": stored_checksum} if stored_checksum else {}

    def put_object(self, **request: Any) -> None:
        self.uploads.append(request)
        self.before_put()
        place = (request["Bucket"], request["Key"])
        if place in self.checksums and request.get("IfNoneMatch") == "*":
            raise client_error("PreconditionFailed", "exists", "PutObject")
        assert checksum(request["Body"]) == request["ChecksumSHA256"]
        self.checksums[place] = request["ChecksumSHA256"]

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        keys = [
            key
            for bucket, key in self.checksums
            if bucket == request["Bucket"] and key.startswith(request["Prefix"])
        ]
        return {"Contents": [{"Key": key} for key in keys]} if keys else {}


def checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


class Iam:
    """IAM with the account's alias, or without the right to read it."""

    def __init__(self) -> None:
        self.aliases: list[str] = []
        self.is_denied = False

    def list_account_aliases(self) -> dict[str, Any]:
        if self.is_denied:
            raise client_error("AccessDenied", "no", "ListAccountAliases")
        return {"AccountAliases": self.aliases}


class CloudTrail:
    """CloudTrail with trails, by their ARN, as a member account of an organisation sees them."""

    def __init__(self) -> None:
        self.trails: dict[str, dict[str, Any]] = {}
        self.selectors: dict[str, dict[str, Any] | None] = {}  # None: may not be read
        self.statuses: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, str] = {}  # by the call that fails
        self.is_denied = False

    def add(
        self,
        name: str,
        selectors: dict[str, Any] | None,
        *,
        is_logging: bool = True,
        log_group_error: str = "",
        **described: Any,
    ) -> None:
        arn = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}"
        self.trails[arn] = {
            "Name": name,
            "TrailARN": arn,
            "IsMultiRegionTrail": True,
            **described,
        }
        self.selectors[arn] = selectors
        self.statuses[arn] = {"IsLogging": is_logging}
        if log_group_error:
            self.statuses[arn]["LatestCloudWatchLogsDeliveryError"] = log_group_error

    def describe_trails(self, *, includeShadowTrails: bool) -> dict[str, Any]:  # noqa: N803 - AWS's
        if self.is_denied:
            raise client_error("AccessDenied", "no", "DescribeTrails")
        assert includeShadowTrails  # those of other Regions, and of the organisation
        return {"trailList": list(self.trails.values())}

    def get_trail_status(self, *, Name: str) -> dict[str, Any]:  # noqa: N803 - AWS's spelling
        if code := self.codes.get("GetTrailStatus"):
            raise client_error(code, "no", "GetTrailStatus")
        return self.statuses[Name]

    def get_event_selectors(self, *, TrailName: str) -> dict[str, Any]:  # noqa: N803 - AWS's spelling
        selectors = self.selectors[TrailName]
        if selectors is None:
            code = self.codes.get("GetEventSelectors", "TrailNotFoundException")
            raise client_error(code, "no", "GetEventSelectors")
        return selectors


class Logs:
    """CloudWatch Logs with the subscription filters of every log group: the name, the target."""

    def __init__(self) -> None:
        self.filters: dict[str, str] = {}
        self.is_denied = False

    def describe_subscription_filters(self, *, logGroupName: str) -> dict[str, Any]:  # noqa: N803 - AWS's
        if self.is_denied:
            raise client_error("AccessDeniedException", "no", "DescribeSubscriptionFilters")
        return {
            "subscriptionFilters": [
                {"filterName": name, "destinationArn": arn, "logGroupName": logGroupName}
                for name, arn in self.filters.items()
            ]
        }


@dataclass
class CloudFormation:
    """One stack, and the calls that were made.

    ``end_status`` and ``new_events`` are what each operation leads to.
    """

    stack: dict[str, Any] | None = None
    end_status: str = "CREATE_COMPLETE"
    changes: list[dict[str, Any]] = field(default_factory=list)
    new_events: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    operation_events: list[dict[str, Any]] = field(default_factory=list)
    other_change_sets: list[dict[str, Any]] = field(default_factory=list)  # of somebody else

    def call_names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def request(self, call: str) -> dict[str, Any]:
        """The request of the only call of this name."""
        (request,) = [request for name, request in self.calls if name == call]
        return request

    def requested_parameters(self) -> dict[str, str]:
        pairs = self.request("create_change_set")["Parameters"]
        return {pair["ParameterKey"]: pair["ParameterValue"] for pair in pairs}

    def describe_stacks(self, **request: Any) -> dict[str, Any]:
        if self.stack is None:
            message = f"Stack with id {request['StackName']} does not exist"
            raise client_error("ValidationError", message)
        return {"Stacks": [self.stack]}

    def create_change_set(self, **request: Any) -> dict[str, Any]:
        self.calls.append(("create_change_set", request))
        if self.stack is None or self.stack["StackStatus"] == "DELETE_COMPLETE":
            self.stack = {"StackId": STACK_ID, "StackStatus": "REVIEW_IN_PROGRESS"}
        return {"Id": "change-set", "StackId": STACK_ID}

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        is_deleted = "delete_change_set" in self.call_names()
        return {"Status": "DELETE_COMPLETE" if is_deleted else "CREATE_COMPLETE"}

    def list_change_sets(self, **_: Any) -> dict[str, Any]:
        return {"Summaries": self.other_change_sets}

    def delete_change_set(self, **request: Any) -> None:
        self.calls.append(("delete_change_set", request))

    def update_termination_protection(self, **request: Any) -> None:
        self.calls.append(("update_termination_protection", request))

    def execute_change_set(self, **request: Any) -> None:
        self.calls.append(("execute_change_set", request))
        assert self.stack is not None
        creation = self.request("create_change_set")
        self.stack |= {
            "StackStatus": self.end_status,
            "Parameters": creation["Parameters"],
            "Tags": creation["Tags"],
            "Outputs": [{"OutputKey": "FunctionName", "OutputValue": "signwatch-function"}],
        }
        self.events += self.new_events

    def delete_stack(self, **request: Any) -> None:
        self.calls.append(("delete_stack", request))
        assert self.stack is not None
        self.stack["StackStatus"] = "DELETE_COMPLETE"
        self.events += self.new_events

    def get_paginator(self, name: str) -> Paginator:
        def pages(**request: Any) -> Iterator[dict[str, Any]]:
            if name == "describe_change_set":
                changes = [{"ResourceChange": change} for change in self.changes]
                yield {"StackName": "signwatch", "Changes": changes}
            elif name == "describe_events":
                self.calls.append((name, request))
                yield {"OperationEvents": self.operation_events}
            else:
                yield {"StackEvents": list(reversed(self.events))}

        return Paginator(pages)


def event(number: int, status: str, resource: str = "Function", **changes: str) -> dict[str, Any]:
    """A stack event as DescribeStackEvents returns it; ``number`` is its id and its second."""
    return {
        "EventId": str(number),
        "StackId": STACK_ID,
        "Timestamp": datetime(2026, 11, 24, 10, 0, number, tzinfo=UTC),
        "StackName": "signwatch",
        "LogicalResourceId": resource,
        "ResourceType": "AWS::Lambda::Function",
        "ResourceStatus": status,
        **changes,
    }
