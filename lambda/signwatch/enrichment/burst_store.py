"""Counts the events of bursts in DynamoDB (see detection.bursts).

An account has one item. It holds the number of events by stream and hour, who told which level, and
the latest addresses and names for the closing message. A marker, an item for each event, makes
sure that an event is counted once, however often and in whatever order it arrives. The event that
reaches a level claims it by a conditional write, so exactly one is reported; a retry finds its
claim and is reported again. An event that is only counted costs two calls.
The item stays below 20 KB and expires two days after the last event or try of a closing message.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple, Self

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
from signwatch.enrichment.text_budget import EMAIL, NOTHING
from signwatch.later import NotYetError

MARKER_SECONDS = 14 * 24 * HOUR_SECONDS  # no queue keeps an event for longer
ITEM_SECONDS = 2 * RUN_MAX_HOURS * HOUR_SECONDS
CLAIM_TRIES = 10  # each is lost only to an event that claimed a level
MAX_CLAIMS = 20  # of a stream, the latest
MAX_ORIGINS = 10  # of a stream
ORIGIN_MAX_CHARS = 64
ORIGIN_MINUTES = RUN_MAX_HOURS * 60  # an older one belongs to another run
UNDECIDED = "?"
# Longer than an hour, so that a burst of an hour has one closing message; a little less than five
# quarters, because SQS may deliver a message early.
CLOSING_DELAY_SECONDS = HOUR_SECONDS + 14 * 60
CLOSING_LOST_SECONDS = 6 * HOUR_SECONDS  # a closing message has been sent long before
TEXT_MIN_UNTOLD_EVENTS = 10  # since the last message, and at least as many as it told
RECENT_HOURS = 2  # a closing message tells of events that came so long before its first one


class Claim(NamedTuple):
    """A level that an event claimed. The table stores it as "498802 10 12 2 text event-id"."""

    hour: int
    level: int
    number: int  # of events in the run, and the run's hours
    hours: int
    granted: str  # by text_budget; UNDECIDED until then
    event_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        hour, level, number, hours, granted, event_id = text.split(" ", 5)
        return cls(int(hour), int(level), int(number), int(hours), granted, event_id)

    def __str__(self) -> str:
        return " ".join(map(str, self))


class Origin(NamedTuple):
    """Where an event came from. The table stores it as a JSON list."""

    minute: int  # of its arrival, since 1970
    stream: str
    source: str  # untrusted, as the name
    who: str


class Count(NamedTuple):
    """The result of counting an event."""

    number: int  # of events in its run
    hours: int  # of the run
    level: int  # that the event claimed; 0 if it is only counted
    needs_closing: bool  # it is not told, and no closing message waits
    granted: str = UNDECIDED  # to an event that claimed a level


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
            closing_at = _get_number(item, "closing_at")
            has_closing = closing_at > now - CLOSING_LOST_SECONDS
            claims = _get_claims(item, stream)
            for claim in claims:
                if claim.event_id == event_id:
                    number, hours, granted = claim.number, claim.hours, claim.granted
                    return Count(number, hours, claim.level, not has_closing, granted)
            run = find_run(_read_numbers(item, stream), hour)
            level = find_level(run.number)
            if level <= max((claim.level for claim in _of_run(claims, run)), default=0):
                is_told = not is_new and run.number <= _count_told(claims, run)
                return Count(run.number, run.hours, 0, not (is_told or has_closing))
            claim = Claim(hour, level, run.number, run.hours, UNDECIDED, event_id)
            if self._replace_claims(stream, claims, [*claims, claim][-MAX_CLAIMS:], item):
                return Count(run.number, run.hours, level, not has_closing)
            item = self.get()
        raise TimeoutError

    def record_grant(self, stream: str, event_id: str, granted: str) -> None:
        """Record what was granted to an event that claimed a level: only then has it been told."""
        for _ in range(CLAIM_TRIES):
            item = self.get()
            claims = _get_claims(item, stream)
            new = [
                claim._replace(granted=granted) if claim.event_id == event_id else claim
                for claim in claims
            ]
            if new == claims or self._replace_claims(stream, claims, new, item):
                return
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
        closing_at, part = _get_number(item, "closing_at"), _get_number(item, "closing_part")
        if now < closing_at + CLOSING_DELAY_SECONDS:
            raise NotYetError
        oldest_hour = closing_at // HOUR_SECONDS - RECENT_HOURS
        streams, is_texted = [], False
        for stream in STREAMS:
            claims = _get_claims(item, stream)
            end_hour = int(now) // HOUR_SECONDS + 1
            for run in _list_runs(item, stream, oldest_hour):
                told = _count_told(claims, run)
                if not part or run.number > told:
                    streams.append(_describe_run(item, stream, run, end_hour))
                is_texted |= run.number - told >= max(told, TEXT_MIN_UNTOLD_EVENTS)
                end_hour = run.first_hour
        number = _get_number(item, "event_count")
        closing = BurstClosing(self.account, tuple(streams), is_texted, number, part)
        if not streams:
            self.finish_closing(closing, closing_id, now)
            return None
        self._update(
            "SET expires_at = :expires_at",  # until it has been sent
            {":expires_at": {"N": str(int(now) + ITEM_SECONDS)}},
        )
        return closing

    def finish_closing(self, closing: BurstClosing, closing_id: str, now: float) -> None:
        """Record that the closing message was sent; forget the addresses and names.

        Raises NotYetError if events have come meanwhile: a further part follows, as late as the
        first.
        """
        told: dict[str, list[str]] = {}
        for each in closing.streams:
            claim = Claim(each.last_hour, 0, each.number, each.hours, EMAIL, "closing")
            told.setdefault(f"told_{each.stream}", []).append(str(claim))
        values: dict[str, Any] = {
            ":id": {"S": closing_id},
            ":now": {"N": str(int(now))},
            ":part": {"N": str(closing.part + 1)},
        }
        values |= {f":{name}": {"SS": claims} for name, claims in told.items()}
        expression = "SET closing_at = :now, closing_part = :part"
        if told:
            expression += " ADD " + ", ".join(f"{name} :{name}" for name in told)
        self._update(expression, values, "closing_id = :id")
        try:
            self._update(
                "REMOVE closing_id, closing_at, closing_part, origins",
                {":number": {"N": str(closing.number)}},
                "event_count = :number",
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            raise NotYetError from None

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
            f"SET expires_at = :expires_at ADD {stream}_{hour} :one, event_count :one",
            {":expires_at": {"N": str(int(now) + ITEM_SECONDS)}, ":one": {"N": "1"}},
        )
        origins = _add_origin(_get_origins(item), stream, int(now) // 60, origin)
        if origins:
            stored = [json.dumps(each) for each in origins]
            item = self._update("SET origins = :origins", {":origins": {"SS": stored}})
        return item, True

    def _replace_claims(
        self, stream: str, stored: list[Claim], claims: list[Claim], item: dict[str, Any]
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
            values[":stored"] = {"SS": list(map(str, stored))}
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


def _list_runs(item: dict[str, Any], stream: str, oldest_hour: int) -> list[Run]:
    """Return the runs of a stream, the latest first, without those before ``oldest_hour``.

    A closing message may be late, and a new run may have begun.
    """
    numbers, runs = _read_numbers(item, stream), list[Run]()
    while numbers and max(numbers) >= oldest_hour:
        run = find_run(numbers, max(numbers))
        runs.append(run)
        numbers = {hour: number for hour, number in numbers.items() if hour < run.first_hour}
    return runs


def _describe_run(item: dict[str, Any], stream: str, run: Run, end_hour: int) -> StreamClosing:
    """Return what is told about a run, with the origins of before ``end_hour``."""
    origins = [
        each
        for each in _get_origins(item)
        if each.stream == stream and run.first_hour <= each.minute // 60 < end_hour
    ]
    sources = tuple(dict.fromkeys(each.source for each in origins if each.source))
    names = tuple(dict.fromkeys(each.who for each in origins if each.who))
    return StreamClosing(stream, run.number, run.hours, sources, names, run.last_hour)


def _get_claims(item: dict[str, Any], stream: str) -> list[Claim]:
    """Return the claims of a stream, sorted by hour."""
    return sorted(map(Claim.parse, item.get(f"told_{stream}", {}).get("SS", ())))


def _count_told(claims: list[Claim], run: Run) -> int:
    """Return the number of events of a run that the last message told."""
    told = (
        claim.number for claim in _of_run(claims, run) if claim.granted not in (NOTHING, UNDECIDED)
    )
    return max(told, default=0)


def _add_origin(
    origins: list[Origin], stream: str, minute: int, origin: tuple[str, str]
) -> list[Origin]:
    """Return the origins with that of an event; empty if they stay the same.

    The latest are kept, not the first, which an attacker could fill before the attack. If a stream
    has as many as it may, they change once a minute, so that most events need no second write.
    """
    recent = [each for each in origins if each.minute > minute - ORIGIN_MINUTES]
    of_stream = [each for each in recent if each.stream == stream]
    source, who = (text.strip()[:ORIGIN_MAX_CHARS] for text in origin)
    new = Origin(minute, stream, source, who)
    is_full = len(of_stream) >= MAX_ORIGINS
    if new[2:] in [each[2:] for each in of_stream] or (is_full and of_stream[-1].minute == minute):
        return []
    if is_full:
        recent.remove(of_stream[0])
    return [*recent, new]


def _get_origins(item: dict[str, Any]) -> list[Origin]:
    """Return the origins of all streams, the earliest first."""
    return sorted(Origin(*json.loads(text)) for text in item.get("origins", {}).get("SS", ()))


def _get_number(item: dict[str, Any], name: str) -> int:
    """Return a number of the item; 0 if there is none."""
    return int(item.get(name, {}).get("N", "0"))
