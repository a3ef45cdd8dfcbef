"""What Lambda hands to the function: messages of queues, and batches of the trail."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

QUEUE_ARN = "arn:aws:sqs:us-east-1:111122223333:signwatch"


def trail_batch(*messages: str, kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    """Return the payload of a subscription filter with these messages."""
    events = [{"id": f"log-{n}", "message": text} for n, text in enumerate(messages)]
    return pack(json.dumps({"messageType": kind, "logEvents": events}).encode())


def pack(content: bytes) -> dict[str, Any]:
    """Return the payload of a subscription filter with this content."""
    return {"awslogs": {"data": base64.b64encode(gzip.compress(content)).decode()}}


def queue_delivery(body: object, queue: str, **fields: object) -> dict[str, Any]:
    """Return a delivery of one message of the queue whose name ends with ``queue``."""
    return {"Records": [message(body, queue, **fields)]}


def message(body: object, queue: str, **fields: object) -> dict[str, Any]:
    """Return one message of a queue as Lambda hands it over; a string is the body itself."""
    text = body if isinstance(body, str) else json.dumps(body)
    arn = f"{QUEUE_ARN}-{queue}"
    fields = {"messageId": "m-1", "body": text, "eventSourceARN": arn, **fields}
    return {"eventSource": "aws:sqs", **fields}
