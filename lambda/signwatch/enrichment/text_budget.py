"""Limits the texts of an hour, and the e-mails that strangers can cause, over all accounts.

A success gets a text while fewer than TextsAnHour of successes were sent within the last hour;
after that it is sent by e-mail only, and a closing text tells how many were. So do events that need
credentials, such as a right password. Failures that anybody can cause have a budget of their own,
half as large, so they never take the text of another event.

What was granted within the last hours is one item of the state, written only if nobody else changed
it. Granted twice, an event gets the same, for as long as a queue keeps it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from signwatch.detection.bursts import HOUR_SECONDS, TextsClosing
from signwatch.later import NotYetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.enrichment.state import State

KEY = "messages of the last hours"
FIRST = "first"  # the first events of a stream, up to the first text
LATE = "late"  # the further levels of a stream
SUCCESS = "success"
CREDENTIALS = "credentials"  # events of CREDENTIAL_STREAMS
ALWAYS_MAILED = (SUCCESS, CREDENTIALS)
CLOSING = "closing"  # a closing message of a burst
TEXT = "text"  # what is granted: an e-mail and a text
EMAIL = "email"
NOTHING = "nothing"
MAX_FIRST_LEVEL = 3
MAX_LATE_TEXTS = 3  # an hour, over all streams
MAX_LATE_EMAILS = 6
MAX_BURST_EMAILS = 24  # an hour, with the first ones
MAX_CLOSINGS = 5  # an hour; further ones wait
DEFAULT_TEXTS_AN_HOUR = 20  # if the setting is missing
STORAGE_SECONDS = 14 * 24 * HOUR_SECONDS  # no queue keeps an event for longer
ENTRY_SECONDS = 3 * HOUR_SECONDS
MAX_ENTRIES = 2000  # below 200 KB
CLOSING_DELAY_SECONDS = HOUR_SECONDS - 60  # SQS may deliver a message a little early
CLOSING_LOST_SECONDS = 6 * HOUR_SECONDS  # then another event's closing text tells its number too
TRIES = 10  # each is lost only to another message that was granted


class Entry(NamedTuple):
    """What was granted to an event."""

    seconds: int
    group: str  # FIRST, LATE, SUCCESS, CREDENTIALS or CLOSING
    granted: str  # TEXT or EMAIL
    event_id: str


class Book(NamedTuple):
    """The entries of the last hours, and the closing text that waits. Stored as a JSON list."""

    entries: list[Entry]
    skipped: int = 0  # texts that were left out and not told yet
    closing_id: str = ""  # the event whose queued message ends in the closing text
    closing_at: int = 0  # when it was queued
    closing_part: int = 0  # see BurstClosing


def parse_limit(text: str) -> int:
    """Return the setting TextsAnHour as a number."""
    return int(text) if text.isdecimal() else DEFAULT_TEXTS_AN_HOUR


def grant(
    event_id: str,
    group: str,
    now: float,
    texts_an_hour: int,
    state: State,
    queue_closing: Callable[[], None],
    *,
    wants_text: bool,
) -> str:
    """Return TEXT (with an e-mail), EMAIL or NOTHING; some groups are ALWAYS_MAILED.

    ``queue_closing`` is called before the first text is left out, so that a closing text follows.
    Raises if that or the state fails.
    """
    key = f"granted#{event_id}"
    if granted := state.get(key, now):
        return granted
    for _ in range(TRIES):
        stored, book = _load(now, state)
        granted = next((e.granted for e in book.entries if e.event_id == event_id), "")
        is_stored = bool(granted)
        if not is_stored:
            recent = [entry for entry in book.entries if entry.seconds > now - HOUR_SECONDS]
            granted = _choose(recent, group, texts_an_hour, wants_text=wants_text)
            if granted == NOTHING:
                return granted
            if group in ALWAYS_MAILED and granted == EMAIL:
                if not book.closing_id or book.closing_at <= now - CLOSING_LOST_SECONDS:
                    queue_closing()
                    book = book._replace(closing_id=event_id, closing_at=int(now), closing_part=0)
                book = book._replace(skipped=book.skipped + 1)
            entries = [*book.entries, Entry(int(now), group, granted, event_id)][-MAX_ENTRIES:]
            book = book._replace(entries=entries)
        if is_stored or _replace(stored, book, now, state):
            state.put(key, granted, now, STORAGE_SECONDS)
            return granted
    raise TimeoutError


def take_closing(key: str, now: float, state: State) -> None:
    """Take one of the closing messages of an hour. Raises NotYetError if there is none left."""
    granted = grant(key, CLOSING, now, 0, state, lambda: None, wants_text=False)
    if granted == NOTHING:
        raise NotYetError


def find_closing(
    event_id: str, now: float, texts_an_hour: int, state: State
) -> TextsClosing | None:
    """Return what the closing text of an event tells; None if it was sent.

    Raises NotYetError while it is too early.
    """
    book = _load(now, state)[1]
    if book.closing_id != event_id:
        return None
    if now < book.closing_at + CLOSING_DELAY_SECONDS:
        raise NotYetError
    return TextsClosing(book.skipped, texts_an_hour, book.closing_part)


def finish_closing(closing: TextsClosing, event_id: str, now: float, state: State) -> None:
    """Record that the closing text of an event was sent.

    Raises NotYetError if further texts were left out meanwhile: a further part tells them.
    """
    for _ in range(TRIES):
        stored, book = _load(now, state)
        if book.closing_id != event_id:
            return
        rest = max(book.skipped - closing.number, 0)
        book = book._replace(skipped=rest, closing_part=closing.part + 1)
        if not rest:
            book = Book(book.entries)
        if _replace(stored, book, now, state):
            if rest:
                raise NotYetError
            return
    raise TimeoutError


def _load(now: float, state: State) -> tuple[str, Book]:
    """Return the stored JSON, and its content without the entries that have expired."""
    stored = state.get(KEY, now)
    book = Book(*json.loads(stored or "[[]]"))
    entries = [Entry(*values) for values in book.entries]
    entries = [entry for entry in entries if entry.seconds > now - ENTRY_SECONDS]
    return stored, book._replace(entries=entries)


def _replace(stored: str, book: Book, now: float, state: State) -> bool:
    """Store a book in place of ``stored``; return whether nobody else changed it."""
    return state.replace(KEY, stored, json.dumps(book), now, STORAGE_SECONDS)


def _choose(recent: list[Entry], group: str, texts_an_hour: int, *, wants_text: bool) -> str:
    """Return what an event is granted beside the entries of the last hour."""
    of_group = [entry for entry in recent if entry.group == group]
    texts_of_group = [entry for entry in of_group if entry.granted == TEXT]
    if group in ALWAYS_MAILED:
        return TEXT if len(texts_of_group) < texts_an_hour else EMAIL
    if group == CLOSING:
        return EMAIL if len(of_group) < MAX_CLOSINGS else NOTHING
    of_bursts = [entry for entry in recent if entry.group in (FIRST, LATE)]
    texts = [entry for entry in of_bursts if entry.granted == TEXT]
    is_late = group == LATE
    if len(of_bursts) >= MAX_BURST_EMAILS or (is_late and len(of_group) >= MAX_LATE_EMAILS):
        return NOTHING
    has_text_left = len(texts) < (texts_an_hour + 1) // 2
    if is_late and len(texts_of_group) >= MAX_LATE_TEXTS:
        has_text_left = False
    return TEXT if wants_text and has_text_left else EMAIL
