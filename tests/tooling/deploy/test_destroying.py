"""Deleting the root stack: the confirmation, the refusals, and what is reported at the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import REGION, STACK_ID, event
from tests.support.deployment import (
    BUCKET,
    CONTRACT,
    FOREIGN_TAGS,
    KEY,
    FakeDeployment,
    stack_in,
)
from tooling.deploy import stack
from tooling.deploy.stack import ForwarderRemoval
from tooling.deploy.stack_events import STACK_TYPE
from tooling.errors import FailedError, PlanShownError, RefusedError, UnknownStateError


def stop() -> None:
    """Answer as --plan does."""
    raise PlanShownError


REMOVE_BUCKET = (
    '.venv/bin/python -c "import boto3;'
    f" b = boto3.resource('s3', '{REGION}').Bucket('trail-1');"
    ' b.object_versions.delete(); b.delete()"'
)
REMOVE_KEY = (
    f"aws kms schedule-key-deletion --region {REGION} --key-id key-1 --pending-window-in-days 7"
)

LINES_BEFORE = 5  # that say what is deleted and what stays


class TestForwarders:
    @pytest.fixture
    def removal(self, deployed: FakeDeployment) -> ForwarderRemoval:
        """One forwarder; its deletion is among the calls of CloudFormation."""
        calls = deployed.cloudformation.calls
        return ForwarderRemoval(("us-east-1",), lambda: calls.append(("forwarders", {})))

    def destroy(self, deployed: FakeDeployment, removal: ForwarderRemoval) -> None:
        display = deployed.listener.stack()
        stack.destroy(
            deployed.aws, deployed.settings, CONTRACT, display=display, forwarders=removal
        )

    def test_they_go_after_the_question_and_before_the_stack(
        self, deployed: FakeDeployment, removal: ForwarderRemoval
    ) -> None:
        self.destroy(deployed, removal)
        assert len(deployed.listener.questions) == 1
        names = ["forwarders", "update_termination_protection", "delete_stack"]
        assert deployed.cloudformation.call_names() == names
        assert deployed.listener.lines[-1] == "Stack signwatch is deleted."

    def test_stack_stays_if_one_is_left(self, deployed: FakeDeployment) -> None:
        def fail() -> None:
            raise FailedError("forwarders", "one is left", "try again")

        with pytest.raises(FailedError, match="one is left"):
            self.destroy(deployed, ForwarderRemoval(("us-east-1",), fail))
        assert deployed.cloudformation.calls == []

    def test_they_go_too_if_the_stack_is_gone(
        self, deployed: FakeDeployment, removal: ForwarderRemoval
    ) -> None:
        deployed.cloudformation.stack = None
        self.destroy(deployed, removal)
        (question,) = deployed.listener.questions
        assert question == "Type the prefix (signwatch) to delete its forwarders:"
        assert deployed.cloudformation.call_names() == ["forwarders"]
        assert "is deleted" not in deployed.listener.text()

    def test_they_stay_unless_it_is_approved(
        self, deployed: FakeDeployment, removal: ForwarderRemoval
    ) -> None:
        deployed.listener.answer = stop
        for main in (deployed.cloudformation.stack, None):
            deployed.cloudformation.stack = main
            with pytest.raises(PlanShownError):
                self.destroy(deployed, removal)
        assert deployed.cloudformation.calls == []


class TestDestroy:
    def test_nothing_is_deleted_unless_it_is_approved(self, deployed: FakeDeployment) -> None:
        deployed.listener.answer = stop
        with pytest.raises(PlanShownError):
            deployed.destroy()
        assert deployed.cloudformation.calls == []

    def test_protection_is_switched_off_and_the_service_role_deletes(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.destroy()
        assert deployed.listener.questions == ["Type the prefix (signwatch) to delete its stack:"]
        text = deployed.listener.text()
        assert "Twilio secret, which cannot be restored" in text
        assert "1.00 USD for the key, and 0.023 USD for each GB" in text
        assert "The bootstrap's buckets and roles stay too" in text
        assert "inv destroy --everything" in text.replace("invoke", "inv")
        assert deployed.cloudformation.calls == [
            (
                "update_termination_protection",
                {"StackName": STACK_ID, "EnableTerminationProtection": False},
            ),
            ("delete_stack", {"StackName": STACK_ID, "RoleARN": CONTRACT.service_role_arn}),
        ]

    def test_resources_that_aws_keeps_are_shown_with_the_commands_that_remove_them(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.cloudformation.new_events = [
            event(1, "DELETE_SKIPPED", "Bucket", **BUCKET),
            event(2, "DELETE_SKIPPED", "Key", **KEY),
            event(3, "DELETE_COMPLETE", PhysicalResourceId="function-1"),
        ]
        deployed.destroy()
        assert deployed.listener.lines[LINES_BEFORE:-1] == [
            f"Left in the account: AWS::S3::Bucket trail-1\n  to remove it: {REMOVE_BUCKET}",
            f"Left in the account: AWS::KMS::Key key-1\n  to remove it: {REMOVE_KEY}",
        ]

    def test_missing_stack_is_refused(self, deployment: FakeDeployment) -> None:
        with pytest.raises(RefusedError, match="stack signwatch: does not exist"):
            deployment.destroy()

    def test_foreign_stack_is_refused(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("CREATE_COMPLETE", FOREIGN_TAGS)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            deployment.destroy()
        assert deployment.cloudformation.calls == []

    def test_busy_stack_is_left_alone(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("UPDATE_IN_PROGRESS")
        with pytest.raises(UnknownStateError, match="is busy"):
            deployment.destroy()
        assert deployment.cloudformation.calls == []

    def test_failed_deletion_names_its_cause(
        self, deployed: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failure = event(1, "DELETE_FAILED", "Queue", ResourceStatusReason="in use")

        def fail(**_: Any) -> None:
            deployed.cloudformation.stack = stack_in("DELETE_FAILED")
            deployed.cloudformation.events.append(failure)

        monkeypatch.setattr(deployed.cloudformation, "delete_stack", fail)
        message = r"ended in DELETE_FAILED because Queue .* failed: in use"
        with pytest.raises(FailedError, match=message):
            deployed.destroy()

    def test_failed_deletion_shows_what_is_left(
        self, deployed: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        child = {"ResourceType": STACK_TYPE, "PhysicalResourceId": "arn:child"}
        failures = [
            event(1, "DELETE_FAILED", "Bucket", ResourceStatusReason="not empty", **BUCKET),
            event(2, "DELETE_FAILED", "Queue", PhysicalResourceId="queue-1"),
            event(3, "DELETE_FAILED", "ChildStack", **child),
        ]

        def fail(**_: Any) -> None:
            deployed.cloudformation.stack = stack_in("DELETE_FAILED")
            deployed.cloudformation.events += failures

        monkeypatch.setattr(deployed.cloudformation, "delete_stack", fail)
        with pytest.raises(FailedError, match="ended in DELETE_FAILED"):
            deployed.destroy()
        bucket, queue = deployed.listener.lines[LINES_BEFORE:]
        assert bucket.startswith("Left in the account: AWS::S3::Bucket trail-1 (not empty)\n")
        assert queue.endswith("to remove it, delete it in the console of its service")
