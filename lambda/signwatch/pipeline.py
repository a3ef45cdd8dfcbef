"""The main sequence: read an event, judge it, log the decision and, if needed, send an alert.

Most sign-ins come from a known network. For these the function only writes one log line: it makes
no AWS call and imports neither boto3 nor twilio. Modules that need these are therefore imported
inside functions.

The exceptions are a portal sign-in (to IAM Identity Center) and a device code. A device code signs
in a program after a person approved it in the portal. Both always use DynamoDB, because the address
of each is compared with that of the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.detection import networks
from signwatch.detection.envelope import (
    BURST_END,
    SECOND_LOOK,
    TEXT_OUTCOME,
    TRAIL,
    Delivery,
    unwrap,
)
from signwatch.detection.record import parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import (
    DEVICE_CODE_GRANT,
    ParsedEvent,
    SignIn,
    Step,
    Unreadable,
    read,
)
from signwatch.detection.verdict import Verdict, judge, mark_held_back

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies

WithName = Callable[[], Any]  # see _prepare_name_lookup
# Until the timeout. Without texts, an alert needs up to 15 for its claim in the ledger, and 5 each
# for its e-mail and a mark. The texts may take 20 more.
MIN_SECONDS_FOR_ALERT, MIN_SECONDS_FOR_TEXTS = 25.0, 45.0


def process(event: object, dependencies: Dependencies) -> dict[str, Any]:
    """Process what Lambda hands over, each event in it by itself, including the alerts.

    Return ``{"event_id": "...", "verdict": "alert"}``, with any Verdict.level in place of "alert";
    for a batch ``{"decisions": [...]}`` with one of these for each event. Raises DeliveryError if
    an alert has not reached everybody yet, so that Lambda retries.
    """
    deliveries = unwrap(event)
    if len(deliveries) == 1:
        if deliveries[0].kind in (TEXT_OUTCOME, BURST_END):
            return _process_question(event, deliveries[0], dependencies)
        return _process_delivery(deliveries[0], dependencies)
    return {"decisions": _process_batch(deliveries, dependencies)}


def _process_question(
    event: object, delivery: Delivery, dependencies: Dependencies
) -> dict[str, Any]:
    """Ask what became of a text, or end a burst. If it is too early, ``event`` is to return."""
    from signwatch import later
    from signwatch.alerting.follow_up import ask

    try:
        if delivery.kind == BURST_END:
            return _close_burst(delivery.event, dependencies)
        return {"text": ask(delivery.event, dependencies)}
    except later.NotYetError:
        return later.keep(event)


def _process_batch(deliveries: list[Delivery], dependencies: Dependencies) -> list[dict[str, Any]]:
    """Process each event of a batch; the failure of one does not stop the others.

    Then raise an error if one failed, so that Lambda retries the batch; the ledger knows which
    alerts are out. Once a text is to be tried again, or little time is left, the other alerts get
    their e-mails, and their texts by the retry. Stop if too little time is left for an e-mail.
    """
    from signwatch.enrichment.state import DONE, MAILED, BatchProgress

    progress = BatchProgress([delivery.event for delivery in deliveries], dependencies)
    decisions: list[dict[str, Any]] = []
    errors: list[Exception] = []
    for index in progress.take_turns():
        seconds_left = dependencies.seconds_left()
        if seconds_left < MIN_SECONDS_FOR_ALERT:
            errors.append(TimeoutError("the rest of the batch is left for a retry"))
            break
        if seconds_left < MIN_SECONDS_FOR_TEXTS:
            dependencies = dependencies._replace(texts_wait=True)
        try:
            decisions.append(_process_delivery(deliveries[index], dependencies))
            progress.marks[index] = DONE
        except Exception as error:  # noqa: BLE001 - raised below, once all have had their turn
            log.write_failure("batch", error, dependencies.clock())
            errors.append(error)
            if getattr(error, "is_mailed", False):  # a DeliveryError
                progress.marks[index] = MAILED
            if getattr(error, "have_texts_failed", False):
                dependencies = dependencies._replace(texts_wait=True)
    if errors:
        progress.save()
        raise errors[0]
    return decisions


def _process_delivery(delivery: Delivery, dependencies: Dependencies) -> dict[str, Any]:
    """Process one event: read it, judge it, log the decision and send an alert if needed.

    Return and raise as process does.
    """
    now = dependencies.clock()
    if delivery.queued_at:
        age_seconds = max(0.0, now - delivery.queued_at)
        log.write({"via": delivery.via}, {"RetryAgeSeconds": age_seconds}, now)
    is_second_look = delivery.kind == SECOND_LOOK
    parsed_event = _parse(delivery.event, now, dependencies, is_second_look=is_second_look)
    recognised_by = ""
    if isinstance(parsed_event, SignIn):
        recognised_by = _find_recognition(parsed_event, now, dependencies)
    with_name = _prepare_name_lookup(parsed_event, dependencies)
    verdict = _judge_with_earlier_events(
        parsed_event, now, dependencies, with_name, recognised=bool(recognised_by)
    )
    if verdict.is_pending and not is_second_look:
        verdict = _hold_back(delivery.event, parsed_event, verdict, now, dependencies)
    delay_seconds = _compute_delay_seconds(parsed_event, now)
    _log_decision(parsed_event, verdict, delay_seconds, recognised_by, now, dependencies, delivery)
    if verdict.level == "alert" and isinstance(parsed_event, (SignIn, Unreadable)):
        _send_alert(
            parsed_event, verdict, delay_seconds, now, dependencies, with_name, via=delivery.via
        )
    return {"event_id": parsed_event.event_id, "verdict": verdict.level}


def _close_burst(content: object, dependencies: Dependencies) -> dict[str, Any]:
    """Send the closing message of events that were only counted, unless it was sent.

    Raises NotYetError if it is too early or a further part follows, DeliveryError if it has not
    reached everybody.
    """
    from signwatch import later
    from signwatch.alerting.delivery import deliver
    from signwatch.alerting.message import compose_closing
    from signwatch.enrichment.closing import find_closing, renew

    now = dependencies.clock()
    due, verdict = None, "ignored"
    try:
        due = find_closing(content, now, dependencies)
        if due:
            label = dependencies.settings.get_label(due.key.partition("#")[0])
            message = compose_closing(due.closing, label=label)
            deliver(message, due.key, dependencies, send_text=due.is_texted, is_quiet=True)
            verdict = "alert"
            due.finish()
    except later.NotYetError:
        if not renew(content, now, dependencies):
            raise
    key = due.key if due else ""
    values = {"level": "INFO", "event_id": key, "kind": "Closing message", "verdict": verdict}
    log.write(values, {}, now)
    return {"event_id": key, "verdict": verdict}


def _parse(
    event: object, now: float, dependencies: Dependencies, *, is_second_look: bool
) -> ParsedEvent:
    """Parse an event; put that of a right password into the queue with a delay.

    15 minutes later the queue delivers it again. At that second look, the sign-in that should have
    followed is searched for.
    """
    if is_second_look:
        from signwatch.enrichment.second_look import recheck

        def is_recognised(sign_in: SignIn) -> bool:
            """Return whether the source of a sign-in is recognised."""
            return bool(_find_recognition(sign_in, now, dependencies))

        return recheck(event, now, dependencies, is_recognised)
    parsed_event = read(event, functools.partial(_is_aws_address, now))
    if isinstance(parsed_event, Step) and parsed_event.is_right_password:
        from signwatch.enrichment.second_look import enqueue

        return enqueue(event, parsed_event, now, dependencies)
    return parsed_event


def _is_aws_address(now: float, source: str) -> bool:
    """Return whether a source is one of AWS's own addresses; few events ask."""
    from signwatch.enrichment.aws_ranges import is_aws_address

    return is_aws_address(source, now)


