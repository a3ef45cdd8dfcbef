"""Hand-written stand-ins for the function's AWS clients, which record what they are asked.

Each can be told to fail: the calls named in ``fails`` raise. Nothing here uses the network.
"""

from __future__ import annotations

import json
import marshal
import time
from dataclasses import dataclass, field
from threading import Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from signwatch.dependencies import Dependencies
from signwatch.detection import allowance
from signwatch.settings import Settings
from signwatch.time_limit import LimitedClient
from tests.support import dynamodb

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_687_200.0  # 2026-11-26 10:00 UTC, in seconds since 1970
FIRST, SECOND = "+15005550009", "+15005550010"
KEY_SID, KEY_SECRET = "SK" + "0" * 31 + "2", "-".join(("for", "the", "loopback"))
TWILIO_SECRET = {
    "account_sid": "AC" + "0" * 31 + "1",
    "api_key_sid": KEY_SID,
    "api_key_secret": KEY_SECRET,
    "sender": "+15005550006",
    "recipients": [FIRST, SECOND],
}
KEYS = {KEY_SID: KEY_SECRET}
ENVIRONMENT = {
    "NAME_PREFIX": "signwatch",
    "ACCOUNT_LABEL": "production",
    "ALERT_TOPIC_ARN": "arn:aws:sns:us-east-1:111122223333:signwatch-alerts",
    "TWILIO_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:111122223333:secret:signwatch-twilio",
    "TWILIO_BASE_URL": "http://127.0.0.1:9",  # nothing listens on the discard port
    "LEDGER_TABLE_NAME": "signwatch-ledger",
    "LATER_QUEUE_URL": ("https://sqs.us-east-1.amazonaws.com/111122223333/signwatch-later"),
    "RAW_EVENT_LOG_GROUP_NAME": "/aws/events/signwatch",
}
SETTINGS = Settings.load(ENVIRONMENT)


class ConditionalCheckFailedException(Exception):  # noqa: N818 - DynamoDB's own name
    """As boto3's client names it in its ``exceptions``."""


class ResourceNotFoundException(Exception):  # noqa: N818 - AWS's own name
    """GetSecretValue raises it for a secret without a version, DescribeUser for no such user."""


class AccessDeniedError(Exception):
    """Any refusal."""


def _copy(item: Any) -> Any:
    """Return a deep copy of an item, several times faster than copy.deepcopy."""
    return marshal.loads(marshal.dumps(item))  # noqa: S302 - it was written here


@dataclass
class Client:
    """A client that records its calls; those named in ``fails`` raise."""

    fails: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise AccessDeniedError(name)


@dataclass
class Table(Client):
    """DynamoDB with one table, which evaluates the conditions and updates of its requests."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def put_item(self, **request: Any) -> None:
        self.call("put_item")
        with self.lock:
            self._check_condition(request, request["Item"])
            self.items[request["Item"]["alert"]["S"]] = request["Item"]

    def get_item(self, **request: Any) -> dict[str, Any]:
        self.call("get_item")
        assert request["TableName"] == SETTINGS.ledger_table_name
        assert request["ConsistentRead"] is True
        item = _copy(self.items.get(request["Key"]["alert"]["S"]))
        return {"Item": item} if item else {}

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.call("update_item")
        key = request["Key"]
        update = dynamodb.insert_names(request, "UpdateExpression")
        with self.lock:
            self._check_condition(request, key)
            item = _copy(self.items.get(key["alert"]["S"], key))
            dynamodb.apply_update(update, item, request.get("ExpressionAttributeValues", {}))
            self.items[key["alert"]["S"]] = item
        return {"Attributes": _copy(item)} if request.get("ReturnValues") else {}

    def _check_condition(self, request: dict[str, Any], key: dict[str, Any]) -> None:
        assert request["TableName"] == SETTINGS.ledger_table_name
        condition = dynamodb.insert_names(request, "ConditionExpression")
        values = request.get("ExpressionAttributeValues", {})
        item = self.items.get(key["alert"]["S"], {})
        if condition and not dynamodb.is_met(condition, item, values):
            raise ConditionalCheckFailedException


@dataclass
class Secrets(Client):
    """Secrets Manager with one secret; None while it is empty."""

    text: str | None = field(default_factory=lambda: json.dumps(TWILIO_SECRET))

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        self.call("get_secret_value")
        assert request == {"SecretId": SETTINGS.twilio_secret_arn}
        if self.text is None:
            raise ResourceNotFoundException
        return {"SecretString": self.text}


@dataclass
class Topic(Client):
    """SNS with one topic, and what was published."""

    emails: list[dict[str, str]] = field(default_factory=list)

    def publish(self, **request: str) -> None:
        self.call("publish")
        assert request.pop("TopicArn") == SETTINGS.alert_topic_arn
        self.emails.append(request)


@dataclass
class Parameters(Client):
    """Systems Manager with the parameters below the folder of the networks, two a page."""

    values: dict[str, str] = field(default_factory=dict)

    def get_parameters_by_path(self, **request: Any) -> dict[str, Any]:
        self.call("get_parameters_by_path")
        start = int(request.pop("NextToken", "0"))
        assert request == {"Path": f"/{SETTINGS.name_prefix}/networks", "Recursive": False}
        parameters = [
            {"Name": f"{request['Path']}/{name}", "Value": value}
            for name, value in self.values.items()
        ]
        page: dict[str, Any] = {"Parameters": parameters[start : start + 2]}
        if start + 2 < len(parameters):
            page["NextToken"] = str(start + 2)
        return page

    def allow(
        self,
        cidr: str,
        label: str = "hotel",
        who: str = "",
        expires: int | None = None,
    ) -> None:
        entry = allowance.make(cidr, label, who, expires)
        self.values[entry.name] = allowance.encode(entry)


@dataclass
class IdentityStores(Client):
    """Identity stores: ``names`` by store and user id, and the Region of each client."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    regions: list[str] = field(default_factory=list)
    delay_seconds: float = 0.0

    def describe_user(self, **request: str) -> dict[str, str]:
        self.call("describe_user")
        time.sleep(self.delay_seconds)
        name = self.names.get((request["IdentityStoreId"], request["UserId"]))
        if name is None:
            raise ResourceNotFoundException
        return {"UserName": name, **request} if name else request


