"""Change sets: what is requested, how nested ones are read, what is refused before execution."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import STACK_ID, Paginator, client_error
from tests.support.refusals import refusal_of
from tooling.deploy import changeset
from tooling.deploy.changeset import Change
from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = changeset.Request(
    stack="signwatch",
    kind="UPDATE",
    template_url="https://s3.eu-west-1.amazonaws.com/templates/1/parent.yaml",
    parameters={"AlertEmail": "a@example.com"},
    service_role_arn="arn:aws:iam::111122223333:role/service",
    tags={"signwatch:prefix": "signwatch"},
)


@dataclass
class FakeCloudFormation:
    """Returns the given states in turn, and the pages of each change set."""

    states: list[dict[str, str]]
    pages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    creations: list[dict[str, Any]] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)

    def create_change_set(self, **request: Any) -> dict[str, str]:
        self.creations.append(request)
        return {"Id": f"set-{len(self.creations)}", "StackId": STACK_ID}

    def describe_change_set(self, ChangeSetName: str, StackName: str) -> dict[str, str]:  # noqa: N803 - boto3's own names
        assert (ChangeSetName, StackName) == (f"set-{len(self.creations)}", STACK_ID)
        return self.states.pop(0)

    def delete_change_set(self, ChangeSetName: str, StackName: str) -> None:  # noqa: N803 - boto3's own names
        assert StackName == STACK_ID
        self.deletions.append(ChangeSetName)

    def get_paginator(self, name: str) -> Paginator:
        assert name == "describe_change_set"

        def pages(ChangeSetName: str, StackName: str | None = None) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own names
            is_root = ChangeSetName.startswith("set-")
            assert StackName == (STACK_ID if is_root else None)
            yield from self.pages.get(ChangeSetName, [])

        return Paginator(pages)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, recorded in place of waiting."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


COMPLETE = {"Status": "CREATE_COMPLETE"}


def failed_state(reason: str) -> dict[str, str]:
    return {"Status": "FAILED", "StatusReason": reason}


def create(cloudformation: FakeCloudFormation) -> tuple[changeset.ChangeSet, list[str]]:
    lines: list[str] = []
    return changeset.create(cloudformation, REQUEST, announce=lines.append), lines


def page(stack: str, *changes: dict[str, str]) -> dict[str, Any]:
    return {"StackName": stack, "Changes": [{"ResourceChange": change} for change in changes]}


def change(resource: str, kind: str, action: str = "Modify", **more: str) -> dict[str, str]:
    return {"LogicalResourceId": resource, "ResourceType": kind, "Action": action, **more}


class TestCreate:
    def test_request_holds_everything_a_deploy_needs(self) -> None:
        cloudformation = FakeCloudFormation([COMPLETE])
        create(cloudformation)
        (request,) = cloudformation.creations
        assert (request["StackName"], request["ChangeSetType"]) == ("signwatch", "UPDATE")
        assert request["TemplateURL"] == REQUEST.template_url
        assert request["RoleARN"] == REQUEST.service_role_arn
        assert request["Parameters"] == [
            {"ParameterKey": "AlertEmail", "ParameterValue": "a@example.com"}
        ]
        assert request["Tags"] == [{"Key": "signwatch:prefix", "Value": "signwatch"}]
        assert request["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
        assert request["IncludeNestedStacks"] is True

    def test_pauses_grow_while_it_is_created(self, pauses: list[float]) -> None:
        in_progress = [{"Status": "CREATE_PENDING"}, *[{"Status": "CREATE_IN_PROGRESS"}] * 20]
        cloudformation = FakeCloudFormation([*in_progress, COMPLETE])
        create(cloudformation)
        assert cloudformation.states == []
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.1, 3)

    def test_changes_of_a_nested_stack_follow_that_stack(self) -> None:
        nested = change("LambdaStack", "AWS::CloudFormation::Stack", ChangeSetId="child")
        topic = change("Topic", "AWS::SNS::Topic", "Add")
        function = change("Function", "AWS::Lambda::Function", Replacement="False")
        pages = {
            "set-1": [page("signwatch", nested), page("signwatch", topic)],
            "child": [page("signwatch-lambda", function)],
        }
        change_set, lines = create(FakeCloudFormation([COMPLETE], pages))
        assert [(item.stack, item.resource, item.action) for item in change_set.changes] == [
            ("signwatch", "LambdaStack", "Modify"),
            ("signwatch-lambda", "Function", "Modify"),
            ("signwatch", "Topic", "Add"),
        ]
        assert (change_set.arn, change_set.stack_id, lines) == ("set-1", STACK_ID, [])

    @pytest.mark.parametrize(
        ("aws", "ours"), [("True", "yes"), ("Conditional", "maybe"), ("False", ""), (None, "")]
    )
    def test_replacement_is_certain_possible_or_none(self, aws: str | None, ours: str) -> None:
        more = {"Replacement": aws} if aws else {}
        table = change("Table", "AWS::DynamoDB::Table", **more)
        cloudformation = FakeCloudFormation([COMPLETE], {"set-1": [page("signwatch", table)]})
        change_set, _ = create(cloudformation)
        assert change_set.changes[0].replacement == ours

    @pytest.mark.parametrize(
        "reason",
        [
            "The submitted information didn't contain changes. Submit different information",
            "No updates are to be performed.",
        ],
    )
    def test_change_set_without_a_difference_is_deleted_and_no_failure(self, reason: str) -> None:
        cloudformation = FakeCloudFormation([failed_state(reason)])
        change_set, lines = create(cloudformation)
        assert (change_set.changes, lines) == ((), [])
        assert cloudformation.deletions == ["set-1"]
        assert len(cloudformation.creations) == 1


class TestFallback:
    def test_root_alone_is_read_and_announced_when_nested_ones_cannot_be_created(self) -> None:
        cloudformation = FakeCloudFormation(
            [failed_state("Nested change set x was not successfully created"), COMPLETE],
            {"set-2": [page("signwatch", change("Topic", "AWS::SNS::Topic"))]},
        )
        change_set, lines = create(cloudformation)
        nested = [request["IncludeNestedStacks"] for request in cloudformation.creations]
        assert nested == [True, False]
        assert cloudformation.deletions == ["set-1"]
        assert (change_set.arn, len(change_set.changes)) == ("set-2", 1)
        assert not change_set.includes_nested
        assert len(lines) == 1
        assert "the table below shows the root stack alone" in lines[0]
        assert "Nested change set x was not successfully created" in lines[0]

    def test_two_change_sets_have_different_names_and_tokens(self) -> None:
        cloudformation = FakeCloudFormation([failed_state("nested"), COMPLETE])
        create(cloudformation)
        first, second = cloudformation.creations
        assert first["ChangeSetName"] != second["ChangeSetName"]
        assert first["ClientToken"] != second["ClientToken"]

    def test_second_failure_is_raised_with_the_reason_of_aws(self) -> None:
        states = [failed_state("nested"), failed_state("Template error: no such parameter")]
        cloudformation = FakeCloudFormation(states)
        message = "stack signwatch: the change set failed: Template error"
        with pytest.raises(FailedError, match=message) as failure:
            create(cloudformation)
        assert failure.value.exit_code == 1
        assert cloudformation.deletions == ["set-1", "set-2"]

    def test_failure_without_a_reason_says_so(self) -> None:
        with pytest.raises(FailedError, match="no reason given"):
            create(FakeCloudFormation([{"Status": "FAILED"}, {"Status": "FAILED"}]))

    def test_request_that_aws_rejects_is_not_sent_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[Any] = []

        def reject(_: Any, **request: Any) -> None:
            requests.append(request)
            raise client_error("ValidationError", "Template format error", "CreateChangeSet")

        monkeypatch.setattr(FakeCloudFormation, "create_change_set", reject)
        message = r"no change set could be created: .*Template format error"
        with pytest.raises(FailedError, match=message):
            create(FakeCloudFormation([]))
        assert len(requests) == 1


class TestRefuseDataLoss:
    def refusal(
        self, kind: str, action: str = "Modify", replacement: str = "", *, allowed: bool = False
    ) -> str:
        changes = (Change("signwatch-cloudtrail", "Resource", kind, action, replacement),)
        return refusal_of(lambda: changeset.refuse_data_loss(changes, allow_replace=allowed))

    @pytest.mark.parametrize("kind", sorted(changeset.PROTECTED_TYPES))
    @pytest.mark.parametrize(("action", "replacement"), [("Remove", ""), ("Modify", "yes")])
    def test_certain_loss_of_a_protected_resource_is_refused_by_name(
        self, kind: str, action: str, replacement: str
    ) -> None:
        refusal = self.refusal(kind, action, replacement)
        assert "signwatch-cloudtrail.Resource; nothing was changed" in refusal
        assert "--allow-replace" in refusal

    def test_resources_with_evidence_or_a_way_to_the_owner_are_protected(self) -> None:
        expected = {
            "AWS::CloudTrail::Trail",
            "AWS::DynamoDB::Table",
            "AWS::KMS::Key",
            "AWS::S3::Bucket",
            "AWS::SecretsManager::Secret",
            "AWS::SNS::Topic",
        }
        assert expected <= changeset.PROTECTED_TYPES

    def test_possible_replacement_is_not_refused(self) -> None:
        assert self.refusal("AWS::S3::Bucket", replacement="maybe") == ""

    @pytest.mark.parametrize(("action", "replacement"), [("Remove", ""), ("Modify", "yes")])
    def test_loss_of_another_resource_is_not_refused(self, action: str, replacement: str) -> None:
        assert self.refusal("AWS::Lambda::LayerVersion", action, replacement) == ""

    @pytest.mark.parametrize("action", ["Add", "Modify"])
    def test_new_or_changed_bucket_is_no_loss(self, action: str) -> None:
        assert self.refusal("AWS::S3::Bucket", action) == ""

    def test_loss_that_the_user_allows_is_not_refused(self) -> None:
        assert self.refusal("AWS::S3::Bucket", "Remove", allowed=True) == ""
