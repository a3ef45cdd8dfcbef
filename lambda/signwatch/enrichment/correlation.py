"""Adjusts a verdict by earlier events kept in DynamoDB.

If the table cannot be read, the alert is sent unchanged. Portal sign-ins and device codes always
store their addresses, to be compared with each other. Everything else here concerns only alerts.
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

# How long an alert that is being delivered suppresses others like it; covers Lambda's two retries.
CLAIM_SECONDS = 5 * 60
CONSOLE_KINDS = ("console", "console-link")


def is_approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    """Return whether a device code was used from another address than its approval.

    ``sign_in`` is the device code or the portal sign-in that approved it; they may arrive in any
    order. Return None if that is unknown: the record has no user id, or the table cannot be read.
    Return False if there was no portal sign-in within a day (a portal session can last for weeks):
    there is no address to compare with, so the device code is judged only by its own source.
    """
    if not sign_in.user_id:
        return None
    try:
        return _compare_addresses(sign_in, now, _open_state(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert must be sent
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return None


def _compare_addresses(sign_in: SignIn, now: float, state: State) -> bool | None:
    """Store the address of a sign-in and return whether that of its counterpart differs.

    An address of a later sign-in is not replaced. Return None for a device code if only a portal
    sign-in after it is stored, which may have replaced its approval (this happens on a retry).
    """
    is_approval = sign_in.kind == IDENTITY_CENTER
    own_key = f"{sign_in.account}#approval#{sign_in.user_id}"
    counterpart_key = f"{sign_in.account}#device-code#{sign_in.user_id}"
    storage_seconds = DAY_SECONDS
    if not is_approval:
        own_key, counterpart_key = counterpart_key, own_key
        storage_seconds = WINDOW_SECONDS
    event_seconds = _event_seconds(sign_in, now)
    address = digest(str(pack(sign_in.source) or sign_in.source))
    if _stored_seconds(state.get(own_key, now)) <= event_seconds:
        state.put(own_key, f"{event_seconds} {address}", now, storage_seconds)
    counterpart = state.get(counterpart_key, now)
    if not counterpart:
        return False
    differs = counterpart.partition(" ")[2] != address
    if is_approval:  # an approval comes before its device code
        return differs and event_seconds <= _stored_seconds(counterpart)
    return differs if _stored_seconds(counterpart) <= event_seconds else None


def apply_correlation(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, dependencies: Dependencies
) -> Verdict:
    """Return the verdict of an alert, adjusted by earlier events."""
    is_console = isinstance(sign_in, SignIn) and sign_in.kind in CONSOLE_KINDS
    if not (verdict.deduplication_key or verdict.grouped or is_console):
        return verdict
    try:
        state = _open_state(dependencies)
        if verdict.deduplication_key:
            return _deduplicate(verdict, sign_in, now, state)
        if verdict.grouped == "failures":
            return _count_failures(verdict, sign_in, now, state)
        return _apply_console_link(verdict, sign_in, now, state)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert is sent unchanged
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return verdict


def record_alert(
    verdict: Verdict,
    sign_in: SignIn | Unreadable,
    now: float,
    dependencies: Dependencies,
    *,
    reached_everybody: bool,
) -> None:
    """Record an alert that is sent once a day; if it did not reach everybody, release its claim.

    An event without an id is not recorded, because its retry would look like a second event.
    """
    if not (verdict.deduplication_key and sign_in.event_id):
        return
    seconds = DAY_SECONDS if reached_everybody else 0  # 0 releases the claim at once
    try:
        state = _open_state(dependencies)
        state.put(verdict.deduplication_key, sign_in.event_id, now, seconds)
    except Exception as error:  # noqa: BLE001 - then the next alert like it is sent too
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _deduplicate(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Claim the alert. If another event claimed it within a day, return a note."""
    event_id = sign_in.event_id
    if not event_id or state.claim(verdict.deduplication_key, event_id, now, CLAIM_SECONDS):
        return verdict
    return mark_repeated(verdict)


def _count_failures(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Count the recent failures in the account. Those of root are counted separately."""
    if not sign_in.event_id:
        return verdict
    user = "root" if ROOT_FAILURE in verdict.causes else "others"
    key = f"{sign_in.account}#failures of {user}"
    event_seconds = _event_seconds(sign_in, now)
    failures, is_first = state.count_recent(key, sign_in.event_id, event_seconds)
    return apply_failure_count(verdict, failures, is_first=is_first)


def _apply_console_link(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Store a console link, or mark a console sign-in that follows one of the same person."""
    key = f"{sign_in.account}#link#{sign_in.who}"
    if verdict.grouped == "linked":
        state.put(key, sign_in.event_id, now, WINDOW_SECONDS)
        return verdict
    return mark_linked(verdict) if state.get(key, now) else verdict


def _event_seconds(sign_in: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time in seconds since 1970; now if it cannot be read."""
    event_time = parse_time(sign_in.time)
    return int(event_time.timestamp() if event_time else now)


def _stored_seconds(stored: str) -> int:
    """Return the time in a stored "time address" string; 0 if the string is empty."""
    return int(stored.partition(" ")[0] or 0)


def _open_state(dependencies: Dependencies) -> State:
    dynamodb = dependencies.client("dynamodb", quick=True)
    return State(dynamodb, dependencies.settings.ledger_table_name)