def _hold_back(
    event: object,
    parsed_event: ParsedEvent,
    verdict: Verdict,
    now: float,
    dependencies: Dependencies,
) -> Verdict:
    """Queue the event of a pending alert, and return its verdict as a note.

    When the queue delivers it, the other alert has reached somebody, or this one is sent. If the
    event cannot be queued, return the verdict unchanged: the alert is sent now.
    """
    from signwatch.enrichment.second_look import try_to_queue

    is_queued = try_to_queue(event, parsed_event.event_id, now, dependencies)
    return mark_held_back(verdict) if is_queued else verdict


def _find_recognition(sign_in: SignIn, now: float, dependencies: Dependencies) -> str:
    """Return what recognises the source, for the log; "" if nothing does.

    It is "KnownNetworks", or an allowance (an extra network, stored in AWS) such as "hotel
    (networks/<name>)". Allowances are loaded only if one of them could recognise the source.
    """
    known = networks.parse_list(dependencies.settings.known_networks)
    allowed_endpoints = dependencies.settings.allowed_vpc_endpoint_ids
    source, vpc_endpoint = sign_in.source, sign_in.vpc_endpoint
    if networks.recognises_sign_in(known, source, vpc_endpoint, allowed_endpoints):
        return "KnownNetworks"
    if not networks.can_be_recognised(source, vpc_endpoint, allowed_endpoints):
        return ""
    from signwatch.enrichment.allowance_store import find_allowance

    allowance = find_allowance(sign_in, now, dependencies)
    return f"{allowance.label} (networks/{allowance.name})" if allowance else ""


