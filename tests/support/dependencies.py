"""What the function is given in a test: stand-ins for the AWS clients, written by hand, that keep what they are asked.

Each takes faults: what ``fails`` names raises. Nothing here speaks to AWS.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from signwatch.dependencies import Dependencies
from signwatch.detection import allowance
from signwatch.enrichment import state
from signwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_687_200.0  # 2026-11-26 10:00 UTC, in seconds since 1970
FIRST, SECOND = "+15005550009", "+15005550010"
KEY_SID, KEY_SECRET = "SK" + "0" * 31 + "2", "-".join(("for", "the", "loopback"))
FILLED = {
    "account_sid": "AC" + "0" * 31 + "1",
    "api_key_sid": KEY_SID,
    "api_key_secret": KEY_SECRET,
    "sender": "+15005550006",
    "recipients": [FIRST, SECOND],
}
KEYS = {KEY_SID: KEY_SECRET}
SETTINGS = Settings(
    name_prefix="signwatch",
    home_region="us-east-1",
    known_networks="",
    account_label="production",
    alert_off="",
    alert_on="",
    time_zone="",
    alert_topic_arn="arn:aws:sns:us-east-1:111122223333:signwatch-alerts",
    twilio_secret_arn="arn:aws:secretsmanager:us-east-1:111122223333:secret:signwatch-twilio",
    twilio_base_url="http://127.0.0.1:9",  # nobody listens on the discard port
    ledger_table_name="signwatch-ledger",
    allowed_vpc_endpoint_ids="",
    second_look_queue_url="https://sqs.us-east-1.amazonaws.com/111122223333/signwatch-second-looks",
    raw_event_log_group_name="/aws/events/signwatch",
)


class ConditionalCheckFailedException(Exception):  # noqa: N818 - DynamoDB's own name
    """As boto3's client names it in its ``exceptions``."""


class ResourceNotFoundException(Exception):  # noqa: N818 - AWS's own name
    """What GetSecretValue raises for a secret without a version, and DescribeUser for a user that is not there."""


class AccessDeniedError(Exception):
    """Any refusal."""


@dataclass
class Faulty:
    """A client that writes down its calls; ``fails`` names the ones that raise."""

    fails: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise AccessDeniedError(name)


@dataclass
class Table(Faulty):
    """DynamoDB with one table: the conditional puts and the update expressions of the ledger and of the memory."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)

    class exceptions:  # noqa: N801 - as boto3's client has it
        ConditionalCheckFailedException = ConditionalCheckFailedException

    def put_item(self, **asked: Any) -> None:
        self.call("put_item")
        assert asked["TableName"] == SETTINGS.ledger_table_name
        there = self.items.get(asked["Item"]["alert"]["S"])
        condition, wanted = (
            asked.get("ConditionExpression", ""),
            asked.get("ExpressionAttributeValues", {}),
        )
        assert condition in ("", "attribute_not_exists(alert)", state.FREE)
        if condition == state.FREE and there is not None:
            assert asked["ExpressionAttributeNames"] == {"#value": "value"}
            is_over = int(there["expires_at"]["N"]) <= int(wanted[":now"]["N"])
            there = None if is_over or there["value"] == wanted[":value"] else there
        if there is not None and condition:
            raise ConditionalCheckFailedException
        self.items[asked["Item"]["alert"]["S"]] = asked["Item"]

    def get_item(self, **asked: Any) -> dict[str, Any]:
        self.call("get_item")
        assert asked["ConsistentRead"] is True
        found = self.items.get(asked["Key"]["alert"]["S"])
        return {"Item": found} if found else {}

    def update_item(self, **asked: Any) -> None:
        self.call("update_item")
        if asked["UpdateExpression"].endswith("ADD events :events"):
            self._add(asked["Key"], asked["ExpressionAttributeValues"])
            return
        item = self.items[asked["Key"]["alert"]["S"]]
        name, value = (
            asked["ExpressionAttributeNames"]["#name"],
            asked["ExpressionAttributeValues"][":state"],
        )
        target: dict[str, Callable[[], dict[str, Any]]] = {
            "SET channels.#name = :state": lambda: item["channels"]["M"],
            "SET #name = :state": lambda: item,
        }
        target[asked["UpdateExpression"]]()[name] = value

    def _add(self, key: dict[str, Any], values: dict[str, Any]) -> None:
        item = self.items.setdefault(key["alert"]["S"], {**key, "events": {"SS": []}})
        there, new = item["events"]["SS"], values[":event"]["S"]
        if len(there) >= int(values[":most"]["N"]) and new not in there:
            raise ConditionalCheckFailedException
        item |= {"events": {"SS": sorted({*there, new})}, "expires_at": values[":gone"]}


@dataclass
class Secrets(Faulty):
    """Secrets Manager with one secret; None while it is empty."""

    text: str | None = field(default_factory=lambda: json.dumps(FILLED))

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        self.call("get_secret_value")
        assert asked == {"SecretId": SETTINGS.twilio_secret_arn}
        if self.text is None:
            raise ResourceNotFoundException
        return {"SecretString": self.text}


@dataclass
class Topic(Faulty):
    """SNS with one topic, and what was published."""

    mails: list[dict[str, str]] = field(default_factory=list)

    def publish(self, **asked: str) -> None:
        self.call("publish")
        assert asked.pop("TopicArn") == SETTINGS.alert_topic_arn
        self.mails.append(asked)


@dataclass
class Register(Faulty):
    """Systems Manager with what lies below the folder of the networks, two parameters a page."""

    values: dict[str, str] = field(default_factory=dict)

    def get_parameters_by_path(self, **asked: Any) -> dict[str, Any]:
        self.call("get_parameters_by_path")
        first = int(asked.pop("NextToken", "0"))
        assert asked == {"Path": f"/{SETTINGS.name_prefix}/networks", "Recursive": False}
        found = [
            {"Name": f"{asked['Path']}/{name}", "Value": value}
            for name, value in self.values.items()
        ]
        more = {"NextToken": str(first + 2)} if first + 2 < len(found) else {}
        return {"Parameters": found[first : first + 2], **more}

    def allow(
        self,
        cidr: str,
        label: str = "hotel",
        who: str = "",
        expires: int | None = None,
        **more: Any,
    ) -> None:
        one = allowance.make(cidr, label, who, expires, **more)
        self.values[one.name] = allowance.encode(one)


@dataclass
class Directory(Faulty):
    """Identity stores; ``names`` holds the users by store and id, ``asked_in`` the Region of each client."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    asked_in: list[str] = field(default_factory=list)
    takes: float = 0.0  # seconds

    def describe_user(self, **asked: str) -> dict[str, str]:
        self.call("describe_user")
        time.sleep(self.takes)
        name = self.names.get((asked["IdentityStoreId"], asked["UserId"]))
        if name is None:
            raise ResourceNotFoundException
        return {"UserName": name, **asked}


