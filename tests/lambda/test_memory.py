"""The memory: one first time a day, the same answer for a retry, and a fault that makes nothing quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signwatch.memory import DAY, Memory
from signwatch.pipeline import process
from tests.support.dependencies import SETTINGS, AccessDeniedError, Table, World
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from typing import Any

NOW = 1_795_000_000.5


@pytest.fixture
def memory() -> Memory:
    return Memory(Table(), SETTINGS.ledger_table_name)


def test_the_first_time_is_the_first_and_a_second_event_within_the_day_is_not(memory: Memory) -> None:
    assert memory.is_first("a", "event-1", NOW)
    assert not memory.is_first("a", "event-2", NOW + DAY - 1)
    assert memory.is_first("b", "event-2", NOW)


def test_a_day_later_it_is_the_first_again_though_the_table_still_holds_it(memory: Memory) -> None:
    assert memory.is_first("a", "event-1", NOW)
    assert memory.is_first("a", "event-2", NOW + DAY)


def test_a_retry_of_the_same_event_gets_the_same_answer(memory: Memory) -> None:
    assert memory.is_first("a", "event-1", NOW)
    assert memory.is_first("a", "event-1", NOW + 60)
    assert not memory.is_first("a", "event-2", NOW + 60)


def test_no_name_and_no_address_is_stored(memory: Memory) -> None:
    memory.is_first("111122223333#role-keys#Anaya#198.51.100.23", "event-1", NOW)
    assert "Anaya" not in str(memory.dynamodb.items)
    assert "198.51.100.23" not in str(memory.dynamodb.items)


def test_a_fault_of_the_table_is_raised(memory: Memory) -> None:
    memory.dynamodb.fails = {"put_item"}
    with pytest.raises(AccessDeniedError):
        memory.is_first("a", "event-1", NOW)


def without_mfa(event_id: str) -> dict[str, Any]:
    told: dict[str, Any] = event("iam-user-signs-in-without-mfa")
    told["detail"]["eventID"] = event_id
    return told


def test_the_second_sign_in_of_a_day_is_logged_and_asks_nobody_else(world: World) -> None:
    world.secrets.text = None
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert process(without_mfa("event-2"), known)["verdict"] == "note"
    assert len(world.topic.mails) == 1


def test_while_the_memory_is_down_every_sign_in_is_told_of(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.secrets.text, world.table.fails = None, {"put_item"}
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for event_id in ("event-1", "event-2"):
        assert process(without_mfa(event_id), known)["verdict"] == "alert"
    assert len(world.topic.mails) == 2
    assert '"problem": "memory"' in capsys.readouterr().out
