"""The second look: whether a sign-in followed a right password within 15 minutes.

The event of the right password is put into an SQS queue with that delay, which then delivers it to
the function again. The sign-in is searched for in the raw copies of all events, a log group. If the
search fails, the event is judged as if no sign-in had followed.

Sources: Amazon SQS API reference, SendMessage; Lambda developer guide, "Using Lambda with Amazon
SQS"; CloudWatch Logs API reference, FilterLogEvents.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.detection.record import get_string, open_record, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import ParsedEvent, SignIn, Step, read, read_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signwatch.dependencies import Dependencies

DELAY_SECONDS = 15 * 60  # the longest delay that SQS allows (SendMessage, DelaySeconds)
SIGN_IN_WINDOW_SECONDS = DELAY_SECONDS  # from the right password to the sign-in that completes it
SEARCH_MARGIN_SECONDS = 60  # a raw copy's time may be this much earlier than its record's
MAX_PAGES = 20  # of raw copies, each page up to 1 MB
MIN_SECONDS_FOR_PAGE = 40.0  # the client may hang for 10, and a text takes up to 30
FOLLOWED = "a sign-in followed"


def enqueue(event: object, step: Step, now: float, dependencies: Dependencies) -> ParsedEvent:
    """Queue ``event`` for a second look and return its ``step``.

    If it cannot be queued, return it as a right password without a sign-in.
    """
    try:
        sqs, url = dependencies.client("sqs"), dependencies.settings.second_look_queue_url
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event), DelaySeconds=DELAY_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever fails, the event must be judged
        log.write_failure("second look", error, now, event_id=step.event_id)
        return read_unfinished(event)
    return step


def unwrap(event: object) -> object | None:
    """Return the event in a delivery of the queue; None if ``event`` is not such a delivery.

    Raises ValueError for a delivery of several messages. The event source mapping never makes one,
    and all but the first message would be lost.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not records or not all(map(_is_sqs_message, records)):
        return None
    (message,) = records
    try:
        queued_event: object = json.loads(message["body"])
    except (KeyError, TypeError, ValueError):
        return {}  # this is Unreadable, so it causes an alert
    return {} if queued_event is None else queued_event


def recheck(event: object, now: float, dependencies: Dependencies) -> ParsedEvent:
    """Parse an event from the queue: a Step if a sign-in followed it, else an unfinished SignIn."""
    parsed_event = read(event)
    if not (isinstance(parsed_event, Step) and parsed_event.pending):
        return parsed_event
    password_step = read_unfinished(event)
    try:
        for candidate_event in _find_candidates(password_step, dependencies):
            if _completes(password_step, event, candidate_event):
                return parsed_event._replace(reason=FOLLOWED)
    except Exception as error:  # noqa: BLE001 - whatever fails, the event counts as unfinished
        log.write_failure("second look", error, now, event_id=password_step.event_id)
    return password_step


def _is_sqs_message(record: object) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:sqs"


def _find_candidates(password_step: SignIn, dependencies: Dependencies) -> Iterator[object]:
    """Yield the logged events that may be the sign-in that followed ``password_step``.

    None if it has no readable time. Raises TimeoutError if too little time is left. Pages beyond
    MAX_PAGES are not read, so that one search has a limit; the step then counts as unfinished.
    """
    start = parse_time(password_step.time)
    if start is None:
        return
    is_identity_center = password_step.identity == IDENTITY_CENTER
    logs = dependencies.client("logs")
    request: dict[str, Any] = {
        "logGroupName": dependencies.settings.raw_event_log_group_name,
        "startTime": int(start.timestamp() - SEARCH_MARGIN_SECONDS) * 1000,
        "filterPattern": "UserAuthentication" if is_identity_center else "ConsoleLogin",
    }
    for _ in range(MAX_PAGES):
        if dependencies.seconds_left() < MIN_SECONDS_FOR_PAGE:
            raise TimeoutError
        page = logs.filter_log_events(**request)
        for line in page["events"]:
            yield json.loads(line["message"])
        if "nextToken" not in page:
            return
        request["nextToken"] = page["nextToken"]


def _completes(password_step: SignIn, step_event: object, candidate_event: object) -> bool:
    """Return whether ``candidate_event`` is a successful sign-in by the same person.

    It must be at most SIGN_IN_WINDOW_SECONDS after ``password_step``, which is the parsed
    ``step_event``.
    """
    sign_in = read(candidate_event)
    if not isinstance(sign_in, SignIn) or sign_in.outcome != "success":
        return False
    if sign_in.kind not in ("console", IDENTITY_CENTER):
        return False
    if not password_step.account or sign_in.account != password_step.account:
        return False
    start, end = parse_time(password_step.time), parse_time(sign_in.time)
    if start is None or end is None:
        return False
    if not 0 <= (end - start).total_seconds() <= SIGN_IN_WINDOW_SECONDS:
        return False
    return sign_in.identity == password_step.identity and _is_same_person(
        password_step, step_event, sign_in, candidate_event
    )


def _is_same_person(
    password_step: SignIn, step_event: object, sign_in: SignIn, candidate_event: object
) -> bool:
    """Return whether a password step and a sign-in of the same kind of user are by one person.

    ``password_step`` is the parsed ``step_event``; ``sign_in`` is the parsed ``candidate_event``.
    Identity Center users are compared by user id or, if one record has no user id, by the workflow
    id, which is the same in all records of one sign-in. Other users are compared by name; an
    unknown user is never the same person.
    """
    if password_step.identity != IDENTITY_CENTER:
        if password_step.identity == "unknown" or password_step.who == "unknown":
            return False
        return sign_in.who == password_step.who
    if sign_in.user_id and password_step.user_id:
        return sign_in.user_id == password_step.user_id
    workflow = _workflow_id(step_event)
    return workflow != "" and workflow == _workflow_id(candidate_event)


def _workflow_id(event: object) -> str:
    """Return the id that all records of one sign-in share (IAM Identity Center User Guide)."""
    return get_string(open_record(event).extra, "AuthWorkflowID")
