"""The state that is kept between events: reported alerts, counts and addresses.

It is stored in the same DynamoDB table as the ledger; the table's primary key is the attribute
``alert``. An item holds either a value or the events of one window of 15 minutes. Keys are stored
as digests, so that the table contains no names. Every item expires at most a day after it was last
useful; the site of a person's last sign-in is kept for as long as a session can last. If the table
cannot be read, callers send the alert unchanged.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from signwatch.detection.record import digest

DAY_SECONDS = 24 * 3600
WINDOW_SECONDS = 15 * 60  # failures are counted together within this time
MAX_COUNTED_EVENTS = 50  # in one window; an item of the table has a maximum size
# DynamoDB writes only if: there is no value, it has expired, or it is the same.
CLAIM_CONDITION = "attribute_not_exists(alert) OR expires_at <= :now OR #value = :value"
# DynamoDB writes only if: the window is new, has room, or has the event already (a retry).
COUNT_CONDITION = (
    "attribute_not_exists(events) OR size(events) < :max_events OR contains(events, :event)"
)


class CountedEvent(NamedTuple):
    """A counted event, ordered by time. The table stores it as the string "1795000000 event-id"."""

    seconds: int  # the event's own time in seconds since 1970
    event_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        seconds, _, event_id = text.partition(" ")
        return cls(int(seconds), event_id)

    def __str__(self) -> str:
        return f"{self.seconds} {self.event_id}"


class RecentCount(NamedTuple):
    """The result of counting an event together with the recent ones."""

    number: int  # of events, including this one
    is_first: bool  # this event is the earliest of them


class State(NamedTuple):
    """The state in one DynamoDB table. Every method passes DynamoDB's errors on.

    A ``key`` says what is stored or counted, such as "111122223333#failures of root". ``now`` is in
    seconds since 1970, ``storage_seconds`` is the time until a value expires.
    """

    dynamodb: Any
    table: str

    def count_recent(self, key: str, event_id: str, event_seconds: int) -> RecentCount:
        """Count an event together with those that happened less than WINDOW_SECONDS before it.

        ``event_seconds`` is the event's own time in seconds since 1970. A retry is therefore
        counted once, and the first event stays the first even if it is retried after others. Later
        events that share its fixed window are counted too.
        """
        # Time is divided into fixed windows, each an item of the table. The WINDOW_SECONDS before
        # the event lie in its own window and in the one before.
        window_index = event_seconds // WINDOW_SECONDS
        this_event = CountedEvent(event_seconds, event_id)
        events = self._add_event(key, window_index, this_event)
        events += self._get_events(key, window_index - 1)
        recent = [event for event in events if event.seconds > event_seconds - WINDOW_SECONDS]
        earliest = min(recent)
        return RecentCount(len(recent), is_first=earliest == this_event)

    def put(self, key: str, value: str, now: float, storage_seconds: int) -> None:
        """Store ``value`` under ``key``, replacing any earlier value."""
        item = _make_value_item(key, value, now, storage_seconds)
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def claim(self, key: str, value: str, now: float, storage_seconds: int) -> bool:
        """Store ``value`` under ``key``, unless it has another value that has not expired.

        Return whether it is stored. A retry that claims the same value again succeeds.
        """
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=_make_value_item(key, value, now, storage_seconds),
                ConditionExpression=CLAIM_CONDITION,
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"S": value}, ":now": {"N": str(int(now))}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: str, now: float) -> str:
        """Return the value under ``key``; empty if there is none or it has expired."""
        item = self._get_item(_make_table_key("kept", key))
        if not item or int(item["expires_at"]["N"]) <= now:
            return ""
        return str(item["value"]["S"])

    def _add_event(self, key: str, window_index: int, event: CountedEvent) -> list[CountedEvent]:
        """Add an event to a window, unless the window is full.

        Return the events of the window, including this one even if it was not added. An event that
        is added again, by a retry, is counted once: the table stores a set of strings.
        """
        end_of_next_window = (window_index + 2) * WINDOW_SECONDS  # until then the event counts
        expires_at = end_of_next_window + DAY_SECONDS
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key=_make_table_key("count", f"{window_index}#{key}"),
                UpdateExpression="SET expires_at = :expires_at ADD events :set_of_event",
                ConditionExpression=COUNT_CONDITION,
                ExpressionAttributeValues={
                    ":expires_at": {"N": str(expires_at)},
                    ":event": {"S": str(event)},
                    ":set_of_event": {"SS": [str(event)]},  # ADD takes a set, here of one
                    ":max_events": {"N": str(MAX_COUNTED_EVENTS)},
                },
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return [event, *self._get_events(key, window_index)]
        return self._get_events(key, window_index)

    def _get_events(self, key: str, window_index: int) -> list[CountedEvent]:
        """Return the events counted under ``key`` in a window, in any order."""
        item = self._get_item(_make_table_key("count", f"{window_index}#{key}"))
        return [CountedEvent.parse(text) for text in item.get("events", {}).get("SS", [])]

    def _get_item(self, table_key: dict[str, Any]) -> dict[str, Any]:
        """Return an item in DynamoDB's form, {"value": {"S": "..."}}; empty if there is none."""
        response: dict[str, Any] = self.dynamodb.get_item(
            TableName=self.table, Key=table_key, ConsistentRead=True
        )
        return dict(response.get("Item", {}))


def _make_value_item(key: str, value: str, now: float, storage_seconds: int) -> dict[str, Any]:
    """Return an item in DynamoDB's form that holds ``value``."""
    return {
        **_make_table_key("kept", key),
        "value": {"S": value},
        "expires_at": {"N": str(int(now) + storage_seconds)},
    }


def _make_table_key(kind: str, key: str) -> dict[str, Any]:
    """Return the primary key of an item; ``kind`` is "kept" for a value, "count" for a window."""
    return {"alert": {"S": f"{kind}#{digest(key)}"}}
