"""The second look: whether a sign-in followed a right password within 15 minutes.

A right password is recorded before the second factor is asked for. If no sign-in follows, somebody
may know the password. The event of the right password is therefore put into the queue ``later``,
which delivers it to the function again 15 minutes later. The sign-in is then searched for in the
log group with raw copies of the bus's events, and, if it is not there, in the trail's, which has
what the bus lost. It counts only if it is the same person's, from the same source, or if both
sources are recognised. If the search fails, the event is judged as if no sign-in had followed: as
an unfinished sign-in. The queue also holds events whose alert is held back (pipeline).

An event that both ways brought has two second looks. If one found the sign-in, the other does not
search again; the ledger keeps two that found none from sending two alerts.

In the names, ``step_event`` is the event of a right password, and ``unfinished_sign_in`` is what it
is parsed to, in the form of a sign-in. A candidate is an event that may be the sign-in after it.
A workflow is one attempt to sign in to Identity Center; its events share an AuthWorkflowID.

Sources: CloudWatch Logs API reference, FilterLogEvents; IAM Identity Center User Guide
(AuthWorkflowID).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from signwatch import later, log
from signwatch.detection.envelope import SECOND_LOOK
from signwatch.detection.networks import pack_address
from signwatch.detection.record import get_string, open_record, parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER, TRANSFER_WEB_APP, WORKSPACES
from signwatch.detection.signin import ParsedEvent, SignIn, Step, read, read_unfinished
from signwatch.enrichment.state import DAY_SECONDS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from signwatch.dependencies import Dependencies

DELAY_SECONDS = later.MAX_DELAY_SECONDS
SIGN_IN_WINDOW_SECONDS = DELAY_SECONDS  # from the right password to the sign-in that completes it
SEARCH_MARGIN_SECONDS = 60  # a raw copy's time may be this much earlier than its record's
SEARCH_MAX_PAGES = 20  # of raw copies, each page up to 1 MB
MIN_SECONDS_FOR_PAGE = 40.0  # until the timeout: the client may hang for 10, a text may take 30
FOLLOWED = "a sign-in followed"
# WorkSpaces and web apps check a password as the portal does, and only their sign-in differs. It is
# noted, so it answers only for the password of its own workflow.
OWN_WORKFLOW_KINDS = (WORKSPACES.kind, TRANSFER_WEB_APP.kind)
COMPLETED_KINDS = ("console", IDENTITY_CENTER, *OWN_WORKFLOW_KINDS)


def enqueue(event: object, step: Step, now: float, dependencies: Dependencies) -> ParsedEvent:
    """Queue the event of a right password for a second look, and return ``step``, its parsed form.

    If the event cannot be queued, return it as an unfinished sign-in, so that it is judged now.
    """
    is_queued = try_to_queue(event, step.event_id, now, dependencies)
    return step if is_queued else read_unfinished(event)


def try_to_queue(event: object, event_id: str, now: float, dependencies: Dependencies) -> bool:
    """Queue an event, so that it is processed again in 15 minutes; return whether it is queued."""
    return later.enqueue(SECOND_LOOK, event, DELAY_SECONDS, now, dependencies, event_id=event_id)


def recheck(
    event: object, now: float, dependencies: Dependencies, is_recognised: Callable[[SignIn], bool]
) -> ParsedEvent:
    """Parse an event from the queue: a Step if a sign-in followed it, else an unfinished SignIn.

    An event that is not a right password is only parsed. ``is_recognised`` returns whether the
    source of a sign-in is recognised.
    """
    parsed_event = read(event)
    if not (isinstance(parsed_event, Step) and parsed_event.is_right_password):
        return parsed_event
    unfinished_sign_in = read_unfinished(event)
    if _has_been_found(parsed_event, now, dependencies):
        return parsed_event._replace(reason=FOLLOWED)
    try:
        if _find_sign_in(event, unfinished_sign_in, dependencies, is_recognised):
            _store_found(parsed_event, now, dependencies)
            return parsed_event._replace(reason=FOLLOWED)
    except Exception as error:  # noqa: BLE001 - whatever fails, the event counts as unfinished
        log.write_failure("second look", error, now, event_id=unfinished_sign_in.event_id)
    return unfinished_sign_in


def _has_been_found(step: Step, now: float, dependencies: Dependencies) -> bool:
    """Return whether an earlier second look found the sign-in after this step. Never raises."""
    try:
        return bool(step.event_id and _open_state(dependencies).get(_make_key(step), now))
    except Exception as error:  # noqa: BLE001 - then the sign-in is searched for
        log.write_failure("state", error, now, event_id=step.event_id)
        return False


def _store_found(step: Step, now: float, dependencies: Dependencies) -> None:
    """Record that the sign-in after this step was found. Never raises."""
    try:
        _open_state(dependencies).put(_make_key(step), FOLLOWED, now, DAY_SECONDS)
    except Exception as error:  # noqa: BLE001 - then the other second look searches again
        log.write_failure("state", error, now, event_id=step.event_id)


def _make_key(step: Step) -> str:
    """Return the key under which it is stored that a sign-in followed this step."""
    return f"{step.account}#followed#{step.event_id}"


def _open_state(dependencies: Dependencies) -> State:
    """Return the state in the ledger's table, read with short timeouts."""
    dynamodb = dependencies.client("dynamodb", quick=True)
    return State(dynamodb, dependencies.settings.ledger_table_name)