@dataclass
class Queue(Faulty):
    """SQS with one queue: what waits in it, and for how many seconds."""

    waiting: list[tuple[Any, int]] = field(default_factory=list)

    def send_message(self, **asked: Any) -> None:
        self.call("send_message")
        assert asked["QueueUrl"] == SETTINGS.second_look_queue_url
        self.waiting.append((json.loads(asked["MessageBody"]), asked["DelaySeconds"]))


@dataclass
class Logs(Faulty):
    """CloudWatch Logs with one group: a line, the raw copy of an event, is a page of its own."""

    copies: list[Any] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self.call("filter_log_events")
        at = int(asked.pop("nextToken", "0"))
        self.asked = asked
        lines = [json.dumps(copy) for copy in self.copies[at : at + 1]]
        more = {"nextToken": str(at + 1)} if at + 1 < len(self.copies) else {}
        return {
            "events": [{"message": line} for line in lines if asked["filterPattern"] in line],
            **more,
        }


@dataclass
class World:
    """Everything outside of the function; ``missing`` names the services whose client cannot even be made."""

    table: Table = field(default_factory=Table)
    secrets: Secrets = field(default_factory=Secrets)
    topic: Topic = field(default_factory=Topic)
    register: Register = field(default_factory=Register)
    directory: Directory = field(default_factory=Directory)
    queue: Queue = field(default_factory=Queue)
    logs: Logs = field(default_factory=Logs)
    missing: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)
    hurried: list[str] = field(default_factory=list)
    now: float = NOW
    seconds_left: Callable[[], float] = lambda: 60.0

    def client(self, service: str, *, region: str = "", quick: bool = False) -> Any:
        self.made.append(service)
        self.hurried += [service] if quick else []
        assert quick or service not in ("identitystore", "ssm")
        if service in self.missing:
            raise AccessDeniedError(service)
        if service == "identitystore":
            self.directory.asked_in.append(region)
        clients: dict[str, Any] = {
            "dynamodb": self.table,
            "secretsmanager": self.secrets,
            "sns": self.topic,
        }
        others: dict[str, Any] = {"ssm": self.register, "sqs": self.queue, "logs": self.logs}
        return (clients | others | {"identitystore": self.directory})[service]

    def dependencies(self, **changes: str) -> Dependencies:
        settings = SETTINGS._replace(**changes)
        return Dependencies(settings, lambda: self.now, self.client, self.seconds_left)
