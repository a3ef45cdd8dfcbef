"""The hub: read, judge, and, if need be, compose and deliver. Read this file and you know the product.

A sign-in from a known network takes the short way: one log line, no AWS call, neither boto3 nor twilio imported. A
portal sign-in and a device code alone ask the memory first, to compare their addresses.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import journal, networks
from signwatch.message import compose
from signwatch.paths import CENTER
from signwatch.record import moment
from signwatch.signin import DEVICE, NotASignIn, Reading, SignIn, Step, Unreadable, read
from signwatch.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.settings import Settings


class Dependencies(NamedTuple):
    """What the outside world is to the pipeline; ``seconds_left`` tells how long Lambda lets us go on.

    ``client`` makes the client of a service: of another Region with ``region``, and one that soon gives up with
    ``quick``.
    """

    settings: Settings
    clock: Callable[[], float]
    client: Callable[..., Any]
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
    now = dependencies.clock()
    reading = _reading(event, now, dependencies)
    known = networks.parse(dependencies.settings.known_networks)
    by = _recognised_by(reading, known, now, dependencies) if isinstance(reading, SignIn) else ""
    verdict = _judge(reading, now, dependencies, recognised=bool(by))
    delay = _delay(reading, now)
    _log(reading, verdict, delay, _told_of_networks(known, by), now)
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        _alert_and_remember(reading, verdict, delay, now, dependencies)
    return {"event_id": reading.event_id, "verdict": verdict.level}


def _reading(event: object, now: float, dependencies: Dependencies) -> Reading:
    """Read an event; a right password is sent on for a second look, and read again when the queue hands it back."""
    reading = read(event)
    if isinstance(reading, Step) and reading.pending:
        from signwatch.second_look import ask

        return ask(event, reading, now, dependencies)
    if isinstance(reading, Unreadable):
        from signwatch.second_look import asked, look

        back = asked(event)
        return reading if back is None else look(back, now, dependencies)
    return reading


def _recognised_by(sign_in: SignIn, known: networks.Networks, now: float, dependencies: Dependencies) -> str:
    """Say what recognises the source: the known networks, else an allowance by its label; nothing if neither does.

    Nothing does that came through somebody else's VPC endpoint. The register is asked only about what an allowance can
    hold: one address, not private unless an allowed VPC endpoint vouches for it.
    """
    settings = dependencies.settings
    vouched = networks.vouches(sign_in.endpoint, networks.entries(settings.allowed_vpc_endpoint_ids))
    if vouched is False:
        return ""
    by_endpoint = bool(vouched)
    if networks.recognises(known, sign_in.source, by_endpoint=by_endpoint):
        return "KnownNetworks"
    if networks.packed(sign_in.source) is None or (networks.is_private(sign_in.source) and not by_endpoint):
        return ""
    from signwatch import register
    from signwatch.directory import named

    found = register.find(
        sign_in,
        lambda: dependencies.client("ssm", quick=True),
        settings.name_prefix,
        now,
        named=lambda: named(sign_in, dependencies),
        by_endpoint=by_endpoint,
    )
    return f"{found.label} (networks/{found.name})" if found else ""


def _judge(reading: Reading, now: float, dependencies: Dependencies, *, recognised: bool) -> Verdict:
    """Judge, and ask the memory where it has a part in it: of an alert, a portal sign-in, or a device code."""
    elsewhere = _approved_elsewhere(reading, now, dependencies) if isinstance(reading, SignIn) else None
    off, on = (networks.entries(names) for names in (dependencies.settings.alert_off, dependencies.settings.alert_on))
    judged = judge(reading, recognised=recognised, approved_elsewhere=elsewhere, off=off, on=on)
    if judged.level != "alert" or not isinstance(reading, (SignIn, Unreadable)):
        return judged
    from signwatch.recollection import settled

    return settled(judged, reading, now, dependencies)


def _approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    if sign_in.outcome != "success" or not (sign_in.kind == CENTER or sign_in.grant == DEVICE):
        return None
    from signwatch.recollection import approved_elsewhere

    return approved_elsewhere(sign_in, now, dependencies)


def _alert(reading: SignIn | Unreadable, verdict: Verdict, delay: int | None, dependencies: Dependencies) -> None:
    from signwatch.delivery import deliver
    from signwatch.directory import named

    if isinstance(reading, SignIn):
        reading = named(reading, dependencies)
    settings = dependencies.settings
    message = compose(reading, verdict, label=settings.account_label, zone=settings.time_zone, delay=delay)
    key = f"{reading.account}#{reading.event_id}" if reading.event_id else ""
    deliver(message, key, dependencies, texts=verdict.texts)


def _alert_and_remember(
    reading: SignIn | Unreadable, verdict: Verdict, delay: int | None, now: float, dependencies: Dependencies
) -> None:
    """Alert, and remember what is told of once a day: an alert that did not reach everybody quiets no other."""
    from signwatch.recollection import told

    try:
        _alert(reading, verdict, delay, dependencies)
    except Exception:
        told(verdict, reading, now, dependencies, everybody=False)
        raise
    told(verdict, reading, now, dependencies, everybody=True)


def _log(reading: Reading, verdict: Verdict, delay: int | None, told: dict[str, Any], now: float) -> None:
    values: dict[str, Any] = {
        "level": "ERROR" if "problem" in told else "WARNING" if verdict.level == "alert" else "INFO",
        "event_id": reading.event_id,
        "kind": type(reading).__name__ if isinstance(reading, (Step, NotASignIn, Unreadable)) else reading.what,
        "who": reading.who if isinstance(reading, (SignIn, Unreadable)) else "",
        "source": reading.source if isinstance(reading, (SignIn, Unreadable)) else "",
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "grouped": verdict.grouped,
        "delay_s": delay,
        **told,
    }
    metrics = {"SignIns": 1.0} | ({"DelaySeconds": float(delay)} if delay is not None else {})
    journal.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _told_of_networks(known: networks.Networks, by: str) -> dict[str, Any]:
    """Return what the log says of the networks: which of them recognised the source, and what is unusable in them."""
    unusable = {"problem": "networks", "unusable_networks": list(known.unusable)} if known.unusable else {}
    return unusable | ({"recognised_by": by} if by else {})


def _delay(reading: Reading, now: float) -> int | None:
    """Return the seconds from the sign-in to now; None when its time cannot be read."""
    if not isinstance(reading, (SignIn, Unreadable)):
        return None
    at = moment(reading.time)
    return max(0, round(now - at.timestamp())) if at else None


def _client(service: str, *, region: str = "", quick: bool = False) -> Any:
    import boto3
    from botocore.config import Config

    connect, read, attempts = (1, 1, 1) if quick else (2, 5, 2)  # seconds, seconds, times
    retries = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(connect_timeout=connect, read_timeout=read, retries=retries)
    return boto3.client(service, region_name=region or None, config=config)
