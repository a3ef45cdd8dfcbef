"""The alarms: what they watch, that they watch what exists, and that they tell somebody what to do."""

from __future__ import annotations

import pytest

from signwatch import log
from tests.support.repository import ROOT
from tests.support.templates import ACCOUNT, REGION, installation

pytestmark = pytest.mark.joint

MADE = installation()["alarms"]
ALARMS = MADE.of_type("AWS::CloudWatch::Alarm")
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts"
FUNCTION = {"FunctionName": "signwatch-function"}
CONSOLE = {"RuleName": "signwatch-console-sign-in"}
IDENTITY_CENTER = {"RuleName": "signwatch-identity-center-sign-in"}
ANOMALY = {"RuleName": "signwatch-sign-in-anomaly"}
VISIBLE, AGE = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"
WATCHED = {  # alarm: namespace, metric, statistic, dimensions
    "signwatch-function-errors": ("AWS/Lambda", "Errors", "Sum", FUNCTION),
    "signwatch-function-throttles": ("AWS/Lambda", "Throttles", "Sum", FUNCTION),
    "signwatch-dead-letter-errors": ("AWS/Lambda", "DeadLetterErrors", "Sum", FUNCTION),
    "signwatch-failed-events": (
        "AWS/SQS",
        VISIBLE,
        "Maximum",
        {"QueueName": "signwatch-failed-events"},
    ),
    "signwatch-undelivered-events": (
        "AWS/SQS",
        VISIBLE,
        "Maximum",
        {"QueueName": "signwatch-undelivered-events"},
    ),
    "signwatch-second-looks": ("AWS/SQS", AGE, "Maximum", {"QueueName": "signwatch-second-looks"}),
    "signwatch-console-rule-failures": ("AWS/Events", "FailedInvocations", "Sum", CONSOLE),
    "signwatch-identity-center-rule-failures": (
        "AWS/Events",
        "FailedInvocations",
        "Sum",
        IDENTITY_CENTER,
    ),
    "signwatch-sign-in-anomaly-rule-failures": ("AWS/Events", "FailedInvocations", "Sum", ANOMALY),
    "signwatch-text-failures": ("Signwatch", "TextsFailed", "Sum", {}),
}
QUEUES = {"FailedEventsAlarm", "UndeliveredEventsAlarm", "SecondLooksAlarm"}
HOUR = 3600  # seconds that a message may wait: 15 minutes, and three tries of six minutes each


def watched(**changes: str) -> dict[str, tuple[str, str, str, dict[str, str]]]:
    found = {}
    for alarm in installation(**changes)["alarms"].of_type("AWS::CloudWatch::Alarm").values():
        dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
        found[alarm["AlarmName"]] = (
            alarm["Namespace"],
            alarm["MetricName"],
            alarm["Statistic"],
            dimensions,
        )
    return found


def test_these_things_are_watched() -> None:
    assert watched() == WATCHED


def test_the_metrics_of_a_rule_on_a_custom_bus_carry_the_bus() -> None:
    hub = {"EventBusName": "hub"}
    moved = {
        name: (*seen[:3], {**seen[3], **(hub if "RuleName" in seen[3] else {})})
        for name, seen in WATCHED.items()
    }
    assert watched(**hub) == moved


def test_what_is_watched_is_made_by_the_other_stacks() -> None:
    stacks = installation()
    made = {
        "FunctionName": {
            one["FunctionName"]
            for one in stacks["lambda"].of_type("AWS::Lambda::Function").values()
        },
        "QueueName": {
            one["QueueName"]
            for name in ("foundation", "lambda")
            for one in stacks[name].of_type("AWS::SQS::Queue").values()
        },
        "RuleName": {
            one["Name"] for one in stacks["eventbridge"].of_type("AWS::Events::Rule").values()
        },
    }
    seen: dict[str, set[str]] = {}
    for _, _, _, dimensions in watched().values():
        for name, value in dimensions.items():
            seen.setdefault(name, set()).add(value)
    assert seen == made


def test_the_metric_of_the_texts_is_the_functions_own() -> None:
    namespace, metric, _, _ = WATCHED["signwatch-text-failures"]
    sources = " ".join(path.read_text() for path in (ROOT / "lambda" / "signwatch").rglob("*.py"))
    assert namespace == log.NAMESPACE
    assert f'"{metric}"' in sources


@pytest.mark.parametrize("alarm", ALARMS)
class TestAlarm:
    def test_it_tells_the_topic(self, alarm: str) -> None:
        assert ALARMS[alarm]["AlarmActions"] == [TOPIC]
        assert ALARMS[alarm].get("ActionsEnabled", True) is True

    def test_it_tells_when_a_queue_is_empty_again_and_says_nothing_of_a_moment_that_is_over(
        self, alarm: str
    ) -> None:
        assert ALARMS[alarm].get("OKActions", []) == ([TOPIC] if alarm in QUEUES else [])

    def test_a_single_case_within_a_minute_is_enough(self, alarm: str) -> None:
        body, enough = ALARMS[alarm], HOUR if ALARMS[alarm]["MetricName"] == AGE else 1
        assert (body["Period"], body["EvaluationPeriods"], body["Threshold"]) == (60, 1, enough)
        assert body["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert "DatapointsToAlarm" not in body

    def test_silence_is_no_alarm_since_these_metrics_are_silent_while_all_is_well(
        self, alarm: str
    ) -> None:
        assert ALARMS[alarm]["TreatMissingData"] == "notBreaching"

    def test_it_says_what_happened_and_what_to_do(self, alarm: str) -> None:
        said = ALARMS[alarm]["AlarmDescription"]
        assert 60 <= len(said) <= 1024
        assert said.endswith(".")
        assert "${" not in said
