"""The root stack deployed and destroyed: what is refused, in which order AWS is called, and how an end is told."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import ACCOUNT, REGION, STACK_ID, Aliases, CloudFormation, Objects, account, checksum, event
from tests.support.listener import Listener
from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling import changeset, stack, templates, watch
from tooling.bootstrap import Bootstrap
from tooling.errors import FailedError, RefusedError, UnknownStateError
from tooling.package import Artifact, Artifacts
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

MADE = Bootstrap(
    template_bucket_name="templates",
    artifact_bucket_name="artifacts",
    access_log_bucket_name="access-logs",
    deploy_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy",
    service_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-service",
    boundary_policy_arn=f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary",
)
read_once = functools.cache(templates.load)  # parsing the parent takes most of a deploy here
TAGS = [{"Key": "signwatch:prefix", "Value": "signwatch"}]
FOREIGN = [{"Key": "signwatch:prefix", "Value": "another"}]
TABLE = {
    "LogicalResourceId": "Table",
    "ResourceType": "AWS::DynamoDB::Table",
    "Action": "Modify",
    "Replacement": "True",
}
TOPIC = {"LogicalResourceId": "Topic", "ResourceType": "AWS::SNS::Topic", "Action": "Add"}


def live(status: str, tags: list[dict[str, str]] = TAGS, **more: Any) -> dict[str, Any]:
    return {"StackId": STACK_ID, "StackStatus": status, "Tags": tags, **more}


class World:
    """This checkout with its templates, two small zips, S3 and CloudFormation, and somebody who listens."""

    def __init__(self, folder: Path, cloudformation: CloudFormation) -> None:
        self.s3, self.cloudformation, self.listener = Objects(), cloudformation, Listener()
        self.iam = Aliases()
        self.aws = account(s3=self.s3, cloudformation=cloudformation, iam=self.iam)
        self.artifacts = Artifacts(_artifact(folder, "function"), _artifact(folder, "layer"))
        self.settings = Settings(
            account=ACCOUNT,
            region=REGION,
            prefix="signwatch",
            parameters={"AlertEmail": "a@example.com"},
            root=ROOT,
        )

    def deploy(self, **options: bool) -> dict[str, str]:
        console = self.listener.stack()
        return stack.deploy(self.aws, self.settings, MADE, self.artifacts, console=console, **options)

    def destroy(self) -> tuple[str, ...]:
        return stack.destroy(self.aws, self.settings, MADE, console=self.listener.stack())

    def choose(self, **parameters: str) -> None:
        chosen = {**self.settings.parameters, **parameters}
        self.settings = Settings(
            account=ACCOUNT, region=REGION, prefix="signwatch", parameters=chosen, root=self.settings.root
        )


def _artifact(folder: Path, kind: str) -> Artifact:
    path = folder / f"{kind}.zip"
    path.write_bytes(kind.encode())
    return Artifact(path, f"{kind}/1-plain.zip", "1", "plain", "", path.stat().st_size)


@pytest.fixture
def cloudformation() -> CloudFormation:
    return CloudFormation(changes=[TOPIC])


@pytest.fixture
def world(tmp_path: Path, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(templates, "load", read_once)
    return World(tmp_path, cloudformation)


@pytest.fixture
def deployed(world: World) -> World:
    """The same after a first deploy; what was said and asked until then is forgotten."""
    world.deploy()
    world.cloudformation.ends = "UPDATE_COMPLETE"
    world.cloudformation.calls.clear()
    world.s3.uploads.clear()
    world.listener = Listener()
    return world


class TestAccountLabel:
    def label(self, world: World) -> str:
        made = world.cloudformation.asked("create_change_set")["Parameters"]
        return str({one["ParameterKey"]: one["ParameterValue"] for one in made}["AccountLabel"])

    @pytest.mark.parametrize(
        ("alias", "label"), [("acme-prod", "acme-prod"), ("an-alias-of-more-than-twenty", "an-alias-of-more-tha")]
    )
    def test_without_one_the_accounts_alias_is_taken_as_far_as_it_fits(
        self, world: World, alias: str, label: str
    ) -> None:
        world.iam.aliases = (alias,)
        world.deploy()
        assert self.label(world) == label
        assert templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]["AccountLabel"]["AllowedPattern"].endswith(
            f"{{0,{stack.LONGEST_LABEL}}}"
        )

    @pytest.mark.parametrize("label", ["shop", ""])
    def test_one_that_was_chosen_stands_and_none_too(self, world: World, label: str) -> None:
        world.iam.aliases = ("acme-prod",)
        world.choose(AccountLabel=label)
        world.deploy()
        assert self.label(world) == label

    def test_without_an_alias_or_the_right_to_read_it_there_is_none(self, world: World) -> None:
        world.iam.refused = True
        world.deploy()
        assert self.label(world) == ""
        assert any("alias cannot be read (AccessDenied)" in line for line in world.listener.lines)


class TestFirstDeploy:
    def test_the_outputs_are_returned(self, world: World) -> None:
        assert world.deploy() == {"FunctionName": "signwatch-function"}

    def test_termination_protection_is_on_before_the_change_set_is_executed(self, world: World) -> None:
        world.deploy()
        assert world.cloudformation.names() == [
            "create_change_set",
            "update_termination_protection",
            "execute_change_set",
        ]
        protection = world.cloudformation.asked("update_termination_protection")
        assert protection == {"StackName": STACK_ID, "EnableTerminationProtection": True}

    def test_the_change_set_is_a_creation_by_the_service_role_with_our_tag(self, world: World) -> None:
        world.deploy()
        asked = world.cloudformation.asked("create_change_set")
        digest = templates.digest(ROOT / "cfn")
        assert asked["ChangeSetType"] == "CREATE"
        assert asked["RoleARN"] == MADE.service_role_arn
        assert asked["Tags"] == TAGS
        assert asked["TemplateURL"] == f"https://s3.{REGION}.amazonaws.com/templates/{digest}/parent.yaml"

    def test_every_parameter_of_the_parent_is_given(self, world: World) -> None:
        world.deploy()
        given = {
            item["ParameterKey"]: item["ParameterValue"]
            for item in world.cloudformation.asked("create_change_set")["Parameters"]
        }
        assert set(given) == set(templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"])
        assert (given["AlertEmail"], given["CodeKey"], given["NamePrefix"], given["HomeRegion"]) == (
            "a@example.com",
            "function/1-plain.zip",
            "signwatch",
            REGION,
        )
        assert "" not in {given[name] for name in stack.GIVEN}

    def test_templates_and_zips_are_uploaded_before_the_change_set(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_change_set: list[int] = []
        make = world.cloudformation.create_change_set

        def made(**asked: Any) -> dict[str, Any]:
            at_change_set.append(len(world.s3.uploads))
            return make(**asked)

        monkeypatch.setattr(world.cloudformation, "create_change_set", made)
        world.deploy()
        uploaded = {(asked["Bucket"], asked["Key"].rpartition("/")[2]) for asked in world.s3.uploads}
        names = {path.name for path in (ROOT / "cfn").glob("*.yaml")}
        assert uploaded == {("templates", name) for name in names} | {("artifacts", "1-plain.zip")}
        assert at_change_set == [len(names) + 2]

    def test_a_byte_code_variant_in_the_bucket_is_taken_and_the_plain_one_not_uploaded(self, world: World) -> None:
        world.s3.stored["artifacts", "function/1-cp314.zip"] = checksum(b"with byte-code")
        world.deploy()
        given = {
            item["ParameterKey"]: item["ParameterValue"]
            for item in world.cloudformation.asked("create_change_set")["Parameters"]
        }
        assert (given["CodeKey"], given["LayerKey"]) == ("function/1-cp314.zip", "layer/1-plain.zip")
        assert ("artifacts", "function/1-plain.zip") not in world.s3.stored

    def test_the_change_table_and_the_live_events_are_shown(self, world: World) -> None:
        world.cloudformation.happens = [event(1, "CREATE_IN_PROGRESS"), event(2, "CREATE_COMPLETE")]
        world.deploy()
        assert [change.resource for change in world.listener.changes] == ["Topic"]
        assert [shown.status for shown in world.listener.events] == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]

    def test_a_stack_that_is_only_a_change_set_so_far_is_created(self, world: World) -> None:
        world.cloudformation.stack = live("REVIEW_IN_PROGRESS", tags=[])
        world.deploy()
        assert world.cloudformation.asked("create_change_set")["ChangeSetType"] == "CREATE"


class TestNothingChanged:
    def test_it_is_one_sentence_and_no_change_set(self, deployed: World) -> None:
        assert deployed.deploy() == {"FunctionName": "signwatch-function"}
        assert deployed.listener.lines == [
            "Nothing changed: stack signwatch already runs this version with these parameters."
        ]
        assert deployed.cloudformation.calls == []
        assert deployed.s3.uploads == []

    def test_where_something_had_to_be_uploaded_again_aws_is_asked(self, deployed: World) -> None:
        del deployed.s3.stored["artifacts", "function/1-plain.zip"]
        deployed.deploy()
        assert [asked["Key"] for asked in deployed.s3.uploads] == ["function/1-plain.zip"]
        assert deployed.cloudformation.names()[0] == "create_change_set"

    def test_where_aws_sees_no_difference_nothing_is_executed(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = []
        assert deployed.deploy() == {"FunctionName": "signwatch-function"}
        assert deployed.listener.lines[-1] == "Nothing changed: AWS sees no difference in stack signwatch."
        assert deployed.cloudformation.names() == ["create_change_set"]


class TestUpdate:
    def test_a_changed_parameter_is_an_update_that_leaves_protection_alone(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert deployed.cloudformation.names() == ["create_change_set", "execute_change_set"]
        assert deployed.cloudformation.asked("create_change_set")["ChangeSetType"] == "UPDATE"

    def test_a_changed_line_of_code_uploads_the_code_alone(self, deployed: World, tmp_path: Path) -> None:
        (tmp_path / "function.zip").write_bytes(b"changed")
        code = Artifact(tmp_path / "function.zip", "function/2-plain.zip", "2", "plain", "", 7)
        deployed.artifacts = Artifacts(code, deployed.artifacts.layer)
        deployed.deploy()
        assert [asked["Key"] for asked in deployed.s3.uploads] == ["function/2-plain.zip"]
        assert deployed.cloudformation.names() == ["create_change_set", "execute_change_set"]

    def test_a_live_value_that_nobody_names_is_kept(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        deployed.settings = Settings(
            account=ACCOUNT,
            region=REGION,
            prefix="signwatch",
            parameters={"LogRetentionDays": "30"},
            root=deployed.settings.root,
        )
        deployed.cloudformation.calls.clear()
        deployed.deploy()
        given = {
            item["ParameterKey"]: item["ParameterValue"]
            for item in deployed.cloudformation.asked("create_change_set")["Parameters"]
        }
        assert (given["AccountLabel"], given["AlertEmail"]) == ("shop", "a@example.com")

    def test_a_certain_loss_is_refused_and_its_change_set_removed(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [TABLE]
        with pytest.raises(RefusedError, match=r"would replace or remove signwatch\.Table"):
            deployed.deploy()
        assert deployed.cloudformation.names() == ["create_change_set", "delete_change_set"]
        assert deployed.cloudformation.asked("delete_change_set") == {
            "ChangeSetName": "change-set",
            "StackName": STACK_ID,
        }
        assert [change.replacement for change in deployed.listener.changes] == ["yes"]

    def test_a_possible_loss_is_shown_and_executed(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [{**TABLE, "Replacement": "Conditional"}]
        deployed.deploy()
        assert [change.replacement for change in deployed.listener.changes] == ["maybe"]
        assert "execute_change_set" in deployed.cloudformation.names()

    def test_a_loss_that_is_wanted_is_executed(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [TABLE]
        deployed.deploy(allow_replace=True)
        assert "execute_change_set" in deployed.cloudformation.names()


class TestStateOfTheStack:
    @pytest.mark.parametrize("status", stack.HUSK)
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
        assert [asked["EnableTerminationProtection"] for name, asked in calls if "protection" in name] == [False, True]
        assert world.cloudformation.asked("create_change_set")["ChangeSetType"] == "CREATE"
        assert f"({status}): deleting it" in world.listener.text()

    @pytest.mark.parametrize("status", [*stack.HUSK, *stack.HEALTHY])
    @pytest.mark.parametrize("tags", [FOREIGN, []], ids=["another prefix", "no tag"])
    def test_a_foreign_stack_is_refused_before_any_write(
        self, world: World, status: str, tags: list[dict[str, str]]
    ) -> None:
        world.cloudformation.stack = live(status, tags)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            world.deploy()
        assert (world.cloudformation.calls, world.s3.uploads) == ([], [])

    @pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
    @pytest.mark.parametrize("tags", [TAGS, FOREIGN], ids=["ours", "foreign"])
    def test_a_busy_stack_is_left_alone(self, world: World, status: str, tags: list[dict[str, str]]) -> None:
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

    def test_an_unusable_parameter_is_refused_before_anything_is_uploaded(self, world: World) -> None:
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
            event(3, "CREATE_FAILED", "LambdaStack", ResourceType=watch.STACK, ResourceStatusReason="embedded"),
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

    def test_failures_of_an_earlier_operation_are_not_taken_for_the_cause(self, deployed: World) -> None:
        deployed.cloudformation.events = [event(1, "CREATE_FAILED", ResourceStatusReason="long ago")]
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.ends = "UPDATE_ROLLBACK_COMPLETE"
        with pytest.raises(FailedError) as failed:
            deployed.deploy()
        assert "long ago" not in str(failed.value)


class TestWhatIsSaid:
    def test_an_update_names_each_parameter_that_changes(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        told = [line for line in deployed.listener.lines if line.startswith("parameter ")]
        assert told == ["parameter AccountLabel: '' -> 'shop'"]

    def test_a_first_deploy_says_that_the_confirmation_must_be_clicked(self, world: World) -> None:
        world.deploy()
        assert world.listener.lines[-1] == (
            "AWS mails a confirmation to a@example.com: click its link, or no e-mail arrives."
        )

    def test_an_update_says_it_again_for_another_address_alone(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert not any("confirmation" in line for line in deployed.listener.lines)
        deployed.cloudformation.calls.clear()
        deployed.choose(AlertEmail="b@example.com")
        deployed.deploy()
        assert "b@example.com: click its link" in deployed.listener.lines[-1]


class TestUnseenChanges:
    """Where AWS makes no nested change sets, what changes inside the children is not in the table."""

    @pytest.fixture(autouse=True)
    def unseen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        make = changeset.make
        monkeypatch.setattr(changeset, "make", lambda *asked, **more: replace(make(*asked, **more), whole=False))

    def test_a_first_deploy_goes_on_for_it_can_lose_nothing(self, world: World) -> None:
        assert world.deploy()

    def test_an_update_is_refused_and_its_change_set_taken_back(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        with pytest.raises(RefusedError, match="does not show what would change in the nested stacks"):
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

        monkeypatch.setattr(watch.Watch, "wait", pressed)

    def test_ctrl_c_while_watching_says_that_aws_goes_on(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.interrupt(monkeypatch)
        with pytest.raises(stack.InterruptedWatchError, match="interrupted here; CloudFormation goes on") as stopped:
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
        assert stopped.value.remedy.endswith("aws cloudformation cancel-update-stack --stack-name signwatch")

    def test_ctrl_c_while_a_stack_is_deleted_says_the_same(
        self, deployed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt(monkeypatch)
        with pytest.raises(stack.InterruptedWatchError) as stopped:
            deployed.destroy()
        assert stopped.value.exit_code == 130
        assert "cancel" not in stopped.value.remedy
        assert "delete_stack" in deployed.cloudformation.names()


class TestDestroy:
    def test_protection_is_switched_off_and_the_service_role_deletes(self, deployed: World) -> None:
        assert deployed.destroy() == ()
        assert deployed.cloudformation.calls == [
            ("update_termination_protection", {"StackName": STACK_ID, "EnableTerminationProtection": False}),
            ("delete_stack", {"StackName": STACK_ID, "RoleARN": MADE.service_role_arn}),
        ]

    def test_what_aws_kept_is_named(self, deployed: World) -> None:
        deployed.cloudformation.happens = [
            event(1, "DELETE_SKIPPED", "Bucket", ResourceType="AWS::S3::Bucket", PhysicalResourceId="trail-1"),
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

    def test_a_deletion_that_fails_names_its_cause(self, deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = event(1, "DELETE_FAILED", "Queue", ResourceStatusReason="in use")

        def fail(**_: Any) -> None:
            deployed.cloudformation.stack = live("DELETE_FAILED")
            deployed.cloudformation.events.append(failure)

        monkeypatch.setattr(deployed.cloudformation, "delete_stack", fail)
        with pytest.raises(FailedError, match=r"ended in DELETE_FAILED because Queue .* failed: in use"):
            deployed.destroy()


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
        assert stack.outputs(deployed.aws, deployed.settings) == {"FunctionName": "signwatch-function"}


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


def test_every_name_that_the_tool_sets_is_one_of_the_parents() -> None:
    assert set(stack.GIVEN) <= set(templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"])


def test_the_template_is_addressed_in_the_partition_of_china(world: World) -> None:
    world.settings = Settings(
        account=ACCOUNT,
        region="cn-north-1",
        prefix="signwatch",
        parameters=world.settings.parameters,
        root=world.settings.root,
    )
    world.deploy()
    url = world.cloudformation.asked("create_change_set")["TemplateURL"]
    assert url.startswith("https://s3.cn-north-1.amazonaws.com.cn/templates/")


def test_the_changes_that_are_judged_are_those_that_were_shown(deployed: World) -> None:
    deployed.choose(AccountLabel="shop")
    deployed.cloudformation.changes = [TOPIC, {**TABLE, "Replacement": "False"}]
    deployed.deploy()
    assert deployed.listener.changes == [
        changeset.Change("signwatch", "Topic", "AWS::SNS::Topic", "Add", ""),
        changeset.Change("signwatch", "Table", "AWS::DynamoDB::Table", "Modify", ""),
    ]
