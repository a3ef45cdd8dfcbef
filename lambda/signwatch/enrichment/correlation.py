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

An event comes twice, by the bus and by the trail, in any order, and the second may be minutes late.
So what is stored is compared by the events' own times, and the second one changes no answer: the
stored answer, or the event's own entry, is used again.
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
ANSWER_SECONDS = 14 * DAY_SECONDS  # no queue keeps an event for longer
MAX_STORED_SIGN_INS = 20  # of one person, within a day
REPORTED = " reported"  # behind the event's id, once an alert has reached somebody
RECOGNISED_WORD = "recognised"  # in the string of a StoredSignIn


class StoredSignIn(NamedTuple):
    """When and where a device code or a console link was used, or a sign-in was made.

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
    """How the address of a device code and that of the portal sign-in that approved it compare.

    The table stores it as the string "True False".
    """

    is_elsewhere: bool | None  # they differ; None if that is unknown; False if only one is stored
    both_addresses_recognised: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the string that the table stores."""
        is_elsewhere, both_addresses_recognised = text.split()
        value = None if is_elsewhere == "None" else is_elsewhere == "True"
        return cls(value, both_addresses_recognised == "True")

    def __str__(self) -> str:
        return f"{self.is_elsewhere} {self.both_addresses_recognised}"


def compare_approval(
    sign_in: SignIn, now: float, dependencies: Dependencies, *, recognised: bool
) -> Approval:
    """Return whether a device code was used from another address than it was approved from.

    ``sign_in`` is the use of the code, or the portal sign-in; their events may arrive in any order.
    The second of them gets the answer; a repeated event gets the same answer again, so that one
    pair is one alert. ``recognised`` says whether its source is. The answer is unknown if the
    record has no user id, or if the table cannot be read. It is no if the other of the two is not
    stored. A portal session can last for weeks, but its address is stored for a day; an older one
    cannot be compared.
    """
    if not sign_in.user_id:
        return Approval(None)
    answer_key = f"{sign_in.account}#approval-answer#{sign_in.event_id}"
    try:
        state = _open_state(dependencies)
        if answer := state.get(answer_key, now):
            return Approval.parse(answer)
        stored_form = _make_stored_form(sign_in, now, recognised=recognised)
        if sign_in.kind == IDENTITY_CENTER:
            approval = _compare_portal_sign_in(sign_in, stored_form, now, state)
        else:
            approval = _compare_device_code(sign_in, stored_form, now, state)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert must be sent
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return Approval(None)
    if sign_in.event_id:
        _try_to_put(state, answer_key, str(approval), ANSWER_SECONDS, sign_in, now)
    return approval


def _compare_portal_sign_in(
    sign_in: SignIn, portal: StoredSignIn, now: float, state: State
) -> Approval:
    """Store a portal sign-in; compare its address with those of the device codes used after it.

    A code that was used before it, or after the next portal sign-in, was approved by another.
    """
    portals = _store_recent(_make_portal_key(sign_in), portal, now, state)
    later = [other.seconds for other in portals if other.seconds > portal.seconds]
    codes = [
        code
        for code in _get_recent(_make_device_code_key(sign_in), now, state)
        if portal.seconds <= code.seconds and not (later and code.seconds >= min(later))
    ]
    elsewhere = [code for code in codes if code.address_digest != portal.address_digest]
    all_recognised = portal.recognised and all(code.recognised for code in elsewhere)
    return Approval(bool(elsewhere), all_recognised)


def _compare_device_code(
    sign_in: SignIn, device_code: StoredSignIn, now: float, state: State
) -> Approval:
    """Store the use of a device code; compare its address with that of the portal sign-in before.

    The answer is unknown if only later portal sign-ins are stored. Of several in one second, any
    may have approved the code.
    """
    _store_recent(_make_device_code_key(sign_in), device_code, now, state)
    portals = _get_recent(_make_portal_key(sign_in), now, state)
    earlier = [portal for portal in portals if portal.seconds <= device_code.seconds]
    if not earlier:
        return Approval(is_elsewhere=None if portals else False)
    last = [portal for portal in earlier if portal.seconds == earlier[-1].seconds]
    is_elsewhere = device_code.address_digest not in [portal.address_digest for portal in last]
    both_recognised = device_code.recognised and all(portal.recognised for portal in last)
    return Approval(is_elsewhere, both_recognised)


