"""The state: what is stored and for how long, and that no name is in it."""

from __future__ import annotations

import pytest

from signwatch.enrichment.state import State
from tests.support.dependencies import SETTINGS, AccessDeniedError, Table

NOW = 1_795_000_000


@pytest.fixture
def state() -> State:
    return State(Table(), SETTINGS.ledger_table_name)


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


def test_value_is_replaced_only_if_nobody_else_has_changed_it(state: State) -> None:
    assert state.replace("a", "", "one", NOW, 60)
    assert not state.replace("a", "", "two", NOW, 60)
    assert not state.replace("a", "another", "two", NOW, 60)
    assert state.replace("a", "one", "two", NOW, 60)
    assert state.get("a", NOW) == "two"
    assert state.replace("a", "", "three", NOW + 60, 60)  # it has expired


def test_every_item_has_an_expiry(state: State) -> None:
    state.put("a", "one", NOW, 60)
    assert state.replace("b", "", "one", NOW, 60)
    expiries = [int(item["expires_at"]["N"]) for item in state.dynamodb.items.values()]
    assert expiries == [NOW + 60] * 2


def test_no_name_and_no_address_is_stored(state: State) -> None:
    state.put("111122223333#Anaya#198.51.100.23", "one", NOW, 60)
    assert "Anaya" not in str(state.dynamodb.items)
    assert "198.51.100.23" not in str(state.dynamodb.items)


def test_error_of_the_table_is_raised(state: State) -> None:
    state.dynamodb.fails = {"put_item"}
    with pytest.raises(AccessDeniedError):
        state.put("a", "one", NOW, 60)
