"""The hub: read an event, judge it, log the decision and, if needed, send the alert.

Read this file and you know the product. A sign-in from a known network ends after one log line: it
makes no AWS call and imports neither boto3 nor twilio. The rooms that may need these are therefore
imported inside functions. Only a portal sign-in and a device code always use DynamoDB: each looks
up the address of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.detection import networks
from signwatch.detection.record import parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import (
    DEVICE_CODE_GRANT,
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
    """Process one event from reading to the last mark in the ledger; return its id and verdict.

    Raises DeliveryError when an alert has not reached everybody yet, so that Lambda retries.
    """
    now = dependencies.clock()
    reading = _read(event, now, dependencies)
    recognised_by = ""
    if isinstance(reading, SignIn):
        recognised_by = _find_recognition(reading, now, dependencies)
    verdict = _judge(reading, now, dependencies, recognised=bool(recognised_by))
    delay = _delay_seconds(reading, now)
    _log_decision(reading, verdict, delay, recognised_by, now, dependencies)
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        _alert(reading, verdict, delay, now, dependencies)
    return {"event_id": reading.event_id, "verdict": verdict.level}


def _read(event: object, now: float, dependencies: Dependencies) -> Reading:
    """Read an event. A right password waits in a queue; later, the queue hands its event back."""
    reading = read(event)
    if isinstance(reading, Step) and reading.pending:
        from signwatch.enrichment.second_look import enqueue

        return enqueue(event, reading, now, dependencies)
    if isinstance(reading, Unreadable):
        from signwatch.enrichment.second_look import recheck, unwrap

        queued_event = unwrap(event)
        if queued_event is not None:
            return recheck(queued_event, now, dependencies)
    return reading


def _find_recognition(sign_in: SignIn, now: float, dependencies: Dependencies) -> str:
    """Return what recognises the source: the known networks, else an allowance; "" for neither.

    The allowances are only asked about a source that one of them could hold.
    """
    settings = dependencies.settings
    known = networks.parse(settings.known_networks)
    origin = (sign_in.source, sign_in.endpoint, settings.allowed_vpc_endpoint_ids)
    if networks.recognises_sign_in(known, *origin):
        return "KnownNetworks"
    if not networks.can_be_recognised(*origin):
        return ""
    from signwatch.enrichment.allowance_store import find

    allowance = find(sign_in, now, dependencies)
    return f"{allowance.label} (networks/{allowance.name})" if allowance else ""


def _judge(
    reading: Reading, now: float, dependencies: Dependencies, *, recognised: bool
) -> Verdict:
    """Judge a reading; earlier events can change the verdict of an alert."""
    approved_elsewhere = None
    if isinstance(reading, SignIn) and _has_approval(reading):
        from signwatch.enrichment.correlation import is_approved_elsewhere

        approved_elsewhere = is_approved_elsewhere(reading, now, dependencies)
    verdict = judge(
        reading,
        recognised=recognised,
        approved_elsewhere=approved_elsewhere,
        off=dependencies.settings.alert_off,
        on=dependencies.settings.alert_on,
    )
    if verdict.level != "alert" or not isinstance(reading, (SignIn, Unreadable)):
        return verdict
    from signwatch.enrichment.correlation import apply_correlation

    return apply_correlation(verdict, reading, now, dependencies)


def _has_approval(sign_in: SignIn) -> bool:
    """Return whether this is a device code, or a portal sign-in, which can approve one."""
    if sign_in.outcome != "success":
        return False
    return sign_in.kind == IDENTITY_CENTER or sign_in.grant == DEVICE_CODE_GRANT


def _delay_seconds(reading: Reading, now: float) -> int | None:
    """Return the seconds from the sign-in to now; None if its time cannot be read."""
    at = parse_time(reading.time) if isinstance(reading, (SignIn, Unreadable)) else None
    return max(0, round(now - at.timestamp())) if at else None


def _log_decision(
    reading: Reading,
    verdict: Verdict,
    delay: int | None,
    recognised_by: str,
    now: float,
    dependencies: Dependencies,
) -> None:
    values: dict[str, Any] = {
        "level": "WARNING" if verdict.level == "alert" else "INFO",
        "event_id": reading.event_id,
        "kind": reading.what if isinstance(reading, SignIn) else type(reading).__name__,
        "who": getattr(reading, "who", ""),  # a step, or what is no sign-in, has neither
        "source": getattr(reading, "source", ""),
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "grouped": verdict.grouped,
        "delay_s": delay,
    }
    unusable = networks.parse(dependencies.settings.known_networks).unusable
    if unusable:
        values |= {"level": "ERROR", "problem": "networks", "unusable_networks": list(unusable)}
    if recognised_by:
        values["recognised_by"] = recognised_by
    metrics = {"SignIns": 1.0}
    if delay is not None:
        metrics["DelaySeconds"] = float(delay)
    log.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _alert(
    reading: SignIn | Unreadable,
    verdict: Verdict,
    delay: int | None,
    now: float,
    dependencies: Dependencies,
) -> None:
    """Compose and deliver an alert; record for deduplication whether it reached everybody."""
    from signwatch.alerting.delivery import deliver
    from signwatch.alerting.message import compose
    from signwatch.enrichment.correlation import record_alerted
    from signwatch.enrichment.identity_store import with_name

    settings = dependencies.settings
    reached_everybody = False
    try:
        named = with_name(reading, dependencies) if isinstance(reading, SignIn) else reading
        message = compose(
            named, verdict, label=settings.account_label, zone=settings.time_zone, delay=delay
        )
        ledger_key = f"{reading.account}#{reading.event_id}" if reading.event_id else ""
        deliver(message, ledger_key, dependencies, send_text=verdict.send_text)
        reached_everybody = True
    finally:
        record_alerted(verdict, reading, now, dependencies, reached_everybody=reached_everybody)
