"""The state: what is stored and for how long, what is counted, and that no name is in it."""

from __future__ import annotations

import pytest

from signwatch.enrichment.state import State
from tests.support.dependencies import SETTINGS, AccessDeniedError, Table

NOW = 1_795_000_000
WINDOW_SECONDS, MAX_COUNTED_EVENTS = 900, 50


@pytest.fixture
def state() -> State:
    return State(Table(), SETTINGS.ledger_table_name)


def test_events_are_counted_within_the_last_quarter_of_an_hour(state: State) -> None:
    counts = [
        state.count_recent("a", f"event-{at}", NOW + at)[0]
        for at in (0, WINDOW_SECONDS // 2, WINDOW_SECONDS - 1)
    ]
    assert counts == [1, 2, 3]
    assert state.count_recent("a", "later", NOW + WINDOW_SECONDS)[0] == 3
    assert state.count_recent("a", "much later", NOW + 3 * WINDOW_SECONDS) == (1, True)
    assert state.count_recent("b", "event-0", NOW) == (1, True)


def test_retry_counts_once_and_late_event_counts_at_its_own_time(state: State) -> None:
    assert [state.count_recent("a", "event-1", NOW) for _ in range(3)] == [(1, True)] * 3
    assert state.count_recent("a", "event-3", NOW + 60) == (2, False)
    assert state.count_recent("a", "event-2", NOW + 30) == (3, False)
    assert state.count_recent("a", "event-1", NOW) == (3, True)  # retried: it stays the first


def test_count_stops_at_the_maximum_an_item_can_hold(state: State) -> None:
    counts = [
        state.count_recent("a", f"event-{number}", NOW)[0]
        for number in range(MAX_COUNTED_EVENTS + 5)
    ]
    assert counts == [*range(1, MAX_COUNTED_EVENTS + 1), *[MAX_COUNTED_EVENTS + 1] * 5]
    assert (
        max(len(item["events"]["SS"]) for item in state.dynamodb.items.values())
        == MAX_COUNTED_EVENTS
    )


def test_value_expires_after_its_time_and_a_newer_one_replaces_it(
    state: State,
) -> None:
    state.put("a", "one", NOW, 60)
    assert state.get("a", NOW + 59) == "one"
    assert state.get("a", NOW + 60) == ""
    assert state.get("b", NOW) == ""
    state.put("a", "two", NOW + 30, 60)
    assert state.get("a", NOW + 60) == "two"


def test_claim_holds_against_other_values_until_it_expires(state: State) -> None:
    assert state.claim("a", "one", NOW, 60)
    assert state.claim("a", "one", NOW + 1, 60)  # a retry
    assert not state.claim("a", "two", NOW + 60, 60)
    assert state.claim("b", "two", NOW, 60)
    assert state.claim("a", "two", NOW + 61, 60)
    state.put("a", "two", NOW + 62, 0)
    assert state.claim("a", "three", NOW + 62, 60)


def test_every_item_has_an_expiry(state: State) -> None:
    state.count_recent("a", "event-1", NOW)
    state.put("a", "one", NOW, 60)
    counted, stored = [int(item["expires_at"]["N"]) for item in state.dynamodb.items.values()]
    assert counted == 1_795_001_400 + 86_400  # a day after the end of the next window
    assert stored == NOW + 60


def test_no_name_and_no_address_is_stored(state: State) -> None:
    state.count_recent("111122223333#Anaya#198.51.100.23", "event-1", NOW)
    state.put("111122223333#Anaya#198.51.100.23", "one", NOW, 60)
    assert "Anaya" not in str(state.dynamodb.items)
    assert "198.51.100.23" not in str(state.dynamodb.items)


def test_error_of_the_table_is_raised(state: State) -> None:
    state.dynamodb.fails = {"put_item"}
    with pytest.raises(AccessDeniedError):
        state.put("a", "one", NOW, 60)
