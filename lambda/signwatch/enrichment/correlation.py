"""Adjusts a verdict by earlier events kept in DynamoDB.

If the table cannot be read, the alert is sent unchanged. Terms:

- A device code signs in a program (``aws sso login``). A person approves it in a browser, after a
  portal sign-in: a sign-in to IAM Identity Center. Both should come from the same address, so time
  and address of each are stored, even if there is no alert. All else here concerns only alerts.
- A console link opens the console without a password. Its use is recorded as a console sign-in.
- A session use is an event with a session that a sign-in opened, such as a refreshed token. It is
  nothing new at the site (network of a home, a hotel) where the person last signed in.
- A claim holds back other alerts with the same deduplication key while one of them is delivered. If
  that one reaches somebody, the claim becomes a report, which suppresses them for a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from signwatch import log
from signwatch.detection.networks import pack_address
from signwatch.detection.record import digest, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER, SESSION_USE
from signwatch.detection.signin import SignIn, Unreadable
from signwatch.detection.verdict import (
    RECOGNISED_SOURCE,
    ROOT_FAILURE,
    Verdict,
    apply_failure_count,
    mark_linked,
    mark_repeated,
    mark_site_of_last_sign_in,
)
from signwatch.enrichment.state import DAY_SECONDS, WINDOW_SECONDS, State

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies

CLAIM_SECONDS = 5 * 60  # covers Lambda's two retries of a delivery
# The longest session that Identity Center allows (User Guide, "Set session duration").
SESSION_SECONDS = 90 * DAY_SECONDS
REPORTED = " reported"  # behind the event's id, once an alert has reached somebody
RECOGNISED_WORD = "recognised"  # in the string of a StoredSignIn


class StoredSignIn(NamedTuple):
    """When and where a device code was used, or a portal sign-in was made.

    The table stores it as the string "1795000000 digest recognised". The last word is missing if
    the address was not recognised.
    """

    seconds: int  # its time, in seconds since 1970
    address_digest: str  # one address in two spellings has one digest
    recognised: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        seconds, address_digest, *last_word = text.split()
        return cls(int(seconds), address_digest, last_word == [RECOGNISED_WORD])

    def __str__(self) -> str:
        words = [str(self.seconds), self.address_digest]
        if self.recognised:
            words.append(RECOGNISED_WORD)
        return " ".join(words)


class Approval(NamedTuple):
    """How the address of a device code and that of the portal sign-in that approved it compare."""

    is_elsewhere: bool | None  # they differ; None if that is unknown; False if only one is stored
    both_addresses_recognised: bool = False


def compare_approval(
    sign_in: SignIn, now: float, dependencies: Dependencies, *, recognised: bool
) -> Approval:
    """Return whether a device code was used from another address than it was approved from.

    ``sign_in`` is the use of the code, or the portal sign-in; their events may arrive in any order.
    ``recognised`` says whether its source is. The answer is unknown if the record has no user id,
    or if the table cannot be read. It is no if the other of the two is not stored. A portal session
    can last for weeks, but its address is stored for a day; an older one cannot be compared.
    """
    if not sign_in.user_id:
        return Approval(None)
    try:
        state = _open_state(dependencies)
        stored_form = _make_stored_form(sign_in, now, recognised=recognised)
        if sign_in.kind == IDENTITY_CENTER:
            return _compare_portal_sign_in(sign_in, stored_form, now, state)
        return _compare_device_code(sign_in, stored_form, now, state)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert must be sent
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return Approval(None)


def _compare_portal_sign_in(
    sign_in: SignIn, portal: StoredSignIn, now: float, state: State
) -> Approval:
    """Store a portal sign-in; compare its address with that of a device code used after it.

    The code's event may arrive before that of the portal sign-in; then the code is stored already.
    A code that was used before this portal sign-in was approved by an earlier one.
    """
    _store_latest(_make_portal_key(sign_in), portal, now, DAY_SECONDS, state)
    device_code = _get_stored(_make_device_code_key(sign_in), now, state)
    if device_code is None or device_code.seconds < portal.seconds:
        return Approval(is_elsewhere=False)
    return _compare_addresses(device_code, portal)


def _compare_device_code(
    sign_in: SignIn, device_code: StoredSignIn, now: float, state: State
) -> Approval:
    """Store the use of a device code; compare its address with that of the portal sign-in before.

    The answer is unknown if a later portal sign-in is stored: it may have replaced the one before,
    if this event is a retry.
    """
    _store_latest(_make_device_code_key(sign_in), device_code, now, WINDOW_SECONDS, state)
    portal = _get_stored(_make_portal_key(sign_in), now, state)
    if portal is None:
        return Approval(is_elsewhere=False)
    if portal.seconds > device_code.seconds:
        return Approval(is_elsewhere=None)
    return _compare_addresses(portal, device_code)


def _compare_addresses(first: StoredSignIn, second: StoredSignIn) -> Approval:
    """Return whether the two addresses differ, and whether both are recognised."""
    is_elsewhere = first.address_digest != second.address_digest
    return Approval(is_elsewhere, first.recognised and second.recognised)


def _make_portal_key(sign_in: SignIn) -> str:
    """Return the key under which the user's last portal sign-in is stored."""
    return f"{sign_in.account}#approval#{sign_in.user_id}"


