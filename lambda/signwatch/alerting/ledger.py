"""The ledger records which channels received an alert, so that a retry does not send it twice.

A channel is the e-mail or one recipient of texts. The ledger is a DynamoDB table with one item, an
entry, for each alert. If it cannot be used, the caller sends the alert anyway.
"""

from __future__ import annotations

from typing import Any, NamedTuple

RETENTION_SECONDS = 14 * 24 * 3600  # no queue keeps an event for longer


class Entry(NamedTuple):
    """The entry of one alert in the ledger."""

    channels: frozenset[str] = frozenset()  # those that received the alert
    finished: bool = False  # nothing is left to send or to retry
    is_first: bool = True  # no earlier delivery of the event recorded it


class Ledger(NamedTuple):
    """The ledger's entry of one alert. Every method passes DynamoDB's errors on."""

    dynamodb: Any
    table: str
    key: str  # "<account>#<event id>"; if empty (an event without an id), nothing is recorded

    def claim(self, now: float) -> Entry:
        """Record the alert and return an empty Entry; if it was recorded before, return its Entry.

        ``now`` is in seconds since 1970.
        """
        if not self.key:
            return Entry()
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item={
                    "alert": {"S": self.key},
                    "state": {"S": "claimed"},
                    "channels": {"M": {}},
                    "expires_at": {"N": str(int(now) + RETENTION_SECONDS)},
                },
                ConditionExpression="attribute_not_exists(alert)",
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return self._get_entry()
        return Entry()

    def mark_delivered(self, channel: str) -> None:
        """Record that ``channel`` received the alert."""
        self._update("SET channels.#name = :state", channel, "delivered")

    def finish(self) -> None:
        """Record that nothing is left to send or to retry."""
        self._update("SET #name = :state", "state", "done")

    def _get_entry(self) -> Entry:
        """Return the entry as the table has it; an empty one if it has none."""
        response = self.dynamodb.get_item(
            TableName=self.table, Key={"alert": {"S": self.key}}, ConsistentRead=True
        )
        item = response.get("Item", {})
        channels = frozenset(item.get("channels", {}).get("M", {}))
        state = item.get("state", {}).get("S")
        return Entry(channels, finished=state == "done", is_first=False)

    def _update(self, expression: str, name: str, state: str) -> None:
        """Update the entry by a DynamoDB expression.

        In it, ``#name`` and ``:state`` stand for the arguments of these names.
        """
        if self.key:
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"alert": {"S": self.key}},
                UpdateExpression=expression,
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={":state": {"S": state}},
            )
