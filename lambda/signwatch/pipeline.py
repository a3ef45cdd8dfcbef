"""The hub: read, judge, and, if need be, compose and deliver. Read this file and you know the product.

A recognised sign-in takes the short way: one log line, no AWS call, neither boto3 nor twilio imported.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import journal, networks
from signwatch.message import compose
from signwatch.record import moment
from signwatch.signin import NotASignIn, Reading, SignIn, Step, Unreadable, read
from signwatch.verdict import Verdict, judge, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.settings import Settings


class Dependencies(NamedTuple):
    """What the outside world is to the pipeline; ``seconds_left`` tells how long Lambda lets us go on."""

    settings: Settings
    clock: Callable[[], float]
    client: Callable[[str], Any]
    seconds_left: Callable[[], float]

    @classmethod
    def make(cls, settings: Settings, context: Any) -> Dependencies:
        """Return the real ones."""
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls(settings, time.time, _client, lambda: remaining() / 1000 if remaining else 60.0)


def process(event: object, dependencies: Dependencies) -> dict[str, str]:
    """Take one event from reading to the last mark in the ledger; return its id and verdict.

    Raises DeliveryError when an alert has not reached everybody yet, so that Lambda tries again.
    """
    reading = read(event)
    known = networks.parse(dependencies.settings.known_networks)
    recognised = isinstance(reading, SignIn) and networks.recognises(known, reading.source)
    now = dependencies.clock()
    verdict = _told_before(judge(reading, recognised=recognised), reading, now, dependencies)
    delay = _delay(reading, now)
    _log(reading, verdict, delay, known, now)
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        _alert(reading, verdict, delay, dependencies)
    return {"event_id": reading.event_id, "verdict": verdict.level}


def _told_before(verdict: Verdict, reading: Reading, now: float, dependencies: Dependencies) -> Verdict:
    """Make a note of an alert that was told of within the day; a memory that is down makes nothing quiet."""
    if not verdict.once:
        return verdict
    from signwatch.memory import Memory

    try:
        memory = Memory(dependencies.client("dynamodb"), dependencies.settings.ledger_table_name)
        first = memory.is_first(verdict.once, reading.event_id, now)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        values = {"level": "ERROR", "event_id": reading.event_id, "problem": "memory", "error": type(error).__name__}
        journal.write(values, {}, now)
        return verdict
    return verdict if first else repeated(verdict)


def _alert(reading: SignIn | Unreadable, verdict: Verdict, delay: int | None, dependencies: Dependencies) -> None:
    from signwatch.delivery import deliver

    message = compose(reading, verdict, label=dependencies.settings.account_label, delay=delay)
    deliver(message, f"{reading.account}#{reading.event_id}" if reading.event_id else "", dependencies)


def _log(reading: Reading, verdict: Verdict, delay: int | None, known: networks.Networks, now: float) -> None:
    values: dict[str, Any] = {
        "level": "WARNING" if verdict.level == "alert" else "INFO",
        "event_id": reading.event_id,
        "kind": type(reading).__name__ if isinstance(reading, (Step, NotASignIn, Unreadable)) else reading.what,
        "who": reading.who if isinstance(reading, (SignIn, Unreadable)) else "",
        "source": reading.source if isinstance(reading, (SignIn, Unreadable)) else "",
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "delay_s": delay,
    }
    if known.unusable:
        values["unusable_networks"] = list(known.unusable)
    metrics = {"SignIns": 1.0} | ({"DelaySeconds": float(delay)} if delay is not None else {})
    journal.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _delay(reading: Reading, now: float) -> int | None:
    """Return the seconds from the sign-in to now; None when its time cannot be read."""
    if not isinstance(reading, (SignIn, Unreadable)):
        return None
    at = moment(reading.time)
    return max(0, round(now - at.timestamp())) if at else None


def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
    return boto3.client(service, config=config)
