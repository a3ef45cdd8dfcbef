"""Explains a failed early validation, of which CloudFormation itself says only where to ask.

Before CloudFormation creates a change set or starts a stack operation, it checks properties against
their schemas, and names against existing resources. The status of a failure has no details. It
names the DescribeEvents API (CloudFormation user guide, "Validate stack deployments").
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

API_NAME = "DescribeEvents"
# The failed validations are recorded shortly before the event that reports the failure.
LEAD = timedelta(minutes=1)
ELSEWHERE = (
    "look at the operation's events in the console, or run invoke bootstrap again, which grants the"
    " right to read them"
)


def explain(cloudformation: Any, reason: str, time: datetime | None = None, **target: str) -> str:
    """Return ``reason``, followed by a line for each failed validation.

    target: the change set or stack that failed, as DescribeEvents names it; time: when a stack
    failed, whose earlier operations have events too. A reason that does not name DescribeEvents is
    returned as it is, and so is one whose validations cannot be read, with a remedy.
    """
    if API_NAME.lower() not in reason.lower():
        return reason
    try:
        failures = _list_failures(cloudformation, time, target)
    except (ClientError, BotoCoreError) as error:
        failures = [f"The validations cannot be read ({error}): {ELSEWHERE}"]
    if not failures:
        failures = [f"{API_NAME} returns no failed validation: {ELSEWHERE}"]
    return "\n  ".join([reason, *failures])


def _list_failures(
    cloudformation: Any, time: datetime | None, target: Mapping[str, str]
) -> list[str]:
    paginator = cloudformation.get_paginator("describe_events")
    failures = []
    for page in paginator.paginate(**target, Filters={"FailedEvents": True}):
        for event in page["OperationEvents"]:
            is_earlier = time is not None and event["Timestamp"] < time - LEAD
            if _is_failure(event) and not is_earlier:
                failures.append(_format(event))
    return failures


def _is_failure(event: Mapping[str, Any]) -> bool:
    """Whether the event is a validation that stopped the operation; others only warn."""
    is_warning = event.get("ValidationFailureMode") == "WARN"
    return event.get("EventType") == "VALIDATION_ERROR" and not is_warning


def _format(event: Mapping[str, Any]) -> str:
    resource = event.get("LogicalResourceId", "the template")
    kind = event.get("ResourceType", "no type")
    validation = event.get("ValidationName", "a validation")
    reason = event.get("ValidationStatusReason", "no reason given")
    return f"{resource} ({kind}) fails {validation}: {reason}"
