"""Limits the texts of an hour, and the e-mails that strangers can cause, over all accounts.

A success gets a text while fewer than TextsAnHour were sent within the last hour; after that it is
sent by e-mail only, and a closing text tells how many were. Events of bursts have a share of their
own (at most half), so that they never take the text of a success. What was granted is one JSON list
in the state, written only if nobody else changed it. Granted twice, an event gets the same.
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
STORAGE_SECONDS = 3 * HOUR_SECONDS  # a retry within this time is granted the same
MAX_SKIPPED_TEXTS = 100  # remembered for the closing text
CLOSING_DELAY_SECONDS = HOUR_SECONDS - 60  # SQS may deliver a message a little early
TRIES = 10  # each is lost only to another message that was granted


class Entry(NamedTuple):
    """What was granted to an event."""

    seconds: int
    group: str  # FIRST, LATE, SUCCESS or CLOSING
    granted: str  # TEXT or EMAIL
    event_id: str


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
    """Return TEXT (with an e-mail), EMAIL or NOTHING; a success always gets the e-mail.

    ``queue_closing`` is called before the first text is left out, so that a closing text follows.
    Raises if that or the state fails.
    """
    for _ in range(TRIES):
        stored, entries = _load(now, state)
        skipped = _list_skipped(entries)
        for entry in entries:
            if entry.event_id == event_id:
                return entry.granted
        recent = [entry for entry in entries if entry.seconds > now - HOUR_SECONDS]
        granted = _choose(recent, group, texts_an_hour, wants_text=wants_text)
        is_skipped = group == SUCCESS and granted == EMAIL
        if granted == NOTHING or (is_skipped and len(skipped) >= MAX_SKIPPED_TEXTS):
            return granted
        if is_skipped and not skipped:
            queue_closing()
        entry = Entry(int(now), group, granted, event_id)
        if state.replace(KEY, stored, json.dumps([*entries, entry]), now, STORAGE_SECONDS):
            return granted
    raise TimeoutError


def take_closing(event_id: str, now: float, state: State) -> None:
    """Take one of the closing messages of an hour. Raises NotYetError if there is none left."""

    def queue_closing() -> None:
        """Do nothing: this is about no text."""

    limit = DEFAULT_TEXTS_AN_HOUR
    granted = grant(
        f"closing {event_id}", CLOSING, now, limit, state, queue_closing, wants_text=False
    )
    if granted == NOTHING:
        raise NotYetError


def find_closing(
    event_id: str, now: float, texts_an_hour: int, state: State
) -> TextsClosing | None:
    """Return what the closing text of an event tells; None if it was sent.

    Raises NotYetError while it is too early.
    """
    skipped = _list_skipped(_load(now, state)[1])
    if not skipped or skipped[0].event_id != event_id:
        return None
    if now < skipped[0].seconds + CLOSING_DELAY_SECONDS:
        raise NotYetError
    return TextsClosing(len(skipped), texts_an_hour)


def finish_closing(closing: TextsClosing, now: float, state: State) -> None:
    """Forget the skipped texts that a closing text told."""
    for _ in range(TRIES):
        stored, entries = _load(now, state)
        told = _list_skipped(entries)[: closing.number]
        rest = [entry for entry in entries if entry not in told]
        if state.replace(KEY, stored, json.dumps(rest), now, STORAGE_SECONDS):
            return
    raise TimeoutError


def _load(now: float, state: State) -> tuple[str, list[Entry]]:
    """Return the stored JSON, and its entries that have not expired."""
    stored = state.get(KEY, now)
    entries = [Entry(*values) for values in json.loads(stored or "[]")]
    return stored, [entry for entry in entries if entry.seconds > now - STORAGE_SECONDS]


def _list_skipped(entries: list[Entry]) -> list[Entry]:
    """Return the successes whose text was left out, in the order of their arrival."""
    return [entry for entry in entries if (entry.group, entry.granted) == (SUCCESS, EMAIL)]


def _choose(recent: list[Entry], group: str, texts_an_hour: int, *, wants_text: bool) -> str:
    """Return what an event is granted beside the entries of the last hour."""
    texts = [entry for entry in recent if entry.granted == TEXT]
    if group == SUCCESS:
        return TEXT if len(texts) < texts_an_hour else EMAIL
    closings = [entry for entry in recent if entry.group == CLOSING]
    if group == CLOSING:
        return EMAIL if len(closings) < MAX_CLOSINGS else NOTHING
    of_bursts = [entry for entry in recent if entry.group in (FIRST, LATE)]
    late = [entry for entry in recent if entry.group == LATE]
    is_late = group == LATE
    if len(of_bursts) >= MAX_BURST_EMAILS or (is_late and len(late) >= MAX_LATE_EMAILS):
        return NOTHING
    burst_texts = [entry for entry in texts if entry.group != SUCCESS]
    late_texts = [entry for entry in texts if entry.group == LATE]
    has_text_left = len(texts) < texts_an_hour and len(burst_texts) < (texts_an_hour + 1) // 2
    if is_late and len(late_texts) >= MAX_LATE_TEXTS:
        has_text_left = False
    return TEXT if wants_text and has_text_left else EMAIL
