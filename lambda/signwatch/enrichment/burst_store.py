"""Counts the events of bursts in DynamoDB (see detection.bursts).

An account has one item. It holds the number of events by stream and hour, who told which level, and
the first few addresses and names for the closing message. A marker, an item for each event, makes
sure that an event is counted once, however often and in whatever order it arrives. The event that
reaches a level claims it by a conditional write, so exactly one is reported; a retry finds its
claim and is reported again. An event that is only counted costs two calls.
The item stays below 20 KB and expires two days after the last event.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from signwatch.detection.bursts import (
    HOUR_SECONDS,
    RUN_MAX_HOURS,
    BurstClosing,
    Run,
    StreamClosing,
    find_level,
    find_run,
)
from signwatch.detection.record import digest
from signwatch.detection.verdict import STREAMS
from signwatch.later import NotYetError

if TYPE_CHECKING:
    from collections.abc import Collection

MARKER_SECONDS = 14 * 24 * HOUR_SECONDS  # no queue keeps an event for longer
ITEM_SECONDS = 2 * RUN_MAX_HOURS * HOUR_SECONDS
CLAIM_TRIES = 10  # each is lost only to an event that claimed a level
MAX_CLAIMS = 20  # of a stream, the latest
MAX_ORIGINS = 10  # addresses, and names, of a stream
ORIGIN_MAX_CHARS = 64
# Longer than an hour, so that a burst of an hour has one closing message; a little less than five
# quarters, because SQS may deliver a message early.
CLOSING_DELAY_SECONDS = HOUR_SECONDS + 14 * 60
CLOSING_LOST_SECONDS = 6 * HOUR_SECONDS  # a closing message has been sent long before
TEXT_MIN_UNTOLD_EVENTS = 10  # since the last message, and at least as many as it told
RECENT_HOURS = 2  # a closing message tells of events that came so long before its first one


class Claim(NamedTuple):
    """A level that an event claimed. The table stores it as "498802 10 12 2 event-id"."""

    hour: int
    level: int
    number: int  # of events in the run, and the run's hours
    hours: int
    event_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        hour, level, number, hours, event_id = text.split(" ", 4)
        return cls(int(hour), int(level), int(number), int(hours), event_id)

    def __str__(self) -> str:
        return " ".join(map(str, self))


class Count(NamedTuple):
    """The result of counting an event."""

    number: int  # of events in its run
    hours: int  # of the run
    level: int  # that the event claimed; 0 if it is only counted
    needs_closing: bool  # it is not told, and no closing message waits


class BurstStore(NamedTuple):
    """The counts of one account. Every method passes DynamoDB's errors on.

    ``now`` is in seconds since 1970, ``hour`` in hours; ``stream`` is one of STREAMS.
    """

    dynamodb: Any
    table: str
    account: str

    def count_event(
        self, stream: str, event_id: str, hour: int, now: float, *, origin: tuple[str, str]
    ) -> Count:
        """Count an event, and claim the level that it reaches unless another event has.

        ``origin`` is its address and the name of the user, for the closing message.
        """
        item, is_new = self._add(stream, event_id, hour, now, origin)
        for _ in range(CLAIM_TRIES):
            closing_at = int(item.get("closing_at", {"N": "0"})["N"])
            has_closing = closing_at > now - CLOSING_LOST_SECONDS
            stored = list(_get_set(item, f"told_{stream}"))
            claims = sorted(map(Claim.parse, stored))
            for claim in claims:
                if claim.event_id == event_id:
                    return Count(claim.number, claim.hours, claim.level, not has_closing)
            run = find_run(_read_numbers(item, stream), hour)
            level = find_level(run.number)
            claims_of_run = _of_run(claims, run)
            if level <= max((claim.level for claim in claims_of_run), default=0):
                is_told = not is_new and run.number <= max(claim.number for claim in claims_of_run)
                return Count(run.number, run.hours, 0, not (is_told or has_closing))
            claim = Claim(hour, level, run.number, run.hours, event_id)
            if self._claim(stream, stored, [*claims, claim][-MAX_CLAIMS:], item):
                return Count(run.number, run.hours, level, not has_closing)
            item = self.get()
        raise TimeoutError

    def start_closing(self, event_id: str, now: float) -> None:
        """Record that the event has queued a closing message, unless one waits already."""
        with contextlib.suppress(self.dynamodb.exceptions.ConditionalCheckFailedException):
            self._update(
                "SET closing_id = :id, closing_at = :now",
                {
                    ":id": {"S": event_id},
                    ":now": {"N": str(int(now))},
                    ":lost": {"N": str(int(now) - CLOSING_LOST_SECONDS)},
                },
                "attribute_not_exists(closing_at) OR closing_at <= :lost",
            )

    def find_closing(self, closing_id: str, now: float) -> BurstClosing | None:
        """Return what the closing message of an event tells; None if it was sent.

        Raises NotYetError while it is too early.
        """
        item = self.get()
        if item.get("closing_id", {}).get("S") != closing_id:
            return None
        closing_at = int(item["closing_at"]["N"])
        if now < closing_at + CLOSING_DELAY_SECONDS:
            raise NotYetError
        streams, is_texted = [], False
        for stream in STREAMS:
            run = _find_last_run(item, stream, closing_at // HOUR_SECONDS - RECENT_HOURS)
            if run:
                sources, names = _get_set(item, f"from_{stream}"), _get_set(item, f"who_{stream}")
                streams.append(
                    StreamClosing(stream, run.number, run.hours, sources, names, run.last_hour)
                )
                told = _count_told(item, stream, run)
                is_texted |= run.number - told >= max(told, TEXT_MIN_UNTOLD_EVENTS)
        return BurstClosing(self.account, tuple(streams), is_texted)

    def finish_closing(self, closing: BurstClosing) -> None:
        """Record that the closing message was sent; forget the addresses and names."""
        origins = [f"{part}_{stream}" for part in ("from", "who") for stream in STREAMS]
        told = {
            f"told_{each.stream}": str(Claim(each.last_hour, 0, each.number, each.hours, "closing"))
            for each in closing.streams
        }
        expression = "REMOVE " + ", ".join(["closing_id", "closing_at", *origins])
        self._update(expression + _format_add(told), _make_sets(told))

    def get(self) -> dict[str, Any]:
        """Return the account's item in DynamoDB's form; empty if there is none."""
        response = self.dynamodb.get_item(
            TableName=self.table, Key=self._make_key(), ConsistentRead=True
        )
        return dict(response.get("Item", {}))

    def _add(
        self, stream: str, event_id: str, hour: int, now: float, origin: tuple[str, str]
    ) -> tuple[dict[str, Any], bool]:
        """Add an event to its hour, unless it was counted; return the item, and if it was added."""
        marker = digest(f"{self.account}#{event_id}")
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item={
                    "alert": {"S": f"counted#{marker}"},
                    "expires_at": {"N": str(int(now) + MARKER_SECONDS)},
                },
                ConditionExpression="attribute_not_exists(alert)",
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return self.get(), False
        item = self._update(
            f"SET expires_at = :expires_at ADD {stream}_{hour} :one",
            {":expires_at": {"N": str(int(now) + ITEM_SECONDS)}, ":one": {"N": "1"}},
        )
        source, who = (text.strip()[:ORIGIN_MAX_CHARS] for text in origin)
        new = {
            name: text
            for name, text in ((f"from_{stream}", source), (f"who_{stream}", who))
            if text and text not in _get_set(item, name) and _has_room(item, name)
        }
        if new:
            item = self._update(_format_add(new).strip(), _make_sets(new))
        return item, True

    def _claim(
        self, stream: str, stored: list[str], claims: list[Claim], item: dict[str, Any]
    ) -> bool:
        """Store the claims of a stream if it still has those of ``stored``. Forget old hours."""
        oldest_hour = claims[-1].hour - 2 * RUN_MAX_HOURS
        old = [
            f"{each}_{each_hour}"
            for each in STREAMS
            for each_hour in _read_numbers(item, each)
            if each_hour < oldest_hour
        ]
        expression = f"SET told_{stream} = :claims"
        values: dict[str, Any] = {":claims": {"SS": list(map(str, claims))}}
        condition = f"attribute_not_exists(told_{stream})"
        if stored:
            condition = f"told_{stream} = :stored"
            values[":stored"] = {"SS": stored}
        if old:
            expression += " REMOVE " + ", ".join(old)
        try:
            self._update(expression, values, condition)
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _update(
        self, expression: str, values: dict[str, Any], condition: str = ""
    ) -> dict[str, Any]:
        """Update the account's item, and return it."""
        request: dict[str, Any] = {"UpdateExpression": expression}
        if values:
            request["ExpressionAttributeValues"] = values
        if condition:
            request["ConditionExpression"] = condition
        response = self.dynamodb.update_item(
            TableName=self.table, Key=self._make_key(), ReturnValues="ALL_NEW", **request
        )
        return dict(response["Attributes"])

    def _make_key(self) -> dict[str, Any]:
        return {"alert": {"S": f"burst#{digest(self.account)}"}}


