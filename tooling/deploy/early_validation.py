"""Explains a failed early validation, of which CloudFormation itself says only where to ask.

Before CloudFormation creates a change set or starts a stack operation, it checks properties against
their schemas, and names against existing resources. When that fails, the reason in the status has
no details: it says to ask the DescribeEvents API, which lists each failed validation as an event
(CloudFormation user guide, "Validate stack deployments").
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tooling import invocation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

API_NAME = "DescribeEvents"
# The failed validations are recorded shortly before the event that reports the failure.
MAX_LEAD = timedelta(minutes=1)


def explain(cloudformation: Any, reason: str, time: datetime | None = None, **target: str) -> str:
    """Return ``reason``, the reason of a failure, followed by a line for each failed validation.

    ``target`` is what failed, as arguments of DescribeEvents: ChangeSetName and StackName, or
    StackName alone. For a stack, ``time`` is when it failed, to leave out earlier operations.
    A reason that does not name DescribeEvents is returned unchanged. If the validations cannot be
    read, a line says what to do instead.
    """
    if API_NAME.lower() not in reason.lower():
        return reason
    try:
        lines = _list_failures(cloudformation, time, target)
    except (ClientError, BotoCoreError) as error:
        lines = [f"The validations cannot be read ({error}): {_name_other_ways()}"]
    if not lines:
        lines = [f"{API_NAME} returns no failed validation: {_name_other_ways()}"]
    return "\n  ".join([reason, *lines])


def _name_other_ways() -> str:
    """Return what else to do if the failed validations are not shown."""
    return (
        "look at the operation's events in the console, or run"
        f" {invocation.spell('bootstrap')} again, which grants the right to read them"
    )


def _list_failures(
    cloudformation: Any, time: datetime | None, target: Mapping[str, str]
) -> list[str]:
    """Return a line for each failed validation of the operation that failed at ``time``.

    Without ``time``, those of all operations on ``target`` are returned (see ``explain``).
    """
    paginator = cloudformation.get_paginator("describe_events")
    lines = []
    for page in paginator.paginate(**target, Filters={"FailedEvents": True}):
        for event in page["OperationEvents"]:
            is_of_earlier_operation = time is not None and event["Timestamp"] < time - MAX_LEAD
            if _is_failure(event) and not is_of_earlier_operation:
                lines.append(_format_failure(event))
    return lines


def _is_failure(event: Mapping[str, Any]) -> bool:
    """Return whether the event is a failed validation that is more than a warning."""
    is_warning = event.get("ValidationFailureMode") == "WARN"
    return event.get("EventType") == "VALIDATION_ERROR" and not is_warning


def _format_failure(event: Mapping[str, Any]) -> str:
    """Return "RESOURCE (TYPE) fails VALIDATION: REASON"; AWS may leave out any of these."""
    resource = event.get("LogicalResourceId", "the template")
    kind = event.get("ResourceType", "no type")
    validation = event.get("ValidationName", "a validation")
    reason = event.get("ValidationStatusReason", "no reason given")
    return f"{resource} ({kind}) fails {validation}: {reason}"
