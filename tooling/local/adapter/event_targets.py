"""Delivers one event to one target of an EventBridge rule: permission, retries, dead-letter queue.

The emulator delivers once, in the request's thread, without checking permissions.
``event`` is the emulator's record of an event, ``decoded_event`` the same with its detail decoded;
``target`` and ``rule`` have the keys of PutTargets and PutRule.
Sources: EventBridge user guide, "How EventBridge retries delivering events", "Using dead-letter
queues to process undelivered events" and "Using resource-based policies for EventBridge";
CloudWatch Logs user guide, resource policies.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import contextvars
import json
import logging
import os
import random
import threading
import time
from typing import Any

from ministack.core.arn import parse_arn
from ministack.core.responses import get_account_id, new_uuid, request_scope
from ministack.services import cloudwatch_logs, eventbridge, lambda_svc, sqs

from tooling.local.adapter import async_invocation
from tooling.local.adapter.log_streams import append_to_log_stream
from tooling.local.adapter.permissions import is_role_allowed, is_service_allowed
from tooling.local.adapter.queue_messages import send_message

EVENTBRIDGE = "events.amazonaws.com"
RETRY_BASE_SECONDS = float(os.environ.get("LAMBDA_ASYNC_RETRY_BASE_SECONDS", "0.2"))
RETRY_MAX_SECONDS = 5.0
DEFAULT_RETRIES, DEFAULT_MAX_AGE_SECONDS = 185, 86400  # AWS's defaults of a RetryPolicy
log = logging.getLogger(__name__)
_invoke_emulator_target = eventbridge._invoke_target


class UndeliverableError(Exception):
    """The target can never take the event, so it is not retried; ``code`` is AWS's ERROR_CODE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def start_delivery(
    target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], decoded_event: Any
) -> None:
    """Deliver an event in a thread of its own, in the account and Region of the caller."""
    # The emulator keeps the account and Region in context variables.
    run = contextvars.copy_context().run
    args = (_deliver, target, event, rule, decoded_event)
    threading.Thread(target=run, args=args, daemon=True).start()


def _deliver(
    target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], decoded_event: Any
) -> None:
    """Send the event until it is delivered, its retries are used up, or it is too old.

    An event that cannot be delivered goes to the target's dead-letter queue.
    """
    event_text = json.dumps(decoded_event.event_with_detail())
    start, retries = time.time(), 0
    # AWS's message attributes, which tell the reader of the dead-letter queue why.
    failure = {"ERROR_CODE": "INTERNAL_ERROR"}
    while True:
        try:
            payload = _payload(target, rule, decoded_event, event_text)
            _send(target, payload, event, rule, decoded_event)
        except UndeliverableError as error:
            failure |= {"ERROR_CODE": error.code, "ERROR_MESSAGE": str(error)}
            break
        except Exception as error:  # noqa: BLE001 - EventBridge retries whatever a target's service raises
            failure["ERROR_MESSAGE"] = str(error)
            if limit := _reached_limit(target, retries, time.time() - start):
                failure["EXHAUSTED_RETRY_CONDITION"] = limit
                break
            retries += 1
            pause_seconds = min(RETRY_BASE_SECONDS * 2**retries, RETRY_MAX_SECONDS)
            time.sleep(pause_seconds * random.random())  # noqa: S311 - jitter, so that retries spread
        else:
            return
    failure["RETRY_ATTEMPTS"] = str(retries)
    _send_to_dead_letters(target, rule, event_text, failure)


def _reached_limit(target: dict[str, Any], retries: int, age_seconds: float) -> str:
    """Return the key of the target's RetryPolicy that forbids another retry; empty if none does."""
    policy = target.get("RetryPolicy") or {}
    if retries >= int(policy.get("MaximumRetryAttempts", DEFAULT_RETRIES)):
        return "MaximumRetryAttempts"
    if age_seconds > int(policy.get("MaximumEventAgeInSeconds", DEFAULT_MAX_AGE_SECONDS)):
        return "MaximumEventAgeInSeconds"
    return ""


def _payload(
    target: dict[str, Any], rule: dict[str, Any], decoded_event: Any, event_text: str
) -> str:
    """Return what the target gets: the event, or what the target's input settings make of it.

    ``event_text`` is the event as JSON.
    """
    if target.get("InputTransformer"):
        return str(
            eventbridge._apply_input_transformer(target["InputTransformer"], rule, decoded_event)
        )
    if target.get("Input"):
        return str(target["Input"])
    if target.get("InputPath"):
        node = json.loads(event_text)
        path = target["InputPath"].removeprefix("$").strip(".")  # "$.detail.eventName"; "$" is all
        keys = path.split(".") if path else []
        for key in keys:
            node = node[key]
        return json.dumps(node)
    return event_text


def _send(
    target: dict[str, Any],
    payload: str,
    event: dict[str, Any],
    rule: dict[str, Any],
    decoded_event: Any,
) -> None:
    """Send the payload once. Raises UndeliverableError, or what the target's service raises."""
    arn = parse_arn(target["Arn"])
    if arn.service == "lambda":
        _send_to_function(target["Arn"], payload, rule)
    elif arn.service == "sqs":
        _send_to_queue(target["Arn"], payload, rule)
    elif arn.service == "logs":
        _send_to_log_group(arn, payload, rule)
    elif arn.service == "events" and arn.resource.startswith("event-bus/"):
        _send_to_bus(target, arn, event)
    else:
        _invoke_emulator_target(target, event, rule, decoded_event)


