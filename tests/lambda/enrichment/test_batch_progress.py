"""How far an invocation got in a batch: loaded and stored only for a batch that takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signwatch.enrichment.state import DONE, MAILED, OPEN, BatchProgress

if TYPE_CHECKING:
    from tests.support.dependencies import World

EVENTS = [{"id": str(number)} for number in range(12)]
MARKS = [OPEN, DONE, MAILED] * 4


def start(world: World, seconds: float = 3) -> BatchProgress:
    """Return the progress of the batch in an invocation that began ``seconds`` ago."""
    progress = BatchProgress(EVENTS, world.dependencies())
    world.now += seconds
    return progress


def store(world: World) -> None:
    progress = start(world)
    next(progress.take_turns())
    progress.marks[:] = MARKS
    progress.save()


def test_next_invocation_leaves_out_what_is_done_and_begins_with_the_emails(world: World) -> None:
    store(world)
    kinds = [MARKS[index] for index in start(world).take_turns()]
    assert kinds == [OPEN] * 4 + [MAILED] * 4


def test_order_is_another_one_each_time(world: World) -> None:
    orders = {tuple(start(world, 0).take_turns()) for _ in range(20)}
    assert len(orders) > 10
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(12))}


def test_batch_that_is_soon_done_uses_no_table(world: World) -> None:
    progress = start(world, 2.9)
    assert len(list(progress.take_turns())) == 12
    progress.save()
    assert world.clients == []


def test_what_this_invocation_did_counts_more_than_what_is_stored(world: World) -> None:
    store(world)
    progress = start(world, 0)
    turns = progress.take_turns()
    index = next(turns)
    progress.marks[index] = DONE
    world.now += 3
    assert index not in list(turns)
    assert progress.marks[index] == DONE


def test_another_batch_has_progress_of_its_own(world: World) -> None:
    store(world)
    progress = BatchProgress(EVENTS[1:], world.dependencies())
    world.now += 3
    assert len(list(progress.take_turns())) == 11


@pytest.mark.parametrize("fault", ["no client", "get_item", "put_item"])
def test_every_event_has_its_turn_while_the_table_is_down(world: World, fault: str) -> None:
    world.missing = {"dynamodb"} if fault == "no client" else set()
    world.table.fails = {fault}
    progress = start(world)
    assert len(list(progress.take_turns())) == 12
    progress.save()
