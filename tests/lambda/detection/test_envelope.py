"""The envelope: every event in what Lambda hands over is delivered, or becomes an alert."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from signwatch.detection import envelope, signin
from signwatch.detection.envelope import Delivery, unwrap
from tests.support.deliveries import message, pack, queue_delivery, trail_batch
from tests.support.sign_ins import event

RECORD = event("iam-user-fails")["detail"]
MIXED = [{"eventSource": "aws:sqs", "body": "{}"}, {"eventSource": "aws:sns"}]


@pytest.mark.parametrize("records", [[], ["x"], [{"eventSource": "aws:sns"}], MIXED, {}, None])
def test_event_from_no_queue_is_not_unwrapped(records: object) -> None:
    assert unwrap({"Records": records}) == [Delivery({"Records": records})]


@pytest.mark.parametrize("value", [event("iam-user-fails"), RECORD, {}, [], "x", 7, None])
def test_event_of_the_bus_is_delivered_as_it_is(value: object) -> None:
    assert unwrap(value) == [Delivery(value, "bus")]


@pytest.mark.parametrize("queue", ["failed-events", "undelivered-events"])
def test_event_that_a_queue_brings_back_is_its_body(queue: str) -> None:
    assert unwrap(queue_delivery({"detail": RECORD}, queue)) == [
        Delivery({"detail": RECORD}, "queue")
    ]


@pytest.mark.parametrize("queue", ["later", "failed-events"])
@pytest.mark.parametrize("kind", envelope.LATER_KINDS)
def test_later_message_says_its_kind(kind: str, queue: str) -> None:
    body = {"later": kind, "content": {"detail": RECORD}}
    assert unwrap(queue_delivery(body, queue)) == [Delivery({"detail": RECORD}, "later", kind)]


def test_bare_event_of_the_delayed_queue_is_a_second_look() -> None:
    (delivery,) = unwrap(queue_delivery({"detail": RECORD}, "later"))
    assert delivery == Delivery({"detail": RECORD}, "later", "second-look")


def test_each_message_of_a_delivery_is_a_delivery() -> None:
    records = [message({"detail": {"n": n}}, "failed-events") for n in range(3)]
    deliveries = unwrap({"Records": records})
    assert [delivery.event for delivery in deliveries] == [{"detail": {"n": n}} for n in range(3)]


def test_each_record_of_a_trail_batch_is_a_delivery() -> None:
    batch = trail_batch(*(json.dumps({**RECORD, "eventID": str(n)}) for n in range(3)))
    assert unwrap(batch) == [Delivery({**RECORD, "eventID": str(n)}, "trail") for n in range(3)]


def test_trail_batch_that_a_queue_brings_back_is_of_the_trail() -> None:
    batch = trail_batch(json.dumps(RECORD))
    assert unwrap(queue_delivery(batch, "failed-events")) == [Delivery(RECORD, "trail")]


def test_control_message_holds_nothing() -> None:
    assert unwrap(trail_batch("CWL CONTROL MESSAGE", kind="CONTROL_MESSAGE")) == []


def test_event_whose_raw_copy_alone_failed_is_not_counted() -> None:
    group = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/events/signwatch"
    function = "arn:aws:lambda:us-east-1:111122223333:function:signwatch-function"
    for target, is_counted in ((group, False), (function, True)):
        attributes = {"TARGET_ARN": {"stringValue": target}}
        delivery = queue_delivery({}, "undelivered-events", messageAttributes=attributes)
        assert unwrap(delivery)[0].is_first_count is is_counted


def test_events_are_counted_by_the_bus_and_by_a_queue_that_brings_them_back() -> None:
    counted = [Delivery({}, via) for via in ("bus", "queue")]
    others = [Delivery({}, "trail"), Delivery({}, "later", "second-look")]
    assert all(delivery.is_first_count for delivery in counted)
    assert not any(delivery.is_first_count for delivery in others)


BOMB = pack(b"[" + b"0," * (envelope.BATCH_MAX_BYTES // 2) + b"0]")
CUT = {"awslogs": {"data": base64.b64encode(gzip.compress(b"{}" * 99)[:-9]).decode()}}


NO_PAYLOADS: tuple[object, ...] = (None, [], {}, "x", {"data": None}, {"data": 7})


@pytest.mark.parametrize(
    "broken",
    [
        *({"awslogs": payload} for payload in NO_PAYLOADS),
        *({"awslogs": {"data": text}} for text in ("", "!", "eA==", "ä", "a" * 5000)),
        *map(pack, (b"", b"{", b"null", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000)),
        *map(
            pack,
            (
                b'{"logEvents": []}',
                b'{"logEvents": {}}',
                b'{"logEvents": ["x"]}',
                b'{"logEvents": [{}]}',
                b"[" * 100_000,
            ),
        ),
        *(BOMB, CUT),
        *(trail_batch(text) for text in ("", "{", "[" * 100_000)),
        *(queue_delivery(text, "failed-events") for text in ("", "{", "null", "[" * 100_000)),
        {"Records": [{"eventSource": "aws:sqs", "body": 7}]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        queue_delivery({"later": "unknown"}, "later"),
        queue_delivery({"later": ["second-look"]}, "later"),
        queue_delivery({"later": "second-look"}, "later"),
    ],
)
def test_what_cannot_be_unwrapped_is_one_unreadable_event(broken: object) -> None:
    (delivery,) = unwrap(broken)
    assert isinstance(signin.read(delivery.event), signin.Unreadable)
    assert unwrap(broken) == [delivery]  # the same id again, so that a retry sends no second alert


def test_unreadable_record_does_not_stop_the_others_of_its_batch() -> None:
    first, second = unwrap(trail_batch("{", json.dumps(RECORD)))
    assert isinstance(signin.read(first.event), signin.Unreadable)
    assert second == Delivery(RECORD, "trail")
