"""The tests' table and the emulator's answer the ledger and the state alike."""

from __future__ import annotations

from typing import Any

import pytest

from signwatch.alerting.ledger import Channel, Entry, LeaseHeldError, Ledger
from signwatch.enrichment.burst_store import BurstStore, Count
from signwatch.enrichment.state import State
from signwatch.later import NotYetError
from tests.support.dependencies import SETTINGS, Table
from tests.support.emulator import EmulatorAccount

pytestmark = pytest.mark.local

NAME = SETTINGS.ledger_table_name
NOW = 1_795_000_000


@pytest.fixture(params=["fake", "emulator"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    if request.param == "fake":
        return Table()
    client = EmulatorAccount.on(request.getfixturevalue("emulator")).client("dynamodb")
    client.create_table(
        TableName=NAME,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "alert", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "alert", "KeyType": "HASH"}],
    )
    return client


def test_ledger_records_channels_and_the_end(dynamodb: Any) -> None:
    ledger = Ledger(dynamodb, NAME, "111122223333#8a1edcc0")
    assert ledger.claim(NOW) == Entry({})
    channels = {"email": Channel("sent", NOW), "text_0123456789ab": Channel("failed", reason="x")}
    for name, channel in channels.items():
        ledger.put_channel(name, channel)
    with pytest.raises(LeaseHeldError):
        ledger.claim(NOW + 59)
    assert ledger.claim(NOW + 60) == Entry(channels, is_first=False, tries=2)
    with pytest.raises(LeaseHeldError):
        ledger.claim(NOW + 119)
    ledger.finish()
    assert ledger.claim(NOW + 119) == Entry(channels, finished=True, is_first=False)


def test_claim_holds_until_it_expires(dynamodb: Any) -> None:
    state = State(dynamodb, NAME)
    claims = (("one", 0), ("one", 1), ("two", 60), ("two", 61), ("one", 120), ("one", 121))
    results = [state.claim("a", value, NOW + at, 60) for value, at in claims]
    assert results == [True, True, False, True, False, True]
    assert (state.get("a", NOW + 180), state.get("a", NOW + 181)) == ("one", "")


def test_value_is_replaced_only_if_it_is_the_one_that_was_read(dynamodb: Any) -> None:
    state = State(dynamodb, NAME)
    assert state.replace("a", "", "one", NOW, 60)
    assert not state.replace("a", "", "two", NOW, 60)
    assert not state.replace("a", "two", "three", NOW, 60)
    assert state.replace("a", "one", "two", NOW, 60)
    assert state.get("a", NOW) == "two"


def test_burst_is_counted_claimed_and_closed(dynamodb: Any) -> None:
    """The 1st, 3rd and 10th of twelve events claim a level; each is counted once."""
    store = BurstStore(dynamodb, NAME, "111122223333")
    hour = NOW // 3600

    def count(number: int) -> Count:
        origin = (f"198.51.100.{number}", "Anaya")
        return store.count_event("others", f"event-{number}", hour - number % 2, NOW, origin=origin)

    counts = [count(number) for number in range(12)]
    assert [each.level for each in counts] == [1, 0, 3, 0, 0, 0, 0, 0, 0, 10, 0, 0]
    assert [count(number) for number in (2, 9)] == [counts[2], counts[9]]
    assert count(4)[:3] == (12, 2, 0)
    store.start_closing("event-1", NOW)
    store.start_closing("event-3", NOW)  # one waits already
    with pytest.raises(NotYetError):
        store.find_closing("event-1", NOW + 3600)
    assert not count(12).needs_closing
    assert store.find_closing("event-3", NOW + 7200) is None
    closing = store.find_closing("event-1", NOW + 7200)
    assert closing is not None
    (stream,) = closing.streams
    assert (stream.stream, stream.number, stream.hours, stream.names) == (
        "others",
        13,
        2,
        ("Anaya",),
    )
    assert sorted(stream.sources) == sorted(f"198.51.100.{number}" for number in range(10))
    store.finish_closing(closing, "event-1", NOW + 7200)
    assert store.find_closing("event-1", NOW + 7200) is None
    assert "Anaya" not in str(store.get())
    assert count(13).needs_closing
