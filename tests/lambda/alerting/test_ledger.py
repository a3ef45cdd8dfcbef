"""The ledger: it remembers what was delivered, for how long, and nothing about an event without an id."""

from __future__ import annotations

import pytest

from signwatch.alerting.ledger import Entry, Ledger
from tests.support.dependencies import NOW, SETTINGS, AccessDeniedError, Table

KEY = "111122223333#8a1edcc0"


def ledger(table: Table, key: str = KEY) -> Ledger:
    return Ledger(table, SETTINGS.ledger_table_name, key)


def test_a_new_alert_is_written_down_with_the_time_of_its_end() -> None:
    table = Table()
    assert ledger(table).claim(NOW) == Entry(frozenset(), finished=False)
    assert table.items[KEY] == {
        "alert": {"S": KEY},
        "state": {"S": "claimed"},
        "channels": {"M": {}},
        "expires_at": {"N": str(int(NOW) + 14 * 24 * 3600)},
    }


def test_an_alert_that_comes_again_knows_which_channels_have_it() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).mark("email")
    ledger(table).mark("text_1")
    assert ledger(table).claim(NOW + 60) == Entry(frozenset({"email", "text_1"}), finished=False)
    assert table.items[KEY]["expires_at"] == {"N": str(int(NOW) + 14 * 24 * 3600)}


def test_an_alert_that_is_finished_stays_so() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table).claim(NOW).finished
    assert table.items[KEY]["state"] == {"S": "done"}


def test_two_alerts_do_not_know_each_other() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table, "111122223333#other").claim(NOW) == Entry()
    assert ledger(table, "444455556666#8a1edcc0").claim(NOW) == Entry()


def test_an_event_without_an_id_is_never_remembered() -> None:
    table = Table()
    nameless = ledger(table, "")
    assert nameless.claim(NOW) == Entry()
    nameless.mark("email")
    nameless.finish()
    assert table.calls == []


@pytest.mark.parametrize("call", ["put_item", "get_item", "update_item"])
def test_a_fault_of_the_table_is_told_to_the_caller(call: str) -> None:
    table = Table()
    ledger(table).claim(NOW)
    table.fails = {call}
    with pytest.raises(AccessDeniedError):
        ledger(table).finish() if call == "update_item" else ledger(table).claim(NOW)
