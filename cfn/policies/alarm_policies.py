"""Policies on the alarms: each failure has one, and it notifies the owner at once.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
A policy about the installation as a whole runs for each of its nested stacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from policy_base import allow_statements, as_list, is_allowed, is_in_other_region, policy

if TYPE_CHECKING:
    from installation import Installation, Resource

ALARM, STACK, TOPIC = "AWS::CloudWatch::Alarm", "AWS::CloudFormation::Stack", "AWS::SNS::Topic"
HEARTBEAT_METRIC = "Heartbeat"
MESSAGE_AGE_METRIC = "ApproximateAgeOfOldestMessage"
# Of each try of an event from a queue. SQS's own metric leaves out a message that was received
# three times (Amazon SQS Developer Guide, "Available CloudWatch metrics").
RETRY_AGE_METRIC = "RetryAgeSeconds"
ALARM_PERIOD_SECONDS = 60
MESSAGE_AGE_MAX_SECONDS = 10800  # longest wait in a queue from which the function reads
RETRY_AGE_MAX_SECONDS = 1800  # for the alarm that an alert waits
LOSS_MAX_SECONDS = 12 * 86_400  # for the one that it will be lost; no queue keeps it beyond 14 days


class Metric(NamedTuple):
    """A metric of CloudWatch; ``dimensions`` maps names to values."""

    namespace: str
    name: str
    dimensions: dict[str, str]


@policy("CKV_SIGNWATCH_80", ALARM)
def alarm_is_enabled(alarm: Resource, _installation: Installation) -> bool:
    """An alarm's actions are enabled."""
    return alarm.properties.get("ActionsEnabled", True) is True


@policy("CKV_SIGNWATCH_81", ALARM)
def alarm_notifies_topic(alarm: Resource, installation: Installation) -> bool:
    """An alarm notifies a topic of this installation."""
    return bool(installation.arns_of(TOPIC) & set(as_list(alarm.properties.get("AlarmActions"))))


@policy("CKV_SIGNWATCH_82", ALARM)
def alarm_is_allowed_to_publish(alarm: Resource, installation: Installation) -> bool:
    """The topic's access policy allows an alarm of this name to publish."""
    policies = installation.properties_of("AWS::SNS::TopicPolicy")
    documents = [properties["PolicyDocument"] for properties in policies]
    statements = allow_statements(documents, "cloudwatch.amazonaws.com")
    request_keys = {"aws:SourceArn": alarm.arn, "aws:SourceAccount": "${AWS::AccountId}"}
    topics = installation.arns_of(TOPIC)
    return any(is_allowed(statements, "sns:Publish", topic, request_keys) for topic in topics)


@policy("CKV_SIGNWATCH_83", ALARM)
def alarm_goes_off_at_once(alarm: Resource, _installation: Installation) -> bool:
    """An alarm goes off within a minute of a failure, or once a message waited for three hours."""
    settings = alarm.properties
    metric = settings["MetricName"]
    maxima = {MESSAGE_AGE_METRIC: MESSAGE_AGE_MAX_SECONDS, RETRY_AGE_METRIC: LOSS_MAX_SECONDS}
    threshold_max = maxima.get(metric, 1)
    is_prompt = (
        settings["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        and settings.get("DatapointsToAlarm", settings["EvaluationPeriods"]) == 1
        and settings["Period"] == ALARM_PERIOD_SECONDS
        and 1 <= settings["Threshold"] <= threshold_max
        and settings["Statistic"] in ("Sum", "Maximum")
    )
    return is_prompt or metric == HEARTBEAT_METRIC  # that one reports a success


@policy("CKV_SIGNWATCH_84", ALARM)
def missing_heartbeat_is_an_alarm(alarm: Resource, _installation: Installation) -> bool:
    """An alarm on a heartbeat goes off without data, since a dead monitor reports nothing."""
    is_heartbeat = alarm.properties.get("MetricName") == HEARTBEAT_METRIC
    return not is_heartbeat or alarm.properties.get("TreatMissingData") == "breaching"


@policy("CKV_SIGNWATCH_85", STACK)
def every_failure_has_an_alarm(_stack: Resource, installation: Installation) -> bool:
    """The function, each queue, each rule and the texts have an alarm on their failures."""
    alarms = installation.properties_of(ALARM)
    metrics = _failure_metrics(installation)
    return all(any(_watches(metric, alarm) for alarm in alarms) for metric in metrics)


@policy("CKV_SIGNWATCH_87", STACK)
def waiting_alert_has_alarms(_stack: Resource, installation: Installation) -> bool:
    """An alert that keeps failing has two alarms: within half an hour, and before it is lost."""
    thresholds = sorted(
        int(alarm["Threshold"])
        for alarm in installation.properties_of(ALARM)
        if _watches(Metric("Signwatch", RETRY_AGE_METRIC, {}), alarm)
    )
    waits, *_, lost = thresholds  # ValueError if there are fewer than two
    return waits <= RETRY_AGE_MAX_SECONDS < lost <= LOSS_MAX_SECONDS


@policy("CKV_SIGNWATCH_86", ALARM)
def alarm_sets_no_unit(alarm: Resource, _installation: Installation) -> bool:
    """An alarm sets no unit: with another unit than the metric's, the alarm sees no data."""
    # Source: Amazon CloudWatch API reference, PutMetricAlarm, Unit.
    return "Unit" not in alarm.properties


def _failure_metrics(installation: Installation) -> list[Metric]:
    """Return each metric that counts failures, so that it needs an alarm."""
    metrics = [Metric("Signwatch", "TextsFailed", {})]
    for function in installation.resources_of("AWS::Lambda::Function"):
        dimensions = {"FunctionName": function.reference}
        names = ("Errors", "Throttles", "DeadLetterErrors")
        metrics += [Metric("AWS/Lambda", name, dimensions) for name in names]
    for queue in installation.properties_of("AWS::SQS::Queue"):
        # The function reads each queue, so only a message that waits for long is a failure.
        dimensions = {"QueueName": str(queue["QueueName"])}
        metrics.append(Metric("AWS/SQS", MESSAGE_AGE_METRIC, dimensions))
    for rule in installation.resources_of("AWS::Events::Rule"):
        if is_in_other_region(rule, installation):
            continue  # the trail's log group brings what it loses, if there is one
        dimensions = {"RuleName": rule.reference}
        metrics.append(Metric("AWS/Events", "FailedInvocations", dimensions))
    return metrics


def _watches(metric: Metric, alarm: dict[str, Any]) -> bool:
    """Return whether an alarm with the properties ``alarm`` watches ``metric``."""
    if (alarm.get("Namespace"), alarm.get("MetricName")) != (metric.namespace, metric.name):
        return False
    dimensions = alarm.get("Dimensions", [])
    if isinstance(dimensions, list):
        return _by_name(dimensions) == metric.dimensions
    # Metrics of a custom bus have its name as a dimension too (Monitoring Amazon EventBridge). The
    # dimensions are then {"Fn::If": [condition, those on a custom bus, those on the default bus]}.
    _condition, on_custom_bus, on_default_bus = dimensions["Fn::If"]
    expected_on_custom_bus = {**metric.dimensions, "EventBusName": "${EventBusName}"}
    has_bus = _by_name(on_custom_bus) == expected_on_custom_bus
    return has_bus and _by_name(on_default_bus) == metric.dimensions


def _by_name(dimensions: list[dict[str, str]]) -> dict[str, str]:
    """Return an alarm's dimensions as a mapping of name to value."""
    return {dimension["Name"]: dimension["Value"] for dimension in dimensions}
