"""Lambda's own queue of asynchronous invocations: retries, event age, throttles, and where a failed event goes.

Sources: Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation", "Capturing
records of Lambda asynchronous invocations" and "Adding a dead-letter queue".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ministack.core.iam_evaluator import pin_request_origin
from ministack.core.responses import new_uuid, request_scope
from ministack.services import lambda_svc, sqs

from tooling.local.adapter.access import role_may

RETRIES, AGE = 2, 21600  # Lambda's defaults
SUCCESS, USED_UP, TOO_OLD = "Success", "RetriesExhausted", "EventAgeExceeded"
log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How an event ended: AWS's condition, the invocations it took, and the emulator's last result."""

    condition: str
    invocations: int
    result: dict[str, Any]


def install() -> None:
    """Replace the emulator's asynchronous path."""
    lambda_svc.invoke_async_with_retry = invoke


def invoke(function: dict[str, Any], event: Any) -> None:
    """Queue the event for the function (the emulator's record of it) and return at once."""
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_work, function, event), daemon=True).start()


def _work(function: dict[str, Any], event: Any) -> None:
    configuration = function.get("config") or function
    account, region = lambda_svc._account_region_from_function_config(configuration)
    with request_scope(account, region):
        pin_request_origin("127.0.0.1", secure_transport=True)
        options = _options(function)
        outcome = _attempt(function, event, options)
        _to_destination(configuration, options, event, outcome)
        if outcome.condition != SUCCESS:
            _to_dead_letters(configuration, event, outcome)


def _options(function: dict[str, Any]) -> dict[str, Any]:
    configs = function.get("event_invoke_configs") or {}
    return function.get("event_invoke_config") or configs.get("$LATEST") or {}


def _attempt(function: dict[str, Any], event: Any, options: dict[str, Any]) -> Outcome:
    """Invoke until it works, the retries are used up, or the event is too old. A throttle is no attempt."""
    name, start, invocations = (function.get("config") or function)["FunctionName"], time.time(), 0
    asked = options.get("MaximumRetryAttempts")
    retries = RETRIES if asked is None else int(asked)
    age = float(options.get("MaximumEventAgeInSeconds") or AGE)
    while True:
        began = time.time()
        result = lambda_svc._execute_function(_current(function), event)
        if not result.get("throttle"):
            invocations += 1
            failed = bool(result.get("error"))
            lambda_svc._emit_lambda_metrics(
                name, (time.time() - began) * 1000, failed, throttle=False
            )
            if not failed or invocations > retries:
                return Outcome(USED_UP if failed else SUCCESS, invocations, result)
        pause = min(
            lambda_svc._LAMBDA_ASYNC_RETRY_BASE_SECONDS * 2 ** max(invocations - 1, 0), 30.0
        )
        if time.time() - start + pause > age:
            return Outcome(TOO_OLD, invocations, result)
        time.sleep(pause)


def _current(function: dict[str, Any]) -> dict[str, Any]:
    """Return the function as it is now: code, configuration and concurrency may change while the event waits."""
    record, configuration, _ = lambda_svc._get_func_record_for_ref(
        (function.get("config") or function)["FunctionArn"]
    )
    return {**record, "config": configuration} if record else function


def _to_destination(
    configuration: dict[str, Any], options: dict[str, Any], event: Any, outcome: Outcome
) -> None:
    kind = "OnSuccess" if outcome.condition == SUCCESS else "OnFailure"
    arn = ((options.get("DestinationConfig") or {}).get(kind) or {}).get("Destination")
    if arn:
        _to_queue(configuration, arn, json.dumps(_record(configuration, event, outcome)), {})


def _record(configuration: dict[str, Any], event: Any, outcome: Outcome) -> dict[str, Any]:
    """Return the invocation record that Lambda sends to a destination."""
    arn = configuration["FunctionArn"]
    response = {"statusCode": 200, "executedVersion": configuration.get("Version", "$LATEST")}
    if outcome.condition != SUCCESS:
        response["functionError"] = outcome.result.get("function_error") or "Unhandled"
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": new_uuid(),
            "functionArn": arn if arn.count(":") > 6 else f"{arn}:$LATEST",  # noqa: PLR2004 - colons before a qualifier
            "condition": outcome.condition,
            "approximateInvokeCount": max(outcome.invocations, 1),
        },
        "requestPayload": event,
        "responseContext": response,
        "responsePayload": outcome.result.get("body"),
    }


def _to_dead_letters(configuration: dict[str, Any], event: Any, outcome: Outcome) -> None:
    """The event itself, with the three attributes that Lambda adds."""
    arn = (configuration.get("DeadLetterConfig") or {}).get("TargetArn")
    body = outcome.result.get("body")
    said = body.get("errorMessage", "") if isinstance(body, dict) else ""
    attributes = {
        "RequestID": ("String", new_uuid()),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", str(said)[:1024] or outcome.condition),
    }
    if arn:
        _to_queue(configuration, arn, json.dumps(event), attributes)


def _to_queue(
    configuration: dict[str, Any], arn: str, body: str, attributes: dict[str, tuple[str, str]]
) -> None:
    """Lambda writes as the function's role; what the role may not do is dropped, and only a metric tells."""
    queue = sqs._queue_by_arn(arn)
    if queue is None or not role_may(configuration["Role"], "sqs:SendMessage", arn):
        log.warning(
            "%s: the failed event was dropped, its role may not write to %s",
            configuration["FunctionName"],
            arn,
        )
    else:
        send(queue, body, attributes)


def send(queue: dict[str, Any], body: str, attributes: dict[str, tuple[str, str]]) -> None:
    """Put a message into a queue, with attributes by name as (data type, value)."""
    shaped = {
        name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()
    }
    url = sqs._queue_url(queue["name"])
    sqs._act_send_message({"MessageBody": body, "MessageAttributes": shaped, "QueueUrl": url}, url)
