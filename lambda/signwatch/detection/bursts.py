"""Bursts: events that anybody can cause, counted in streams and reported at a few numbers. Pure.

A wrong password needs no credentials, so a stranger can cause any number of alerts. Such an event
belongs to a stream (see verdict). The first of a stream is reported at once, then the 3rd, the
10th, the 30th and so on (LEVELS); the others are only counted, and a closing message tells their
number. A run is a row of hours of UTC that each have an event of the stream, RUN_MAX_HOURS at most.
Its events are counted together, so that slow guessing is noticed too.
"""

from collections.abc import Mapping
from typing import NamedTuple

from signwatch.detection.verdict import (
    RECOVERIES,
    REFUSED_ROOT_SESSIONS,
    RIGHT_PASSWORDS,
    ROOT_FAILURES,
    UNREADABLE_EVENTS,
)

LEVELS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
TEXT_MIN_LEVEL = 3  # from here on by text too
# Streams that nobody without credentials can cause. What others cause must not silence them.
CREDENTIAL_STREAMS = (RIGHT_PASSWORDS, REFUSED_ROOT_SESSIONS)
# Of these streams the first event is worth a text: it is about root, or may be, or somebody knows a
# password.
TEXTED_AT_FIRST = (ROOT_FAILURES, RECOVERIES, UNREADABLE_EVENTS, *CREDENTIAL_STREAMS)
HOUR_SECONDS = 3600
RUN_MAX_HOURS = 24


class Run(NamedTuple):
    """A row of hours with events of one stream. An hour is a number of hours since 1970."""

    first_hour: int
    last_hour: int
    number: int  # of events

    @property
    def hours(self) -> int:
        """The number of hours."""
        return self.last_hour - self.first_hour + 1


class StreamClosing(NamedTuple):
    """What the closing message tells about a stream."""

    stream: str
    number: int
    hours: int
    sources: tuple[str, ...]  # untrusted, as the names; the latest few
    names: tuple[str, ...]
    last_hour: int = 0  # of its run


class BurstClosing(NamedTuple):
    """What the closing message of a burst in an account tells."""

    account: str
    streams: tuple[StreamClosing, ...]
    is_texted: bool
    number: int = 0  # of events ever counted in the account
    part: int = 0  # of the message; another follows if events come while it is sent


class TextsClosing(NamedTuple):
    """What is told after an hour in which more texts were wanted than are allowed."""

    number: int  # of alerts that were sent by e-mail only
    texts_an_hour: int
    part: int = 0  # as that of a BurstClosing


class FurtherEvent(NamedTuple):
    """An event of an Identity Center sign-in after the first one; the role is untrusted."""

    event_id: str
    time: str
    what: str  # SignIn.what
    role: str
    account: str


class SignInClosing(NamedTuple):
    """What one Identity Center sign-in caused after its text."""

    account: str
    who: str
    source: str
    tag: str  # the event id of the first alert
    events: tuple[FurtherEvent, ...]


def find_run(numbers: Mapping[int, int], hour: int) -> Run:
    """Return the run around ``hour``. ``numbers`` has the number of events by hour.

    An hour without an event ends it.
    """
    first = last = hour
    while numbers.get(first - 1) and first > hour - RUN_MAX_HOURS + 1:
        first -= 1
    while numbers.get(last + 1) and last < first + RUN_MAX_HOURS - 1:
        last += 1
    number = sum(numbers.get(each, 0) for each in range(first, last + 1))
    return Run(first, last, max(number, 1))


def find_level(number: int) -> int:
    """Return the highest of LEVELS that a number of events has reached."""
    return max(level for level in LEVELS if level <= max(number, 1))


def is_texted(stream: str, level: int) -> bool:
    """Return whether the event that reaches ``level`` is worth a text, besides the e-mail."""
    return level >= TEXT_MIN_LEVEL or stream in TEXTED_AT_FIRST


Closing = BurstClosing | TextsClosing | SignInClosing
