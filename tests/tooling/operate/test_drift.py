"""Drift: every stack of the tree is asked, what differs is named, and a comparison of nothing is no success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import account
from tooling.deploy import stack
from tooling.errors import FailedError, UnknownStateError
from tooling.operate import drift
from tooling.settings import Settings

if TYPE_CHECKING:
    from tooling.operate.drift import Found

CHILD = "arn:aws:cloudformation:eu-west-1:111122223333:stack/signwatch-child-1/0"
GRANDCHILD = "arn:aws:cloudformation:eu-west-1:111122223333:stack/signwatch-grandchild-1/0"
STACK = "AWS::CloudFormation::Stack"


def resource(
    status: str, kind: str = "AWS::Events::Rule", name: str = "Rule", **more: Any
) -> dict[str, Any]:
    return {
        "LogicalResourceId": name,
        "ResourceType": kind,
        "StackResourceDriftStatus": status,
        **more,
    }


class CloudFormation:
    """A root with a child that has a child; each answers with the resources that it is given, one a page."""

    def __init__(self) -> None:
        self.nested = {
            "signwatch": [CHILD],
            "signwatch-child-1": [GRANDCHILD],
            "signwatch-grandchild-1": [],
        }
        self.resources: dict[str, list[dict[str, Any]]] = {
            "signwatch-child-1": [resource("IN_SYNC")]
        }
        self.asked: list[str] = []
        self.answers = [{"DetectionStatus": "DETECTION_COMPLETE"}]

    def describe_stack_resources(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        nested = [
            {"ResourceType": STACK, "PhysicalResourceId": arn} for arn in self.nested[StackName]
        ]
        return {
            "StackResources": [
                {"ResourceType": "AWS::SNS::Topic", "PhysicalResourceId": "x"},
                *nested,
            ]
        }

    def detect_stack_drift(self, StackName: str) -> dict[str, str]:  # noqa: N803 - boto3's own name
        self.asked.append(StackName)
        return {"StackDriftDetectionId": StackName}

    def describe_stack_drift_detection_status(self, **_: str) -> dict[str, str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def describe_stack_resource_drifts(
        self,
        StackName: str,  # noqa: N803 - boto3's own name
        NextToken: str = "0",  # noqa: N803 - boto3's own name
    ) -> dict[str, Any]:
        all_of_it, at = self.resources.get(StackName, []), int(NextToken)
        more = {"NextToken": str(at + 1)} if at + 1 < len(all_of_it) else {}
        return {"StackResourceDrifts": all_of_it[at : at + 1], **more}


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    monkeypatch.setattr(stack, "outputs", lambda *_: {"FunctionName": "x"})
    return CloudFormation()


def look(cloudformation: CloudFormation, waited: list[float] | None = None) -> Found:
    settings = Settings(account="111122223333", region="eu-west-1", prefix="signwatch")
    sleep = (waited if waited is not None else []).append
    return drift.detect(
        account(cloudformation=cloudformation), settings, announce=lambda _: None, sleep=sleep
    )


def test_every_stack_of_the_tree_is_compared_by_itself(cloudformation: CloudFormation) -> None:
    assert look(cloudformation).drifts == ()
    assert cloudformation.asked == ["signwatch", "signwatch-child-1", "signwatch-grandchild-1"]


def test_what_differs_is_named_with_both_values_on_whatever_page_it_stands(
    cloudformation: CloudFormation,
) -> None:
    difference = {"PropertyPath": "/State", "ExpectedValue": "ENABLED", "ActualValue": "DISABLED"}
    cloudformation.resources["signwatch-grandchild-1"] = [
        resource("IN_SYNC"),
        resource("MODIFIED", PropertyDifferences=[difference]),
        resource("DELETED", "AWS::SNS::Topic", "Topic"),
    ]
    found = look(cloudformation)
    assert found.lines() == [
        "modified: signwatch-grandchild-1.Rule (AWS::Events::Rule)",
        "  /State: DISABLED, not ENABLED",
        "deleted: signwatch-grandchild-1.Topic (AWS::SNS::Topic)",
        "4 resources compared, 2 differ from what was deployed.",
    ]


def test_nested_stacks_and_what_aws_cannot_compare_are_not_counted(
    cloudformation: CloudFormation,
) -> None:
    cloudformation.resources["signwatch"] = [resource("MODIFIED", STACK), resource("NOT_CHECKED")]
    found = look(cloudformation)
    assert (found.drifts, found.compared) == ((), 1)


def test_a_comparison_of_nothing_is_no_success(cloudformation: CloudFormation) -> None:
    cloudformation.resources.clear()
    with pytest.raises(FailedError, match="has nothing that AWS could compare"):
        look(cloudformation)


def test_a_comparison_that_aws_gives_up_is_a_failure_with_its_reason(
    cloudformation: CloudFormation,
) -> None:
    reason = "not authorized to perform events:DescribeRule"
    cloudformation.answers = [
        {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": reason}
    ]
    with pytest.raises(
        FailedError, match="stack signwatch: could not be compared: not authorized"
    ) as failed:
        look(cloudformation)
    assert failed.value.exit_code == 1


def test_one_that_is_not_done_is_waited_for_ever_more_patiently(
    cloudformation: CloudFormation,
) -> None:
    busy = {"DetectionStatus": "DETECTION_IN_PROGRESS"}
    cloudformation.answers = [busy, busy, {"DetectionStatus": "DETECTION_COMPLETE"}]
    waited: list[float] = []
    look(cloudformation, waited)
    assert len(waited) == 2
    assert waited[0] < waited[1]


def test_one_that_never_ends_leaves_an_unknown_state(cloudformation: CloudFormation) -> None:
    cloudformation.answers = [{"DetectionStatus": "DETECTION_IN_PROGRESS"}]
    with pytest.raises(UnknownStateError, match="is still being compared") as unknown:
        look(cloudformation)
    assert unknown.value.exit_code == 3
