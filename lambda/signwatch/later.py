"""The queue ``later``: what the function must look at again, after a delay.

The body of a message is ``{"later": KIND, "content": ...}``, with a kind of ``detection.envelope``,
which unwraps it: SECOND_LOOK, TEXT_OUTCOME or BURST_END. SQS delays a message by 15
minutes at most. What must wait longer is not sent anew, because Lambda stops a function that sends
itself messages in a chain. Instead NotYetError is raised, and the same message returns after the
queue's visibility timeout.

Sources: Amazon SQS API reference, SendMessage; Lambda developer guide, "Use Lambda recursive loop
detection" and "Implementing partial batch responses".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from signwatch import log

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies

QUEUE_SUFFIX = "-later"  # of the queue's name
MAX_DELAY_SECONDS = 15 * 60  # SendMessage, DelaySeconds


class NotYetError(Exception):
    """A message cannot be dealt with yet, and is to return to the queue."""


def enqueue(
    kind: str,
    content: object,
    delay_seconds: int,
    now: float,
    dependencies: Dependencies,
    *,
    event_id: str,
) -> bool:
    """Queue ``content`` (JSON), so that the function gets it after a delay. Never raises.

    Return whether it is queued. ``now`` and ``event_id`` are for the log line of a failure.
    """
    body = {"later": kind, "content": content}
    try:
        dependencies.client("sqs").send_message(
            QueueUrl=dependencies.settings.later_queue_url,
            MessageBody=json.dumps(body),
            DelaySeconds=min(delay_seconds, MAX_DELAY_SECONDS),
        )
    except Exception as error:  # noqa: BLE001 - the caller does without the delay
        log.write_failure(kind, error, now, event_id=event_id)
        return False
    return True


def keep(event: Any) -> dict[str, Any]:
    """Return the answer to ``event`` with which Lambda lets its messages return to the queue.

    Unlike an error, it does not count as a failure of the function. Raises NotYetError if another
    queue brought the messages, since its mapping would take the answer for success.
    """
    messages = event["Records"]
    if not all(message["eventSourceARN"].endswith(QUEUE_SUFFIX) for message in messages):
        raise NotYetError
    return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in messages]}
