"""The ledger: what it stores of a delivery, for how long, and nothing without an event id."""

from __future__ import annotations

import pytest

from signwatch.alerting.ledger import Entry, Ledger
from tests.support.dependencies import NOW, SETTINGS, AccessDeniedError, Table

KEY = "111122223333#8a1edcc0"


def ledger(table: Table, key: str = KEY) -> Ledger:
    return Ledger(table, SETTINGS.ledger_table_name, key)


def test_new_alert_is_stored_with_its_expiry() -> None:
    table = Table()
    assert ledger(table).claim(NOW) == Entry(frozenset(), finished=False)
    assert table.items[KEY] == {
        "alert": {"S": KEY},
        "state": {"S": "claimed"},
        "channels": {"M": {}},
        "expires_at": {"N": str(int(NOW) + 14 * 24 * 3600)},
    }


def test_repeated_alert_lists_the_channels_that_have_it() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).mark_delivered("email")
    ledger(table).mark_delivered("text_1")
    entry = ledger(table).claim(NOW + 60)
    assert entry == Entry(frozenset({"email", "text_1"}), finished=False, is_first=False)
    assert table.items[KEY]["expires_at"] == {"N": str(int(NOW) + 14 * 24 * 3600)}


def test_finished_alert_stays_finished() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table).claim(NOW).finished
    assert table.items[KEY]["state"] == {"S": "done"}


def test_alerts_of_other_events_or_accounts_are_separate() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table, "111122223333#other").claim(NOW) == Entry()
    assert ledger(table, "444455556666#8a1edcc0").claim(NOW) == Entry()


def test_event_without_an_id_is_not_stored() -> None:
    table = Table()
    without_id = ledger(table, "")
    assert without_id.claim(NOW) == Entry()
    without_id.mark_delivered("email")
    without_id.finish()
    assert table.calls == []


@pytest.mark.parametrize("call", ["put_item", "get_item", "update_item"])
def test_error_of_the_table_is_raised(call: str) -> None:
    table = Table()
    ledger(table).claim(NOW)
    table.fails = {call}
    with pytest.raises(AccessDeniedError):
        ledger(table).finish() if call == "update_item" else ledger(table).claim(NOW)
