"""What a deploy asks of AWS and in which order, what it takes back, and what the person who deploys is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import REGION, STACK_ID, checksum, event
from tests.support.deployment import MADE, TABLE, TAGS, TOPIC, World, live
from tests.support.repository import ROOT
from tooling import templates
from tooling.deploy import changeset, stack
from tooling.deploy.package import Artifact, Artifacts
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


class TestAccountLabel:
    def label(self, world: World) -> str:
        made = world.cloudformation.asked("create_change_set")["Parameters"]
        return str({one["ParameterKey"]: one["ParameterValue"] for one in made}["AccountLabel"])

    @pytest.mark.parametrize(
        ("alias", "label"),
        [("acme-prod", "acme-prod"), ("an-alias-of-more-than-twenty", "an-alias-of-more-tha")],
    )
    def test_without_one_the_accounts_alias_is_taken_as_far_as_it_fits(
        self, world: World, alias: str, label: str
    ) -> None:
        world.iam.aliases = (alias,)
        world.deploy()
        assert self.label(world) == label
        assert templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]["AccountLabel"][
            "AllowedPattern"
        ].endswith(f"{{0,{stack.LONGEST_LABEL}}}")

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

    def test_termination_protection_is_on_before_the_change_set_is_executed(
        self, world: World
    ) -> None:
        world.deploy()
        assert world.cloudformation.names() == [
            "create_change_set",
            "update_termination_protection",
            "execute_change_set",
        ]
        protection = world.cloudformation.asked("update_termination_protection")
        assert protection == {"StackName": STACK_ID, "EnableTerminationProtection": True}

    def test_the_change_set_is_a_creation_by_the_service_role_with_our_tag(
        self, world: World
    ) -> None:
        world.deploy()
        asked = world.cloudformation.asked("create_change_set")
        digest = templates.digest(ROOT / "cfn")
        assert asked["ChangeSetType"] == "CREATE"
        assert asked["RoleARN"] == MADE.service_role_arn
        assert asked["Tags"] == TAGS
        assert (
            asked["TemplateURL"]
            == f"https://s3.{REGION}.amazonaws.com/templates/{digest}/parent.yaml"
        )

    def test_every_parameter_of_the_parent_is_given(self, world: World) -> None:
        world.deploy()
        given = {
            item["ParameterKey"]: item["ParameterValue"]
            for item in world.cloudformation.asked("create_change_set")["Parameters"]
        }
        assert set(given) == set(templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"])
        assert (
            given["AlertEmail"],
            given["CodeKey"],
            given["NamePrefix"],
            given["HomeRegion"],
        ) == (
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
        uploaded = {
            (asked["Bucket"], asked["Key"].rpartition("/")[2]) for asked in world.s3.uploads
        }
        names = {path.name for path in (ROOT / "cfn").glob("*.yaml")}
        assert uploaded == {("templates", name) for name in names} | {("artifacts", "1-plain.zip")}
        assert at_change_set == [len(names) + 2]

    def test_a_byte_code_variant_in_the_bucket_is_taken_and_the_plain_one_not_uploaded(
        self, world: World
    ) -> None:
        world.s3.stored["artifacts", "function/1-cp314.zip"] = checksum(b"with byte-code")
        world.deploy()
        given = {
            item["ParameterKey"]: item["ParameterValue"]
            for item in world.cloudformation.asked("create_change_set")["Parameters"]
        }
        assert (given["CodeKey"], given["LayerKey"]) == (
            "function/1-cp314.zip",
            "layer/1-plain.zip",
        )
        assert ("artifacts", "function/1-plain.zip") not in world.s3.stored

    def test_the_change_table_and_the_live_events_are_shown(self, world: World) -> None:
        world.cloudformation.happens = [event(1, "CREATE_IN_PROGRESS"), event(2, "CREATE_COMPLETE")]
        world.deploy()
        assert [change.resource for change in world.listener.changes] == ["Topic"]
        assert [shown.status for shown in world.listener.events] == [
            "CREATE_IN_PROGRESS",
            "CREATE_COMPLETE",
        ]

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
        assert (
            deployed.listener.lines[-1]
            == "Nothing changed: AWS sees no difference in stack signwatch."
        )
        assert deployed.cloudformation.names() == ["create_change_set"]


class TestUpdate:
    def test_a_changed_parameter_is_an_update_that_leaves_protection_alone(
        self, deployed: World
    ) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert deployed.cloudformation.names() == ["create_change_set", "execute_change_set"]
        assert deployed.cloudformation.asked("create_change_set")["ChangeSetType"] == "UPDATE"

    def test_a_changed_line_of_code_uploads_the_code_alone(
        self, deployed: World, tmp_path: Path
    ) -> None:
        (tmp_path / "function.zip").write_bytes(b"changed")
        code = Artifact(tmp_path / "function.zip", "function/2-plain.zip", "2", "plain", "", 7)
        deployed.artifacts = Artifacts(code, deployed.artifacts.layer)
        deployed.deploy()
        assert [asked["Key"] for asked in deployed.s3.uploads] == ["function/2-plain.zip"]
        assert deployed.cloudformation.names() == ["create_change_set", "execute_change_set"]

    def test_a_live_value_that_nobody_names_is_kept(self, deployed: World) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        deployed.settings = replace(deployed.settings, parameters={"LogRetentionDays": "30"})
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


def test_the_template_is_addressed_in_the_partition_of_china(world: World) -> None:
    world.settings = replace(world.settings, region="cn-north-1")
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
