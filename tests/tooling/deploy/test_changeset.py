"""Change sets: what is requested, how nested ones are read, what is refused before execution."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from botocore.exceptions import ClientError

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
    """Returns the given states of the root in turn, and the pages of each change set.

    ``nested_states`` holds the states of nested change sets by their name; the last one stays.
    ``events`` is what DescribeEvents returns, and ``denial`` the error for each nested change set.
    """

    states: list[dict[str, str]]
    pages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    nested_states: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    events: list[dict[str, str]] | Exception = field(default_factory=list)
    denial: Exception | None = None
    creations: list[dict[str, Any]] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)
    deletion_states: list[str] = field(default_factory=list)
    nested_addresses: list[dict[str, str]] = field(default_factory=list)
    event_requests: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)

    def create_change_set(self, **request: Any) -> dict[str, str]:
        self.creations.append(request)
        return {"Id": f"set-{len(self.creations)}", "StackId": STACK_ID}

    def describe_change_set(self, ChangeSetName: str, StackName: str) -> dict[str, str]:  # noqa: N803 - boto3's own names
        assert (ChangeSetName, StackName) == (f"set-{len(self.creations)}", STACK_ID)
        if ChangeSetName in self.deletions and not self.deletion_states:
            raise client_error("ChangeSetNotFound", operation="DescribeChangeSet")
        if ChangeSetName in self.deletions:
            return {"Status": self.deletion_states.pop(0)}
        self.state = self.states.pop(0)
        return self.state

    def delete_change_set(self, ChangeSetName: str, StackName: str) -> None:  # noqa: N803 - boto3's own names
        assert StackName == STACK_ID
        self.deletions.append(ChangeSetName)

    def get_paginator(self, name: str) -> Paginator:
        return Paginator({"describe_change_set": self.read, "describe_events": self.explain}[name])

    def read(self, **address: str) -> Iterator[dict[str, Any]]:
        name = address["ChangeSetName"]
        state = self.state
        if name.startswith("set-"):
            assert address["StackName"] == STACK_ID
        else:
            self.nested_addresses.append(address)
            if self.denial:
                raise self.denial
            states = self.nested_states.get(name, [COMPLETE])
            state = states.pop(0) if len(states) > 1 else states[0]
        stack_id = address.get("StackName", f"the stack of {name}")
        for content in self.pages.get(name, [page("signwatch")]):
            yield {"ChangeSetId": name, "StackId": stack_id, **state, **content}

    def explain(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.event_requests.append(request)
        if isinstance(self.events, Exception):
            raise self.events
        yield from ({"OperationEvents": [item]} for item in self.events)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, recorded in place of waiting."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


COMPLETE = {"Status": "CREATE_COMPLETE"}
IN_PROGRESS = {"Status": "CREATE_IN_PROGRESS"}
NO_CHANGES = "The submitted information didn't contain changes. Submit different information"
CHILD_FAILED = "Nested change set arn:child was not successfully created: Currently in FAILED."
PLACEHOLDER = "Parameter MainKeyArn failed to satisfy constraint: {{IntrinsicFunction:x}}"
VALIDATION_FAILED = (
    "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]."
    " To troubleshoot Early Validation errors, use the DescribeEvents API for detailed failure"
    " information."
)


def failed_state(reason: str) -> dict[str, str]:
    return {"Status": "FAILED", "StatusReason": reason}


def create(cloudformation: FakeCloudFormation) -> tuple[changeset.ChangeSet, list[str]]:
    lines: list[str] = []
    return changeset.create(cloudformation, REQUEST, announce=lines.append), lines


def page(stack: str, *changes: dict[str, str]) -> dict[str, Any]:
    return {"StackName": stack, "Changes": [{"ResourceChange": change} for change in changes]}


def change(resource: str, kind: str, action: str = "Modify", **more: str) -> dict[str, str]:
    return {"LogicalResourceId": resource, "ResourceType": kind, "Action": action, **more}


def nested_change(resource: str, change_set: str, action: str = "Modify") -> dict[str, str]:
    """A nested stack with a change set of its own; an added one has no physical id yet."""
    kind = "AWS::CloudFormation::Stack"
    more = {} if action == "Add" else {"PhysicalResourceId": f"the id of {resource}"}
    return change(resource, kind, action, ChangeSetId=change_set, **more)


def with_children(
    *states: dict[str, str], **nested_states: list[dict[str, str]]
) -> FakeCloudFormation:
    """A root whose first change set has one nested change set for each of ``nested_states``."""
    changes = [nested_change(f"{name}Stack", name) for name in nested_states]
    pages = {name: [page(f"signwatch-{name}")] for name in nested_states}
    pages["set-1"] = [page("signwatch", *changes)]
    return FakeCloudFormation(list(states), pages, nested_states)


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
        nested = nested_change("LambdaStack", "child")
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
        [NO_CHANGES, "No updates are to be performed."],
    )
    def test_change_set_without_a_difference_is_deleted_and_no_failure(self, reason: str) -> None:
        cloudformation = FakeCloudFormation([failed_state(reason)])
        change_set, lines = create(cloudformation)
        assert (change_set.changes, lines) == ((), [])
        assert cloudformation.deletions == ["set-1"]
        assert len(cloudformation.creations) == 1


class TestNestedChangeSets:
    def test_nested_change_set_is_described_with_the_id_of_its_stack(self) -> None:
        cloudformation = with_children(COMPLETE, Lambda=[COMPLETE])
        create(cloudformation)
        address = {"ChangeSetName": "Lambda", "StackName": "the id of LambdaStack"}
        assert cloudformation.nested_addresses == [address]

    def test_change_set_of_a_stack_without_an_id_yet_is_described_by_its_arn(self) -> None:
        added = nested_change("LambdaStack", "Lambda", "Add")
        cloudformation = FakeCloudFormation([COMPLETE], {"set-1": [page("signwatch", added)]})
        create(cloudformation)
        assert cloudformation.nested_addresses == [{"ChangeSetName": "Lambda"}]

    def test_nested_change_set_that_aws_does_not_show_hides_its_changes(self) -> None:
        cloudformation = with_children(COMPLETE, Lambda=[COMPLETE])
        cloudformation.denial = client_error("AccessDenied", "no right", "DescribeChangeSet")
        change_set, lines = create(cloudformation)
        assert [item.resource for item in change_set.changes] == ["LambdaStack"]
        assert "LambdaStack: An error occurred (AccessDenied)" in change_set.hidden_reason
        assert "the table below lacks their changes" in lines[0]
        assert cloudformation.deletions == []

    def test_expired_credentials_are_no_hidden_changes(self) -> None:
        cloudformation = with_children(COMPLETE, Lambda=[COMPLETE])
        cloudformation.denial = client_error("ExpiredToken")
        with pytest.raises(ClientError, match="ExpiredToken"):
            create(cloudformation)

    def test_failed_root_is_deleted_when_no_child_is_being_created_any_more(
        self, pauses: list[float]
    ) -> None:
        cloudformation = with_children(
            failed_state(CHILD_FAILED),
            COMPLETE,
            Lambda=[failed_state(PLACEHOLDER)],
            Alarms=[{"Status": "CREATE_PENDING"}, IN_PROGRESS, IN_PROGRESS, COMPLETE],
        )
        create(cloudformation)
        assert cloudformation.nested_states["Alarms"] == [COMPLETE]
        assert len(pauses) == 3
        assert cloudformation.deletions == ["set-1"]

    def test_root_alone_is_created_when_the_failed_one_is_gone(self, pauses: list[float]) -> None:
        cloudformation = with_children(
            failed_state(CHILD_FAILED), COMPLETE, Lambda=[failed_state("no")]
        )
        cloudformation.deletion_states = ["DELETE_PENDING", "DELETE_IN_PROGRESS"]
        change_set, _ = create(cloudformation)
        assert (change_set.arn, cloudformation.deletion_states) == ("set-2", [])
        assert len(pauses) == 2

    def test_child_that_never_ends_is_given_up_after_two_minutes(
        self, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        def refuse(**_: str) -> None:
            raise client_error("InvalidChangeSetStatus", "in progress", "DeleteChangeSet")

        cloudformation = with_children(
            failed_state(CHILD_FAILED), COMPLETE, Lambda=[failed_state("no")], Alarms=[IN_PROGRESS]
        )
        monkeypatch.setattr(cloudformation, "delete_change_set", refuse)
        change_set, _ = create(cloudformation)
        assert 120 <= sum(pauses) < 125
        assert change_set.arn == "set-2"

    def test_reason_is_that_of_each_child_that_failed_and_not_that_of_the_root(self) -> None:
        cloudformation = with_children(
            failed_state(CHILD_FAILED),
            COMPLETE,
            Lambda=[failed_state(PLACEHOLDER)],
            Alarms=[failed_state(NO_CHANGES)],
            Cloudtrail=[failed_state("another reason")],
        )
        change_set, lines = create(cloudformation)
        expected = (
            f"the change set failed: signwatch-Lambda: {PLACEHOLDER};"
            " signwatch-Cloudtrail: another reason"
        )
        assert change_set.hidden_reason == expected
        (line,) = lines
        assert line.endswith(f"so the table below shows the root stack alone ({expected})")

    def test_reason_is_that_of_the_root_when_its_children_cannot_be_read(self) -> None:
        cloudformation = with_children(failed_state(CHILD_FAILED), COMPLETE, Lambda=[COMPLETE])
        cloudformation.denial = client_error("AccessDenied", "no right", "DescribeChangeSet")
        change_set, _ = create(cloudformation)
        assert change_set.hidden_reason == f"the change set failed: {CHILD_FAILED}"


class TestEarlyValidation:
    CONFLICT: ClassVar = {
        "EventType": "VALIDATION_ERROR",
        "LogicalResourceId": "AlertTopic",
        "ResourceType": "AWS::SNS::Topic",
        "ValidationName": "NAME_CONFLICT_VALIDATION",
        "ValidationFailureMode": "FAIL",
        "ValidationStatusReason": "Resource 'signwatch-alerts' already exists",
    }
    LINE = (
        "AlertTopic (AWS::SNS::Topic) fails NAME_CONFLICT_VALIDATION:"
        " Resource 'signwatch-alerts' already exists"
    )

    def failure(self, cloudformation: FakeCloudFormation) -> str:
        with pytest.raises(FailedError) as failure:
            create(cloudformation)
        return failure.value.what

    def test_failed_validations_of_the_root_are_listed(self) -> None:
        warning = {**self.CONFLICT, "LogicalResourceId": "Bucket", "ValidationFailureMode": "WARN"}
        status = {"EventType": "STACK_EVENT", "LogicalResourceId": "signwatch"}
        cloudformation = FakeCloudFormation(
            [failed_state(VALIDATION_FAILED)] * 2, events=[warning, status, self.CONFLICT]
        )
        what = self.failure(cloudformation)
        assert what == f"the change set failed: {VALIDATION_FAILED}\n  {self.LINE}"
        assert cloudformation.event_requests[0] == {
            "ChangeSetName": "set-1",
            "StackName": STACK_ID,
            "Filters": {"FailedEvents": True},
        }

    def test_failed_validations_of_a_child_are_listed(self) -> None:
        cloudformation = with_children(
            failed_state(CHILD_FAILED), COMPLETE, Foundation=[failed_state(VALIDATION_FAILED)]
        )
        cloudformation.events = [self.CONFLICT]
        change_set, _ = create(cloudformation)
        assert change_set.hidden_reason.endswith(f"\n  {self.LINE}")
        (request,) = cloudformation.event_requests
        assert request["ChangeSetName"] == "Foundation"
        assert request["StackName"] == "the id of FoundationStack"

    @pytest.mark.parametrize("code", ["AccessDenied", "InvalidAction"])
    def test_reason_stays_with_a_remedy_when_the_validations_cannot_be_read(
        self, code: str
    ) -> None:
        cloudformation = FakeCloudFormation([failed_state(VALIDATION_FAILED)] * 2)
        cloudformation.events = client_error(code, "no", "DescribeEvents")
        what = self.failure(cloudformation)
        assert VALIDATION_FAILED in what
        assert f"({code}) when calling the DescribeEvents operation" in what
        assert "run ./inv bootstrap again" in what

    def test_reason_stays_with_a_remedy_when_no_validation_is_returned(self) -> None:
        what = self.failure(FakeCloudFormation([failed_state(VALIDATION_FAILED)] * 2))
        assert VALIDATION_FAILED in what
        assert "returns no failed validation: look at the operation's events" in what

    def test_another_failure_is_not_looked_up(self) -> None:
        cloudformation = FakeCloudFormation([failed_state("Template error")] * 2)
        assert self.failure(cloudformation) == "the change set failed: Template error"
        assert cloudformation.event_requests == []


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
        assert "was not successfully created" in change_set.hidden_reason
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
