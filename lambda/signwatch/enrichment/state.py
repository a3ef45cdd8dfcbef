"""The state that is kept between events: reported alerts, counts and addresses.

It is stored in the same DynamoDB table as the ledger. If the table cannot be read, callers send the
alert unchanged. Keys are stored as digests, so that the table contains no names. Every item expires
at most a day after it was last useful.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from signwatch.detection.record import digest

DAY_SECONDS = 24 * 3600
WINDOW_SECONDS = 15 * 60  # failures are counted together within this time
MAX_COUNTED_EVENTS = 50  # more say nothing new, and an item of the table has a maximum size
CLAIM_CONDITION = "attribute_not_exists(alert) OR expires_at <= :now OR #value = :value"
COUNT_CONDITION = "attribute_not_exists(events) OR size(events) < :max OR contains(events, :event)"


class State(NamedTuple):
    """The state in one DynamoDB table. Every method passes DynamoDB's errors on.

    A ``key`` says what is stored or counted, such as "111122223333#failures of root".
    """

    dynamodb: Any
    table: str

    def count_recent(self, key: str, event_id: str, event_seconds: float) -> tuple[int, bool]:
        """Count an event.

        Return the number of events in the WINDOW_SECONDS up to ``event_seconds``, and whether this
        event is the first of them. ``event_seconds`` is the event's own time in seconds since 1970.
        A retry is therefore counted once, and the first event stays the first even if it is retried
        after others. At most MAX_COUNTED_EVENTS are counted.
        """
        # Time is divided into fixed windows, each an item of the table. The WINDOW_SECONDS up to
        # the event lie in its own window and in the one before.
        window_index = int(event_seconds) // WINDOW_SECONDS
        entries = self._add_event(key, window_index, f"{int(event_seconds)} {event_id}")
        entries += self._get_events(key, window_index - 1)
        recent = []
        for entry in entries:
            entry_seconds, _, entry_id = entry.partition(" ")
            if int(entry_seconds) > event_seconds - WINDOW_SECONDS:
                recent.append((int(entry_seconds), entry_id))
        return len(recent), min(recent) == (int(event_seconds), event_id)

    def put(self, key: str, value: str, now: float, seconds: int) -> None:
        """Store ``value`` under ``key`` for ``seconds``, replacing any earlier value."""
        self.dynamodb.put_item(TableName=self.table, Item=_value_item(key, value, now, seconds))

    def claim(self, key: str, value: str, now: float, seconds: int) -> bool:
        """Store ``value`` unless another value has not expired; return whether it is stored."""
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=_value_item(key, value, now, seconds),
                ConditionExpression=CLAIM_CONDITION,
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"S": value}, ":now": {"N": str(int(now))}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: str, now: float) -> str:
        """Return the value under ``key``; empty if there is none or it has expired."""
        item = self._get_item(_table_key("kept", key))
        if not item or int(item["expires_at"]["N"]) <= now:
            return ""
        return str(item["value"]["S"])

    def _add_event(self, key: str, window_index: int, entry: str) -> list[str]:
        """Add the entry of an event to a window, unless the window is full.

        Return the entries of the window, including this one. An entry is "time event-id".
        """
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key=_table_key("count", f"{window_index}#{key}"),
                UpdateExpression="SET expires_at = :expiry ADD events :events",
                ConditionExpression=COUNT_CONDITION,
                ExpressionAttributeValues={
                    ":expiry": {"N": str((window_index + 2) * WINDOW_SECONDS + DAY_SECONDS)},
                    ":events": {"SS": [entry]},
                    ":event": {"S": entry},
                    ":max": {"N": str(MAX_COUNTED_EVENTS)},
                },
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return [entry, *self._get_events(key, window_index)]
        return self._get_events(key, window_index)

    def _get_events(self, key: str, window_index: int) -> list[str]:
        """Return the entries, "time event-id", of the events counted under ``key`` in a window."""
        item = self._get_item(_table_key("count", f"{window_index}#{key}"))
        return list(item.get("events", {}).get("SS", []))

    def _get_item(self, table_key: dict[str, Any]) -> dict[str, Any]:
        response: dict[str, Any] = self.dynamodb.get_item(
            TableName=self.table, Key=table_key, ConsistentRead=True
        )
        return dict(response.get("Item", {}))


def _value_item(key: str, value: str, now: float, seconds: int) -> dict[str, Any]:
    expires_at = str(int(now) + seconds)
    return {
        **_table_key("kept", key),
        "value": {"S": value},
        "expires_at": {"N": expires_at},
    }


def _table_key(kind: str, key: str) -> dict[str, Any]:
    """Return the primary key of an item; ``kind`` is "kept" for a value, "count" for a window."""
    return {"alert": {"S": f"{kind}#{digest(key)}"}}
