"""The alarms: their metrics exist, and each says what to do."""

from __future__ import annotations

import pytest

from signwatch import log
from tests.support.repository import ROOT
from tests.support.templates import installation, resources_of
from tooling.resolved_templates import ACCOUNT, REGION

pytestmark = pytest.mark.joint

ALARMS_STACK = installation()["alarms"]
ALARMS = ALARMS_STACK.of_type("AWS::CloudWatch::Alarm")
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts"
FUNCTION_DIMENSION = {"FunctionName": "signwatch-function"}
CONSOLE_RULE = {"RuleName": "signwatch-console-sign-in"}
IDENTITY_CENTER_RULE = {"RuleName": "signwatch-identity-center-sign-in"}
ANOMALY_RULE = {"RuleName": "signwatch-sign-in-anomaly"}
MESSAGE_AGE, RETRY_AGE = "ApproximateAgeOfOldestMessage", "RetryAgeSeconds"
EXPECTED_METRICS = {  # alarm: namespace, metric, statistic, dimensions
    "signwatch-function-errors": ("AWS/Lambda", "Errors", "Sum", FUNCTION_DIMENSION),
    "signwatch-function-throttles": ("AWS/Lambda", "Throttles", "Sum", FUNCTION_DIMENSION),
    "signwatch-dead-letter-errors": ("AWS/Lambda", "DeadLetterErrors", "Sum", FUNCTION_DIMENSION),
    "signwatch-failed-events": (
        "AWS/SQS",
        MESSAGE_AGE,
        "Maximum",
        {"QueueName": "signwatch-failed-events"},
    ),
    "signwatch-undelivered-events": (
        "AWS/SQS",
        MESSAGE_AGE,
        "Maximum",
        {"QueueName": "signwatch-undelivered-events"},
    ),
    "signwatch-later": (
        "AWS/SQS",
        MESSAGE_AGE,
        "Maximum",
        {"QueueName": "signwatch-later"},
    ),
    "signwatch-console-rule-failures": ("AWS/Events", "FailedInvocations", "Sum", CONSOLE_RULE),
    "signwatch-identity-center-rule-failures": (
        "AWS/Events",
        "FailedInvocations",
        "Sum",
        IDENTITY_CENTER_RULE,
    ),
    "signwatch-sign-in-anomaly-rule-failures": (
        "AWS/Events",
        "FailedInvocations",
        "Sum",
        ANOMALY_RULE,
    ),
    "signwatch-alert-waits": ("Signwatch", RETRY_AGE, "Maximum", {}),
    "signwatch-alert-will-be-lost": ("Signwatch", RETRY_AGE, "Maximum", {}),
    "signwatch-text-failures": ("Signwatch", "TextsFailed", "Sum", {}),
}
FORWARDING_RULE = {"RuleName": "signwatch-forwarding"}  # it is on the default bus, always
AGE_THRESHOLDS = {  # in seconds
    "LaterAlarm": 10800,  # 15 minutes of delay, and ten tries of 15 minutes each
    "FailedEventsAlarm": 3600,  # three tries of 15 minutes each, which SQS counts
    "UndeliveredEventsAlarm": 3600,
    "AlertWaitsAlarm": 1800,
    "AlertWillBeLostAlarm": 10 * 86400,
}
# These go on from one try of an event to the next, which comes after 15 minutes.
LASTING_ALARMS = {
    "FunctionErrorsAlarm",
    "TextFailuresAlarm",
    "AlertWaitsAlarm",
    "AlertWillBeLostAlarm",
}


def alarm_metrics(**changes: str) -> dict[str, tuple[str, str, str, dict[str, str]]]:
    """Namespace, metric, statistic and dimensions of each alarm, by its name."""
    metrics = {}
    for alarm in resources_of("AWS::CloudWatch::Alarm", **changes):
        dimensions = {entry["Name"]: entry["Value"] for entry in alarm.get("Dimensions", [])}
        metric = (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"], dimensions)
        metrics[alarm["AlarmName"]] = metric
    return metrics


def test_each_failure_has_an_alarm() -> None:
    assert alarm_metrics() == EXPECTED_METRICS


def test_metrics_of_rules_on_a_custom_bus_have_its_name() -> None:
    bus = {"EventBusName": "hub"}
    expected = dict(EXPECTED_METRICS)
    for name, (namespace, metric, statistic, dimensions) in EXPECTED_METRICS.items():
        if "RuleName" in dimensions:
            expected[name] = (namespace, metric, statistic, {**dimensions, **bus})
    forwarding = ("AWS/Events", "FailedInvocations", "Sum", FORWARDING_RULE)
    expected["signwatch-forwarding-rule-failures"] = forwarding
    assert alarm_metrics(**bus) == expected


def test_resources_of_the_metrics_exist() -> None:
    functions = resources_of("AWS::Lambda::Function")
    queues = resources_of("AWS::SQS::Queue")
    rules = installation()["eventbridge"].of_type("AWS::Events::Rule").values()
    dimensions: dict[str, set[str]] = {}
    for _, _, _, entries in alarm_metrics().values():
        for name, value in entries.items():
            dimensions.setdefault(name, set()).add(value)
    assert dimensions == {
        "FunctionName": {function["FunctionName"] for function in functions},
        "QueueName": {queue["QueueName"] for queue in queues},
        "RuleName": {rule["Name"] for rule in rules},
    }


@pytest.mark.parametrize("alarm", ["signwatch-text-failures", "signwatch-alert-waits"])
def test_function_logs_the_metric(alarm: str) -> None:
    namespace, metric, _, _ = EXPECTED_METRICS[alarm]
    sources = " ".join(path.read_text() for path in (ROOT / "lambda" / "signwatch").rglob("*.py"))
    assert namespace == log.NAMESPACE
    assert f'"{metric}"' in sources


@pytest.mark.parametrize("alarm", ALARMS)
class TestAlarm:
    def test_it_notifies_the_topic(self, alarm: str) -> None:
        assert ALARMS[alarm]["AlarmActions"] == [TOPIC_ARN]
        assert ALARMS[alarm].get("ActionsEnabled", True) is True

    def test_only_alarms_on_an_age_notify_when_they_end(self, alarm: str) -> None:
        assert ALARMS[alarm].get("OKActions", []) == (
            [TOPIC_ARN] if alarm in AGE_THRESHOLDS else []
        )

    def test_one_failure_within_a_minute_is_enough(self, alarm: str) -> None:
        body = ALARMS[alarm]
        lasting = {"EvaluationPeriods": 20, "DatapointsToAlarm": 1}
        expected = lasting if alarm in LASTING_ALARMS else {"EvaluationPeriods": 1}
        assert {key: body[key] for key in lasting if key in body} == expected
        assert body["Period"] == 60
        assert body["Threshold"] == AGE_THRESHOLDS.get(alarm, 1)
        assert body["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"

    def test_missing_data_is_no_alarm(self, alarm: str) -> None:
        assert ALARMS[alarm]["TreatMissingData"] == "notBreaching"

    def test_description_is_a_sentence(self, alarm: str) -> None:
        description = ALARMS[alarm]["AlarmDescription"]
        assert 60 <= len(description) <= 1024
        assert description.endswith(".")
        assert "${" not in description
        assert "signwatch-trail" not in description  # which an existing trail is not called
