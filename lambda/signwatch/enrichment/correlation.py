"""Adjusts a verdict by earlier events kept in DynamoDB.

If the table cannot be read, the alert is sent unchanged. A portal sign-in and a device code always
store their addresses, to be compared with each other; everything else here concerns alerts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch import log
from signwatch.detection.networks import pack
from signwatch.detection.record import digest, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import SignIn, Unreadable
from signwatch.detection.verdict import (
    ROOT_FAILURE,
    Verdict,
    apply_failure_count,
    mark_linked,
    mark_repeated,
)
from signwatch.enrichment.state import DAY_SECONDS, WINDOW_SECONDS, State

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies

CLAIM_SECONDS = (
    5 * 60
)  # an alert in delivery stands for others like it; covers Lambda's two retries
CONSOLE_KINDS = ("console", "console-link")


def is_approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    """Return whether a device code and the portal sign-in that approved it differ in address.

    ``sign_in`` is either of the two; they may arrive in any order. None where that is unknown: for
    a device code that names no person, and while the table cannot be read. Without a portal sign-in
    within a day (a portal session can last for weeks) the answer is False: there is no address to
    compare with, and the device code is judged by its own source alone.
    """
    if not sign_in.person:
        return None
    try:
        return _compare_addresses(sign_in, now, _open_state(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert must be sent
        log.failure("state", error, now, event_id=sign_in.event_id)
        return None


def _compare_addresses(sign_in: SignIn, now: float, state: State) -> bool | None:
    """Store the address of a sign-in, unless a later one is stored, and compare it with the other.

    None for a device code whose approval was replaced by a later portal sign-in, as on a retry.
    """
    is_approval = sign_in.kind == IDENTITY_CENTER
    own_key = f"{sign_in.account}#approval#{sign_in.person}"
    other_key = f"{sign_in.account}#device-code#{sign_in.person}"
    seconds = DAY_SECONDS
    if not is_approval:
        own_key, other_key = other_key, own_key
        seconds = WINDOW_SECONDS
    at = _event_seconds(sign_in, now)
    address = digest(str(pack(sign_in.source) or sign_in.source))
    if _stored_seconds(state.get(own_key, now)) <= at:
        state.put(own_key, f"{at} {address}", now, seconds)
    stored = state.get(other_key, now)
    if not stored:
        return False
    differs = stored.partition(" ")[2] != address
    if is_approval:  # an approval comes before its device code
        return differs and at <= _stored_seconds(stored)
    return differs if _stored_seconds(stored) <= at else None


def apply_correlation(
    verdict: Verdict, reading: SignIn | Unreadable, now: float, dependencies: Dependencies
) -> Verdict:
    """Return the verdict of an alert, adjusted by earlier events."""
    is_console = isinstance(reading, SignIn) and reading.kind in CONSOLE_KINDS
    if not (verdict.deduplication_key or verdict.grouped or is_console):
        return verdict
    try:
        state = _open_state(dependencies)
        if verdict.deduplication_key:
            return _deduplicate(verdict, reading, now, state)
        if verdict.grouped == "failures":
            return _count_failures(verdict, reading, now, state)
        return _link(verdict, reading, now, state)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert is sent unchanged
        log.failure("state", error, now, event_id=reading.event_id)
        return verdict


def record_alerted(
    verdict: Verdict,
    reading: SignIn | Unreadable,
    now: float,
    dependencies: Dependencies,
    *,
    reached_everybody: bool,
) -> None:
    """Record an alert that is sent once a day, or release its claim if it did not reach everybody.

    An event without an id is not recorded, as its retry could not be told from a second event.
    """
    if not (verdict.deduplication_key and reading.event_id):
        return
    seconds = DAY_SECONDS if reached_everybody else 0
    try:
        state = _open_state(dependencies)
        state.put(verdict.deduplication_key, reading.event_id, now, seconds)
    except Exception as error:  # noqa: BLE001 - the next alert of this kind is sent again
        log.failure("state", error, now, event_id=reading.event_id)


def _deduplicate(
    verdict: Verdict, reading: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Claim the alert; a second event within a day becomes a note, a retry does not."""
    event_id = reading.event_id
    if not event_id or state.claim(verdict.deduplication_key, event_id, now, CLAIM_SECONDS):
        return verdict
    return mark_repeated(verdict)


def _count_failures(
    verdict: Verdict, reading: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Count the failures of the account; those of root apart, as the first of them is texted."""
    if not reading.event_id:
        return verdict
    user = "root" if ROOT_FAILURE in verdict.causes else "others"
    key = f"{reading.account}#failures of {user}"
    at = _event_seconds(reading, now)
    failures, is_first = state.count_recent(key, reading.event_id, at)
    return apply_failure_count(verdict, failures, is_first=is_first)


def _link(verdict: Verdict, reading: SignIn | Unreadable, now: float, state: State) -> Verdict:
    """Store a console link, or mark a console sign-in that follows one of the same person."""
    key = f"{reading.account}#link#{reading.who}"
    if verdict.grouped == "linked":
        state.put(key, reading.event_id, now, WINDOW_SECONDS)
        return verdict
    return mark_linked(verdict) if state.get(key, now) else verdict


def _event_seconds(reading: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time in seconds since 1970; now if it cannot be read."""
    at = parse_time(reading.time)
    return int(at.timestamp() if at else now)


def _stored_seconds(stored: str) -> int:
    """Return the time of a stored address; 0 for none."""
    return int(stored.partition(" ")[0] or 0)


def _open_state(dependencies: Dependencies) -> State:
    dynamodb = dependencies.client("dynamodb", quick=True)
    return State(dynamodb, dependencies.settings.ledger_table_name)
