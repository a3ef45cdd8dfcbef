"""Lambda's asynchronous invocations: retries, event age, throttling, destination, dead letters.

The emulator retries, but writes destinations and dead letters without asking the function's role.
Its record of a function has the configuration under "config". Its result of an invocation has the
payload under "body"; "error" or "throttle" is true if the invocation failed or was throttled.
Sources: Lambda developer guide, "How Lambda handles errors and retries with asynchronous
invocation", "Capturing records of Lambda asynchronous invocations", "Adding a dead-letter queue".
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

from tooling.local.adapter.permissions import is_role_allowed
from tooling.local.adapter.queue_messages import send_message

DEFAULT_RETRIES, DEFAULT_MAX_AGE_SECONDS = 2, 21600  # Lambda's defaults
RETRY_MAX_SECONDS = 30.0
ERROR_MESSAGE_MAX_CHARS = 1024
SUCCESS, RETRIES_EXHAUSTED, TOO_OLD = "Success", "RetriesExhausted", "EventAgeExceeded"
log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How the handling of an event ended; ``result`` is the emulator's, of the last invocation.

    ``condition`` is SUCCESS, RETRIES_EXHAUSTED or TOO_OLD, AWS's words in an invocation record.
    """

    condition: str
    invocations: int
    result: dict[str, Any]


def install() -> None:
    """Replace the emulator's asynchronous invocation."""
    lambda_svc.invoke_async_with_retry = invoke


def invoke(function: dict[str, Any], event: Any) -> None:
    """Invoke the function in a thread of its own and return at once.

    ``function`` is the emulator's record or, from some callers, the configuration itself.
    """
    # The emulator keeps the request's account and Region in context variables.
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_run_async_invocation, function, event), daemon=True).start()


def _configuration(function: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration in the emulator's record, which may be a configuration itself."""
    configuration: dict[str, Any] = function.get("config") or function
    return configuration


def _run_async_invocation(function: dict[str, Any], event: Any) -> None:
    """Invoke the function and its retries, then send the outcome where AWS sends it."""
    configuration = _configuration(function)
    account, region = lambda_svc._account_region_from_function_config(configuration)
    with request_scope(account, region):
        pin_request_origin("127.0.0.1", secure_transport=True)  # sets aws:SecureTransport
        options = _invoke_options(function)
        outcome = _invoke_with_retries(function, event, options)
        _send_to_destination(configuration, options, event, outcome)
        if outcome.condition != SUCCESS:
            _send_to_dead_letters(configuration, event, outcome)


def _invoke_options(function: dict[str, Any]) -> dict[str, Any]:
    """Return the function's EventInvokeConfig (retries, event age, destinations), or {}."""
    # The emulator stores the one without a qualifier under a key of its own.
    by_qualifier = function.get("event_invoke_configs") or {}
    return function.get("event_invoke_config") or by_qualifier.get("$LATEST") or {}


def _invoke_with_retries(function: dict[str, Any], event: Any, options: dict[str, Any]) -> Outcome:
    """Invoke the function until it succeeds, the retries are used up, or the event is too old.

    ``options`` is the function's EventInvokeConfig. A throttled invocation uses up no retry.
    """
    name = _configuration(function)["FunctionName"]
    retries = options.get("MaximumRetryAttempts")
    max_retries = DEFAULT_RETRIES if retries is None else int(retries)
    max_age_seconds = float(options.get("MaximumEventAgeInSeconds") or DEFAULT_MAX_AGE_SECONDS)
    first_start, invocations = time.time(), 0
    while True:
        start = time.time()
        result = lambda_svc._execute_function(_reload_function(function), event)
        if not result.get("throttle"):
            invocations += 1
            failed, duration_ms = bool(result.get("error")), (time.time() - start) * 1000
            lambda_svc._emit_lambda_metrics(name, duration_ms, failed, throttle=False)
            if not failed:
                return Outcome(SUCCESS, invocations, result)
            if invocations > max_retries:
                return Outcome(RETRIES_EXHAUSTED, invocations, result)
        backoff = lambda_svc._LAMBDA_ASYNC_RETRY_BASE_SECONDS * 2 ** max(invocations - 1, 0)
        pause_seconds = min(backoff, RETRY_MAX_SECONDS)
        age_seconds = time.time() - first_start
        if age_seconds + pause_seconds > max_age_seconds:
            return Outcome(TOO_OLD, invocations, result)
        time.sleep(pause_seconds)


def _reload_function(function: dict[str, Any]) -> dict[str, Any]:
    """Return the emulator's record as it is now: it may have changed while the event waited."""
    arn = _configuration(function)["FunctionArn"]
    record, configuration, _ = lambda_svc._get_func_record_for_ref(arn)
    return {**record, "config": configuration} if record else function


def _send_to_destination(
    configuration: dict[str, Any], options: dict[str, Any], event: Any, outcome: Outcome
) -> None:
    """Send the invocation record to the destination for this outcome, if there is one."""
    kind = "OnSuccess" if outcome.condition == SUCCESS else "OnFailure"
    destinations = options.get("DestinationConfig") or {}
    arn = (destinations.get(kind) or {}).get("Destination")
    if arn:
        record = _invocation_record(configuration, event, outcome)
        _send_as_role(configuration, arn, json.dumps(record), attributes={})


def _invocation_record(
    configuration: dict[str, Any], event: Any, outcome: Outcome
) -> dict[str, Any]:
    """Return the invocation record that Lambda sends to a destination."""
    arn = configuration["FunctionArn"]
    has_qualifier = arn.count(":") > 6  # noqa: PLR2004 - "arn:aws:lambda:REGION:ACCOUNT:function:NAME" has 6
    response = {"statusCode": 200, "executedVersion": configuration.get("Version", "$LATEST")}
    if outcome.condition != SUCCESS:
        response["functionError"] = outcome.result.get("function_error") or "Unhandled"
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": new_uuid(),
            "functionArn": arn if has_qualifier else f"{arn}:$LATEST",
            "condition": outcome.condition,
            "approximateInvokeCount": max(outcome.invocations, 1),
        },
        "requestPayload": event,
        "responseContext": response,
        "responsePayload": outcome.result.get("body"),
    }


def _send_to_dead_letters(configuration: dict[str, Any], event: Any, outcome: Outcome) -> None:
    """Send the event to the dead-letter queue, if there is one, with the attributes Lambda adds."""
    arn = (configuration.get("DeadLetterConfig") or {}).get("TargetArn")
    if not arn:
        return
    payload = outcome.result.get("body")
    message = str(payload.get("errorMessage", "")) if isinstance(payload, dict) else ""
    attributes = {
        "RequestID": ("String", new_uuid()),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", message[:ERROR_MESSAGE_MAX_CHARS] or outcome.condition),
    }
    _send_as_role(configuration, arn, json.dumps(event), attributes=attributes)


def _send_as_role(
    configuration: dict[str, Any], arn: str, body: str, *, attributes: dict[str, tuple[str, str]]
) -> None:
    """Send a message to a queue with the permissions of the function's role.

    Like AWS, drop the message if the role lacks them or there is no such queue; the log says so.
    ``attributes`` are the message's, by name as (data type, value).
    """
    queue = sqs._queue_by_arn(arn)
    if queue is None or not is_role_allowed(configuration["Role"], "sqs:SendMessage", arn):
        message = "%s: the failed event was dropped, its role may not write to %s"
        log.warning(message, configuration["FunctionName"], arn)
    else:
        send_message(queue, body, attributes=attributes)
