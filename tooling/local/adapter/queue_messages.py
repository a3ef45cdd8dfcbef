"""Puts messages into the emulator's SQS queues."""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

from typing import Any

from ministack.services import sqs


def send_message(
    queue: dict[str, Any], body: str, *, attributes: dict[str, tuple[str, str]]
) -> None:
    """Put a message into a queue; ``attributes``: ``{"ErrorCode": ("Number", "200")}``.

    ``queue`` is the emulator's record of the queue.
    """
    message_attributes = {
        name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()
    }
    url = sqs._queue_url(queue["name"])
    request = {"MessageBody": body, "MessageAttributes": message_attributes, "QueueUrl": url}
    sqs._act_send_message(request, url)
