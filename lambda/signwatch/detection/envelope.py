"""Unwraps what Lambda hands to the function into deliveries of one event each. Pure.

An event comes in one of four ways (``via``):

- "bus": an EventBridge event, the usual way.
- "queue": a message that the failed-events or the undelivered-events queue brings back. Its body is
  what the function, or the rule's target, failed on.
- "trail": a batch of the subscription filter on the trail's log group. Each of its messages is a
  bare CloudTrail record.
- "later": a message of the function's own queue with a delay; ``kind`` says what is to be done.

What cannot be unwrapped becomes an event without a record, which is read as Unreadable: an alert.

Sources: Lambda developer guide, "Using Lambda with Amazon SQS" and "Using Lambda with CloudWatch
Logs"; CloudWatch Logs User Guide, "Real-time processing of log data with subscriptions";
EventBridge User Guide, "Using dead-letter queues to process undelivered events".
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from signwatch.detection.record import digest

BUS, QUEUE, TRAIL, LATER = "bus", "queue", "trail", "later"
# The kinds of a message of the queue with a delay. Its body is {"later": KIND, "content": ...}.
SECOND_LOOK, TEXT_OUTCOME, BURST_END = "second-look", "text-outcome", "burst-end"
LATER_KINDS = (SECOND_LOOK, TEXT_OUTCOME, BURST_END)
# The ends of the names of the queues that bring an event back.
RETURNING_QUEUE_SUFFIXES = ("-failed-events", "-undelivered-events")
RAW_COPY = "raw-copy"  # kind of a queued event that only the log group of raw copies did not get
GZIP_WBITS = 31  # zlib's number for the gzip format
BATCH_MAX_BYTES = 16 * 1024 * 1024  # decompressed; the function has 256 MB of memory
CONTROL_MESSAGE = "CONTROL_MESSAGE"  # with which CloudWatch Logs tests the way


class Delivery(NamedTuple):
    """One event, and how it came."""

    event: object  # an EventBridge event or a bare record; the content of a later message
    via: str = BUS
    kind: str = ""  # one of LATER_KINDS, or RAW_COPY
    queued_at: float = 0.0  # when a queue that brings it back got it, in seconds since 1970

    @property
    def is_first_count(self) -> bool:
        """Whether a decision that is no alert is counted: not by the trail, and not again later."""
        return self.via in (BUS, QUEUE) and not self.kind


def unwrap(event: object) -> list[Delivery]:
    """Return the deliveries in what Lambda hands over; none for a control message. Never raises."""
    if not isinstance(event, dict):
        return [Delivery(event)]
    if "awslogs" in event:
        return list(_unwrap_trail_batch(event["awslogs"]))
    messages = event.get("Records")
    if isinstance(messages, list) and messages and all(map(_is_queue_message, messages)):
        return [delivery for message in messages for delivery in _unwrap_queue_message(message)]
    return [Delivery(event)]


def _is_queue_message(message: object) -> bool:
    """Return whether this is one message in a delivery of an SQS queue."""
    return isinstance(message, dict) and message.get("eventSource") == "aws:sqs"


def _unwrap_queue_message(message: dict[str, Any]) -> list[Delivery]:
    """Return the deliveries in one message; several if it holds a batch of the trail."""
    arn = str(message.get("eventSourceARN", ""))
    if not arn.endswith(RETURNING_QUEUE_SUFFIXES):
        return _unwrap_body(message, is_returning=False)
    try:
        queued_at = int(message["attributes"]["SentTimestamp"]) / 1000
    except (KeyError, TypeError, ValueError):
        queued_at = 0.0
    deliveries = _unwrap_body(message, is_returning=True)
    return [delivery._replace(queued_at=queued_at) for delivery in deliveries]


def _unwrap_body(message: dict[str, Any], *, is_returning: bool) -> list[Delivery]:
    """Return the deliveries in the body of a message.

    ``is_returning`` says that its queue brings events back.
    """
    try:
        body = json.loads(message["body"])
    except (KeyError, TypeError, ValueError, RecursionError):
        body = None
    if body is None:
        body = _make_empty_event(str(message.get("messageId", "")))
    if isinstance(body, dict):
        if "awslogs" in body:
            return list(_unwrap_trail_batch(body["awslogs"]))
        if "later" in body:
            return [_unwrap_later(body, message)]
    if not is_returning:  # a bare event in the queue with a delay
        return [Delivery(body, LATER, SECOND_LOOK)]
    return [Delivery(body, QUEUE, RAW_COPY if _is_of_raw_copy(message) else "")]


def _unwrap_later(body: dict[str, Any], message: dict[str, Any]) -> Delivery:
    """Return the delivery in the body of a message that the function sent to itself."""
    kind = body["later"]
    if kind in LATER_KINDS:
        return Delivery(body.get("content"), LATER, kind)
    return Delivery(_make_empty_event(str(message.get("messageId", ""))), LATER, SECOND_LOOK)


def _is_of_raw_copy(message: dict[str, Any]) -> bool:
    """Return whether a rule failed to write the raw copy; the function itself got the event."""
    try:
        return ":logs:" in message["messageAttributes"]["TARGET_ARN"]["stringValue"]
    except (KeyError, TypeError):
        return False


def _unwrap_trail_batch(payload: Any) -> Iterator[Delivery]:
    """Yield a delivery for each record in the payload of a subscription filter."""
    try:
        batch = _decompress(payload["data"])
        if batch.get("messageType") == CONTROL_MESSAGE:
            return
        log_events = batch["logEvents"]
        if not (isinstance(log_events, list) and log_events):
            raise ValueError  # noqa: TRY301 - as any other error in here
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the batch must cause an alert
        yield Delivery(_make_empty_event(digest(repr(payload), length=32)), TRAIL)
        return
    for log_event in log_events:
        try:
            record = json.loads(log_event["message"])
        except (KeyError, TypeError, ValueError, RecursionError):
            record = _make_empty_event(digest(repr(log_event), length=32))
        yield Delivery(record, TRAIL)


def _decompress(data: str) -> Any:
    """Return the JSON value in ``data``: base64 of gzip of JSON. Raises if there is none.

    Raises ValueError if it is cut off, or larger than BATCH_MAX_BYTES.
    """
    import zlib  # both here because a sign-in from the bus does not need them
    from binascii import a2b_base64

    decompressor = zlib.decompressobj(GZIP_WBITS)
    text = decompressor.decompress(a2b_base64(data, strict_mode=True), BATCH_MAX_BYTES)
    if not decompressor.eof:
        raise ValueError
    return json.loads(text)


def _make_empty_event(event_id: str) -> dict[str, Any]:
    """Return an event without a record. Its id keeps a retry from sending the alert again."""
    return {"id": event_id, "detail": {}}
