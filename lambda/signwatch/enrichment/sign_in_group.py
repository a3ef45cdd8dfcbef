"""Groups what one sign-in to Identity Center causes, so that it is one text.

One sign-in is recorded as several events: the portal, a token, a console link, the console, the
keys of roles. The first that gets a text opens a group. An event belongs to it if it is of the same
person, from the same address and VPC endpoint, at most 15 minutes before or after, and not more
severe. Such events are only counted, and a closing e-mail tells them under the id of the first.

A person is known by the user id and by the name, because not every record has both.

What became of an event is stored by its id, so that a retry is the same: the group may have been
replaced by a more severe one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from signwatch.detection.bursts import FurtherEvent, SignInClosing
from signwatch.detection.networks import pack_address
from signwatch.detection.sign_in_paths import IDENTITY_CENTER, SESSION_USE
from signwatch.detection.signin import WHAT_BY_IDENTITY
from signwatch.enrichment.state import DAY_SECONDS, WINDOW_SECONDS
from signwatch.later import NotYetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.detection.signin import SignIn
    from signwatch.detection.verdict import Verdict
    from signwatch.enrichment.state import State

STORAGE_SECONDS = 14 * DAY_SECONDS  # no queue keeps an event, or a closing message, for longer
MAX_EVENTS = 50  # of a group, in the closing e-mail
TRIES = 10  # each is lost only to another event of the group


class Group(NamedTuple):
    """A group. The table stores it as "1795000000 high event-id"."""

    seconds: int  # the time of its first event
    severity: str
    event_id: str  # of the first event


def can_group(sign_in: SignIn) -> bool:
    """Return whether it can be one of several events of a sign-in to Identity Center.

    Without an address, two strangers may have come from the same source.
    """
    is_success = sign_in.outcome == "success" and sign_in.kind != SESSION_USE
    # The console sign-in of a role is described so only if AWS alone can have made the role.
    is_console = sign_in.what == WHAT_BY_IDENTITY[IDENTITY_CENTER]
    is_of_identity_center = sign_in.identity == IDENTITY_CENTER or is_console
    is_known = sign_in.who != "unknown" and pack_address(sign_in.source) is not None
    return is_success and is_of_identity_center and is_known


def join(
    sign_in: SignIn,
    verdict: Verdict,
    seconds: int,
    now: float,
    state: State,
    queue_closing: Callable[[str], None],
) -> str:
    """Add an event to the group of an earlier one, and return the id of its first event.

    Return "" if there is none: the event opens a group. ``seconds`` is its own time.
    ``queue_closing`` is called with that id before an event is only counted, so that a closing
    e-mail follows. Raises if that or the state fails.
    """
    own_id, keys = sign_in.event_id, _make_keys(sign_in)
    event_key = f"sign-in of#{own_id}"
    group_id = state.get(event_key, now)
    for _ in range(TRIES):
        if group_id:
            state.put(event_key, group_id, now, STORAGE_SECONDS)
            return "" if group_id == own_id else group_id
        stored = {key: state.get(key, now) for key in keys}
        groups = [_parse(text) for text in stored.values() if text]
        group = next((each for each in groups if _belongs_to(each, own_id, verdict, seconds)), None)
        value = f"{seconds} {verdict.severity} {own_id}"
        if group and group.event_id != own_id:
            group_id = _add_event(sign_in, group, now, state, queue_closing)
        elif (
            group
            or any(each.seconds > seconds for each in groups)  # it came late
            or all(state.replace(key, stored[key], value, now, STORAGE_SECONDS) for key in keys)
        ):
            group_id = own_id
    raise TimeoutError


def find_closing(content: dict[str, str], now: float, state: State) -> SignInClosing | None:
    """Return what the closing e-mail tells, None if it was sent; ``content`` is of make_content."""
    stored = state.get(_make_list_key(content["id"]), now)
    events = tuple(FurtherEvent(*values) for values in json.loads(stored or "[]"))
    if not events:
        return None
    who, source, account = content["who"], content["source"], content["account"]
    return SignInClosing(account, who, source, content["id"], events)


def finish_closing(closing: SignInClosing, now: float, state: State) -> None:
    """Forget the events that a closing e-mail told. NotYetError: others have come meanwhile."""
    key = _make_list_key(closing.tag)
    stored = state.get(key, now)
    has_same_events = len(json.loads(stored or "[]")) == len(closing.events)
    if not (has_same_events and state.replace(key, stored, "[]", now, STORAGE_SECONDS)):
        raise NotYetError


def make_content(sign_in: SignIn, group_id: str) -> dict[str, str]:
    """Return what the queued message has to hold, because the table has no names."""
    return {
        "id": group_id,
        "who": sign_in.who,
        "source": sign_in.source,
        "account": sign_in.account,
    }


def _parse(text: str) -> Group:
    seconds, severity, event_id = text.split(" ", 2)
    return Group(int(seconds), severity, event_id)


def _belongs_to(group: Group, event_id: str, verdict: Verdict, seconds: int) -> bool:
    is_more_severe = verdict.severity == "high" and group.severity != "high"
    is_near = abs(seconds - group.seconds) <= WINDOW_SECONDS
    return group.event_id == event_id or (is_near and not is_more_severe)


def _add_event(
    sign_in: SignIn,
    group: Group,
    now: float,
    state: State,
    queue_closing: Callable[[str], None],
) -> str:
    """Add an event to the list of its group, once, and return the group's id.

    Return the event's own id if the list is full: so many are worth a text.
    """
    key = _make_list_key(group.event_id)
    for _ in range(TRIES):
        stored = state.get(key, now)
        events = json.loads(stored or "[]")
        if any(event_id == sign_in.event_id for event_id, *_ in events):
            return group.event_id
        if len(events) >= MAX_EVENTS:
            return sign_in.event_id
        if not events:
            queue_closing(group.event_id)
        new_events = json.dumps([*events, _make_further_event(sign_in)])
        if state.replace(key, stored, new_events, now, STORAGE_SECONDS):
            return group.event_id
    raise TimeoutError


def _make_further_event(sign_in: SignIn) -> FurtherEvent:
    """Return what the closing e-mail tells of an event."""
    account = sign_in.target_account or sign_in.account
    return FurtherEvent(sign_in.event_id, sign_in.time, sign_in.what, sign_in.role, account)


def _make_keys(sign_in: SignIn) -> list[str]:
    """Return the keys of the person at this address: by user id, and by name."""
    address = pack_address(sign_in.source)  # see can_group
    people = dict.fromkeys((sign_in.user_id, sign_in.who))
    place = f"{address!r}#{sign_in.vpc_endpoint}"
    return [f"sign-in#{person}#{place}" for person in people if person]


def _make_list_key(group_id: str) -> str:
    """Return the key of the list of a group's further events."""
    return f"sign-in events#{group_id}"
