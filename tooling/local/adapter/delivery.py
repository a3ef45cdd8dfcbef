"""One event to one target, off the request's thread: permission, retries, and the target's dead-letter queue.

Sources: EventBridge user guide, "How EventBridge retries delivering events", "Using dead-letter queues to process
undelivered events" and "Using resource-based policies for EventBridge"; CloudWatch Logs user guide, resource policies.
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
from ministack.core.responses import get_account_id, get_region, new_uuid, request_scope
from ministack.services import cloudwatch_logs, eventbridge, lambda_svc, sqs

from tooling.local.adapter import queueing
from tooling.local.adapter.access import role_may, service_may
from tooling.local.adapter.streams import append

SERVICE = "events.amazonaws.com"
FIRST_PAUSE = float(
    os.environ.get("LAMBDA_ASYNC_RETRY_BASE_SECONDS", "0.2")
)  # seconds, doubled up to LONGEST_PAUSE
LONGEST_PAUSE = 5.0
RETRIES, AGE = 185, 86400  # AWS's defaults of a target's RetryPolicy
log = logging.getLogger(__name__)


class UndeliverableError(Exception):
    """The target cannot take the event now or later, so EventBridge does not retry; ``code`` is AWS's ERROR_CODE."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


def begin(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any) -> None:
    """Start delivering in a thread of its own, in the account and Region of the caller."""
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_deliver, target, event, rule, view), daemon=True).start()


def _deliver(
    target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any
) -> None:
    """Try until it works, the retries are used up, the event is too old, or it can never work."""
    whole = json.dumps(view.event_with_detail())
    policy, start, attempt = target.get("RetryPolicy") or {}, time.time(), 0
    limit, age = (
        int(policy.get("MaximumRetryAttempts", RETRIES)),
        int(policy.get("MaximumEventAgeInSeconds", AGE)),
    )
    while True:
        try:
            _send(target, _payload(target, rule, view, whole), event, rule, view)
        except UndeliverableError as error:
            return _give_up(target, rule, whole, error.code, str(error), attempt, "")
        except Exception as error:  # noqa: BLE001 - whatever a target's service raises is retried, as EventBridge does
            used_up = "MaximumRetryAttempts" if attempt >= limit else "MaximumEventAgeInSeconds"
            if attempt >= limit or time.time() - start > age:
                return _give_up(target, rule, whole, "INTERNAL_ERROR", str(error), attempt, used_up)
            attempt += 1
            time.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.random())  # noqa: S311 - jitter
        else:
            return None


def _payload(target: dict[str, Any], rule: dict[str, Any], view: Any, whole: str) -> str:
    if target.get("InputTransformer"):
        return str(eventbridge._apply_input_transformer(target["InputTransformer"], rule, view))
    if target.get("Input"):
        return str(target["Input"])
    if target.get("InputPath"):
        node = json.loads(whole)
        for part in target["InputPath"].removeprefix("$").strip(".").split("."):
            node = node[part] if part else node
        return json.dumps(node)
    return whole


def _send(
    target: dict[str, Any], payload: str, event: dict[str, Any], rule: dict[str, Any], view: Any
) -> None:
    spec = parse_arn(target["Arn"])
    if spec.service == "lambda":
        _to_function(target, payload, rule)
    elif spec.service == "sqs":
        _to_queue(target["Arn"], payload, rule)
    elif spec.service == "logs":
        _to_log_group(spec, payload, rule)
    elif spec.service == "events" and spec.resource.startswith("event-bus/"):
        _to_bus(target, spec, event, rule)
    else:
        _stock(target, event, rule, view)


_stock = eventbridge._invoke_target


def _to_function(target: dict[str, Any], payload: str, rule: dict[str, Any]) -> None:
    arn = target["Arn"]
    function, configuration, _ = lambda_svc._get_func_record_for_ref(arn)
    if not function:
        raise UndeliverableError("RESOURCE_NOT_FOUND", f"Function not found: {arn}")
    if not service_may(function.get("policy"), SERVICE, "lambda:InvokeFunction", arn, rule["Arn"]):
        what = f"User: {SERVICE} is not authorized to perform: lambda:InvokeFunction on resource: {arn}"
        raise UndeliverableError("NO_PERMISSIONS", what)
    queueing.invoke({**function, "config": configuration}, json.loads(payload))


