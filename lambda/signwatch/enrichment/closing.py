"""Finds what a message of the kind BURST_END ends in: a closing message, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signwatch import later
from signwatch.detection.bursts import CREDENTIAL_STREAMS
from signwatch.detection.envelope import BURST_END
from signwatch.detection.record import as_object, get_string
from signwatch.enrichment import sign_in_group, text_budget
from signwatch.enrichment.burst_store import BurstStore
from signwatch.enrichment.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.dependencies import Dependencies
    from signwatch.detection.bursts import Closing


# Its queue gives a message up after ten receives, a quarter of an hour apart.
RENEWAL_SECONDS = 2 * 3600


class DueClosing(NamedTuple):
    """A closing message to send now."""

    closing: Closing
    key: str  # in the ledger; it begins with the account, or without one
    is_texted: bool
    finish: Callable[[], None]  # records that it was sent


def find_closing(content: object, now: float, dependencies: Dependencies) -> DueClosing | None:
    """Return the closing message of the queued ``content``; None if there is nothing to tell.

    Raises NotYetError if it is too early, and DynamoDB's errors: the message then comes back.
    """
    fields = as_object(content)
    burst, event_id, account = (get_string(fields, key) for key in ("burst", "id", "account"))
    dynamodb = dependencies.client("dynamodb")
    state = State(dynamodb, dependencies.settings.ledger_table_name)
    if burst == "failures":
        store = BurstStore(dynamodb, state.table, account)
        burst_closing = store.find_closing(event_id, now)
        if burst_closing is None:
            return None
        key = f"{account}#closing {event_id} {burst_closing.part}"  # each part is sent once
        # Those that only somebody with credentials can cause do not wait for the others.
        if all(each.stream not in CREDENTIAL_STREAMS for each in burst_closing.streams):
            text_budget.take_closing(key, now, state)
        return DueClosing(
            burst_closing,
            key,
            burst_closing.is_texted,
            lambda: store.finish_closing(burst_closing, event_id, now),
        )
    if burst == "texts":
        limit = text_budget.parse_limit(dependencies.settings.texts_an_hour)
        texts_closing = text_budget.find_closing(event_id, now, limit, state)
        if texts_closing is None:
            return None
        return DueClosing(
            texts_closing,
            f"#closing of texts {event_id} {texts_closing.part}",
            True,
            lambda: text_budget.finish_closing(texts_closing, event_id, now, state),
        )
    sign_in_closing = sign_in_group.find_closing(fields, now, state)
    if sign_in_closing is None:
        return None
    return DueClosing(
        sign_in_closing,
        f"{account}#closing {event_id} {sign_in_closing.events[-1].event_id}",
        False,
        lambda: sign_in_group.finish_closing(sign_in_closing, now, state),
    )


def renew(content: object, now: float, dependencies: Dependencies) -> bool:
    """Queue the content of a message that waits, before its queue gives the message up.

    Return whether it is queued anew. So a chain of these has few links: Lambda stops one of about
    16 (Lambda developer guide, "Use Lambda recursive loop detection").
    """
    fields = as_object(content)
    is_old = now > float(get_string(fields, "at") or now) + RENEWAL_SECONDS
    return is_old and enqueue(fields, now, dependencies)


def enqueue(fields: dict[str, str], now: float, dependencies: Dependencies) -> bool:
    """Queue what ends in a closing message; return whether it is queued. Never raises."""
    content = {**fields, "at": str(int(now))}
    delay_seconds, event_id = later.MAX_DELAY_SECONDS, fields["id"]
    return later.enqueue(BURST_END, content, delay_seconds, now, dependencies, event_id=event_id)
