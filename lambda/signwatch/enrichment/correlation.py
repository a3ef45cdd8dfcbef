"""Adjusts a verdict by earlier events kept in DynamoDB.

If the table cannot be read, the alert of a sign-in is sent unchanged. Terms:

- A device code signs in a program (``aws sso login``). A person approves it in a browser, after a
  portal sign-in: a sign-in to IAM Identity Center. Both should come from the same address, so time
  and address of each are stored, even if there is no alert. All else here concerns only alerts.
- A console link opens the console without a password. Its use is recorded as a console sign-in.
- A session use is an event with a session that a sign-in opened, such as a refreshed token. It is
  nothing new at the site (network of a home, a hotel) where the person last signed in.
- A stream is a kind of event that anybody can cause, such as wrong passwords. Its events are
  counted (see burst_store), and few of them are sent. What cannot be counted is left to a retry.
- A claim holds back other alerts with the same deduplication key while one of them is delivered. If
  that one reaches somebody, the claim becomes a report, which suppresses them for a day.

An event comes twice, by the bus and by the trail, in any order, and the second may be minutes late.
So what is stored is compared by the events' own times, and the second one changes no answer: the
stored answer, or the event's own entry, is used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from signwatch import log
from signwatch.detection.bursts import CREDENTIAL_STREAMS, HOUR_SECONDS, is_texted
from signwatch.detection.networks import pack_address
from signwatch.detection.record import digest, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER, SESSION_USE
from signwatch.detection.signin import SignIn, Unreadable
from signwatch.detection.verdict import (
    RECOGNISED_SOURCE,
    Verdict,
    apply_count,
    mark_counted,
    mark_grouped,
    mark_linked,
    mark_repeated,
    mark_site_of_last_sign_in,
    mark_text_skipped,
)
from signwatch.enrichment import closing, sign_in_group, text_budget
from signwatch.enrichment.burst_store import UNDECIDED, BurstStore
from signwatch.enrichment.state import DAY_SECONDS, WINDOW_SECONDS, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.dependencies import Dependencies

CLAIM_SECONDS = 5 * 60  # covers Lambda's two retries of a delivery
# The longest session that Identity Center allows (User Guide, "Set session duration").
SESSION_SECONDS = 90 * DAY_SECONDS
ANSWER_SECONDS = 14 * DAY_SECONDS  # no queue keeps an event for longer
MAX_STORED_SIGN_INS = 20  # of one person, within a day
STORE_TRIES = 10  # each is lost only to another sign-in that was stored
REPORTED = " reported"  # behind the event's id, once an alert has reached somebody
RECOGNISED_WORD = "recognised"  # in the string of a StoredSignIn
# An older event has come back from a queue. It counts as if it had happened this long ago.
MAX_COUNTED_AGE_SECONDS = 2 * HOUR_SECONDS
# While the table is down: alerts of one stream that one process sends in an hour.
UNCOUNTED_ALERTS_AN_HOUR = 3

# When this process sent them, by stream and event id.
_uncounted_alerts: dict[tuple[str, str], float] = {}


class NotCountedError(Exception):
    """An event of a stream could not be counted; raised so that it comes back."""


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
    return _parse_recent(state.get(key, now))


def _parse_recent(text: str) -> list[StoredSignIn]:
    """Parse what _store_recent stores."""
    return [StoredSignIn.parse(part) for part in text.split(",") if part]


def _store_recent(key: str, sign_in: StoredSignIn, now: float, state: State) -> list[StoredSignIn]:
    """Add a sign-in to the recent ones under ``key``, unless it is one of them; return them all.

    Those that are a day older than the last one are dropped.
    """
    for _ in range(STORE_TRIES):
        stored = state.get(key, now)
        recent = _parse_recent(stored)
        if sign_in in recent:
            return recent
        recent = sorted([*recent, sign_in])[-MAX_STORED_SIGN_INS:]
        start = recent[-1].seconds - DAY_SECONDS
        recent = [each for each in recent if each.seconds > start]
        if state.replace(key, stored, ",".join(map(str, recent)), now, DAY_SECONDS):
            return recent
    raise TimeoutError


def apply_correlation(
    verdict: Verdict,
    sign_in: SignIn | Unreadable,
    now: float,
    dependencies: Dependencies,
    with_name: Callable[[], SignIn],
) -> Verdict:
    """Return the verdict of an alert, adjusted by earlier events.

    ``with_name`` returns the sign-in with the user's name if the record has only the id.

    A repeated alert becomes a note, and so do a session use where the person last signed in, most
    events of a stream, and what one Identity Center sign-in causes after its first alert. A console
    sign-in is marked if it follows a console link. If too many texts were sent within the hour, the
    alert is sent by e-mail only. Other verdicts are returned unchanged. Raises NotCountedError.
    """
    try:
        state = _open_state(dependencies)
        if verdict.stream:
            return _apply_count(verdict, sign_in, now, state, dependencies)
        if isinstance(sign_in, SignIn):
            verdict = _apply_earlier_sign_ins(verdict, sign_in, now, state)
            verdict = _apply_text_limit(verdict, sign_in, now, state, dependencies, with_name)
    except Exception as error:  # noqa: BLE001 - whatever fails, the alert is sent
        log.write_failure("state", error, now, event_id=sign_in.event_id)
        return _limit_uncounted(verdict, sign_in.event_id, now)
    return verdict


def _apply_earlier_sign_ins(verdict: Verdict, sign_in: SignIn, now: float, state: State) -> Verdict:
    """Return the verdict on a success, adjusted by earlier ones of the same person."""
    if sign_in.kind == SESSION_USE:
        last = _get_recent(_make_last_sign_in_key(sign_in), now, state)
        if last and last[0].address_digest == digest(sign_in.site):
            return mark_site_of_last_sign_in(verdict)
    if verdict.deduplication_key:
        return _deduplicate(verdict, sign_in, now, state)
    if sign_in.kind == "console" or verdict.grouped == "linked":
        return _apply_console_link(verdict, sign_in, now, state)
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


def _deduplicate(verdict: Verdict, sign_in: SignIn, now: float, state: State) -> Verdict:
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


def _apply_count(
    verdict: Verdict,
    sign_in: SignIn | Unreadable,
    now: float,
    state: State,
    dependencies: Dependencies,
) -> Verdict:
    """Count an event of a stream. It becomes a note unless it is the first to reach a level.

    An event without an id is counted by its content, which is the same in a retry.
    """
    stream, event_id = verdict.stream, sign_in.event_id or digest(repr(sign_in))
    seconds = max(min(_read_event_seconds(sign_in, now), now), now - MAX_COUNTED_AGE_SECONDS)
    store = BurstStore(state.dynamodb, state.table, sign_in.account)
    origin = (sign_in.source, sign_in.who)
    count = store.count_event(stream, event_id, int(seconds) // HOUR_SECONDS, now, origin=origin)
    counted = apply_count(verdict, count.number, count.hours)
    if count.level:
        granted = count.granted
        if granted == UNDECIDED:
            wants_text = is_texted(stream, count.level)
            group = _choose_group(stream, count.level)
            granted = _grant(event_id, group, now, state, dependencies, wants_text=wants_text)
            store.record_grant(stream, event_id, granted)
        if granted != text_budget.NOTHING:
            return counted._replace(send_text=granted == text_budget.TEXT)
    if count.needs_closing:
        # Queued first: a message in vain is harmless, a closing message that is missing is not.
        content = {"burst": "failures", "account": sign_in.account, "id": event_id}
        _queue_closing(content, now, dependencies)
        store.start_closing(event_id, now)
    return mark_counted(counted)


def _choose_group(stream: str, level: int) -> str:
    """Return the group of the budget from which an event is granted its messages."""
    if stream in CREDENTIAL_STREAMS:
        return text_budget.CREDENTIALS
    return text_budget.FIRST if level <= text_budget.MAX_FIRST_LEVEL else text_budget.LATE


def _apply_text_limit(
    verdict: Verdict,
    sign_in: SignIn,
    now: float,
    state: State,
    dependencies: Dependencies,
    with_name: Callable[[], SignIn],
) -> Verdict:
    """Limit the texts on successes: one for each Identity Center sign-in, and so many an hour."""
    is_sent_now = verdict.level == "alert" and not verdict.is_pending
    if not (is_sent_now and verdict.send_text and verdict.has_text_limit and sign_in.event_id):
        return verdict
    if sign_in_group.can_group(sign_in):
        named_sign_in = with_name()
        group_id = _join_group(verdict, named_sign_in, now, state, dependencies)
        if group_id:
            return mark_grouped(verdict, group_id)
    group = text_budget.SUCCESS
    granted = _grant(sign_in.event_id, group, now, state, dependencies, wants_text=True)
    return verdict if granted == text_budget.TEXT else mark_text_skipped(verdict)


def _join_group(
    verdict: Verdict, sign_in: SignIn, now: float, state: State, dependencies: Dependencies
) -> str:
    """Return the id of the first event of the Identity Center sign-in; "" if this is the first.

    An alert that is sent once a day counts as reported then.
    """

    def queue_closing(group_id: str) -> None:
        """Queue what ends in the closing e-mail of the group."""
        content = sign_in_group.make_content(sign_in, group_id)
        _queue_closing({"burst": "sign-in", **content}, now, dependencies)

    seconds = _read_event_seconds(sign_in, now)
    group_id = sign_in_group.join(sign_in, verdict, seconds, now, state, queue_closing)
    if group_id and verdict.deduplication_key:
        value = f"{sign_in.event_id}{REPORTED}"
        state.put(verdict.deduplication_key, value, now, DAY_SECONDS)
    return group_id


def _grant(
    event_id: str,
    group: str,
    now: float,
    state: State,
    dependencies: Dependencies,
    *,
    wants_text: bool,
) -> str:
    """Return what an event may send, by the limit of texts in the settings."""
    limit = text_budget.parse_limit(dependencies.settings.texts_an_hour)

    def queue_closing() -> None:
        """Queue what ends in the closing text about the texts that are left out."""
        _queue_closing({"burst": "texts", "id": event_id}, now, dependencies)

    return text_budget.grant(
        event_id, group, now, limit, state, queue_closing, wants_text=wants_text
    )


def _queue_closing(content: dict[str, str], now: float, dependencies: Dependencies) -> None:
    """Queue what ends in a closing message. Raises TimeoutError if that fails."""
    if not closing.enqueue(content, now, dependencies):
        raise TimeoutError


def _limit_uncounted(verdict: Verdict, event_id: str, now: float) -> Verdict:
    """Return the verdict on an event that could not be counted, unchanged.

    A stranger can cause any number of events of a stream, and the table may be down for hours. Then
    each process sends UNCOUNTED_ALERTS_AN_HOUR of a stream. For a further one NotCountedError is
    raised, so that the queues bring it back until it is counted. Successes and what needs
    credentials are always sent.
    """
    stream = verdict.stream
    if not stream or stream in CREDENTIAL_STREAMS:
        return verdict
    for key, sent_at in list(_uncounted_alerts.items()):
        if sent_at <= now - HOUR_SECONDS:
            del _uncounted_alerts[key]
    key = (stream, event_id)
    number = sum(each_stream == stream for each_stream, _ in _uncounted_alerts)
    if key not in _uncounted_alerts and number >= UNCOUNTED_ALERTS_AN_HOUR:
        raise NotCountedError(stream)
    _uncounted_alerts[key] = now
    return verdict


def _apply_console_link(verdict: Verdict, sign_in: SignIn, now: float, state: State) -> Verdict:
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
