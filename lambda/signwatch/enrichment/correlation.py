"""Adjusts a verdict by earlier events kept in DynamoDB.

If the table cannot be read, the alert is sent unchanged. Terms:

- A device code signs in a program (``aws sso login``). A person approves it in a browser, after a
  portal sign-in: a sign-in to IAM Identity Center. Both should come from the same address, so the
  address of each is stored, even if there is no alert. All else here concerns only alerts.
- A console link opens the console without a password. Its use is recorded as a console sign-in.
- A claim stops other alerts with the same deduplication key while one of them is delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from signwatch import log
from signwatch.detection.networks import pack_address
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

CLAIM_SECONDS = 5 * 60  # covers Lambda's two retries of a delivery
CONSOLE_KINDS = ("console", "console-link")  # of SignIn.kind


class StoredAddress(NamedTuple):
    """The address of a sign-in. The table stores it as the string "1795000000 digest"."""

    seconds: int  # the time of the sign-in in seconds since 1970
    digest: str  # of the address; one address in two spellings has one digest

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        seconds, _, address_digest = text.partition(" ")
        return cls(int(seconds), address_digest)

    def __str__(self) -> str:
        return f"{self.seconds} {self.digest}"


def is_approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    """Return whether a device code was used from another address than it was approved from.

    ``sign_in`` is the use of the code, or the portal sign-in; their events may arrive in any order.
    Return None if the answer is unknown: the record has no user id, or the table cannot be read.
    Return False if the other of the two is not stored. A portal session can last for weeks, but its
    address is stored for a day; an older one cannot be compared.
    """
    if not sign_in.user_id:
        return None
    try:
        state = _open_state(dependencies)
        if sign_in.kind == IDENTITY_CENTER:
            return _compare_portal_sign_in(sign_in, now, state)
        return _compare_device_code(sign_in, now, state)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert must be sent
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return None


def _compare_portal_sign_in(sign_in: SignIn, now: float, state: State) -> bool:
    """Store the address of a portal sign-in; return whether a later device code has another."""
    address = _make_stored_address(sign_in, now)
    _store_latest(_make_portal_key(sign_in), address, now, DAY_SECONDS, state)
    device_code = _get_address(_make_device_code_key(sign_in), now, state)
    if device_code is None or device_code.seconds < address.seconds:
        return False
    return device_code.digest != address.digest


def _compare_device_code(sign_in: SignIn, now: float, state: State) -> bool | None:
    """Store the address of a device code; return whether the earlier portal sign-in has another.

    Return None if only a later portal sign-in is stored: it may have replaced the earlier one
    before this event was retried.
    """
    address = _make_stored_address(sign_in, now)
    _store_latest(_make_device_code_key(sign_in), address, now, WINDOW_SECONDS, state)
    portal = _get_address(_make_portal_key(sign_in), now, state)
    if portal is None:
        return False
    if portal.seconds > address.seconds:
        return None
    return portal.digest != address.digest


def _make_portal_key(sign_in: SignIn) -> str:
    """Return the key under which the address of the user's last portal sign-in is stored."""
    return f"{sign_in.account}#approval#{sign_in.user_id}"


def _make_device_code_key(sign_in: SignIn) -> str:
    """Return the key under which the address of the user's last device code is stored."""
    return f"{sign_in.account}#device-code#{sign_in.user_id}"


def _make_stored_address(sign_in: SignIn, now: float) -> StoredAddress:
    """Return the source of a sign-in in the form that is stored and compared."""
    address = pack_address(sign_in.source) or sign_in.source  # packed: the same in every spelling
    return StoredAddress(_read_event_seconds(sign_in, now), digest(str(address)))


def _get_address(key: str, now: float, state: State) -> StoredAddress | None:
    """Return the address under ``key``; None if there is none or it has expired."""
    stored = state.get(key, now)
    return StoredAddress.parse(stored) if stored else None


def _store_latest(
    key: str, address: StoredAddress, now: float, storage_seconds: int, state: State
) -> None:
    """Store the address of a sign-in, unless that of a later sign-in is stored."""
    stored = _get_address(key, now, state)
    if stored is None or stored.seconds <= address.seconds:
        state.put(key, str(address), now, storage_seconds)


def apply_correlation(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, dependencies: Dependencies
) -> Verdict:
    """Return the verdict of an alert, adjusted by earlier events.

    A repeated alert becomes a note, a failure is counted together with the recent ones, and a
    console sign-in is marked if it follows a console link. Other verdicts are returned unchanged.
    """
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
    """Record that an alert was sent, so that no other like it is sent for a day.

    If it did not reach everybody, release its claim, so that the next alert like it is sent. Alerts
    without a deduplication key are not recorded, since all of them are sent. Nor is an event
    without an id, because its retry would look like a second event.
    """
    if not (verdict.deduplication_key and sign_in.event_id):
        return
    seconds = DAY_SECONDS if reached_everybody else 0  # a claim of 0 seconds has expired
    try:
        state = _open_state(dependencies)
        state.put(verdict.deduplication_key, sign_in.event_id, now, seconds)
    except Exception as error:  # noqa: BLE001 - then the next alert like it is sent too
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _deduplicate(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Claim the alert and return its verdict. If another event has the claim, return a note.

    A claim lasts for CLAIM_SECONDS; record_alert extends it to a day. An event without an id claims
    nothing, because its retry would look like another event.
    """
    if not sign_in.event_id:
        return verdict
    key = verdict.deduplication_key
    is_claimed = state.claim(key, sign_in.event_id, now, CLAIM_SECONDS)
    return verdict if is_claimed else mark_repeated(verdict)


def _count_failures(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Add the number of recent failures in the account to the verdict on a failure.

    The failures of root are counted separately. An event without an id is not counted, because its
    retry would be counted again.
    """
    if not sign_in.event_id:
        return verdict
    user = "root" if ROOT_FAILURE in verdict.causes else "others"
    key = f"{sign_in.account}#failures of {user}"
    event_seconds = _read_event_seconds(sign_in, now)
    failures = state.count_recent(key, sign_in.event_id, event_seconds)
    return apply_failure_count(verdict, failures.number, is_first=failures.is_first)


def _apply_console_link(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Store a console link, or mark a console sign-in that follows a link of the same person.

    ``sign_in`` is either of the two.
    """
    key = f"{sign_in.account}#link#{sign_in.who}"
    is_new_link = verdict.grouped == "linked"  # judge groups only console links so
    if is_new_link:
        state.put(key, sign_in.event_id, now, WINDOW_SECONDS)
        return verdict
    has_recent_link = bool(state.get(key, now))
    return mark_linked(verdict) if has_recent_link else verdict


def _read_event_seconds(sign_in: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time in seconds since 1970; now if it cannot be read."""
    event_time = parse_time(sign_in.time)
    return int(event_time.timestamp()) if event_time else int(now)


def _open_state(dependencies: Dependencies) -> State:
    """Return the state in the ledger's table, read with short timeouts."""
    dynamodb = dependencies.client("dynamodb", quick=True)
    return State(dynamodb, dependencies.settings.ledger_table_name)
