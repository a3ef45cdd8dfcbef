"""The memory: what is kept and for how long, what is counted and within which time, and no name in it."""

from __future__ import annotations

import pytest

from signwatch.enrichment.state import DAY, MOST, WINDOW, State
from tests.support.dependencies import SETTINGS, AccessDeniedError, Table

NOW = 1_795_000_000.5


@pytest.fixture
def state() -> State:
    return State(Table(), SETTINGS.ledger_table_name)


def test_events_are_counted_within_a_quarter_of_an_hour_wherever_that_begins(state: State) -> None:
    counts = [
        state.count_recent("a", f"event-{at}", NOW + at)[0] for at in (0, WINDOW / 2, WINDOW - 1)
    ]
    assert counts == [1, 2, 3]
    assert state.count_recent("a", "later", NOW + WINDOW)[0] == 3
    assert state.count_recent("a", "much later", NOW + 3 * WINDOW) == (1, True)
    assert state.count_recent("b", "event-0", NOW) == (1, True)


def test_a_retry_is_counted_once_and_a_late_event_where_it_belongs(state: State) -> None:
    assert [state.count_recent("a", "event-1", NOW) for _ in range(3)] == [(1, True)] * 3
    assert state.count_recent("a", "event-3", NOW + 60) == (2, False)
    assert state.count_recent("a", "event-2", NOW + 30) == (3, False)
    assert state.count_recent("a", "event-1", NOW) == (
        3,
        True,
    )  # a retry: the first stays the first


def test_a_flood_is_counted_no_further_than_an_item_can_hold(state: State) -> None:
    counts = [state.count_recent("a", f"event-{number}", NOW)[0] for number in range(MOST + 5)]
    assert counts == [*range(1, MOST + 1), *[MOST + 1] * 5]
    assert max(len(item["events"]["SS"]) for item in state.dynamodb.items.values()) == MOST


def test_a_value_is_kept_as_long_as_it_was_asked_for_and_gives_way_to_a_newer_one(
    state: State,
) -> None:
    state.put("a", "one", NOW, 60)
    assert (state.get("a", NOW + 59), state.get("a", NOW + 60), state.get("b", NOW)) == (
        "one",
        "",
        "",
    )
    state.put("a", "two", NOW + 30, 60)
    assert state.get("a", NOW + 60) == "two"


def test_what_is_claimed_is_had_by_nobody_else_until_its_time_is_over(state: State) -> None:
    assert state.claim("a", "one", NOW, 60)
    assert state.claim("a", "one", NOW + 1, 60)  # a retry
    assert not state.claim("a", "two", NOW + 60, 60)
    assert state.claim("b", "two", NOW, 60)
    assert state.claim("a", "two", NOW + 61, 60)
    state.put("a", "two", NOW + 62, 0)
    assert state.claim("a", "three", NOW + 62, 60)


def test_every_item_names_the_moment_at_which_it_may_go(state: State) -> None:
    state.count_recent("a", "event-1", NOW)
    state.put("a", "one", NOW, 60)
    assert len(state.dynamodb.items) == 2
    assert all(
        NOW < int(item["expires_at"]["N"]) <= NOW + DAY + 2 * WINDOW
        for item in state.dynamodb.items.values()
    )


def test_no_name_and_no_address_is_stored(state: State) -> None:
    state.count_recent("111122223333#Anaya#198.51.100.23", "event-1", NOW)
    state.put("111122223333#Anaya#198.51.100.23", "one", NOW, 60)
    assert "Anaya" not in str(state.dynamodb.items)
    assert "198.51.100.23" not in str(state.dynamodb.items)


def test_a_fault_of_the_table_is_raised(state: State) -> None:
    state.dynamodb.fails = {"put_item"}
    with pytest.raises(AccessDeniedError):
        state.put("a", "one", NOW, 60)
