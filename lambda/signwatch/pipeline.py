"""The hub: read, judge, and, if need be, compose and deliver. Read this file and you know the product.

A sign-in from a known network takes the short way: one log line, no AWS call, neither boto3 nor twilio imported. A
portal sign-in and a device code alone ask the memory first, to compare their addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.detection import networks
from signwatch.detection.record import parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import (
    DEVICE_CODE_GRANT,
    NotASignIn,
    Reading,
    SignIn,
    Step,
    Unreadable,
    read,
)
from signwatch.detection.verdict import Verdict, judge

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies


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
    _log(reading, verdict, delay, _network_log_fields(known, by), now)
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        _alert_and_remember(reading, verdict, delay, now, dependencies)
    return {"event_id": reading.event_id, "verdict": verdict.level}


def _reading(event: object, now: float, dependencies: Dependencies) -> Reading:
    """Read an event; a right password is sent on for a second look, and read again when the queue hands it back."""
    reading = read(event)
    if isinstance(reading, Step) and reading.pending:
        from signwatch.enrichment.second_look import enqueue

        return enqueue(event, reading, now, dependencies)
    if isinstance(reading, Unreadable):
        from signwatch.enrichment.second_look import recheck, unwrap

        back = unwrap(event)
        return reading if back is None else recheck(back, now, dependencies)
    return reading


def _recognised_by(
    sign_in: SignIn, known: networks.Networks, now: float, dependencies: Dependencies
) -> str:
    """Say what recognises the source: the known networks, else an allowance by its label; nothing if neither does.

    Nothing does that came through somebody else's VPC endpoint. The register is asked only about what an allowance can
    hold: one address, not private unless an allowed VPC endpoint vouches for it.
    """
    settings = dependencies.settings
    endpoints = networks.split_list(settings.allowed_vpc_endpoint_ids)
    if networks.recognises_sign_in(known, sign_in.source, sign_in.endpoint, endpoints):
        return "KnownNetworks"
    if not networks.can_be_recognised(sign_in.source, sign_in.endpoint, endpoints):
        return ""
    from signwatch.enrichment import allowance_store
    from signwatch.enrichment.identity_store import with_name

    found = allowance_store.find(
        sign_in,
        lambda: dependencies.client("ssm", quick=True),
        settings.name_prefix,
        now,
        named=lambda: with_name(sign_in, dependencies),
        by_endpoint=bool(sign_in.endpoint),
    )
    return f"{found.label} (networks/{found.name})" if found else ""


def _judge(
    reading: Reading, now: float, dependencies: Dependencies, *, recognised: bool
) -> Verdict:
    """Judge, and ask the memory where it has a part in it: of an alert, a portal sign-in, or a device code."""
    elsewhere = (
        _approved_elsewhere(reading, now, dependencies) if isinstance(reading, SignIn) else None
    )
    off, on = (
        networks.split_list(names)
        for names in (dependencies.settings.alert_off, dependencies.settings.alert_on)
    )
    judged = judge(reading, recognised=recognised, approved_elsewhere=elsewhere, off=off, on=on)
    if judged.level != "alert" or not isinstance(reading, (SignIn, Unreadable)):
        return judged
    from signwatch.enrichment.correlation import apply_correlation

    return apply_correlation(judged, reading, now, dependencies)


def _approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    if sign_in.outcome != "success" or not (
        sign_in.kind == IDENTITY_CENTER or sign_in.grant == DEVICE_CODE_GRANT
    ):
        return None
    from signwatch.enrichment.correlation import is_approved_elsewhere

    return is_approved_elsewhere(sign_in, now, dependencies)


def _alert(
    reading: SignIn | Unreadable, verdict: Verdict, delay: int | None, dependencies: Dependencies
) -> None:
    from signwatch.alerting.delivery import deliver
    from signwatch.alerting.message import compose
    from signwatch.enrichment.identity_store import with_name

    if isinstance(reading, SignIn):
        reading = with_name(reading, dependencies)
    settings = dependencies.settings
    message = compose(
        reading, verdict, label=settings.account_label, zone=settings.time_zone, delay=delay
    )
    key = f"{reading.account}#{reading.event_id}" if reading.event_id else ""
    deliver(message, key, dependencies, send_text=verdict.send_text)


def _alert_and_remember(
    reading: SignIn | Unreadable,
    verdict: Verdict,
    delay: int | None,
    now: float,
    dependencies: Dependencies,
) -> None:
    """Alert, and remember what is told of once a day: an alert that did not reach everybody quiets no other."""
    from signwatch.enrichment.correlation import record_alerted

    try:
        _alert(reading, verdict, delay, dependencies)
    except Exception:
        record_alerted(verdict, reading, now, dependencies, everybody=False)
        raise
    record_alerted(verdict, reading, now, dependencies, everybody=True)


def _log(
    reading: Reading, verdict: Verdict, delay: int | None, extra: dict[str, Any], now: float
) -> None:
    values: dict[str, Any] = {
        "level": "ERROR"
        if "problem" in extra
        else "WARNING"
        if verdict.level == "alert"
        else "INFO",
        "event_id": reading.event_id,
        "kind": type(reading).__name__
        if isinstance(reading, (Step, NotASignIn, Unreadable))
        else reading.what,
        "who": reading.who if isinstance(reading, (SignIn, Unreadable)) else "",
        "source": reading.source if isinstance(reading, (SignIn, Unreadable)) else "",
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "grouped": verdict.grouped,
        "delay_s": delay,
        **extra,
    }
    metrics = {"SignIns": 1.0} | ({"DelaySeconds": float(delay)} if delay is not None else {})
    log.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _network_log_fields(known: networks.Networks, by: str) -> dict[str, Any]:
    """Return what the log says of the networks: which of them recognised the source, and what is unusable in them."""
    unusable = (
        {"problem": "networks", "unusable_networks": list(known.unusable)} if known.unusable else {}
    )
    return unusable | ({"recognised_by": by} if by else {})


def _delay(reading: Reading, now: float) -> int | None:
    """Return the seconds from the sign-in to now; None when its time cannot be read."""
    if not isinstance(reading, (SignIn, Unreadable)):
        return None
    at = parse_time(reading.time)
    return max(0, round(now - at.timestamp())) if at else None
