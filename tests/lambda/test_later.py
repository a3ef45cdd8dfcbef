"""The queue ``later``: the form of its messages, and a queue that is down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from signwatch import later
from signwatch.detection.envelope import TEXT_OUTCOME, unwrap
from tests.support.dependencies import NOW

if TYPE_CHECKING:
    from tests.support.dependencies import World


def enqueue(world: World, content: object, delay_seconds: int = 60) -> bool:
    dependencies = world.dependencies()
    return later.enqueue(TEXT_OUTCOME, content, delay_seconds, NOW, dependencies, event_id="7")


def test_message_has_kind_content_and_delay(world: World) -> None:
    assert enqueue(world, {"a": [1]})
    assert world.queue.messages == [({"a": [1]}, 60)]
    record = {"eventSource": "aws:sqs", "body": world.queue.bodies[0]}
    (delivery,) = unwrap({"Records": [record]})
    assert (delivery.kind, delivery.event) == (TEXT_OUTCOME, {"a": [1]})


def test_delay_is_at_most_that_of_sqs(world: World) -> None:
    assert enqueue(world, {}, 7200)
    assert world.queue.messages == [({}, 900)]


@pytest.mark.parametrize("fault", ["send_message", "no client", "content"])
def test_failure_is_logged_and_returned(
    world: World, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    world.queue.fails = {fault}
    world.missing = {"sqs"} if fault == "no client" else set()
    assert not enqueue(world, object() if fault == "content" else {})
    line = json.loads(capsys.readouterr().out)
    assert (line["problem"], line["event_id"], line["level"]) == ("text-outcome", "7", "ERROR")
