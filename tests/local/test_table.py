"""The tests' table and the emulator's answer the ledger and the state alike."""

from __future__ import annotations

from typing import Any

import pytest

from signwatch.alerting.ledger import Channel, Entry, LeaseHeldError, Ledger
from signwatch.enrichment.state import State
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


def test_failures_are_counted_once_and_up_to_the_maximum(dynamodb: Any) -> None:
    state = State(dynamodb, NAME)
    counts = [state.count_recent("a", f"event-{number}", NOW)[0] for number in range(52)]
    assert counts == [*range(1, 51), 51, 51]
    assert state.count_recent("a", "event-0", NOW) == (50, True)
    assert state.count_recent("a", "event-51", NOW + 900) == (1, True)