@dataclass
class Queue(Client):
    """SQS with one queue: the content and the delay in seconds of each message, and its kind."""

    messages: list[tuple[Any, int]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def send_message(self, **request: Any) -> None:
        self.call("send_message")
        assert request["QueueUrl"] == SETTINGS.later_queue_url
        self.bodies.append(request["MessageBody"])
        body = json.loads(request["MessageBody"])
        assert body.keys() == {"later", "content"}
        self.kinds.append(body["later"])
        self.messages.append((body["content"], request["DelaySeconds"]))


@dataclass
class Logs(Client):
    """CloudWatch Logs with raw copies and a trail's group; each line is a page of its own."""

    raw_copies: list[Any] = field(default_factory=list)
    trail_records: list[Any] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.call("filter_log_events")
        position = int(request.pop("nextToken", "0"))
        self.request = request
        is_raw_group = request["logGroupName"] == SETTINGS.raw_event_log_group_name
        group = self.raw_copies if is_raw_group else self.trail_records
        lines = [json.dumps(copy) for copy in group[position : position + 1]]
        matches = [{"message": line} for line in lines if request["filterPattern"] in line]
        page: dict[str, Any] = {"events": matches}
        if position + 1 < len(group):
            page["nextToken"] = str(position + 1)
        return page


@dataclass
class World:
    """Everything outside of the function; no client can be made for a service in ``missing``."""

    table: Table = field(default_factory=Table)
    secrets: Secrets = field(default_factory=Secrets)
    topic: Topic = field(default_factory=Topic)
    parameters: Parameters = field(default_factory=Parameters)
    identity_stores: IdentityStores = field(default_factory=IdentityStores)
    queue: Queue = field(default_factory=Queue)
    logs: Logs = field(default_factory=Logs)
    missing: set[str] = field(default_factory=set)
    clients: list[str] = field(default_factory=list)
    quick_clients: list[str] = field(default_factory=list)
    now: float = NOW
    seconds_left: Callable[[], float] = lambda: 60.0
    call_seconds: float = 30.0  # for a call of a fake; the real limit is that of the real clients

    def client(self, service: str, *, region: str = "", quick: bool = False) -> Any:
        self.clients.append(service)
        if quick:
            self.quick_clients.append(service)
        assert quick or service not in ("identitystore", "ssm")
        if service in self.missing:
            raise AccessDeniedError(service)
        if service == "identitystore":
            self.identity_stores.regions.append(region)
        clients: dict[str, Any] = {
            "dynamodb": self.table,
            "secretsmanager": self.secrets,
            "sns": self.topic,
            "ssm": self.parameters,
            "identitystore": self.identity_stores,
            "sqs": self.queue,
            "logs": self.logs,
        }
        return LimitedClient(clients[service], self.call_seconds)

    def dependencies(self, **changes: str) -> Dependencies:
        """Return dependencies; ``changes`` are settings as texts, as in the environment."""
        environment = ENVIRONMENT | {name.upper(): text for name, text in changes.items()}
        settings = Settings.load(environment)
        return Dependencies(settings, lambda: self.now, self.client, self.seconds_left)
