"""The ledger: who already has an alert, so that a repeated event or a retry sends nothing twice.

If the ledger cannot be used, the caller sends the alert anyway.
"""

from __future__ import annotations

from typing import Any, NamedTuple

RETENTION_SECONDS = 14 * 24 * 3600  # as long as any of the queues keeps an event


class Entry(NamedTuple):
    """What the ledger holds of an alert: the channels that have it, and whether all is done."""

    channels: frozenset[str] = frozenset()
    finished: bool = False


class Ledger(NamedTuple):
    """The ledger of one alert. ``key`` is empty for an event without an id: nothing is recorded."""

    dynamodb: Any
    table: str
    key: str

    def claim(self, now: float) -> Entry:
        """Record the alert, or return its entry if it is known; ``now`` in seconds since 1970.

        Raises what the table raises.
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

    def mark(self, channel: str) -> None:
        """Record that ``channel`` has the alert."""
        self._update("SET channels.#name = :state", channel, "delivered")

    def finish(self) -> None:
        """Record that nothing is left to do."""
        self._update("SET #name = :state", "state", "done")

    def _get_entry(self) -> Entry:
        response = self.dynamodb.get_item(
            TableName=self.table, Key={"alert": {"S": self.key}}, ConsistentRead=True
        )
        item = response.get("Item", {})
        channels = frozenset(item.get("channels", {}).get("M", {}))
        return Entry(channels, item.get("state", {}).get("S") == "done")

    def _update(self, expression: str, name: str, state: str) -> None:
        if self.key:
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"alert": {"S": self.key}},
                UpdateExpression=expression,
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={":state": {"S": state}},
            )