def _make_portal_key(sign_in: SignIn) -> str:
    """Return the key under which the user's recent portal sign-ins are stored."""
    return f"{sign_in.account}#approval#{sign_in.user_id}"


def _make_device_code_key(sign_in: SignIn) -> str:
    """Return the key under which the user's recent device codes are stored."""
    return f"{sign_in.account}#device-code#{sign_in.user_id}"


def _make_stored_form(sign_in: SignIn, now: float, *, recognised: bool) -> StoredSignIn:
    """Return the time and the address of a sign-in in the form that is stored and compared."""
    address = pack_address(sign_in.source) or sign_in.source  # packed: the same in every spelling
    seconds = _read_event_seconds(sign_in, now)
    return StoredSignIn(seconds, digest(str(address)), recognised)


def _get_recent(key: str, now: float, state: State) -> list[StoredSignIn]:
    """Return the recent sign-ins under ``key``, the earliest first; expired ones do not count."""
    return [StoredSignIn.parse(text) for text in state.get(key, now).split(",") if text]


def _store_recent(key: str, sign_in: StoredSignIn, now: float, state: State) -> list[StoredSignIn]:
    """Add a sign-in to the recent ones under ``key``, unless it is one of them; return them all.

    Those that are a day older than the last one are dropped.
    """
    recent = _get_recent(key, now, state)
    if sign_in not in recent:
        recent = sorted([*recent, sign_in])[-MAX_STORED_SIGN_INS:]
        start = recent[-1].seconds - DAY_SECONDS
        recent = [stored for stored in recent if stored.seconds > start]
        state.put(key, ",".join(map(str, recent)), now, DAY_SECONDS)
    return recent


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
            last = _get_recent(_make_last_sign_in_key(sign_in), now, state)
            if last and last[0].address_digest == digest(sign_in.site):
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
    try:
        state = _open_state(dependencies)
        reported = f"{sign_in.event_id}{REPORTED}"
        if not reached_somebody:
            state.put(verdict.deduplication_key, sign_in.event_id, now, 0)  # has expired at once
        elif state.get(verdict.deduplication_key, now) != reported:  # a repeat prolongs nothing
            state.put(verdict.deduplication_key, reported, now, DAY_SECONDS)
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
    """Store a digest of the site that somebody last signed in from. Never raises."""
    try:
        state, key = _open_state(dependencies), _make_last_sign_in_key(sign_in)
        stored_form = _make_stored_site(sign_in, now)
        stored = _get_recent(key, now, state)
        if not stored or stored[0].seconds <= stored_form.seconds:
            state.put(key, str(stored_form), now, SESSION_SECONDS)
    except Exception as error:  # noqa: BLE001 - then the use of the session is mailed
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _make_stored_site(sign_in: SignIn, now: float) -> StoredSignIn:
    """Return the time and the site of a sign-in in the form that is stored and compared."""
    return StoredSignIn(_read_event_seconds(sign_in, now), digest(sign_in.site), recognised=False)


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

    ``sign_in`` is either of the two. Follows: within WINDOW_SECONDS.
    """
    key = f"{sign_in.account}#link#{sign_in.who}"
    seconds = _read_event_seconds(sign_in, now)
    is_new_link = verdict.grouped == "linked"  # judge groups only console links so
    if is_new_link:
        link = StoredSignIn(seconds, digest(sign_in.source), recognised=False)
        _store_recent(key, link, now, state)
        return verdict
    links = _get_recent(key, now, state)
    has_recent_link = any(0 <= seconds - link.seconds < WINDOW_SECONDS for link in links)
    return mark_linked(verdict) if has_recent_link else verdict


def _read_event_seconds(sign_in: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time in seconds since 1970; now if it cannot be read."""
    event_time = parse_time(sign_in.time)
    return int(event_time.timestamp()) if event_time else int(now)


def _try_to_put(
    state: State, key: str, value: str, storage_seconds: int, sign_in: SignIn, now: float
) -> None:
    """Store ``value`` under ``key``; only log a failure."""
    try:
        state.put(key, value, now, storage_seconds)
    except Exception as error:  # noqa: BLE001 - then a repeated event is compared again
        log.write_failure("state", error, now, event_id=sign_in.event_id)


def _open_state(dependencies: Dependencies) -> State:
    """Return the state in the ledger's table, read with short timeouts."""
    dynamodb = dependencies.client("dynamodb", quick=True)
    return State(dynamodb, dependencies.settings.ledger_table_name)
