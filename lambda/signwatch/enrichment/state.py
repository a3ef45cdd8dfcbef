"""The memory between events, kept in the ledger's table: what was told of, what was counted, what was seen where.

It can only ever save a text: whoever asks takes the louder answer while the table is down. Keys are digests, so that no
name is stored; every item goes by itself after at most a day more than it is good for.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

DAY = 24 * 3600  # seconds
WINDOW = 15 * 60  # seconds within which failures are counted together
MOST = 50  # events that are counted; more say nothing new, and an item of the table has a size
FREE = "attribute_not_exists(alert) OR expires_at <= :now OR #value = :value"
ROOM = "attribute_not_exists(events) OR size(events) < :most OR contains(events, :event)"


class State(NamedTuple):
    """The memory in one table of DynamoDB. Each method raises whatever the table raises."""

    dynamodb: Any
    table: str

    def count_recent(self, what: str, event: str, at: float) -> tuple[int, bool]:
        """Return how many events of ``what`` the WINDOW that ends at ``at`` holds, and whether this is the first.

        ``at`` is the event's own time, in seconds since 1970, so that a retry or a late event counts once and where it
        belongs: the first stays the first, however many came until it is tried again. At most MOST are told apart.
        """
        place = int(at) // WINDOW
        here, before = self._added(what, place, f"{int(at)} {event}"), self._events(what, place - 1)
        found = [
            (int(time), name) for time, _, name in (one.partition(" ") for one in (*here, *before))
        ]
        recent = [one for one in found if one[0] > at - WINDOW]
        return len(recent), min(recent) == (int(at), event)

    def put(self, what: str, value: str, now: float, seconds: int) -> None:
        """Remember ``value`` for ``what`` for so many seconds, in place of an earlier one."""
        self.dynamodb.put_item(TableName=self.table, Item=_value(what, value, now, seconds))

    def claim(self, what: str, value: str, now: float, seconds: int) -> bool:
        """Remember ``value`` as ``keep`` does, unless another value is still remembered; say whether it is now."""
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=_value(what, value, now, seconds),
                ConditionExpression=FREE,
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"S": value}, ":now": {"N": str(int(now))}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, what: str, now: float) -> str:
        """Return the value that is remembered for ``what``; empty for none."""
        item = self._item(_key("kept", what))
        return str(item["value"]["S"]) if item and int(item["expires_at"]["N"]) > now else ""

    def _added(self, what: str, place: int, event: str) -> list[str]:
        """Add an event to those of one window; when that is full, they are enough without it."""
        key = _key("count", f"{place}#{what}")
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key=key,
                UpdateExpression="SET expires_at = :gone ADD events :events",
                ConditionExpression=ROOM,
                ExpressionAttributeValues={
                    ":gone": {"N": str((place + 2) * WINDOW + DAY)},
                    ":events": {"SS": [event]},
                    ":event": {"S": event},
                    ":most": {"N": str(MOST)},
                },
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return [event, *self._events(what, place)]
        return self._events(what, place)

    def _events(self, what: str, place: int) -> list[str]:
        item = self._item(_key("count", f"{place}#{what}"))
        return list(item.get("events", {}).get("SS", []))

    def _item(self, key: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.dynamodb.get_item(
            TableName=self.table, Key=key, ConsistentRead=True
        )
        return dict(found.get("Item", {}))


def digest(text: str) -> str:
    """Return what stands for ``text`` in the table."""
    return hashlib.sha256(text.encode()).hexdigest()


def _value(what: str, value: str, now: float, seconds: int) -> dict[str, Any]:
    return _key("kept", what) | {
        "value": {"S": value},
        "expires_at": {"N": str(int(now) + seconds)},
    }


def _key(kind: str, what: str) -> dict[str, Any]:
    return {"alert": {"S": f"{kind}#{digest(what)}"}}