def _judge_with_earlier_events(
    parsed_event: ParsedEvent,
    now: float,
    dependencies: Dependencies,
    with_name: WithName,
    *,
    recognised: bool,
) -> Verdict:
    """Judge a parsed event, then adjust the verdict of an alert by earlier events.

    ``recognised`` says whether its source is recognised; ``with_name`` is of _prepare_name_lookup.
    """
    approved_elsewhere = None  # unknown, or not about a device code
    both_addresses_recognised = False
    if isinstance(parsed_event, SignIn) and _is_device_code_or_approval(parsed_event):
        from signwatch.enrichment.correlation import compare_approval

        approved_elsewhere, both_addresses_recognised = compare_approval(
            parsed_event, now, dependencies, recognised=recognised
        )
    verdict = judge(
        parsed_event,
        recognised=recognised,
        approved_elsewhere=approved_elsewhere,
        both_addresses_recognised=both_addresses_recognised,
        off=dependencies.settings.alert_off,
        on=dependencies.settings.alert_on,
    )
    if verdict.level != "alert" or not isinstance(parsed_event, (SignIn, Unreadable)):
        return verdict
    from signwatch.enrichment.correlation import apply_correlation

    return apply_correlation(verdict, parsed_event, now, dependencies, with_name)


def _is_device_code_or_approval(sign_in: SignIn) -> bool:
    """Return whether this is a device code, or a portal sign-in, which can approve one."""
    if sign_in.outcome != "success":
        return False
    return sign_in.kind == IDENTITY_CENTER or sign_in.grant == DEVICE_CODE_GRANT


def _prepare_name_lookup(parsed_event: ParsedEvent, dependencies: Dependencies) -> WithName:
    """Return a function that returns the event with the user's name; it looks it up only once."""

    @functools.cache
    def with_name() -> ParsedEvent:
        """Return the event with the user's name instead of the id, if it can be found."""
        if not isinstance(parsed_event, SignIn):
            return parsed_event
        from signwatch.enrichment import identity_store

        return identity_store.with_name(parsed_event, dependencies)

    return with_name


def _compute_delay_seconds(parsed_event: ParsedEvent, now: float) -> int | None:
    """Return the seconds from the sign-in to now.

    Return None if the event is no sign-in, or has no readable time.
    """
    if not isinstance(parsed_event, (SignIn, Unreadable)):
        return None
    event_time = parse_time(parsed_event.time)
    if event_time is None:
        return None
    return max(0, round(now - event_time.timestamp()))  # below 0 if the clocks differ


