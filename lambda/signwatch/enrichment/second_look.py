"""The second look: a quarter of an hour after a right password, whether that person signed in.

A step that waits for a sign-in goes into a queue as it came, and a mapping hands it back when its delay is over. The
success is looked for among the raw copies of the events. While that cannot be known, there was none: the louder answer.
Sources: Amazon SQS API reference, SendMessage; Lambda developer guide, "Using Lambda with Amazon SQS"; CloudWatch Logs
API reference, FilterLogEvents.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.detection.record import get_text, open_record, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import Reading, SignIn, Step, read, read_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signwatch.dependencies import Dependencies

WAIT = (
    15 * 60
)  # seconds that a sign-in may take; the longest delay that SQS knows (SendMessage, DelaySeconds)
EARLIER = 60  # seconds by which the time of a raw copy may lie before that of its record
MOST_PAGES = 20  # of the raw copies, each up to 1 MB
NEEDED = 40.0  # seconds that must be left for one more page: the client may hang for 10, a text takes up to 30
FOLLOWED = "a sign-in followed"


def enqueue(event: object, step: Step, now: float, dependencies: Dependencies) -> Reading:
    """Send ``event`` on for a second look and return its ``step``; where it cannot be sent, what it is without one."""
    try:
        sqs, url = dependencies.client("sqs"), dependencies.settings.second_look_queue_url
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event), DelaySeconds=WAIT)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(step.event_id, error, now)
        return read_unfinished(event)
    return step


def unwrap(event: object) -> object | None:
    """Return the event that the queue hands back; None where ``event`` is no delivery of a queue.

    Raises ValueError for a delivery of several messages, which the mapping never makes, as all but one would be lost.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not (isinstance(records, list) and all(map(_is_message, records)) and records):
        return None
    (message,) = records
    try:
        found: object = json.loads(message["body"])
    except (KeyError, TypeError, ValueError):
        return {}  # which cannot be read, and alerts
    return {} if found is None else found


def recheck(event: object, now: float, dependencies: Dependencies) -> Reading:
    """Read an event that was handed back: a step that a sign-in followed, or a right password without one."""
    reading = read(event)
    if not (isinstance(reading, Step) and reading.pending):
        return reading
    waiting = read_unfinished(event)
    try:
        followed = any(_follows(told, event, waiting) for told in _copies(waiting, dependencies))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(waiting.event_id, error, now)
        followed = False
    return reading._replace(why=FOLLOWED) if followed else waiting


def _is_message(record: object) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:sqs"


def _copies(waiting: SignIn, dependencies: Dependencies) -> Iterator[object]:
    """Yield the raw copies that may be the sign-in; none where the step's own time cannot be read."""
    at = parse_time(waiting.time)
    if at is None:
        return
    logs = dependencies.client("logs")
    page: dict[str, Any] = {
        "logGroupName": dependencies.settings.raw_event_log_group_name,
        "startTime": int(at.timestamp() - EARLIER) * 1000,
        "filterPattern": "UserAuthentication"
        if waiting.identity == IDENTITY_CENTER
        else "ConsoleLogin",
    }
    for _ in range(MOST_PAGES):
        if dependencies.seconds_left() < NEEDED:
            raise TimeoutError
        found = logs.filter_log_events(**page)
        yield from (json.loads(copy["message"]) for copy in found["events"])
        if "nextToken" not in found:
            return
        page["nextToken"] = found["nextToken"]


def _follows(told: object, event: object, waiting: SignIn) -> bool:
    """Say whether a raw copy is a success of the person who waits, no earlier than the step and soon enough."""
    found = read(told)
    if (
        not isinstance(found, SignIn)
        or found.outcome != "success"
        or found.kind not in ("console", IDENTITY_CENTER)
    ):
        return False
    step, success = parse_time(waiting.time), parse_time(found.time)
    soon = step and success and 0 <= (success - step).total_seconds() <= WAIT
    same = waiting.account and (found.account, found.identity) == (
        waiting.account,
        waiting.identity,
    )
    return bool(soon and same and _is_person(found, told, waiting, event))


def _is_person(found: SignIn, told: object, waiting: SignIn, event: object) -> bool:
    """Compare by the id of an Identity Center user, or of the sign-in where one has none; else by the name."""
    if waiting.identity != IDENTITY_CENTER:
        return waiting.identity != "unknown" and found.who == waiting.who != "unknown"
    if found.person and waiting.person:
        return found.person == waiting.person
    return _workflow(told) == _workflow(event) != ""


def _workflow(event: object) -> str:
    """Return the id that all records of one Identity Center sign-in share (its user guide, sign-in events)."""
    return get_text(open_record(event).extra, "AuthWorkflowID")


def _complain(event_id: str, error: Exception, now: float) -> None:
    values = {
        "level": "ERROR",
        "event_id": event_id,
        "problem": "second look",
        "error": type(error).__name__,
    }
    log.write(values, {}, now)