def _make_device_code_key(sign_in: SignIn) -> str:
    """Return the key under which the user's last device code is stored."""
    return f"{sign_in.account}#device-code#{sign_in.user_id}"


def _make_stored_form(sign_in: SignIn, now: float, *, recognised: bool) -> StoredSignIn:
    """Return the time and the address of a sign-in in the form that is stored and compared."""
    address = pack_address(sign_in.source) or sign_in.source  # packed: the same in every spelling
    seconds = _read_event_seconds(sign_in, now)
    return StoredSignIn(seconds, digest(str(address)), recognised)


def _get_stored(key: str, now: float, state: State) -> StoredSignIn | None:
    """Return the sign-in under ``key``; None if there is none or it has expired."""
    text = state.get(key, now)
    return StoredSignIn.parse(text) if text else None


def _store_latest(
    key: str, sign_in: StoredSignIn, now: float, storage_seconds: int, state: State
) -> None:
    """Store a sign-in under ``key``, unless a later one is stored there."""
    stored = _get_stored(key, now, state)
    if stored is None or stored.seconds <= sign_in.seconds:
        state.put(key, str(sign_in), now, storage_seconds)


def apply_correlation(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, dependencies: Dependencies
) -> Verdict:
    """Return the verdict of an alert, adjusted by earlier events.

    A repeated alert becomes a note, and so does a session use where the person last signed in. A
    failure is counted together with the recent ones. A console sign-in is marked if it follows a
    console link. Other verdicts are returned unchanged.
    """
    is_console = isinstance(sign_in, SignIn) and sign_in.kind == "console"
    if not (verdict.deduplication_key or verdict.grouped or is_console):
        return verdict
    try:
        state = _open_state(dependencies)
        if isinstance(sign_in, SignIn) and sign_in.kind == SESSION_USE:
            site_digest = state.get(_make_last_sign_in_key(sign_in), now)
            if site_digest == digest(sign_in.site):
                return mark_site_of_last_sign_in(verdict)
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
    reached_somebody: bool,
) -> None:
    """Record that an alert was sent, so that no other like it is sent for a day.

    If it reached nobody, release its claim, so that the next one is sent. Alerts without a
    deduplication key are not recorded, since all of them are sent. Nor is an event without an id,
    because its retry would look like a second event. Where the person signed in is stored too,
    because a session use there is nothing new.
    """
    if reached_somebody and isinstance(sign_in, SignIn) and _has_opened_session(verdict, sign_in):
        _store_last_sign_in(sign_in, now, dependencies)
    if not (verdict.deduplication_key and sign_in.event_id):
        return
    value, seconds = sign_in.event_id, 0  # a claim of 0 seconds has expired
    if reached_somebody:
        value, seconds = f"{sign_in.event_id}{REPORTED}", DAY_SECONDS
    try:
        state = _open_state(dependencies)
        state.put(verdict.deduplication_key, value, now, seconds)
    except Exception as error:  # noqa: BLE001 - then the next alert like it is sent too
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _has_opened_session(verdict: Verdict, sign_in: SignIn) -> bool:
    """Return whether a sign-in from an unrecognised source opened a session that can be used later.

    Users of Identity Center, federated users and the command ``aws login`` open such sessions. A
    recognised source does not count, because a session use there is no alert in any case.
    """
    if sign_in.outcome != "success" or sign_in.kind == SESSION_USE or sign_in.who == "unknown":
        return False
    if RECOGNISED_SOURCE in verdict.reasons:
        return False
    return sign_in.identity in (IDENTITY_CENTER, "federated") or sign_in.kind == "aws-login"


def _store_last_sign_in(sign_in: SignIn, now: float, dependencies: Dependencies) -> None:
    """Store a digest of the site that somebody signed in from. Never raises."""
    try:
        state = _open_state(dependencies)
        site_digest = digest(sign_in.site)
        state.put(_make_last_sign_in_key(sign_in), site_digest, now, SESSION_SECONDS)
    except Exception as error:  # noqa: BLE001 - then the use of the session is mailed
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _make_last_sign_in_key(sign_in: SignIn) -> str:
    """Return the key under which the digest of the site of the last sign-in is stored."""
    return f"{sign_in.account}#last-sign-in#{sign_in.user_id or sign_in.who}"


def _deduplicate(
    verdict: Verdict, sign_in: SignIn | Unreadable, now: float, state: State
) -> Verdict:
    """Claim the alert and return its verdict; return a note if one like it was reported.

    A claim lasts for CLAIM_SECONDS; record_alert turns it into a report that lasts for a day. While
    another event has the claim, nobody knows whether its alert will reach anybody, so the verdict
    is marked as pending.
    """
    if not sign_in.event_id:
        return verdict
    key = verdict.deduplication_key
    if state.claim(key, sign_in.event_id, now, CLAIM_SECONDS):
        return verdict
    stored = state.get(key, now)
    if stored == f"{sign_in.event_id}{REPORTED}":  # a retry of the event that was reported
        return verdict
    if stored.endswith(REPORTED):
        return mark_repeated(verdict)
    return verdict._replace(is_pending=True)


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

    ``sign_in`` is either of the two. Follows: within WINDOW_SECONDS, for which a link is stored.
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
