"""Subscription filters of CloudWatch Logs that invoke a function.

The emulator takes the words of a pattern instead of its conditions, needs no permission, and never
retries.
Sources: CloudWatch Logs User Guide, "Filter pattern syntax" and "Example 2: Subscription filters
with AWS Lambda"; Lambda developer guide, "Using Lambda with CloudWatch Logs".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import base64
import contextvars
import functools
import gzip
import json
import re
import threading
import time
from typing import Any

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import cloudwatch_logs, lambda_svc

from tooling.local.adapter import async_invocation
from tooling.local.adapter.permissions import is_service_allowed

CONDITION = re.compile(r"\(\$\.(\w+) = (\w+)\)")  # of { ($.eventName = A) || ($.eventName = B) }
# How long after a line was written the filter hands it on; CloudTrail's lines are late themselves.
delay_seconds: contextvars.ContextVar[float] = contextvars.ContextVar("delay_seconds", default=0.0)
_matches_words = cloudwatch_logs._subscription_pattern_matches


def install() -> None:
    """Replace the emulator's fan-out, and let a filter be refused as AWS does."""
    cloudwatch_logs._fanout_to_subscription_filters = hand_on
    cloudwatch_logs._put_subscription_filter = functools.partial(
        put_filter, cloudwatch_logs._put_subscription_filter
    )


def put_filter(put: Any, request: dict[str, Any]) -> Any:
    """Put a filter, unless its function exists and may not be invoked by the log group.

    ``put`` is the emulator's own.
    """
    arn = str(request.get("destinationArn", ""))
    if ":function:" in arn and not _is_allowed(arn, str(request.get("logGroupName", ""))):
        message = "Could not execute the lambda function. Make sure you have given CloudWatch Logs"
        return cloudwatch_logs.error_response_json(
            "InvalidParameterException", f"{message} permission to execute your function.", 400
        )
    return put(request)


def hand_on(group: str, stream: str, events: list[dict[str, Any]]) -> None:
    """Hand the lines that a filter of the log group matches to its function, after the delay."""
    filters = cloudwatch_logs._log_groups[group].get("subscriptionFilters") or {}
    for each in filters.values():
        pattern, arn = each.get("filterPattern", ""), each.get("destinationArn", "")
        matched = [event for event in events if is_match(pattern, event["message"])]
        if matched and ":function:" in arn:
            payload = _make_payload(group, stream, each["filterName"], matched)
            # The emulator keeps the account and Region in context variables.
            run = contextvars.copy_context().run
            args = (_invoke, arn, group, payload, delay_seconds.get())
            threading.Thread(target=run, args=args, daemon=True).start()


def is_match(pattern: str, message: str) -> bool:
    """Return whether a line matches a pattern: conditions joined by "||", or words."""
    if not pattern.startswith("{"):
        return bool(_matches_words(pattern, message))
    terms = pattern.removeprefix("{").removesuffix("}").strip().split(" || ")
    conditions = [CONDITION.fullmatch(term) for term in terms]
    if not all(conditions):
        raise ValueError(f"unknown form of a pattern: {pattern}")
    try:
        fields = json.loads(message)
    except ValueError:
        return False
    return any(fields.get(match[1]) == match[2] for match in conditions if match)


def _make_payload(
    group: str, stream: str, name: str, events: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the function gets: base64 of gzip of JSON."""
    log_events = [
        {"id": new_uuid(), "timestamp": event["timestamp"], "message": event["message"]}
        for event in events
    ]
    content = {
        "messageType": "DATA_MESSAGE",
        "owner": get_account_id(),
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": [name],
        "logEvents": log_events,
    }
    data = base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()
    return {"awslogs": {"data": data}}


def _invoke(arn: str, group: str, payload: dict[str, Any], delay: float) -> None:
    """Invoke the function asynchronously, if its policy lets the log group do so."""
    time.sleep(delay)
    function, configuration, _name = lambda_svc._get_func_record_for_ref(arn)
    if function and _is_allowed(arn, group):
        async_invocation.invoke({**function, "config": configuration}, payload)


def _is_allowed(arn: str, group: str) -> bool:
    """Return whether the function's policy lets CloudWatch Logs invoke it for the log group."""
    function, _configuration, _name = lambda_svc._get_func_record_for_ref(arn)
    source = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:*"
    policy = (function or {}).get("policy")
    return is_service_allowed(policy, "logs.amazonaws.com", "lambda:InvokeFunction", arn, source)