def _read_numbers(item: dict[str, Any], stream: str) -> dict[int, int]:
    """Return the number of events of a stream by hour."""
    prefix = f"{stream}_"
    return {
        int(name.removeprefix(prefix)): int(value["N"])
        for name, value in item.items()
        if name.startswith(prefix)
    }


def _of_run(claims: list[Claim], run: Run) -> list[Claim]:
    """Return the claims of events of a run."""
    return [claim for claim in claims if run.first_hour <= claim.hour <= run.last_hour]


def _find_last_run(item: dict[str, Any], stream: str, oldest_hour: int) -> Run | None:
    """Return the last run of a stream; None if it ended before ``oldest_hour``."""
    numbers = _read_numbers(item, stream)
    last_hour = max(numbers, default=0)
    return find_run(numbers, last_hour) if last_hour >= oldest_hour else None


def _count_told(item: dict[str, Any], stream: str, run: Run) -> int:
    """Return the number of events of a run that the last message told."""
    claims = list(map(Claim.parse, _get_set(item, f"told_{stream}")))
    return max((claim.number for claim in _of_run(claims, run)), default=0)


def _get_set(item: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a set of strings; empty if there is none."""
    return tuple(item.get(name, {}).get("SS", ()))


def _has_room(item: dict[str, Any], name: str) -> bool:
    return len(_get_set(item, name)) < MAX_ORIGINS


def _format_add(strings: Collection[str]) -> str:
    """Return the clause that adds a string to each set of these names; empty without a name."""
    clauses = ", ".join(f"{name} :{name}" for name in strings)
    return f" ADD {clauses}" if clauses else ""


def _make_sets(strings: dict[str, str]) -> dict[str, Any]:
    """Return the values of that clause."""
    return {f":{name}": {"SS": [text]} for name, text in strings.items()}
