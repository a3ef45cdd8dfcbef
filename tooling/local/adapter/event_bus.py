"""The default event bus: which rules receive an event, and which PutEvents entries are refused.

The emulator ignores read-only rules and accepts entries that AWS refuses.
Sources: EventBridge user guide, "Receiving read-only management events from AWS services" and
"PutEvents"; EventBridge API reference, PutRule (State) and PutEventsResultEntry (ErrorCode).
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import functools
import json
from typing import Any

from ministack.services import eventbridge

from tooling.local.adapter import event_targets

ENABLED_WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


def install() -> None:
    """Replace the dispatch to rules, and check the entries of PutEvents as AWS does."""
    eventbridge._dispatch_event = dispatch
    # The emulator's own PutEvents becomes the first argument of ours.
    eventbridge._put_events = functools.partial(put_events, eventbridge._put_events)


def dispatch(event: dict[str, Any], decoded_event: Any = None) -> None:
    """Send the event to each target of each enabled rule of its bus that matches it.

    ``event`` is the emulator's record of it. ``decoded_event`` is the same with its detail decoded,
    as patterns see it and targets get it.
    """
    decoded_event = decoded_event or eventbridge._pattern_event_view(event)
    bus = event.get("EventBusName", "default")
    for key, rule in eventbridge._rules.items():
        if rule.get("EventBusName", "default") != bus:
            continue
        pattern = rule.get("EventPattern")
        if not pattern or not _is_enabled_for(rule, event):
            continue
        if eventbridge._matches_pattern_view(pattern, decoded_event, key):
            for target in eventbridge._targets.get(key, []):
                event_targets.start_delivery(dict(target), event, rule, decoded_event)


def _is_enabled_for(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    """Return whether the rule's state lets it receive this event."""
    state = rule.get("State")
    if state == "ENABLED":
        return not is_read_only(event)
    return bool(state == ENABLED_WITH_READS)


def is_read_only(event: dict[str, Any]) -> bool:
    """Return whether this is CloudTrail's record of a management call that changes nothing."""
    detail = eventbridge._decoded_detail(event.get("Detail"))
    if event.get("DetailType") != "AWS API Call via CloudTrail" or not isinstance(detail, dict):
        return False
    return detail.get("readOnly") is True and bool(detail.get("managementEvent", True))


def put_events(put: Any, request: dict[str, Any], allow_aws_source: bool = False) -> Any:  # noqa: FBT001, FBT002 - the emulator's own signature
    """Refuse the entries that AWS refuses, put the others, and answer in the order of entries.

    ``put`` is the emulator's PutEvents; it returns status, headers and JSON body. With
    ``allow_aws_source``, which the emulator's own services set, a source may begin with "aws.".
    """
    entries = request.get("Entries", [])
    # Of too few or too many entries, the emulator itself refuses the whole request or does nothing.
    if not 1 <= len(entries) <= 10:  # noqa: PLR2004 - the API's own limits
        return put(request, allow_aws_source)
    answers: list[dict[str, Any]] = []
    for entry in entries:
        if refusal := _refusal(entry):
            answers.append(refusal)
        else:
            _status, _headers, body = put({"Entries": [entry]}, allow_aws_source)
            answers += json.loads(body)["Entries"]
    failed = sum("ErrorCode" in answer for answer in answers)
    return eventbridge.json_response({"FailedEntryCount": failed, "Entries": answers})


def _refusal(entry: dict[str, Any]) -> dict[str, str] | None:
    """Return the answer with which AWS refuses an entry of PutEvents, or None if it accepts it."""
    if not entry.get("Source") or not entry.get("DetailType") or entry.get("Detail") is None:
        reason = "Reason: it is a required argument."
        message = f"Parameter Source, DetailType or Detail is not valid. {reason}"
        return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    return None
