"""The ledger records what became of an alert in each channel, so that a retry sends no more.

A channel is the e-mail or one recipient of texts. The ledger is a DynamoDB table with one item, an
entry, for each alert. If it cannot be used, the caller sends the alert anyway.

An invocation leases the entry for the longest time that it can run. Meanwhile no other one sends
the alert; if the invocation is killed, another takes over when the lease has ended.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Self

RETENTION_SECONDS = 14 * 24 * 3600  # no queue keeps an event for longer
LEASE_SECONDS = 60  # the function's timeout
TAKE_OVER_CONDITION = "attribute_not_exists(lease_until) OR lease_until = :old"
# How often a text is sent that may have been sent before: without asking Twilio, and in all.
MAX_UNCLEAR_TRIES, MAX_UNCLEAR_TRIES_IN_ALL = 2, 6


class LeaseHeldError(Exception):
    """Another invocation is sending the alert at this moment."""


class Channel(NamedTuple):
    """What became of an alert in one channel; the default is one in which nothing was tried.

    ``state`` is "sent" (the provider accepted it), "delivered", "failed" (for good), "transient"
    (not sent, a retry may help), "credentials" (the same, since the provider refused them) or
    "unclear" (it may have been sent).
    """

    state: str = ""
    at: int = 0  # the time of the last try, in seconds since 1970
    sid: str = ""  # the provider's id of the message
    reason: str = ""  # why it was not sent
    tries: int = 0
    since: int = 0  # the time of the first try in a row that ended in this state
    unclear: int = 0  # tries that may have sent it, since Twilio's list was last without it
    unclear_in_all: int = 0
    text: str = ""  # of sms.make_mark: the text that may have been sent

    @property
    def has_alert(self) -> bool:
        """Whether the alert was sent."""
        return self.state in ("sent", "delivered")

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be tried again."""
        is_over = self.unclear_in_all >= MAX_UNCLEAR_TRIES_IN_ALL
        is_given_up = self.unclear >= MAX_UNCLEAR_TRIES or is_over
        return self.has_alert or self.state == "failed" or (self.state == "unclear" and is_given_up)

    def encode(self) -> dict[str, Any]:
        """Return the channel in DynamoDB's form, without empty values."""
        kinds = {str: "S", int: "N"}
        fields = {name: value for name, value in self._asdict().items() if value}
        return {"M": {name: {kinds[type(value)]: str(value)} for name, value in fields.items()}}

    @classmethod
    def decode(cls, item: dict[str, Any]) -> Self:
        """Read a channel in DynamoDB's form; an earlier version stored {"S": "delivered"}."""
        if "M" not in item:
            return cls("sent")
        values: dict[str, Any] = {}
        for name, value in item["M"].items():
            values[name] = int(value["N"]) if "N" in value else value["S"]
        return cls(**values)


class Entry(NamedTuple):
    """The entry of one alert in the ledger."""

    channels: dict[str, Channel]  # by name
    finished: bool = False  # nothing is left to send or to retry
    is_first: bool = True  # no earlier delivery of the event recorded it
    tries: int = 1  # invocations that claimed it, with this one


class Ledger(NamedTuple):
    """The ledger's entry of one alert. Every method passes DynamoDB's errors on."""

    dynamodb: Any
    table: str
    key: str  # "<account>#<event id>"; if empty (an event without an id), nothing is recorded

    def claim(self, now: float) -> Entry:
        """Record the alert, or take its Entry over, and lease it; ``now`` is in seconds since 1970.

        Raises LeaseHeldError if another invocation has the lease.
        """
        if not self.key:
            return Entry({})
        lease = {
            "lease_until": {"N": str(int(now) + LEASE_SECONDS)},
            "lease_owner": {"S": os.urandom(8).hex()},
        }
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item={
                    "alert": {"S": self.key},
                    "state": {"S": "claimed"},
                    "channels": {"M": {}},
                    "tries": {"N": "1"},
                    **lease,
                    "expires_at": {"N": str(int(now) + RETENTION_SECONDS)},
                },
                ConditionExpression="attribute_not_exists(alert)",
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return self._take_over(now, lease)
        return Entry({})

    def put_channel(self, name: str, channel: Channel) -> None:
        """Record what became of the alert in a channel."""
        self._update("SET channels.#name = :value", {"#name": name}, {":value": channel.encode()})

    def release(self) -> None:
        """End the lease, so that a retry need not wait for its end."""
        self._update("SET lease_until = :value", {}, {":value": {"N": "0"}})

    def finish(self) -> None:
        """Record that nothing is left to send or to retry."""
        self._update("SET #name = :value", {"#name": "state"}, {":value": {"S": "done"}})

    def get_channels(self) -> dict[str, Channel]:
        """Return the alert's channels by name."""
        return _read_channels(self._get_item()) if self.key else {}

    def _take_over(self, now: float, lease: dict[str, Any]) -> Entry:
        """Lease an entry that another invocation made, and return it."""
        item = self._get_item()
        channels = _read_channels(item)
        if item.get("state", {}).get("S") == "done":
            return Entry(channels, finished=True, is_first=False)
        if item.get("lease_owner") == lease["lease_owner"]:  # the client wrote it, and tried again
            return Entry({})
        old_lease = item.get("lease_until", {"N": "0"})
        # A lease that ends later than any can is of a clock that was wrong.
        if now < int(old_lease["N"]) <= now + LEASE_SECONDS:
            raise LeaseHeldError
        tries = int(item.get("tries", {"N": "1"})["N"]) + 1
        values = {
            ":old": old_lease,
            ":until": lease["lease_until"],
            ":owner": lease["lease_owner"],
            ":tries": {"N": str(tries)},
        }
        expression = "SET lease_until = :until, lease_owner = :owner, tries = :tries"
        try:
            self._update(expression, {}, values, ConditionExpression=TAKE_OVER_CONDITION)
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            raise LeaseHeldError from None  # another one took it over first
        return Entry(channels, is_first=False, tries=tries)

    def _get_item(self) -> dict[str, Any]:
        """Return the entry in DynamoDB's form; empty if there is none."""
        response = self.dynamodb.get_item(
            TableName=self.table, Key={"alert": {"S": self.key}}, ConsistentRead=True
        )
        return dict(response.get("Item", {}))

    def _update(
        self, expression: str, names: dict[str, str], values: dict[str, Any], **options: Any
    ) -> None:
        """Update the entry by a DynamoDB expression with placeholders for names and values."""
        if not self.key:
            return
        if names:
            options["ExpressionAttributeNames"] = names
        self.dynamodb.update_item(
            TableName=self.table,
            Key={"alert": {"S": self.key}},
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            **options,
        )


def _read_channels(item: dict[str, Any]) -> dict[str, Channel]:
    """Return the channels of an entry in DynamoDB's form, by name."""
    channels = item.get("channels", {}).get("M", {})
    return {name: Channel.decode(value) for name, value in channels.items()}
