"""The ledger: what was delivered to whom, so that a repeated event or a retry repeats nothing.

It can only ever save a text, never cost one: whenever it is down, the answer is the louder one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

KEPT = 14 * 24 * 3600  # seconds, as long as any queue of ours keeps an event


class Entry(NamedTuple):
    """What the ledger knows of an alert: the channels that have it, and whether nothing is left to be done."""

    channels: frozenset[str] = frozenset()
    finished: bool = False


class Ledger(NamedTuple):
    """The ledger of one alert. ``key`` is empty for an event without an id, which is never remembered."""

    dynamodb: Any
    table: str
    key: str

    def claim(self, now: float) -> Entry:
        """Write the alert down, or return what is known of it already; ``now`` in seconds since 1970.

        Raises whatever the table raises; the caller decides to go on.
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
                    "expires_at": {"N": str(int(now) + KEPT)},
                },
                ConditionExpression="attribute_not_exists(alert)",
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return self._entry()
        return Entry()

    def mark(self, channel: str) -> None:
        """Remember that ``channel`` has the alert."""
        self._update("SET channels.#name = :state", channel, "delivered")

    def finish(self) -> None:
        """Remember that nothing is left to be done."""
        self._update("SET #name = :state", "state", "done")

    def _entry(self) -> Entry:
        key = {"alert": {"S": self.key}}
        item = self.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True).get(
            "Item", {}
        )
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