def _send_to_function(arn: str, payload: str, rule: dict[str, Any]) -> None:
    """Invoke the function asynchronously, if its policy lets the rule do so."""
    function, configuration, _name = lambda_svc._get_func_record_for_ref(arn)
    if not function:
        raise UndeliverableError("RESOURCE_NOT_FOUND", f"Function not found: {arn}")
    action = "lambda:InvokeFunction"
    if not is_service_allowed(function.get("policy"), EVENTBRIDGE, action, arn, rule["Arn"]):
        raise UndeliverableError("NO_PERMISSIONS", _denial(action, arn))
    async_invocation.invoke({**function, "config": configuration}, json.loads(payload))


def _send_to_queue(arn: str, payload: str, rule: dict[str, Any]) -> None:
    """Send a message, if the queue's policy lets the rule do so."""
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise UndeliverableError("RESOURCE_NOT_FOUND", "The specified queue does not exist.")
    if not _can_write_to(queue, arn, rule):
        raise UndeliverableError("NO_PERMISSIONS", f"Access to the resource {arn} is denied.")
    send_message(queue, payload, attributes={})


def _can_write_to(queue: dict[str, Any], arn: str, rule: dict[str, Any]) -> bool:
    """Return whether the queue's policy lets the rule send messages."""
    policy = queue["attributes"].get("Policy")
    return is_service_allowed(policy, EVENTBRIDGE, "sqs:SendMessage", arn, rule["Arn"])


def _send_to_log_group(arn: Any, payload: str, rule: dict[str, Any]) -> None:
    """Write to a new stream, if a resource policy of CloudWatch Logs lets the rule do so.

    ``arn`` is the log group's, as parsed.
    """
    group = arn.resource.partition("log-group:")[2].removesuffix(":*")
    if group not in cloudwatch_logs._log_groups:
        message = f"The specified log group does not exist: {group}"
        raise UndeliverableError("RESOURCE_NOT_FOUND", message)
    stream = new_uuid()
    prefix = f"arn:{arn.partition}:logs:{arn.region}:{arn.account_id}"
    stream_arn = f"{prefix}:log-group:{group}:log-stream:{stream}"
    policies = [policy["policyDocument"] for policy in cloudwatch_logs._resource_policies.values()]
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        if not any(
            is_service_allowed(policy, EVENTBRIDGE, action, stream_arn, rule["Arn"])
            for policy in policies
        ):
            raise UndeliverableError("NO_PERMISSIONS", _denial(action, stream_arn))
    append_to_log_stream(group, stream, [payload])


def _denial(action: str, arn: str) -> str:
    """Return AWS's message for an action that is not allowed."""
    return f"User: {EVENTBRIDGE} is not authorized to perform: {action} on resource: {arn}"


def _send_to_bus(target: dict[str, Any], arn: Any, event: dict[str, Any]) -> None:
    """Forward to a bus of the same account, in any Region, if the target's role allows it.

    Like AWS, an event is forwarded once only (EventBridge user guide, "Sending events between event
    buses"). ``arn`` is the bus's, as parsed.
    """
    if arn.account_id != get_account_id():
        message = "the local AWS emulator cannot send to a bus of another account"
        raise UndeliverableError("NO_PERMISSIONS", message)
    if event.get("_Forwarded"):
        message = "a forwarded event is not sent to a third bus"
        raise UndeliverableError("THIRD_REGION_HOP_DETECTED", message)
    role, action = target.get("RoleArn"), "events:PutEvents"
    if not role or not is_role_allowed(role, action, target["Arn"]):
        message = f"the target's role does not allow {action} on {target['Arn']}"
        raise UndeliverableError("NO_PERMISSIONS", message)
    bus = arn.resource.partition("/")[2]
    forwarded_event = {**event, "EventBusName": bus, "_Forwarded": True}
    with request_scope(arn.account_id, arn.region):
        eventbridge._ensure_default_bus()
        if bus not in eventbridge._event_buses:
            raise UndeliverableError("RESOURCE_NOT_FOUND", f"Event bus {bus} does not exist.")
        eventbridge._dispatch_event(forwarded_event)


def _send_to_dead_letters(
    target: dict[str, Any], rule: dict[str, Any], event_text: str, failure: dict[str, str]
) -> None:
    """Put the event into the target's dead-letter queue, if there is one and the rule may write.

    ``failure`` are the message attributes with which AWS says why; empty ones are left out.
    """
    reason = f"{failure['ERROR_CODE']} {failure['ERROR_MESSAGE']}"
    log.warning("rule %s could not deliver to %s: %s", rule["Name"], target["Arn"], reason)
    arn = str((target.get("DeadLetterConfig") or {}).get("Arn") or "")
    queue = sqs._queue_by_arn(arn) if arn else None
    if queue and _can_write_to(queue, arn, rule):
        values = {"RULE_ARN": rule["Arn"], "TARGET_ARN": target["Arn"], **failure}
        attributes = {name: ("String", value) for name, value in values.items() if value}
        send_message(queue, event_text, attributes=attributes)
