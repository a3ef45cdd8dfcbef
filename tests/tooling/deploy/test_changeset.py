"""Change sets: asked for with everything a deploy needs, read through nested stacks, judged before execution."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import STACK_ID, Paginator, client_error
from tests.support.refusals import refusal_of
from tooling.deploy import changeset
from tooling.deploy.changeset import Change
from tooling.errors import FailedError, RefusedError

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
class ChangeSets:
    """CloudFormation that answers with the given states in turn, and knows the pages of each change set."""

    states: list[dict[str, str]]
    pages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def create_change_set(self, **asked: Any) -> dict[str, str]:
        self.made.append(asked)
        return {"Id": f"set-{len(self.made)}", "StackId": STACK_ID}

    def describe_change_set(self, ChangeSetName: str, StackName: str) -> dict[str, str]:  # noqa: N803 - boto3's own names
        assert (ChangeSetName, StackName) == (f"set-{len(self.made)}", STACK_ID)
        return self.states.pop(0)

    def delete_change_set(self, ChangeSetName: str, StackName: str) -> None:  # noqa: N803 - boto3's own names
        assert StackName == STACK_ID
        self.deleted.append(ChangeSetName)

    def get_paginator(self, name: str) -> Paginator:
        assert name == "describe_change_set"

        def pages(ChangeSetName: str, StackName: str | None = None) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own names
            assert StackName == (STACK_ID if ChangeSetName.startswith("set-") else None)
            yield from self.pages.get(ChangeSetName, [])

        return Paginator(pages)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; what would have been waited is kept."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


DONE = {"Status": "CREATE_COMPLETE"}


def failed(reason: str) -> dict[str, str]:
    return {"Status": "FAILED", "StatusReason": reason}


def make(cloudformation: ChangeSets) -> tuple[changeset.ChangeSet, list[str]]:
    said: list[str] = []
    return changeset.make(cloudformation, REQUEST, announce=said.append), said


def page(stack: str, *changes: dict[str, str]) -> dict[str, Any]:
    return {"StackName": stack, "Changes": [{"ResourceChange": change} for change in changes]}


def raw(resource: str, kind: str, action: str = "Modify", **more: str) -> dict[str, str]:
    return {"LogicalResourceId": resource, "ResourceType": kind, "Action": action, **more}


class TestMake:
    def test_everything_a_deploy_needs_is_asked_for(self) -> None:
        cloudformation = ChangeSets([DONE])
        make(cloudformation)
        (asked,) = cloudformation.made
        assert (asked["StackName"], asked["ChangeSetType"]) == ("signwatch", "UPDATE")
        assert asked["TemplateURL"] == REQUEST.template_url
        assert asked["RoleARN"] == REQUEST.service_role_arn
        assert asked["Parameters"] == [
            {"ParameterKey": "AlertEmail", "ParameterValue": "a@example.com"}
        ]
        assert asked["Tags"] == [{"Key": "signwatch:prefix", "Value": "signwatch"}]
        assert asked["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
        assert asked["IncludeNestedStacks"] is True

    def test_it_is_waited_for_with_growing_pauses(self, pauses: list[float]) -> None:
        cloudformation = ChangeSets(
            [{"Status": "CREATE_PENDING"}, *[{"Status": "CREATE_IN_PROGRESS"}] * 20, DONE]
        )
        make(cloudformation)
        assert cloudformation.states == []
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.1, 3)

    def test_the_changes_of_nested_stacks_follow_their_parent(self) -> None:
        nested = raw("LambdaStack", changeset_kind("Stack"), ChangeSetId="child")
        pages = {
            "set-1": [
                page("signwatch", nested),
                page("signwatch", raw("Topic", "AWS::SNS::Topic", "Add")),
            ],
            "child": [
                page(
                    "signwatch-lambda",
                    raw("Function", "AWS::Lambda::Function", Replacement="False"),
                )
            ],
        }
        made, said = make(ChangeSets([DONE], pages))
        assert [(change.stack, change.resource, change.action) for change in made.changes] == [
            ("signwatch", "LambdaStack", "Modify"),
            ("signwatch-lambda", "Function", "Modify"),
            ("signwatch", "Topic", "Add"),
        ]
        assert (made.arn, made.stack_id, said) == ("set-1", STACK_ID, [])

    @pytest.mark.parametrize(
        ("aws", "ours"), [("True", "yes"), ("Conditional", "maybe"), ("False", ""), (None, "")]
    )
    def test_a_replacement_is_certain_possible_or_none(self, aws: str | None, ours: str) -> None:
        more = {"Replacement": aws} if aws else {}
        made, _ = make(
            ChangeSets(
                [DONE], {"set-1": [page("signwatch", raw("Table", "AWS::DynamoDB::Table", **more))]}
            )
        )
        assert made.changes[0].replacement == ours

    @pytest.mark.parametrize(
        "reason",
        [
            "The submitted information didn't contain changes. Submit different information to create a change set.",
            "No updates are to be performed.",
        ],
    )
    def test_no_difference_is_no_failure_and_leaves_no_change_set_behind(self, reason: str) -> None:
        cloudformation = ChangeSets([failed(reason)])
        made, said = make(cloudformation)
        assert (made.changes, said) == ((), [])
        assert cloudformation.deleted == ["set-1"]
        assert len(cloudformation.made) == 1


def changeset_kind(name: str) -> str:
    return f"AWS::CloudFormation::{name}"


class TestFallback:
    def test_where_nested_ones_cannot_be_made_a_plain_one_is_and_it_is_said(self) -> None:
        cloudformation = ChangeSets(
            [failed("Nested change set x was not successfully created"), DONE],
            {"set-2": [page("signwatch", raw("Topic", "AWS::SNS::Topic"))]},
        )
        made, said = make(cloudformation)
        assert [asked["IncludeNestedStacks"] for asked in cloudformation.made] == [True, False]
        assert cloudformation.deleted == ["set-1"]
        assert (made.arn, len(made.changes), made.whole) == ("set-2", 1, False)
        assert len(said) == 1
        assert "the table below shows the root stack alone" in said[0]
        assert "Nested change set x was not successfully created" in said[0]

    def test_two_change_sets_never_share_a_name_or_a_token(self) -> None:
        cloudformation = ChangeSets([failed("nested"), DONE])
        make(cloudformation)
        first, second = cloudformation.made
        assert first["ChangeSetName"] != second["ChangeSetName"]
        assert first["ClientToken"] != second["ClientToken"]

    def test_what_fails_without_nested_ones_too_fails_with_the_reason_of_aws(self) -> None:
        cloudformation = ChangeSets([failed("nested"), failed("Template error: no such parameter")])
        with pytest.raises(
            FailedError, match="stack signwatch: the change set failed: Template error"
        ) as error:
            make(cloudformation)
        assert error.value.exit_code == 1
        assert cloudformation.deleted == ["set-1", "set-2"]

    def test_a_failure_without_a_reason_says_so(self) -> None:
        with pytest.raises(FailedError, match="no reason given"):
            make(ChangeSets([{"Status": "FAILED"}, {"Status": "FAILED"}]))

    def test_a_request_that_aws_does_not_take_is_not_tried_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[Any] = []

        def refuse(_: Any, **asked: Any) -> None:
            tried.append(asked)
            raise client_error("ValidationError", "Template format error", "CreateChangeSet")

        monkeypatch.setattr(ChangeSets, "create_change_set", refuse)
        with pytest.raises(
            FailedError, match=r"no change set could be made: .*Template format error"
        ):
            make(ChangeSets([]))
        assert len(tried) == 1


class TestRefuseLosses:
    def change(
        self, kind: str, action: str = "Modify", replacement: str = ""
    ) -> tuple[Change, ...]:
        return (Change("signwatch-cloudtrail", "Kept", kind, action, replacement),)

    @pytest.mark.parametrize("kind", sorted(changeset.KEPT))
    @pytest.mark.parametrize(("action", "replacement"), [("Remove", ""), ("Modify", "yes")])
    def test_a_certain_loss_of_evidence_is_refused_by_name(
        self, kind: str, action: str, replacement: str
    ) -> None:
        with pytest.raises(
            RefusedError, match=r"signwatch-cloudtrail\.Kept; nothing was changed"
        ) as refused:
            changeset.refuse_losses(self.change(kind, action, replacement), allow_replace=False)
        assert "--allow-replace" in refused.value.remedy

    @pytest.mark.parametrize(
        "kind",
        [
            "AWS::CloudTrail::Trail",
            "AWS::DynamoDB::Table",
            "AWS::KMS::Key",
            "AWS::S3::Bucket",
            "AWS::SecretsManager::Secret",
            "AWS::SNS::Topic",
        ],
    )
    def test_what_holds_evidence_or_reaches_the_owner_is_kept(self, kind: str) -> None:
        assert kind in changeset.KEPT

    def test_a_possible_replacement_is_only_shown(self) -> None:
        assert (
            refusal_of(
                lambda: changeset.refuse_losses(
                    self.change("AWS::S3::Bucket", replacement="maybe"), allow_replace=False
                )
            )
            == ""
        )

    @pytest.mark.parametrize(("action", "replacement"), [("Remove", ""), ("Modify", "yes")])
    def test_what_holds_nothing_may_be_replaced(self, action: str, replacement: str) -> None:
        assert (
            refusal_of(
                lambda: changeset.refuse_losses(
                    self.change("AWS::Lambda::LayerVersion", action, replacement),
                    allow_replace=False,
                )
            )
            == ""
        )

    def test_a_new_or_changed_bucket_is_no_loss(self) -> None:
        changes = self.change("AWS::S3::Bucket", "Add") + self.change("AWS::S3::Bucket", "Modify")
        assert refusal_of(lambda: changeset.refuse_losses(changes, allow_replace=False)) == ""

    def test_a_person_may_allow_it(self) -> None:
        assert (
            refusal_of(
                lambda: changeset.refuse_losses(
                    self.change("AWS::S3::Bucket", "Remove"), allow_replace=True
                )
            )
            == ""
        )
