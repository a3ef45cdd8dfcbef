"""The state between events, kept in the ledger's table: reported alerts, counts and addresses.

If the table cannot be read, callers send the alert unchanged. Keys are digests, so that no name is
stored. Every item expires at most a day after it stops being useful.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from signwatch.detection.record import digest

DAY_SECONDS = 24 * 3600
WINDOW_SECONDS = 15 * 60  # failures are counted together within this time
MAX_COUNTED_EVENTS = 50  # more say nothing new, and an item of the table has a maximum size
CLAIM_CONDITION = "attribute_not_exists(alert) OR expires_at <= :now OR #value = :value"
COUNT_CONDITION = "attribute_not_exists(events) OR size(events) < :most OR contains(events, :event)"


class State(NamedTuple):
    """The state in one DynamoDB table. Every method raises what the table raises."""

    dynamodb: Any
    table: str

    def count_recent(self, key: str, event: str, at: float) -> tuple[int, bool]:
        """Count an event; return how many WINDOW_SECONDS hold, and whether this is the first.

        The time counted ends at ``at``, the event's own time in seconds since 1970. A retry or a
        late event therefore counts once and at its own place: the first event stays the first
        even if it is retried after others. At most MAX_COUNTED_EVENTS are counted.
        """
        window = int(at) // WINDOW_SECONDS
        entries = self._add_event(key, window, f"{int(at)} {event}")
        entries += self._get_events(key, window - 1)
        recent = []
        for entry in entries:
            time, _, event_id = entry.partition(" ")
            if int(time) > at - WINDOW_SECONDS:
                recent.append((int(time), event_id))
        return len(recent), min(recent) == (int(at), event)

    def put(self, key: str, value: str, now: float, seconds: int) -> None:
        """Store ``value`` under ``key`` for ``seconds``, in place of an earlier value."""
        self.dynamodb.put_item(TableName=self.table, Item=_item(key, value, now, seconds))

    def claim(self, key: str, value: str, now: float, seconds: int) -> bool:
        """Store ``value`` unless another value is current; return whether it is stored."""
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=_item(key, value, now, seconds),
                ConditionExpression=CLAIM_CONDITION,
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"S": value}, ":now": {"N": str(int(now))}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: str, now: float) -> str:
        """Return the current value under ``key``; empty if there is none."""
        item = self._get_item(_table_key("kept", key))
        if not item or int(item["expires_at"]["N"]) <= now:
            return ""
        return str(item["value"]["S"])

    def _add_event(self, key: str, window: int, entry: str) -> list[str]:
        """Add an event to a window and return the window's events; a full window stays as it is."""
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key=_table_key("count", f"{window}#{key}"),
                UpdateExpression="SET expires_at = :gone ADD events :events",
                ConditionExpression=COUNT_CONDITION,
                ExpressionAttributeValues={
                    ":gone": {"N": str((window + 2) * WINDOW_SECONDS + DAY_SECONDS)},
                    ":events": {"SS": [entry]},
                    ":event": {"S": entry},
                    ":most": {"N": str(MAX_COUNTED_EVENTS)},
                },
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return [entry, *self._get_events(key, window)]
        return self._get_events(key, window)

    def _get_events(self, key: str, window: int) -> list[str]:
        item = self._get_item(_table_key("count", f"{window}#{key}"))
        return list(item.get("events", {}).get("SS", []))

    def _get_item(self, table_key: dict[str, Any]) -> dict[str, Any]:
        response: dict[str, Any] = self.dynamodb.get_item(
            TableName=self.table, Key=table_key, ConsistentRead=True
        )
        return dict(response.get("Item", {}))


def _item(key: str, value: str, now: float, seconds: int) -> dict[str, Any]:
    expires_at = str(int(now) + seconds)
    return {
        **_table_key("kept", key),
        "value": {"S": value},
        "expires_at": {"N": expires_at},
    }


def _table_key(kind: str, key: str) -> dict[str, Any]:
    return {"alert": {"S": f"{kind}#{digest(key)}"}}
