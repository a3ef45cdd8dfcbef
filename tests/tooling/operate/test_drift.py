"""Drift: each nested stack is compared, differences are named, comparing nothing is a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import account
from tooling.deploy import stack
from tooling.errors import FailedError, UnknownStateError
from tooling.operate import drift
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.operate.drift import DriftReport

CHILD = "arn:aws:cloudformation:eu-west-1:111122223333:stack/signwatch-child-1/0"
GRANDCHILD = "arn:aws:cloudformation:eu-west-1:111122223333:stack/signwatch-grandchild-1/0"
STACK = "AWS::CloudFormation::Stack"
IN_PROGRESS = {"DetectionStatus": "DETECTION_IN_PROGRESS"}
COMPLETE = {"DetectionStatus": "DETECTION_COMPLETE"}


def resource(
    status: str, kind: str = "AWS::Events::Rule", name: str = "Rule", **properties: Any
) -> dict[str, Any]:
    return {
        "LogicalResourceId": name,
        "ResourceType": kind,
        "StackResourceDriftStatus": status,
        **properties,
    }


class CloudFormation:
    """A root stack with a child and a grandchild; their resources come one a page."""

    def __init__(self) -> None:
        self.nested = {
            "signwatch": [CHILD],
            "signwatch-child-1": [GRANDCHILD],
            "signwatch-grandchild-1": [],
        }
        self.resources = {"signwatch-child-1": [resource("IN_SYNC")]}
        self.detected: list[str] = []
        self.statuses = [COMPLETE]

    def describe_stack_resources(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        topic = {"ResourceType": "AWS::SNS::Topic", "PhysicalResourceId": "x"}
        nested = [
            {"ResourceType": STACK, "PhysicalResourceId": arn} for arn in self.nested[StackName]
        ]
        return {"StackResources": [topic, *nested]}

    def detect_stack_drift(self, StackName: str) -> dict[str, str]:  # noqa: N803 - boto3's own name
        self.detected.append(StackName)
        return {"StackDriftDetectionId": StackName}

    def describe_stack_drift_detection_status(self, **_: str) -> dict[str, str]:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def describe_stack_resource_drifts(
        self,
        StackName: str,  # noqa: N803 - boto3's own name
        NextToken: str = "0",  # noqa: N803 - boto3's own name
    ) -> dict[str, Any]:
        resources, position = self.resources.get(StackName, []), int(NextToken)
        is_last = position + 1 >= len(resources)
        following = {} if is_last else {"NextToken": str(position + 1)}
        return {"StackResourceDrifts": resources[position : position + 1], **following}


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    monkeypatch.setattr(stack, "require_deployed", lambda *_: None)
    return CloudFormation()


def detect(
    cloudformation: CloudFormation, sleep: Callable[[float], None] = lambda _: None
) -> DriftReport:
    settings = Settings(account="111122223333", region="eu-west-1", prefix="signwatch")
    return drift.detect(
        account(cloudformation=cloudformation), settings, announce=lambda _: None, sleep=sleep
    )


def test_each_stack_of_the_tree_is_compared_on_its_own(cloudformation: CloudFormation) -> None:
    assert detect(cloudformation).drifts == ()
    assert cloudformation.detected == ["signwatch", "signwatch-child-1", "signwatch-grandchild-1"]


def test_drift_on_any_page_is_reported_with_both_values(cloudformation: CloudFormation) -> None:
    difference = {"PropertyPath": "/State", "ExpectedValue": "ENABLED", "ActualValue": "DISABLED"}
    cloudformation.resources["signwatch-grandchild-1"] = [
        resource("IN_SYNC"),
        resource("MODIFIED", PropertyDifferences=[difference]),
        resource("DELETED", "AWS::SNS::Topic", "Topic"),
    ]
    report = detect(cloudformation)
    rule, topic = "signwatch-grandchild-1.Rule", "signwatch-grandchild-1.Topic"
    assert report.format_rows() == [
        ("modified", rule, "AWS::Events::Rule", "/State: DISABLED, not ENABLED"),
        ("deleted", topic, "AWS::SNS::Topic", ""),
    ]
    totals = "4 resources compared, 2 differ from what was deployed."
    assert report.format_totals() == totals


def test_control_characters_in_a_changed_value_are_escaped_and_nothing_is_cut(
    cloudformation: CloudFormation,
) -> None:
    value = "\x1b[2J" + "x" * 500
    difference = {"PropertyPath": "/Name", "ExpectedValue": "a", "ActualValue": value}
    cloudformation.resources["signwatch"] = [resource("MODIFIED", PropertyDifferences=[difference])]
    ((*_, shown),) = detect(cloudformation).format_rows()
    assert shown.isprintable()
    assert "x" * 500 in shown


def test_nested_stacks_and_unchecked_resources_are_not_counted(
    cloudformation: CloudFormation,
) -> None:
    cloudformation.resources["signwatch"] = [resource("MODIFIED", STACK), resource("NOT_CHECKED")]
    report = detect(cloudformation)
    assert (report.drifts, report.compared_count) == ((), 1)


def test_comparing_no_resource_is_a_failure(cloudformation: CloudFormation) -> None:
    cloudformation.resources.clear()
    with pytest.raises(FailedError, match="has no resource that AWS can compare"):
        detect(cloudformation)


def test_failed_detection_is_reported_with_the_reason_of_aws(
    cloudformation: CloudFormation,
) -> None:
    reason = "not authorized to perform events:DescribeRule"
    cloudformation.statuses = [
        {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": reason}
    ]
    message = "stack signwatch: could not be compared: not authorized"
    with pytest.raises(FailedError, match=message) as failure:
        detect(cloudformation)
    assert failure.value.exit_code == 1


def test_pauses_between_polls_grow(cloudformation: CloudFormation) -> None:
    cloudformation.statuses = [IN_PROGRESS, IN_PROGRESS, COMPLETE]
    pauses: list[float] = []
    detect(cloudformation, pauses.append)
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]


def test_detection_that_never_completes_ends_in_an_unknown_state(
    cloudformation: CloudFormation,
) -> None:
    cloudformation.statuses = [IN_PROGRESS]
    with pytest.raises(UnknownStateError, match="is still being compared") as failure:
        detect(cloudformation)
    assert failure.value.exit_code == 3
