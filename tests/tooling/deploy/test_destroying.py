"""The root stack destroyed: who confirms it, what is refused, and what is told of the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import STACK_ID, event
from tests.support.deployment import FOREIGN, MADE, World, live
from tests.support.refusals import refusal_of
from tooling.deploy import stack
from tooling.errors import FailedError, RefusedError, UnknownStateError


class TestDestroy:
    def test_protection_is_switched_off_and_the_service_role_deletes(self, deployed: World) -> None:
        assert deployed.destroy() == ()
        assert deployed.cloudformation.calls == [
            (
                "update_termination_protection",
                {"StackName": STACK_ID, "EnableTerminationProtection": False},
            ),
            ("delete_stack", {"StackName": STACK_ID, "RoleARN": MADE.service_role_arn}),
        ]

    def test_what_aws_kept_is_named(self, deployed: World) -> None:
        deployed.cloudformation.happens = [
            event(
                1,
                "DELETE_SKIPPED",
                "Bucket",
                ResourceType="AWS::S3::Bucket",
                PhysicalResourceId="trail-1",
            ),
            event(2, "DELETE_COMPLETE"),
        ]
        assert deployed.destroy() == ("AWS::S3::Bucket trail-1",)

    def test_a_stack_that_does_not_exist_is_refused(self, world: World) -> None:
        with pytest.raises(RefusedError, match="stack signwatch: does not exist"):
            world.destroy()

    def test_a_foreign_stack_is_refused(self, world: World) -> None:
        world.cloudformation.stack = live("CREATE_COMPLETE", FOREIGN)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            world.destroy()
        assert world.cloudformation.calls == []

    def test_a_busy_stack_is_left_alone(self, world: World) -> None:
        world.cloudformation.stack = live("UPDATE_IN_PROGRESS")
        with pytest.raises(UnknownStateError, match="is busy"):
            world.destroy()
        assert world.cloudformation.calls == []

    def test_a_deletion_that_fails_names_its_cause(
        self, deployed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failure = event(1, "DELETE_FAILED", "Queue", ResourceStatusReason="in use")

        def fail(**_: Any) -> None:
            deployed.cloudformation.stack = live("DELETE_FAILED")
            deployed.cloudformation.events.append(failure)

        monkeypatch.setattr(deployed.cloudformation, "delete_stack", fail)
        with pytest.raises(
            FailedError, match=r"ended in DELETE_FAILED because Queue .* failed: in use"
        ):
            deployed.destroy()


class TestConfirm:
    def test_the_prefix_confirms(self) -> None:
        assert refusal_of(lambda: stack.confirm("signwatch", " signwatch ")) == ""

    @pytest.mark.parametrize("typed", ["", "Signwatch", "yes"])
    def test_another_word_does_not(self, typed: str) -> None:
        with pytest.raises(RefusedError, match="was not deleted: the prefix was not typed"):
            stack.confirm("signwatch", typed)

    def test_it_is_asked_for_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def answer(question: str) -> str:
            asked.append(question)
            return "signwatch"

        monkeypatch.setattr("builtins.input", answer)
        stack.confirm("signwatch", None)
        assert "(signwatch)" in asked[0]

    def test_an_input_that_ends_does_not_confirm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def ended(_: str) -> str:
            raise EOFError

        monkeypatch.setattr("builtins.input", ended)
        with pytest.raises(RefusedError, match="the prefix was not typed"):
            stack.confirm("signwatch", None)