def _to_queue(arn: str, payload: str, rule: dict[str, Any]) -> None:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise UndeliverableError("RESOURCE_NOT_FOUND", "The specified queue does not exist.")
    if not service_may(
        queue["attributes"].get("Policy"), SERVICE, "sqs:SendMessage", arn, rule["Arn"]
    ):
        raise UndeliverableError("NO_PERMISSIONS", f"Access to the resource {arn} is denied.")
    queueing.send(queue, payload, {})


def _to_log_group(spec: Any, payload: str, rule: dict[str, Any]) -> None:
    group = spec.resource.partition("log-group:")[2].removesuffix(":*")
    if group not in cloudwatch_logs._log_groups:
        raise UndeliverableError(
            "RESOURCE_NOT_FOUND", f"The specified log group does not exist: {group}"
        )
    stream = new_uuid()
    arn = f"arn:{spec.partition}:logs:{spec.region}:{spec.account_id}:log-group:{group}:log-stream:{stream}"
    policies = [found["policyDocument"] for found in cloudwatch_logs._resource_policies.values()]
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        if not any(service_may(policy, SERVICE, action, arn, rule["Arn"]) for policy in policies):
            what = f"User: {SERVICE} is not authorized to perform: {action} on resource: {arn}"
            raise UndeliverableError("NO_PERMISSIONS", what)
    append(group, stream, [payload])


def _to_bus(target: dict[str, Any], spec: Any, event: dict[str, Any], rule: dict[str, Any]) -> None:
    """Another bus of the same account, in this Region or another: the target's role must allow it."""
    if spec.account_id != get_account_id():
        raise UndeliverableError(
            "NO_PERMISSIONS", "the local AWS emulator sends to no bus of another account"
        )
    if event.get("_Forwarded") and spec.region != get_region():
        raise UndeliverableError(
            "THIRD_REGION_HOP_DETECTED", "a forwarded event goes to no further Region"
        )
    if not target.get("RoleArn") or not role_may(
        target["RoleArn"], "events:PutEvents", target["Arn"]
    ):
        raise UndeliverableError(
            "NO_PERMISSIONS",
            f"the target's role does not allow events:PutEvents on {target['Arn']}",
        )
    bus = spec.resource.partition("/")[2]
    own = eventbridge._rule_key(rule["Name"], rule.get("EventBusName", "default"))
    crossed = event.get("_Forwarded") or spec.region != get_region()
    path = [*(event.get("_DispatchPath") or ()), own]
    with request_scope(spec.account_id, spec.region):
        eventbridge._ensure_default_bus()
        if bus not in eventbridge._event_buses:
            raise UndeliverableError("RESOURCE_NOT_FOUND", f"Event bus {bus} does not exist.")
        eventbridge._dispatch_event(
            {**event, "EventBusName": bus, "_Forwarded": crossed, "_DispatchPath": path}
        )


def _give_up(
    target: dict[str, Any],
    rule: dict[str, Any],
    whole: str,
    code: str,
    what: str,
    attempts: int,
    used_up: str,
) -> None:
    """Put the event into the target's dead-letter queue, when it has one that lets this rule write."""
    log.warning("rule %s could not deliver to %s: %s %s", rule["Name"], target["Arn"], code, what)
    arn = str((target.get("DeadLetterConfig") or {}).get("Arn") or "")
    queue = sqs._queue_by_arn(arn) if arn else None
    if queue and service_may(
        queue["attributes"].get("Policy"), SERVICE, "sqs:SendMessage", arn, rule["Arn"]
    ):
        values = {
            "RULE_ARN": rule["Arn"],
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": code,
            "ERROR_MESSAGE": what,
            "RETRY_ATTEMPTS": str(attempts),
            "EXHAUSTED_RETRY_CONDITION": used_up,
        }
        queueing.send(
            queue, whole, {name: ("String", value) for name, value in values.items() if value}
        )
