"""The numbers of the templates that decide how AWS retries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tooling import templates

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST_ACCOUNT_CONCURRENCY = 10  # of a new account (Lambda developer guide, "Lambda quotas")
# Batches of a mapping that run at once, to begin with ("Lambda scaling with Amazon SQS")
FIRST_MAPPING_CONCURRENCY = 5
PARTS = ("trail", "mappings")  # of the stack, which can be left out
DEFAULT_RECEIVES = 10**9  # without a redrive policy, a message returns until it is too old


@dataclass(frozen=True)
class QueueSettings:
    """A queue. Times are in seconds; after ``max_receives`` a message goes to the other queue."""

    name: str
    visibility_timeout: float
    retention: float
    max_receives: int
    dead_letter_queue: str  # "" for none
    has_mapping: bool
    max_concurrency: int
    takes_item_failures: bool  # the function's answer may let a message return


@dataclass(frozen=True)
class StackSettings:
    """What the templates configure. Times are in seconds."""

    function_timeout: float
    concurrency: int
    max_async_retries: int
    max_async_age: float
    async_dead_letter_queue: str
    rule_max_retries: int
    rule_max_age: float
    rule_dead_letter_queue: str
    has_subscription: bool
    queues: dict[str, QueueSettings]  # by logical name, such as FailedEventsQueue

    @classmethod
    def load(cls, folder: Path) -> StackSettings:
        """Read the templates in ``folder``."""
        resources = [
            (name, resource["Type"], resource.get("Properties", {}))
            for path in sorted(folder.glob("*.yaml"))
            for name, resource in templates.load(path)["Resources"].items()
        ]

        def find_all(kind: str) -> dict[str, dict[str, Any]]:
            return {name: values for name, type_, values in resources if type_ == f"AWS::{kind}"}

        function = find_all("Lambda::Function")["Function"]
        invoke = find_all("Lambda::EventInvokeConfig")["InvokeConfig"]
        rule = find_all("Events::Rule")["ConsoleSignInRule"]
        (target,) = (target for target in rule["Targets"] if target["Id"] == "function")
        mappings = {
            _read_queue_name(mapping["EventSourceArn"]): mapping
            for mapping in find_all("Lambda::EventSourceMapping").values()
        }
        parent = templates.load(folder / "parent.yaml")
        reserved = parent["Parameters"]["ReservedConcurrency"]
        names = {
            parameter: value
            for child in find_all("CloudFormation::Stack").values()
            for parameter, value in child["Parameters"].items()
        }
        return cls(
            function_timeout=float(function["Timeout"]),
            concurrency=int(reserved["Default"]) or SMALLEST_ACCOUNT_CONCURRENCY,
            max_async_retries=invoke["MaximumRetryAttempts"],
            max_async_age=float(invoke["MaximumEventAgeInSeconds"]),
            async_dead_letter_queue=_read_queue_name(function["DeadLetterConfig"]["TargetArn"]),
            rule_max_retries=target["RetryPolicy"]["MaximumRetryAttempts"],
            rule_max_age=float(target["RetryPolicy"]["MaximumEventAgeInSeconds"]),
            rule_dead_letter_queue=_read_queue_name(target["DeadLetterConfig"]["Arn"]),
            has_subscription=bool(find_all("Logs::SubscriptionFilter")),
            queues={
                name: _read_queue(_read_name(names[f"{name}Name"]), values, mappings.get(name))
                for name, values in find_all("SQS::Queue").items()
            },
        )

    def leave_out(self, part: str) -> StackSettings:
        """Return the settings without one of PARTS; unchanged if ``part`` is empty."""
        if part == "trail":
            return replace(self, has_subscription=False)
        if part == "mappings":
            bare_queues = {
                name: replace(queue, has_mapping=False) for name, queue in self.queues.items()
            }
            return replace(self, queues=bare_queues)
        return self


def _read_name(expression: dict[str, str]) -> str:
    """Return the name that the parent gives to a resource."""
    return expression["Fn::Sub"].replace("${NamePrefix}", "signwatch")


def _read_queue(name: str, values: dict[str, Any], mapping: dict[str, Any] | None) -> QueueSettings:
    """Return the settings of a queue and of the mapping that hands its messages over."""
    redrive = values.get("RedrivePolicy", {})
    scaling = (mapping or {}).get("ScalingConfig", {})
    response_types = (mapping or {}).get("FunctionResponseTypes", [])
    if mapping and mapping["BatchSize"] != 1:
        raise ValueError("the simulation hands over one message at a time")
    return QueueSettings(
        name=name,
        visibility_timeout=float(values.get("VisibilityTimeout", 30)),
        retention=float(values["MessageRetentionPeriod"]),
        max_receives=redrive.get("maxReceiveCount", DEFAULT_RECEIVES),
        dead_letter_queue=_read_queue_name(redrive.get("deadLetterTargetArn", {"Ref": ""})),
        has_mapping=mapping is not None,
        takes_item_failures="ReportBatchItemFailures" in response_types,
        max_concurrency=scaling.get("MaximumConcurrency", FIRST_MAPPING_CONCURRENCY),
    )


def _read_queue_name(arn: dict[str, Any]) -> str:
    """Return the logical name of the queue in an expression of a template."""
    if "Fn::GetAtt" in arn:
        return str(arn["Fn::GetAtt"][0])
    return str(arn["Ref"]).removesuffix("Arn")
