"""The root stack in the states in which AWS may hold it: what is refused, how an end is told, and what lives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.aws import ACCOUNT, REGION, event
from tests.support.deployment import FOREIGN, TAGS, World, live
from tests.support.repository import ROOT
from tooling import templates
from tooling.deploy import changeset, stack, stack_events
from tooling.errors import FailedError, RefusedError, UnknownStateError


class TestStateOfTheStack:
    @pytest.mark.parametrize("status", stack.FAILED_FIRST_DEPLOY)
    def test_a_husk_of_ours_is_deleted_and_made_anew(self, world: World, status: str) -> None:
        world.cloudformation.stack = live(status)
        assert world.deploy() == {"FunctionName": "signwatch-function"}
        calls = world.cloudformation.calls
        assert [name for name, _ in calls] == [
            "update_termination_protection",
            "delete_stack",
            "create_change_set",
            "update_termination_protection",
            "execute_change_set",
        ]
        assert [
            asked["EnableTerminationProtection"] for name, asked in calls if "protection" in name
        ] == [False, True]
        assert world.cloudformation.asked("create_change_set")["ChangeSetType"] == "CREATE"
        assert f"({status}): deleting it" in world.listener.text()

    @pytest.mark.parametrize("status", [*stack.FAILED_FIRST_DEPLOY, *stack.HEALTHY])
    @pytest.mark.parametrize("tags", [FOREIGN, []], ids=["another prefix", "no tag"])
    def test_a_foreign_stack_is_refused_before_any_write(
        self, world: World, status: str, tags: list[dict[str, str]]
    ) -> None:
        world.cloudformation.stack = live(status, tags)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            world.deploy()
        assert (world.cloudformation.calls, world.s3.uploads) == ([], [])

    @pytest.mark.parametrize(
        "status", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"]
    )
    @pytest.mark.parametrize("tags", [TAGS, FOREIGN], ids=["ours", "foreign"])
    def test_a_busy_stack_is_left_alone(
        self, world: World, status: str, tags: list[dict[str, str]]
    ) -> None:
        world.cloudformation.stack = live(status, tags)
        with pytest.raises(UnknownStateError, match=f"is busy \\({status}\\)") as busy:
            world.deploy()
        assert busy.value.exit_code == 3
        assert (world.cloudformation.calls, world.s3.uploads) == ([], [])

    @pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"])
    def test_a_state_that_no_deploy_can_leave_is_named(self, world: World, status: str) -> None:
        world.cloudformation.stack = live(status)
        with pytest.raises(FailedError, match=f"is in state {status}"):
            world.deploy()
        assert (world.cloudformation.calls, world.s3.uploads) == ([], [])

    @pytest.mark.parametrize(
        ("status", "remedy"),
        [
            ("DELETE_FAILED", "run: invoke destroy"),
            ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
            ("IMPORT_ROLLBACK_FAILED", "see its events"),
        ],
    )
    def test_the_way_out_is_that_of_the_state(self, world: World, status: str, remedy: str) -> None:
        world.cloudformation.stack = live(status)
        with pytest.raises(FailedError) as failed:
            world.deploy()
        assert remedy in failed.value.remedy

    def test_an_unusable_parameter_is_refused_before_anything_is_uploaded(
        self, world: World
    ) -> None:
        world.choose(KnownNetworks="0.0.0.0/0")
        with pytest.raises(RefusedError, match="parameter KnownNetworks"):
            world.deploy()
        assert (world.cloudformation.calls, world.s3.uploads) == ([], [])

    def test_check_refuses_it_without_asking_aws(self, world: World) -> None:
        world.choose(KnownNetworks="nonsense")
        with pytest.raises(RefusedError, match="parameter KnownNetworks"):
            stack.check(world.settings)

    @pytest.mark.parametrize("name", stack.GIVEN)
    def test_check_refuses_what_the_tool_itself_sets(self, world: World, name: str) -> None:
        world.choose(**{name: "x"})
        with pytest.raises(RefusedError, match=f"parameter {name}: is set by invoke deploy itself"):
            stack.check(world.settings)


class TestFailure:
    def test_the_first_real_cause_is_the_sentence(self, world: World) -> None:
        world.cloudformation.ends = "ROLLBACK_COMPLETE"
        world.cloudformation.happens = [
            event(1, "CREATE_FAILED", "Other", ResourceStatusReason="Resource creation cancelled"),
            event(
                2,
                "CREATE_FAILED",
                "Function",
                ResourceStatusReason="the role is not ready",
                StackName="signwatch-lambda",
            ),
            event(
                3,
                "CREATE_FAILED",
                "LambdaStack",
                ResourceType=stack_events.STACK,
                ResourceStatusReason="embedded",
            ),
        ]
        with pytest.raises(FailedError) as failed:
            world.deploy()
        assert str(failed.value).splitlines()[0] == (
            "stack signwatch: ended in ROLLBACK_COMPLETE because Function (AWS::Lambda::Function) in signwatch-lambda "
            "failed: the role is not ready"
        )
        assert failed.value.exit_code == 1

    @pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_FAILED"])
    def test_without_a_known_cause_the_status_is_named(self, world: World, status: str) -> None:
        world.cloudformation.ends = status
        with pytest.raises(FailedError) as failed:
            world.deploy()
        assert failed.value.what == f"ended in {status}"

    def test_failures_of_an_earlier_operation_are_not_taken_for_the_cause(
        self, deployed: World
    ) -> None:
        deployed.cloudformation.events = [
            event(1, "CREATE_FAILED", ResourceStatusReason="long ago")
        ]
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.ends = "UPDATE_ROLLBACK_COMPLETE"
        with pytest.raises(FailedError) as failed:
            deployed.deploy()
        assert "long ago" not in str(failed.value)


class TestUnseenChanges:
    """Where AWS makes no nested change sets, what changes inside the children is not in the table."""

    @pytest.fixture(autouse=True)
    def unseen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        make = changeset.make
        monkeypatch.setattr(
            changeset, "make", lambda *asked, **more: replace(make(*asked, **more), whole=False)
        )

    def test_a_first_deploy_goes_on_for_it_can_lose_nothing(self, world: World) -> None:
        assert world.deploy()

    def test_an_update_is_refused_and_its_change_set_taken_back(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        with pytest.raises(
            RefusedError, match="does not show what would change in the nested stacks"
        ):
            deployed.deploy()
        assert deployed.cloudformation.names()[-1] == "delete_change_set"

    def test_a_person_may_allow_it(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy(allow_replace=True)
        assert "execute_change_set" in deployed.cloudformation.names()


class TestInterruption:
    def interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def pressed(_: Any) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(stack_events.Watch, "wait", pressed)

    def test_ctrl_c_while_watching_says_that_aws_goes_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt(monkeypatch)
        with pytest.raises(
            stack.InterruptedWatchError, match="interrupted here; CloudFormation goes on"
        ) as stopped:
            world.deploy()
        assert stopped.value.exit_code == 130
        assert stopped.value.remedy == "watch it in the console to its end"
        assert "execute_change_set" in world.cloudformation.names()

    def test_an_update_alone_has_a_command_that_stops_it(
        self, deployed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt(monkeypatch)
        deployed.choose(AccountLabel="shop")
        with pytest.raises(stack.InterruptedWatchError) as stopped:
            deployed.deploy()
        assert stopped.value.remedy.endswith(
            "aws cloudformation cancel-update-stack --stack-name signwatch"
        )

    def test_ctrl_c_while_a_stack_is_deleted_says_the_same(
        self, deployed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt(monkeypatch)
        with pytest.raises(stack.InterruptedWatchError) as stopped:
            deployed.destroy()
        assert stopped.value.exit_code == 130
        assert "cancel" not in stopped.value.remedy
        assert "delete_stack" in deployed.cloudformation.names()


class TestOutputs:
    def test_a_stack_that_was_never_deployed_says_what_to_run(self, world: World) -> None:
        with pytest.raises(
            RefusedError, match=f"stack signwatch: is not deployed in account {ACCOUNT}, {REGION}"
        ) as no:
            stack.outputs(world.aws, world.settings)
        assert no.value.remedy == "run: invoke deploy"

    def test_a_deleted_stack_counts_as_none(self, world: World) -> None:
        world.cloudformation.stack = live("DELETE_COMPLETE")
        assert stack.describe(world.aws, "signwatch") is None

    def test_the_live_values_are_returned(self, deployed: World) -> None:
        assert stack.outputs(deployed.aws, deployed.settings) == {
            "FunctionName": "signwatch-function"
        }


def test_every_name_that_the_tool_sets_is_one_of_the_parents() -> None:
    assert set(stack.GIVEN) <= set(templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"])
