"""Policies on the alarms: that each thing that can break has one, that it speaks at once, and to the owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, covers, each, fits

if TYPE_CHECKING:
    from monitor_site import Resource, Site

ALARM, STACK = "AWS::CloudWatch::Alarm", "AWS::CloudFormation::Stack"
HEARTBEAT = "Heartbeat"
VISIBLE, AGE = (
    "ApproximateNumberOfMessagesVisible",
    "ApproximateAgeOfOldestMessage",
)  # metrics of a queue
LONGEST_WAIT = 3600  # seconds that a message may lie in a queue that somebody empties


class AlarmIsOn(Policy):
    """An alarm's actions are not switched off."""

    number, kinds = 80, (ALARM,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("ActionsEnabled", True) is True


class AlarmTellsTopic(Policy):
    """An alarm tells the installation's topic."""

    number, kinds = 81, (ALARM,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        topics = {topic.arn for topic in site.of("AWS::SNS::Topic")}
        return any(action in topics for action in each(resource.properties.get("AlarmActions")))


class AlarmMayPublish(Policy):
    """The topic's policy lets an alarm of this name publish."""

    number, kinds = 82, (ALARM,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        documents = [
            found.properties["PolicyDocument"] for found in site.of("AWS::SNS::TopicPolicy")
        ]
        grants = [
            grant
            for document in documents
            for grant in allows(document, "cloudwatch.amazonaws.com")
        ]
        fitting = [grant for grant in grants if fits(grant, _published(resource))]
        return any(
            covers(grant, "sns:Publish", topic.arn)
            for grant in fitting
            for topic in site.of("AWS::SNS::Topic")
        )


def _published(alarm: Resource) -> dict[str, str]:
    return {"aws:SourceArn": alarm.arn, "aws:SourceAccount": "${AWS::AccountId}"}


class AlarmSpeaksAtOnce(Policy):
    """An alarm goes off at the first failure, or after an hour's wait in a queue, within a minute of its report."""

    number, kinds = 83, (ALARM,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        given = resource.properties
        when = (given["ComparisonOperator"], given["EvaluationPeriods"], given["Period"])
        most = LONGEST_WAIT if given["MetricName"] == AGE else 1
        soon = when == ("GreaterThanOrEqualToThreshold", 1, 60) and 1 <= given["Threshold"] <= most
        return (soon and given["Statistic"] in ("Sum", "Maximum")) or given[
            "MetricName"
        ] == HEARTBEAT


class SilenceIsAnAlarm(Policy):
    """An alarm on a heartbeat goes off when nothing is reported, as a dead monitor reports nothing."""

    number, kinds = 84, (ALARM,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        heartbeat = resource.properties.get("MetricName") == HEARTBEAT
        return not heartbeat or resource.properties.get("TreatMissingData") == "breaching"


class EverythingHasAlarm(Policy):
    """The function, each queue, each rule and the texts have an alarm on their failures."""

    number, kinds = 85, (STACK,)

    def _holds(self, _resource: Resource, site: Site, /) -> bool:
        return all(
            any(_watches(alarm.properties, wanted) for alarm in site.of(ALARM))
            for wanted in _wanted(site)
        )


class AlarmNamesNoUnit(Policy):
    """An alarm names no unit: with another than the metric's it never sees a value (PutMetricAlarm, Unit)."""

    number, kinds = 86, (ALARM,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return "Unit" not in resource.properties


def _wanted(site: Site) -> list[tuple[str, str, dict[str, str]]]:
    """Return namespace, metric and dimensions of each metric that needs an alarm."""
    functions = [found.reference for found in site.of("AWS::Lambda::Function")]
    metrics = ("Errors", "Throttles", "DeadLetterErrors")
    wanted = [
        ("AWS/Lambda", metric, {"FunctionName": name}) for name in functions for metric in metrics
    ]
    queues = [found.properties for found in site.of("AWS::SQS::Queue")]
    # what comes into a queue that hands on what it cannot get rid of is no failure yet, but lying there for long is
    wanted += [
        (
            "AWS/SQS",
            AGE if "RedrivePolicy" in queue else VISIBLE,
            {"QueueName": str(queue["QueueName"])},
        )
        for queue in queues
    ]
    rules = [found.reference for found in site.of("AWS::Events::Rule")]
    wanted += [("AWS/Events", "FailedInvocations", {"RuleName": name}) for name in rules]
    return [*wanted, ("Signwatch", "TextsFailed", {})]


def _watches(alarm: dict[str, Any], wanted: tuple[str, str, dict[str, str]]) -> bool:
    namespace, metric, dimensions = wanted
    same = (alarm.get("Namespace"), alarm.get("MetricName")) == (namespace, metric)
    given = alarm.get("Dimensions", [])
    if not isinstance(given, dict):
        return same and _plain(given) == dimensions
    # the metrics of a custom bus carry its name too (Monitoring Amazon EventBridge)
    _, custom, default = given["Fn::If"]
    return (
        same
        and _plain(custom) == {**dimensions, "EventBusName": "${EventBusName}"}
        and _plain(default) == dimensions
    )


def _plain(dimensions: list[dict[str, str]]) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in dimensions}


POLICIES = (
    AlarmIsOn(),
    AlarmTellsTopic(),
    AlarmMayPublish(),
    AlarmSpeaksAtOnce(),
    SilenceIsAnAlarm(),
    EverythingHasAlarm(),
    AlarmNamesNoUnit(),
)
