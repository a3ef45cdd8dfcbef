"""The hub: read, judge, and, if need be, compose and deliver. Read this file and you know the product.

A sign-in from a known network takes the short way: one log line, no AWS call, neither boto3 nor twilio imported.
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
    now = dependencies.clock()
    by = _recognised_by(reading, known, now, dependencies) if isinstance(reading, SignIn) else ""
    verdict = _told_before(judge(reading, recognised=bool(by)), reading, now, dependencies)
    delay = _delay(reading, now)
    _log(reading, verdict, delay, _told_of_networks(known, by), now)
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        _alert(reading, verdict, delay, dependencies)
    return {"event_id": reading.event_id, "verdict": verdict.level}


def _recognised_by(sign_in: SignIn, known: networks.Networks, now: float, dependencies: Dependencies) -> str:
    """Say what recognises the source: the known networks, else an allowance by its label; nothing if neither does.

    The register is asked only about what an allowance can hold: one address, not private unless an allowed VPC endpoint
    vouches for it.
    """
    settings = dependencies.settings
    by_endpoint = bool(sign_in.endpoint) and sign_in.endpoint in networks.entries(settings.allowed_vpc_endpoint_ids)
    if networks.recognises(known, sign_in.source, by_endpoint=by_endpoint):
        return "KnownNetworks"
    if networks.packed(sign_in.source) is None or (networks.is_private(sign_in.source) and not by_endpoint):
        return ""
    from signwatch import register

    found = register.find(
        sign_in, lambda: dependencies.client("ssm"), settings.name_prefix, now, by_endpoint=by_endpoint
    )
    return f"{found.label} (networks/{found.name})" if found else ""


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


def _log(reading: Reading, verdict: Verdict, delay: int | None, told: dict[str, Any], now: float) -> None:
    values: dict[str, Any] = {
        "level": "WARNING" if verdict.level == "alert" else "INFO",
        "event_id": reading.event_id,
        "kind": type(reading).__name__ if isinstance(reading, (Step, NotASignIn, Unreadable)) else reading.what,
        "who": reading.who if isinstance(reading, (SignIn, Unreadable)) else "",
        "source": reading.source if isinstance(reading, (SignIn, Unreadable)) else "",
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "delay_s": delay,
        **told,
    }
    metrics = {"SignIns": 1.0} | ({"DelaySeconds": float(delay)} if delay is not None else {})
    journal.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _told_of_networks(known: networks.Networks, by: str) -> dict[str, Any]:
    """Return what the log says of the networks: which of them recognised the source, and what is unusable in them."""
    unusable = {"unusable_networks": list(known.unusable)} if known.unusable else {}
    return unusable | ({"recognised_by": by} if by else {})


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