def _log_decision(
    parsed_event: ParsedEvent,
    verdict: Verdict,
    delay_seconds: int | None,
    recognised_by: str,
    now: float,
    dependencies: Dependencies,
    delivery: Delivery,
) -> None:
    """Write the log line of this decision. ``delay_seconds`` is None if unknown.

    Each event counts once, although it comes by the bus and by the trail: an alert when the ledger
    records it (_count_alert), any other decision when the bus, or a queue in its place, brings it.
    """
    kind = type(parsed_event).__name__
    if isinstance(parsed_event, SignIn):
        kind = parsed_event.what
    values: dict[str, Any] = {
        "level": "WARNING" if verdict.level == "alert" else "INFO",
        "event_id": parsed_event.event_id,
        "via": delivery.via,
        "kind": kind,
        # Step and NotASignIn have neither of these two fields.
        "who": getattr(parsed_event, "who", ""),
        "source": getattr(parsed_event, "source", ""),
        "verdict": verdict.level,
        "severity": verdict.severity,
        "reasons": list(verdict.reasons),
        "grouped": verdict.grouped,
        "delay_s": delay_seconds,
    }
    # Reported here because this line is written for every event, from the first one on.
    unusable = networks.parse_list(dependencies.settings.known_networks).unusable
    if unusable:
        values |= {"level": "ERROR", "problem": "networks", "unusable_networks": list(unusable)}
    if recognised_by:
        values["recognised_by"] = recognised_by
    if isinstance(parsed_event, SignIn) and parsed_event.vpc_endpoint:
        values["vpc_endpoint"] = parsed_event.vpc_endpoint
    is_counted = verdict.level != "alert" and delivery.is_first_count
    metrics = _make_metrics(delay_seconds) if is_counted else {}
    log.write(values, metrics, now, dimensions={"Verdict": verdict.level})


def _make_metrics(delay_seconds: int | None) -> dict[str, float]:
    """Return the metrics of an event that counts."""
    metrics = {"SignIns": 1.0}
    if delay_seconds is not None:
        metrics["DelaySeconds"] = float(delay_seconds)
    return metrics


def _count_alert(event_id: str, via: str, delay_seconds: int | None, now: float) -> None:
    """Count an alert that the ledger did not have; RecoveredSignIns if only the trail brought it.

    "Only" is true of this moment: the bus may still bring the event, which is then a repeat.
    """
    values = {"level": "INFO", "event_id": event_id, "via": via}
    log.write(values, _make_metrics(delay_seconds), now, dimensions={"Verdict": "alert"})
    if via == TRAIL:
        log.write(values, {"RecoveredSignIns": 1.0}, now)


def _send_alert(
    sign_in: SignIn | Unreadable,
    verdict: Verdict,
    delay_seconds: int | None,
    now: float,
    dependencies: Dependencies,
    with_name: WithName,
    *,
    via: str,
) -> None:
    """Compose and deliver an alert, then record whether it reached somebody.

    The record lets apply_correlation suppress a repeat of the alert. While another invocation sends
    the alert, it is that one which records it. ``delay_seconds`` is the time since the sign-in,
    None if unknown. Raises DeliveryError if a retry may help.
    """
    from signwatch.alerting.delivery import DeliveryError, deliver
    from signwatch.alerting.message import compose
    from signwatch.enrichment.correlation import record_alert

    settings = dependencies.settings
    sign_in_to_show = sign_in
    reached_somebody: bool | None = False
    try:
        sign_in_to_show = with_name()
        message = compose(
            sign_in_to_show,
            verdict,
            label=settings.get_label(sign_in.account),
            delay_seconds=delay_seconds,
            zone=settings.time_zone,
            known_networks=_list_recognised_networks(sign_in, sign_in_to_show, now, dependencies),
        )
        ledger_key = f"{sign_in.account}#{sign_in.event_id}" if sign_in.event_id else ""
        deliver(
            message,
            ledger_key,
            dependencies,
            send_text=verdict.send_text,
            is_quiet=bool(verdict.stream),
            on_first=lambda: _count_alert(sign_in.event_id, via, delay_seconds, now),
        )
        reached_somebody = True  # deliver raises DeliveryError if a channel must be retried
    except DeliveryError as error:
        reached_somebody = error.reached_somebody
        raise
    finally:
        if reached_somebody is not None:
            record_alert(verdict, sign_in, now, dependencies, reached_somebody=reached_somebody)


def _list_recognised_networks(
    sign_in: SignIn | Unreadable,
    sign_in_to_show: SignIn | Unreadable,
    now: float,
    dependencies: Dependencies,
) -> str:
    """Return the networks that decide in which order the parts of a source are shown.

    These are the networks of both lists, separated by commas. The allowances are read only if the
    source has several parts. ``sign_in_to_show`` has the user's name if the record has only the id.
    """
    known = dependencies.settings.known_networks
    if "," not in sign_in.source:
        return known
    from signwatch.enrichment.allowance_store import list_networks

    role = sign_in.role if isinstance(sign_in, SignIn) else ""
    names = (sign_in.who, sign_in_to_show.who, role)
    return f"{known},{list_networks(names, now, dependencies)}"
