"""The root stack in every state: what is refused, how a failure is reported, and its outputs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.aws import ACCOUNT, REGION, STACK_ID, event
from tests.support.deployment import (
    BUCKET,
    FOREIGN_TAGS,
    KEY,
    OWN_TAGS,
    REPLACED_TABLE,
    FakeDeployment,
    stack_in,
)
from tooling.deploy import changeset, stack, stack_events
from tooling.errors import FailedError, RefusedError, UnknownStateError


def assert_nothing_was_written(deployment: FakeDeployment) -> None:
    assert deployment.cloudformation.calls == []
    assert deployment.s3.uploads == []


class TestStatus:
    @pytest.mark.parametrize("status", stack.FAILED_FIRST_DEPLOY_STATUSES)
    def test_own_failed_first_deploy_is_deleted_and_created_again(
        self, deployment: FakeDeployment, status: str
    ) -> None:
        deployment.cloudformation.stack = stack_in(status)
        assert deployment.deploy() == {"FunctionName": "signwatch-function"}
        calls = deployment.cloudformation.calls
        assert [name for name, _ in calls] == [
            "update_termination_protection",
            "delete_stack",
            "create_change_set",
            "update_termination_protection",
            "execute_change_set",
        ]
        assert calls[0][1]["EnableTerminationProtection"] is False
        assert calls[3][1]["EnableTerminationProtection"] is True
        request = deployment.cloudformation.request("create_change_set")
        assert request["ChangeSetType"] == "CREATE"
        assert f"({status}), and must be deleted first" in deployment.listener.text()
        assert deployment.listener.questions[0] == "Delete it?"

    @pytest.mark.parametrize(
        "status", [*stack.FAILED_FIRST_DEPLOY_STATUSES, *stack.HEALTHY_STATUSES]
    )
    @pytest.mark.parametrize("tags", [FOREIGN_TAGS, []], ids=["another prefix", "no tag"])
    def test_foreign_stack_is_refused_before_any_write(
        self, deployment: FakeDeployment, status: str, tags: list[dict[str, str]]
    ) -> None:
        deployment.cloudformation.stack = stack_in(status, tags)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            deployment.deploy()
        assert_nothing_was_written(deployment)

    @pytest.mark.parametrize(
        "status", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"]
    )
    @pytest.mark.parametrize("tags", [OWN_TAGS, FOREIGN_TAGS], ids=["ours", "foreign"])
    def test_busy_stack_is_left_alone(
        self, deployment: FakeDeployment, status: str, tags: list[dict[str, str]]
    ) -> None:
        deployment.cloudformation.stack = stack_in(status, tags)
        with pytest.raises(UnknownStateError, match=f"is busy \\({status}\\)") as refusal:
            deployment.deploy()
        assert refusal.value.exit_code == 3
        assert_nothing_was_written(deployment)

    @pytest.mark.parametrize(
        ("status", "remedy"),
        [
            ("DELETE_FAILED", "run: ./inv destroy"),
            ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name signwatch"),
            ("IMPORT_ROLLBACK_FAILED", "see its events"),
        ],
    )
    def test_status_that_no_deploy_can_start_from_is_named_with_a_remedy(
        self, deployment: FakeDeployment, status: str, remedy: str
    ) -> None:
        deployment.cloudformation.stack = stack_in(status)
        with pytest.raises(FailedError, match=f"is in state {status}") as failure:
            deployment.deploy()
        assert remedy in failure.value.remedy
        assert_nothing_was_written(deployment)

    @pytest.mark.parametrize(
        ("name", "value"), [("KnownNetworks", "0.0.0.0/0"), ("EventBusName", "without-the-prefix")]
    )
    def test_unusable_parameter_is_refused_before_any_upload(
        self, deployment: FakeDeployment, name: str, value: str
    ) -> None:
        deployment.choose(**{name: value})
        with pytest.raises(RefusedError, match=f"parameter {name}"):
            deployment.deploy()
        assert_nothing_was_written(deployment)


class TestFailure:
    def test_message_names_the_first_resource_that_failed_by_itself(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudformation.end_status = "ROLLBACK_COMPLETE"
        cancelled = {"ResourceStatusReason": "Resource creation cancelled"}
        cause = {
            "ResourceStatusReason": "the role is not ready",
            "StackName": "signwatch-lambda",
        }
        parent = {"ResourceType": stack_events.STACK_TYPE, "ResourceStatusReason": "embedded"}
        deployment.cloudformation.new_events = [
            event(1, "CREATE_FAILED", "Other", **cancelled),
            event(2, "CREATE_FAILED", "Function", **cause),
            event(3, "CREATE_FAILED", "LambdaStack", **parent),
        ]
        with pytest.raises(FailedError) as failure:
            deployment.deploy()
        assert str(failure.value).splitlines()[0] == (
            "stack signwatch: ended in ROLLBACK_COMPLETE because Function (AWS::Lambda::Function)"
            " in signwatch-lambda failed: the role is not ready"
        )
        assert failure.value.exit_code == 1

    @pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_FAILED"])
    def test_status_is_named_when_no_cause_is_known(
        self, deployment: FakeDeployment, status: str
    ) -> None:
        deployment.cloudformation.end_status = status
        with pytest.raises(FailedError) as failure:
            deployment.deploy()
        assert failure.value.what == f"ended in {status}"

    def test_failure_of_an_earlier_operation_is_not_the_cause(
        self, deployed: FakeDeployment
    ) -> None:
        earlier = event(1, "CREATE_FAILED", ResourceStatusReason="long ago")
        deployed.cloudformation.events = [earlier]
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.end_status = "UPDATE_ROLLBACK_COMPLETE"
        with pytest.raises(FailedError) as failure:
            deployed.deploy()
        assert "long ago" not in str(failure.value)

    def test_failed_early_validation_is_explained(self, deployment: FakeDeployment) -> None:
        reason = "Validation failed with 1 error(s). Call DescribeEvents to retrieve the full list"
        root = {"ResourceType": stack_events.STACK_TYPE, "ResourceStatusReason": reason}
        failure = event(9, "CREATE_FAILED", "signwatch", **root)
        validation = {
            "EventType": "VALIDATION_ERROR",
            "ValidationName": "NAME_CONFLICT_VALIDATION",
            "ValidationStatusReason": "exists",
        }
        earlier = failure["Timestamp"] - timedelta(hours=1)
        deployment.cloudformation.end_status = "ROLLBACK_COMPLETE"
        deployment.cloudformation.new_events = [failure]
        deployment.cloudformation.operation_events = [
            event(8, "", "Topic", **validation),
            {**event(0, "", "Earlier", **validation), "Timestamp": earlier},
        ]
        with pytest.raises(FailedError) as error:
            deployment.deploy()
        assert error.value.what.endswith(
            f"{reason}\n  Topic (AWS::Lambda::Function) fails NAME_CONFLICT_VALIDATION: exists"
        )
        request = deployment.cloudformation.request("describe_events")
        assert request == {"StackName": STACK_ID, "Filters": {"FailedEvents": True}}


class TestLeftovers:
    """What a first deploy that failed leaves in the account is shown with its removal."""

    def leave(self, deployment: FakeDeployment, *new_events: dict[str, Any]) -> list[str]:
        deployment.cloudformation.new_events = list(new_events)
        deployment.cloudformation.end_status = "ROLLBACK_FAILED"
        with pytest.raises(FailedError, match="ended in ROLLBACK_FAILED"):
            deployment.deploy()
        lines = deployment.listener.lines
        return [line for line in lines if line.startswith("Left in the account: ")]

    def test_bucket_that_could_not_be_deleted(self, deployment: FakeDeployment) -> None:
        created = event(1, "CREATE_COMPLETE", "TrailBucket", **BUCKET)
        (line,) = self.leave(
            deployment, created, event(2, "DELETE_FAILED", "TrailBucket", **BUCKET)
        )
        assert line.startswith("Left in the account: AWS::S3::Bucket trail-1")
        assert "Bucket('trail-1'); b.object_versions.delete(); b.delete()" in line

    def test_bucket_that_was_deleted_in_the_end(self, deployment: FakeDeployment) -> None:
        failed = event(1, "DELETE_FAILED", "TrailBucket", **BUCKET)
        deleted = event(2, "DELETE_COMPLETE", "TrailBucket", **BUCKET)
        assert self.leave(deployment, failed, deleted) == []

    def test_key_that_waits_for_its_deletion(self, deployment: FakeDeployment) -> None:
        (line,) = self.leave(deployment, event(1, "DELETE_COMPLETE", "MainKey", **KEY))
        assert line == (
            "Left in the account: AWS::KMS::Key key-1\n"
            "  AWS deletes this key by itself within 30 days"
        )

    def test_what_the_next_deploy_keeps_of_the_failed_one(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloudformation = deployment.cloudformation
        delete = cloudformation.delete_stack

        def keep(**request: Any) -> None:
            delete(**request)
            cloudformation.events.append(event(1, "DELETE_SKIPPED", "TrailBucket", **BUCKET))

        monkeypatch.setattr(cloudformation, "delete_stack", keep)
        cloudformation.stack = stack_in("ROLLBACK_FAILED")
        deployment.deploy()
        assert "Left in the account: AWS::S3::Bucket trail-1" in deployment.listener.text()


class TestHiddenNestedChanges:
    """Where AWS creates no nested change sets, the table lacks what changes inside the children."""

    @pytest.fixture(autouse=True)
    def hide_nested_changes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        create = changeset.create

        def create_without_nested(*arguments: Any, **options: Any) -> changeset.ChangeSet:
            return replace(create(*arguments, **options), hidden_reason="a placeholder")

        monkeypatch.setattr(changeset, "create", create_without_nested)

    def test_first_deploy_goes_on_since_it_can_lose_nothing(
        self, deployment: FakeDeployment
    ) -> None:
        assert deployment.deploy()

    def test_update_is_refused_and_its_change_set_deleted(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        message = "does not show what would change in the nested stacks.*a placeholder"
        with pytest.raises(RefusedError, match=message) as refusal:
            deployed.deploy()
        assert "--allow-hidden-changes" in refusal.value.remedy
        assert "approve_hidden_changes" in refusal.value.remedy
        assert deployed.cloudformation.call_names()[-1] == "delete_change_set"

    def test_leave_to_replace_is_no_leave_to_hide(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        with pytest.raises(RefusedError, match="does not show"):
            deployed.deploy(allow_replace=True)

    def test_leave_to_hide_is_no_leave_to_replace(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [REPLACED_TABLE]
        with pytest.raises(RefusedError, match="would replace or remove"):
            deployed.deploy(allow_hidden_changes=True)

    def test_update_goes_on_when_the_user_allows_it(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy(allow_hidden_changes=True)
        assert "execute_change_set" in deployed.cloudformation.call_names()


class TestInterruption:
    def interrupt_the_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(_: Any) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(stack_events.StackOperation, "wait", interrupt)

    def test_ctrl_c_in_a_first_deploy_says_that_aws_goes_on(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt_the_wait(monkeypatch)
        message = "interrupted here; CloudFormation goes on"
        with pytest.raises(stack.InterruptedWatchError, match=message) as interruption:
            deployment.deploy()
        assert interruption.value.exit_code == 130
        assert interruption.value.remedy == "watch it in the console to its end"
        assert "execute_change_set" in deployment.cloudformation.call_names()

    def test_ctrl_c_in_an_update_names_the_command_that_stops_it(
        self, deployed: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt_the_wait(monkeypatch)
        deployed.choose(AccountLabel="shop")
        with pytest.raises(stack.InterruptedWatchError) as interruption:
            deployed.deploy()
        command = "aws cloudformation cancel-update-stack --stack-name signwatch"
        command += f" --region {REGION}"
        assert interruption.value.remedy.endswith(command)

    def test_ctrl_c_in_a_deletion_says_that_aws_goes_on(
        self, deployed: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt_the_wait(monkeypatch)
        with pytest.raises(stack.InterruptedWatchError) as interruption:
            deployed.destroy()
        assert interruption.value.exit_code == 130
        assert "cancel" not in interruption.value.remedy
        assert "delete_stack" in deployed.cloudformation.call_names()


class TestOutputs:
    def test_stack_that_was_never_deployed_is_refused_with_the_task_to_run(
        self, deployment: FakeDeployment
    ) -> None:
        message = f"stack signwatch: is not deployed in account {ACCOUNT}, {REGION}"
        with pytest.raises(RefusedError, match=message) as refusal:
            stack.outputs(deployment.aws, deployment.settings)
        assert refusal.value.remedy == "run: ./inv deploy"

    def test_deleted_stack_does_not_exist(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("DELETE_COMPLETE")
        assert stack.describe(deployment.aws, "signwatch") is None

    def test_live_outputs_are_returned(self, deployed: FakeDeployment) -> None:
        outputs = stack.outputs(deployed.aws, deployed.settings)
        assert outputs == {"FunctionName": "signwatch-function"}