def _find_sign_in(
    event: object,
    unfinished_sign_in: SignIn,
    dependencies: Dependencies,
    is_recognised: Callable[[SignIn], bool],
) -> bool:
    """Return whether the sign-in after the right password ``event`` is in one of the log groups."""
    for candidate_event in _find_candidates(unfinished_sign_in, dependencies):
        sign_in = _read_completing_sign_in(candidate_event, unfinished_sign_in, event)
        if sign_in and _has_same_source(sign_in, unfinished_sign_in, is_recognised):
            return True
    return False


def _find_candidates(unfinished_sign_in: SignIn, dependencies: Dependencies) -> Iterator[object]:
    """Yield the events from the log groups that may be the sign-in after ``unfinished_sign_in``.

    The raw copies come first: they are few. The trail's group has every management event of the
    account, as bare records. Yield nothing if the step has no readable time. Raises TimeoutError if
    too little time is left until Lambda's timeout.
    """
    start = parse_time(unfinished_sign_in.time)
    if start is None:
        return
    event_name = "ConsoleLogin"
    if unfinished_sign_in.identity == IDENTITY_CENTER:
        event_name = "UserAuthentication"
    settings = dependencies.settings
    for group in (settings.raw_event_log_group_name, settings.trail_log_group_name):
        if group:
            start_ms = int(start.timestamp() - SEARCH_MARGIN_SECONDS) * 1000
            yield from _search(group, event_name, start_ms, dependencies)


def _search(
    group: str, event_name: str, start_ms: int, dependencies: Dependencies
) -> Iterator[object]:
    """Yield the events of a log group that contain ``event_name``, from SEARCH_MAX_PAGES pages.

    ``start_ms`` is in milliseconds since 1970. Raises TimeoutError as _find_candidates does.
    """
    logs = dependencies.client("logs")
    request: dict[str, Any] = {
        "logGroupName": group,
        "startTime": start_ms,
        "filterPattern": event_name,  # events that contain this word
    }
    for _ in range(SEARCH_MAX_PAGES):
        if dependencies.seconds_left() < MIN_SECONDS_FOR_PAGE:
            raise TimeoutError
        page = logs.filter_log_events(**request)
        for line in page["events"]:
            yield json.loads(line["message"])
        if "nextToken" not in page:
            return
        request["nextToken"] = page["nextToken"]


def _read_completing_sign_in(
    candidate_event: object, unfinished_sign_in: SignIn, step_event: object
) -> SignIn | None:
    """Return the candidate if it is a success of the same person soon after the step, else None.

    Soon means at most SIGN_IN_WINDOW_SECONDS. ``step_event`` is needed for its workflow id, which
    ``unfinished_sign_in`` does not have.
    """
    sign_in = read(candidate_event)
    if not isinstance(sign_in, SignIn) or sign_in.outcome != "success":
        return None
    if sign_in.kind not in COMPLETED_KINDS:
        return None
    if not _is_soon_after(unfinished_sign_in, sign_in):
        return None
    workflow_id = _read_workflow_id(step_event)
    has_same_workflow = workflow_id != "" and workflow_id == _read_workflow_id(candidate_event)
    if sign_in.kind in OWN_WORKFLOW_KINDS and not has_same_workflow:
        return None
    is_same = _is_same_person(unfinished_sign_in, sign_in, has_same_workflow=has_same_workflow)
    return sign_in if is_same else None


def _has_same_source(
    sign_in: SignIn, unfinished_sign_in: SignIn, is_recognised: Callable[[SignIn], bool]
) -> bool:
    """Return whether both came from the same source, or each from a recognised one.

    If any sign-in of the person counted, their own would hide that a stranger has the password. The
    IPv4 and the IPv6 address of one office differ, but are recognised. An address through another
    VPC endpoint is another source.
    """
    if _make_comparable_source(sign_in) == _make_comparable_source(unfinished_sign_in):
        return True
    return is_recognised(unfinished_sign_in) and is_recognised(sign_in)


def _make_comparable_source(sign_in: SignIn) -> tuple[bytes | str, str]:
    """Return the source and the VPC endpoint. All spellings of an address give the same bytes."""
    source = pack_address(sign_in.source) or sign_in.source
    return source, sign_in.vpc_endpoint


def _is_soon_after(unfinished_sign_in: SignIn, sign_in: SignIn) -> bool:
    """Return whether the sign-in came at most SIGN_IN_WINDOW_SECONDS after the step.

    Return False if one of the two has no readable time.
    """
    start, end = parse_time(unfinished_sign_in.time), parse_time(sign_in.time)
    if start is None or end is None:
        return False
    return 0 <= (end - start).total_seconds() <= SIGN_IN_WINDOW_SECONDS


def _is_same_person(
    unfinished_sign_in: SignIn, sign_in: SignIn, *, has_same_workflow: bool
) -> bool:
    """Return whether both are by the same kind of user, in one account, with the same name or id.

    An Identity Center user is compared by user id. If one of the two has none,
    ``has_same_workflow`` decides: whether both events belong to one workflow. An unknown user or
    account is never the same.
    """
    if not unfinished_sign_in.account or sign_in.account != unfinished_sign_in.account:
        return False
    if sign_in.identity != unfinished_sign_in.identity:
        return False
    if sign_in.identity != IDENTITY_CENTER:
        is_unknown = "unknown" in (sign_in.identity, sign_in.who)
        return sign_in.who == unfinished_sign_in.who and not is_unknown
    if sign_in.user_id and unfinished_sign_in.user_id:
        return sign_in.user_id == unfinished_sign_in.user_id
    return has_same_workflow


def _read_workflow_id(event: object) -> str:
    """Return the AuthWorkflowID of an event; empty if it has none."""
    return get_string(open_record(event).extra, "AuthWorkflowID")
