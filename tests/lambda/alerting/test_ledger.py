"""The ledger: what it stores of a delivery, for how long, and who may send at a time."""

from __future__ import annotations

from typing import Any

import pytest

from signwatch.alerting import ledger as ledger_module
from signwatch.alerting.ledger import Channel, Entry, LeaseHeldError, Ledger
from tests.support.dependencies import NOW, SETTINGS, AccessDeniedError, Table
from tests.support.templates import load

KEY = "111122223333#8a1edcc0"
SENT = Channel("sent", at=int(NOW), sid="SM1", tries=1)
FAILED = Channel("failed", at=int(NOW), reason="error 21610", tries=2)


def ledger(table: Table, key: str = KEY) -> Ledger:
    return Ledger(table, SETTINGS.ledger_table_name, key)


def test_new_alert_is_stored_with_its_lease_and_its_expiry() -> None:
    table = Table()
    assert ledger(table).claim(NOW) == Entry({})
    owner = table.items[KEY].pop("lease_owner")
    assert len(owner["S"]) == 16
    assert table.items[KEY] == {
        "alert": {"S": KEY},
        "state": {"S": "claimed"},
        "channels": {"M": {}},
        "tries": {"N": "1"},
        "lease_until": {"N": str(int(NOW) + 60)},
        "expires_at": {"N": str(int(NOW) + 14 * 24 * 3600)},
    }


def test_lease_is_the_functions_timeout() -> None:
    function = load("lambda")["Resources"]["Function"]["Properties"]
    assert function["Timeout"] == ledger_module.LEASE_SECONDS


def test_repeated_alert_has_what_became_of_each_channel() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).put_channel("text_1", SENT)
    ledger(table).put_channel("text_2", FAILED)
    assert table.items[KEY]["channels"]["M"]["text_2"] == {
        "M": {
            "state": {"S": "failed"},
            "at": {"N": str(int(NOW))},
            "reason": {"S": "error 21610"},
            "tries": {"N": "2"},
        }
    }
    channels = {"text_1": SENT, "text_2": FAILED}
    assert ledger(table).get_channels() == channels
    assert ledger(table).claim(NOW + 60) == Entry(channels, is_first=False, tries=2)
    assert ledger(table).claim(NOW + 120) == Entry(channels, is_first=False, tries=3)
    assert table.items[KEY]["expires_at"] == {"N": str(int(NOW) + 14 * 24 * 3600)}


@pytest.mark.parametrize("seconds", [0, 59.9])
def test_alert_is_another_invocations_during_the_lease(seconds: float) -> None:
    table = Table()
    ledger(table).claim(NOW)
    with pytest.raises(LeaseHeldError):
        ledger(table).claim(NOW + seconds)
    assert ledger(table).claim(NOW + 60).tries == 2
    with pytest.raises(LeaseHeldError):
        ledger(table).claim(NOW + 60 + seconds)


def test_only_one_takes_over_when_the_lease_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    ledger(table).claim(NOW)
    get_item = table.get_item

    def lose_the_race(**request: Any) -> Any:
        answer = get_item(**request)
        monkeypatch.undo()
        assert ledger(table).claim(NOW + 60).tries == 2
        return answer

    monkeypatch.setattr(table, "get_item", lose_the_race)
    with pytest.raises(LeaseHeldError):
        ledger(table).claim(NOW + 60)


def test_released_alert_is_free_at_once() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).release()
    assert ledger(table).claim(NOW).tries == 2


def test_lease_of_a_clock_that_was_wrong_is_not_waited_for() -> None:
    table = Table()
    ledger(table).claim(NOW + 86400)
    assert ledger(table).claim(NOW).tries == 2


def test_client_that_repeats_its_own_request_has_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table()
    put_item = table.put_item

    def put_twice(**request: Any) -> None:
        put_item(**request)
        put_item(**request)  # as botocore does when the first answer is lost

    monkeypatch.setattr(table, "put_item", put_twice)
    assert ledger(table).claim(NOW) == Entry({})


def test_entry_of_an_earlier_version_is_read() -> None:
    table = Table()
    channels = {"M": {"email": {"S": "delivered"}}}
    table.items[KEY] = {"alert": {"S": KEY}, "state": {"S": "claimed"}, "channels": channels}
    assert ledger(table).claim(NOW) == Entry({"email": Channel("sent")}, is_first=False, tries=2)


def test_finished_alert_stays_finished_and_needs_no_lease() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table).claim(NOW).finished
    assert table.items[KEY]["state"] == {"S": "done"}


def test_alerts_of_other_events_or_accounts_are_separate() -> None:
    table = Table()
    ledger(table).claim(NOW)
    ledger(table).finish()
    assert ledger(table, "111122223333#other").claim(NOW).is_first
    assert ledger(table, "444455556666#8a1edcc0").claim(NOW).is_first


def test_event_without_an_id_is_not_stored() -> None:
    table = Table()
    without_id = ledger(table, "")
    assert without_id.claim(NOW) == Entry({})
    without_id.put_channel("email", SENT)
    without_id.finish()
    assert without_id.get_channels() == {}
    assert table.calls == []


@pytest.mark.parametrize("call", ["put_item", "get_item", "update_item"])
def test_error_of_the_table_is_raised(call: str) -> None:
    table = Table()
    ledger(table).claim(NOW)
    table.fails = {call}
    with pytest.raises(AccessDeniedError):
        ledger(table).finish() if call == "update_item" else ledger(table).claim(NOW)


@pytest.mark.parametrize(
    ("channel", "is_settled"),
    [
        (Channel(), False),
        (Channel("sent"), True),
        (Channel("delivered"), True),
        (Channel("failed"), True),
        (Channel("transient", tries=9), False),
        (Channel("credentials", tries=9), False),
        (Channel("unclear", unclear=1), False),
        (Channel("unclear", unclear=2), True),
        (Channel("unclear", unclear=1, unclear_in_all=5), False),
        (Channel("unclear", unclear=1, unclear_in_all=6), True),
        (Channel("transient", unclear=2), False),
    ],
)
def test_text_that_may_have_been_sent_is_tried_twice_at_most(
    channel: Channel, *, is_settled: bool
) -> None:
    assert channel.is_settled is is_settled
