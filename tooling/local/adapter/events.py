"""EventBridge's side of an event: which rules take it, and which entries PutEvents refuses.

Sources: EventBridge user guide, "Receiving read-only management events from AWS services" and "PutEvents";
EventBridge API reference, PutRule (State) and PutEventsResultEntry (ErrorCode).
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
from typing import Any

from ministack.services import eventbridge

from tooling.local.adapter import delivery

WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
LIVE = ("ENABLED", WITH_READS)


def install() -> None:
    """Replace the dispatch to rules, and put AWS's checks in front of PutEvents."""
    eventbridge._dispatch_event = dispatch
    put = eventbridge._put_events
    eventbridge._put_events = lambda data, allow_aws_source=False: put_events(
        put, data, allow_aws_source
    )


def dispatch(event: dict[str, Any], view: Any = None) -> None:
    """Give the event to each target of each live rule of its bus that matches it."""
    view = view or eventbridge._pattern_event_view(event)
    bus, passed = event.get("EventBusName", "default"), event.get("_DispatchPath") or ()
    for key, rule in eventbridge._rules.items():
        listens = (
            rule.get("EventBusName", "default") == bus
            and key not in passed
            and rule.get("EventPattern")
        )
        if (
            listens
            and _takes(rule, event)
            and eventbridge._matches_pattern_view(rule["EventPattern"], view, key)
        ):
            for target in eventbridge._targets.get(key, []):
                delivery.begin(dict(target), event, rule, view)


def _takes(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    return rule.get("State") in LIVE and (rule["State"] == WITH_READS or not is_read_only(event))


def is_read_only(event: dict[str, Any]) -> bool:
    """Whether this is CloudTrail's record of a management call that changes nothing."""
    detail = eventbridge._decoded_detail(event.get("Detail"))
    through = event.get("DetailType") == "AWS API Call via CloudTrail"
    return (
        through
        and isinstance(detail, dict)
        and detail.get("readOnly") is True
        and detail.get("managementEvent", True)
    )


def put_events(put: Any, data: dict[str, Any], allow_aws_source: bool) -> Any:  # noqa: FBT001 - the emulator's own signature
    """Refuse the entries that AWS refuses and hand the emulator the others; answers stand in the order of entries."""
    entries = data.get("Entries", [])
    if not 1 <= len(entries) <= 10:  # noqa: PLR2004 - the API's own limits
        return put(data, allow_aws_source)
    answers: list[dict[str, Any]] = []
    for entry in entries:
        wrong = _wrong(entry)
        answers += (
            [wrong]
            if wrong
            else json.loads(put({"Entries": [entry]}, allow_aws_source)[2])["Entries"]
        )
    failed = sum("ErrorCode" in answer for answer in answers)
    return eventbridge.json_response({"FailedEntryCount": failed, "Entries": answers})


def _wrong(entry: dict[str, Any]) -> dict[str, str] | None:
    if not entry.get("Source") or not entry.get("DetailType") or entry.get("Detail") is None:
        what = "Parameter Source, DetailType or Detail is not valid. Reason: it is a required argument."
        return {"ErrorCode": "InvalidArgument", "ErrorMessage": what}
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    return None
