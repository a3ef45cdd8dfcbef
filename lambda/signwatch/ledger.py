"""The ledger: what was delivered to whom, so that a repeated event or a retry repeats nothing.

It can only ever save a text, never cost one: whenever it is down, the answer is the louder one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

KEPT = 14 * 24 * 3600  # seconds, longer than any queue of ours keeps an event


class Ledger(NamedTuple):
    """The ledger of one alert. ``key`` is empty for an event without an id, which is never remembered."""

    dynamodb: Any
    table: str
    key: str

    def delivered(self, now: float) -> frozenset[str]:
        """Claim the alert and return the channels that already have it.

        Raises whatever the table raises; the caller decides to go on.
        """
        if not self.key:
            return frozenset()
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
            return self._channels()
        return frozenset()

    def mark(self, channel: str) -> None:
        """Remember that ``channel`` has the alert."""
        self._update("SET channels.#channel = :state", {"#channel": channel}, "delivered")

    def finish(self) -> None:
        """Remember that every channel has it."""
        self._update("SET #state = :state", {"#state": "state"}, "done")

    def _channels(self) -> frozenset[str]:
        key = {"alert": {"S": self.key}}
        item = self.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item", {})
        return frozenset(item.get("channels", {}).get("M", {}))

    def _update(self, expression: str, names: dict[str, str], state: str) -> None:
        if self.key:
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"alert": {"S": self.key}},
                UpdateExpression=expression,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={":state": {"S": state}},
            )
