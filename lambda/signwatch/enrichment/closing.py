"""Finds what a message of the kind BURST_END ends in: a closing message, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signwatch.detection.record import as_object, get_string
from signwatch.enrichment import sign_in_group, text_budget
from signwatch.enrichment.burst_store import BurstStore
from signwatch.enrichment.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.dependencies import Dependencies
    from signwatch.detection.bursts import Closing


class DueClosing(NamedTuple):
    """A closing message to send now."""

    closing: Closing
    key: str  # in the ledger
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
        text_budget.take_closing(event_id, now, state)
        key = f"{account}#closing {event_id}"
        return DueClosing(
            burst_closing,
            key,
            burst_closing.is_texted,
            lambda: store.finish_closing(burst_closing),
        )
    if burst == "texts":
        limit = text_budget.parse_limit(dependencies.settings.texts_an_hour)
        texts_closing = text_budget.find_closing(event_id, now, limit, state)
        if texts_closing is None:
            return None
        return DueClosing(
            texts_closing,
            f"#closing of texts {event_id}",
            True,
            lambda: text_budget.finish_closing(texts_closing, now, state),
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
