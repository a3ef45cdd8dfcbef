"""What a deploy requests from AWS, in which order, what it undoes, and what it tells the user."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import REGION, STACK_ID, checksum, client_error, event
from tests.support.deployment import (
    CONTRACT,
    DIGEST,
    NEW_TOPIC,
    OWN_TAGS,
    REPLACED_TABLE,
    FakeDeployment,
    stack_in,
)
from tests.support.repository import ROOT
from tooling import parameters, templates
from tooling.deploy import archive, changeset, stack
from tooling.deploy.package import Artifacts
from tooling.errors import FailedError, PlanShownError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE_FILES = sorted((ROOT / "cfn").glob("*.yaml"))


class TestAccountLabel:
    @pytest.mark.parametrize(
        ("alias", "label"),
        [("acme-prod", "acme-prod"), ("an-alias-of-more-than-twenty", "an-alias-of-more-tha")],
    )
    def test_default_is_the_accounts_alias_shortened_to_fit(
        self, deployment: FakeDeployment, alias: str, label: str
    ) -> None:
        deployment.iam.aliases = [alias]
        deployment.deploy()
        assert deployment.cloudformation.requested_parameters()["AccountLabel"] == label
        declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]["AccountLabel"]
        assert declared["AllowedPattern"].endswith(f"{{0,{stack.ACCOUNT_LABEL_MAX_CHARS}}}")

    @pytest.mark.parametrize("label", ["shop", ""])
    def test_chosen_label_is_used_even_when_empty(
        self, deployment: FakeDeployment, label: str
    ) -> None:
        deployment.iam.aliases = ["acme-prod"]
        deployment.choose(AccountLabel=label)
        deployment.deploy()
        assert deployment.cloudformation.requested_parameters()["AccountLabel"] == label

    def test_label_is_empty_without_the_right_to_read_the_alias(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.iam.is_denied = True
        deployment.deploy()
        assert deployment.cloudformation.requested_parameters()["AccountLabel"] == ""
        assert "alias cannot be read (AccessDenied)" in deployment.listener.text()


class TestFirstDeploy:
    def test_outputs_are_returned(self, deployment: FakeDeployment) -> None:
        assert deployment.deploy() == {"FunctionName": "signwatch-function"}

    def test_termination_protection_is_on_before_the_change_set_is_executed(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.deploy()
        assert deployment.cloudformation.call_names() == [
            "create_change_set",
            "update_termination_protection",
            "execute_change_set",
        ]
        protection = deployment.cloudformation.request("update_termination_protection")
        assert protection == {"StackName": STACK_ID, "EnableTerminationProtection": True}

    def test_change_set_creates_the_stack_with_the_service_role_and_our_tag(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.deploy()
        request = deployment.cloudformation.request("create_change_set")
        digest = archive.digest((path.name, path.read_bytes()) for path in TEMPLATE_FILES)
        url = f"https://s3.{REGION}.amazonaws.com/templates/{digest}/parent.yaml"
        assert request["ChangeSetType"] == "CREATE"
        assert request["RoleARN"] == CONTRACT.service_role_arn
        assert request["Tags"] == OWN_TAGS
        assert request["TemplateURL"] == url

    def test_every_parameter_of_the_parent_has_a_value(self, deployment: FakeDeployment) -> None:
        deployment.deploy()
        values = deployment.cloudformation.requested_parameters()
        assert set(values) == set(templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"])
        assert values["AlertEmail"] == "a@example.com"
        assert values["CodeKey"] == str(deployment.artifacts.code.key)
        assert values["LayerKey"] == str(deployment.artifacts.layer.key)
        assert values["NamePrefix"] == "signwatch"
        assert values["HomeRegion"] == REGION
        assert "" not in {values[name] for name in parameters.DEPLOY_PARAMETERS}

    def test_templates_are_uploaded_for_the_change_set_and_zips_once_it_is_approved(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts: list[int] = []
        cloudformation = deployment.cloudformation

        def count_before(name: str) -> None:
            call = getattr(cloudformation, name)

            def count_and_call(**request: Any) -> Any:
                counts.append(len(deployment.s3.uploads))
                return call(**request)

            monkeypatch.setattr(cloudformation, name, count_and_call)

        count_before("create_change_set")
        count_before("execute_change_set")
        deployment.deploy()
        uploads = deployment.s3.uploads
        names = {(request["Bucket"], request["Key"].partition("/")[2]) for request in uploads[:-2]}
        assert names == {("templates", path.name) for path in TEMPLATE_FILES}
        assert [(request["Bucket"], request["Key"]) for request in uploads[-2:]] == [
            ("artifacts", str(deployment.artifacts.code.key)),
            ("artifacts", str(deployment.artifacts.layer.key)),
        ]
        assert counts == [len(TEMPLATE_FILES), len(TEMPLATE_FILES) + 2]

    def test_stored_zip_with_byte_code_is_deployed_and_the_plain_one_not_uploaded(
        self, deployment: FakeDeployment
    ) -> None:
        compiled = deployment.make_artifact("function", b"compiled", variant="cp314")
        deployment.s3.checksums["artifacts", str(compiled.key)] = checksum(b"compiled")
        deployment.deploy()
        values = deployment.cloudformation.requested_parameters()
        assert values["CodeKey"] == str(compiled.key)
        assert values["LayerKey"] == str(deployment.artifacts.layer.key)
        plain = ("artifacts", str(deployment.artifacts.code.key))
        assert plain not in deployment.s3.checksums

    def test_change_table_and_live_events_are_shown(self, deployment: FakeDeployment) -> None:
        statuses = ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
        deployment.cloudformation.new_events = [
            event(number, status) for number, status in enumerate(statuses)
        ]
        deployment.deploy()
        assert [change.resource for change in deployment.listener.changes] == ["Topic"]
        assert [shown.status for shown in deployment.listener.events] == statuses

    def test_stack_that_is_only_a_change_set_so_far_is_created(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudformation.stack = stack_in("REVIEW_IN_PROGRESS", tags=[])
        deployment.deploy()
        request = deployment.cloudformation.request("create_change_set")
        assert request["ChangeSetType"] == "CREATE"


class TestNothingChanged:
    SENTENCE = "Nothing changed: stack signwatch already runs this version with these parameters."

    def test_deploy_says_one_sentence_and_creates_no_change_set(
        self, deployed: FakeDeployment
    ) -> None:
        assert deployed.deploy() == {"FunctionName": "signwatch-function"}
        assert deployed.listener.lines == [self.SENTENCE]
        assert deployed.cloudformation.calls == []
        assert deployed.s3.uploads == []

    def test_another_machines_bytes_of_the_same_inputs_change_nothing(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.artifacts = Artifacts(
            deployed.make_artifact("function", b"another zlib"),
            deployed.make_artifact("layer", b"another zlib"),
        )
        deployed.deploy()
        assert deployed.listener.lines == [self.SENTENCE]
        assert deployed.cloudformation.calls == []
        assert deployed.s3.uploads == []

    def test_file_that_had_to_be_uploaded_again_leads_to_a_change_set(
        self, deployed: FakeDeployment
    ) -> None:
        key = str(deployed.artifacts.code.key)
        del deployed.s3.checksums["artifacts", key]
        deployed.deploy()
        assert [request["Key"] for request in deployed.s3.uploads] == [key]
        assert deployed.cloudformation.call_names()[0] == "create_change_set"

    def test_change_set_without_changes_is_not_executed(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = []
        assert deployed.deploy() == {"FunctionName": "signwatch-function"}
        last_line = deployed.listener.lines[-1]
        assert last_line == "Nothing changed: AWS sees no difference in stack signwatch."
        assert deployed.cloudformation.call_names() == ["create_change_set"]


def stop_with(error: BaseException) -> Callable[[], None]:
    """Return an answer that stops the task with this error."""

    def answer() -> None:
        raise error

    return answer


DECLINED = RefusedError("deploy", "was not confirmed", "answer y")


class TestQuestion:
    @pytest.mark.parametrize("end", [DECLINED, PlanShownError(), KeyboardInterrupt()], ids=repr)
    def test_first_deploy_that_is_not_approved_leaves_only_templates(
        self, deployment: FakeDeployment, end: BaseException
    ) -> None:
        deployment.listener.answer = stop_with(end)
        with pytest.raises(type(end)):
            deployment.deploy()
        assert deployment.listener.changes
        assert deployment.cloudformation.call_names() == [
            "create_change_set",
            "delete_change_set",
            "delete_stack",
        ]
        assert {request["Bucket"] for request in deployment.s3.uploads} == {"templates"}

    def test_empty_stack_with_a_change_set_of_somebody_else_is_not_deleted(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.listener.answer = stop_with(DECLINED)
        deployment.cloudformation.other_change_sets = [{"ChangeSetId": "another"}]
        with pytest.raises(RefusedError, match="was not confirmed"):
            deployment.deploy()
        assert "delete_stack" not in deployment.cloudformation.call_names()

    def test_empty_stack_stays_when_the_role_may_not_list_change_sets(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deny(**_: Any) -> None:
            raise client_error("AccessDenied")

        monkeypatch.setattr(deployment.cloudformation, "list_change_sets", deny)
        deployment.listener.answer = stop_with(DECLINED)
        with pytest.raises(RefusedError, match="was not confirmed"):
            deployment.deploy()
        assert "delete_stack" not in deployment.cloudformation.call_names()

    def test_live_zip_that_the_bucket_lacks_is_uploaded_after_a_question(
        self, deployed: FakeDeployment
    ) -> None:
        del deployed.s3.checksums["artifacts", str(deployed.artifacts.code.key)]
        deployed.cloudformation.changes = []
        deployed.deploy()
        assert deployed.listener.questions == ["Upload the live zips, which the bucket lacks?"]
        assert [request["Bucket"] for request in deployed.s3.uploads] == ["artifacts"]

    def test_empty_stack_that_was_there_before_is_not_deleted(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudformation.stack = stack_in("REVIEW_IN_PROGRESS", tags=[])
        deployment.listener.answer = stop_with(DECLINED)
        with pytest.raises(RefusedError, match="was not confirmed"):
            deployment.deploy()
        assert "delete_stack" not in deployment.cloudformation.call_names()

    def test_failed_first_deploy_is_deleted_only_after_a_question(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudformation.stack = stack_in("ROLLBACK_COMPLETE")
        deployment.listener.answer = stop_with(DECLINED)
        with pytest.raises(RefusedError, match="was not confirmed"):
            deployment.deploy()
        assert deployment.cloudformation.calls == []
        assert deployment.s3.uploads == []


class TestUpdate:
    def test_changed_parameter_is_an_update_that_leaves_protection_alone(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert deployed.cloudformation.call_names() == ["create_change_set", "execute_change_set"]
        request = deployed.cloudformation.request("create_change_set")
        assert request["ChangeSetType"] == "UPDATE"

    def test_changed_line_of_code_uploads_the_code_alone(self, deployed: FakeDeployment) -> None:
        code = deployed.make_artifact("function", b"changed", digest="1" * 32)
        deployed.artifacts = Artifacts(code, deployed.artifacts.layer)
        deployed.deploy()
        assert [request["Key"] for request in deployed.s3.uploads] == [str(code.key)]
        assert deployed.cloudformation.requested_parameters()["CodeKey"] == str(code.key)
        assert deployed.cloudformation.call_names() == ["create_change_set", "execute_change_set"]

    def test_artifact_that_was_changed_in_the_bucket_is_refused(
        self, deployed: FakeDeployment
    ) -> None:
        key = str(deployed.artifacts.code.key)
        deployed.s3.checksums["artifacts", key] = checksum(b"changed")
        with pytest.raises(FailedError, match=f"{DIGEST}-plain-.*: was changed in the bucket"):
            deployed.deploy()
        assert deployed.cloudformation.calls == []
        assert deployed.s3.uploads == []

    def test_live_value_is_kept_when_the_user_chooses_none(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        deployed.settings = replace(deployed.settings, parameters={"LogRetentionDays": "30"})
        deployed.cloudformation.calls.clear()
        deployed.deploy()
        values = deployed.cloudformation.requested_parameters()
        assert (values["AccountLabel"], values["AlertEmail"]) == ("shop", "a@example.com")

    def test_certain_loss_is_refused_and_its_change_set_deleted(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [REPLACED_TABLE]
        with pytest.raises(RefusedError, match=r"would replace or remove signwatch\.Table"):
            deployed.deploy()
        assert deployed.cloudformation.call_names() == ["create_change_set", "delete_change_set"]
        assert deployed.cloudformation.request("delete_change_set") == {
            "ChangeSetName": "change-set",
            "StackName": STACK_ID,
        }
        assert [change.replacement for change in deployed.listener.changes] == ["yes"]

    def test_possible_loss_is_shown_and_executed(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [{**REPLACED_TABLE, "Replacement": "Conditional"}]
        deployed.deploy()
        assert [change.replacement for change in deployed.listener.changes] == ["maybe"]
        assert "execute_change_set" in deployed.cloudformation.call_names()

    def test_certain_loss_is_executed_when_the_user_allows_it(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [REPLACED_TABLE]
        deployed.deploy(allow_replace=True)
        assert "execute_change_set" in deployed.cloudformation.call_names()

    def test_changes_that_are_checked_are_those_that_are_shown(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.cloudformation.changes = [NEW_TOPIC, {**REPLACED_TABLE, "Replacement": "False"}]
        deployed.deploy()
        assert deployed.listener.changes == [
            changeset.Change("signwatch", "Topic", "AWS::SNS::Topic", "Add", ""),
            changeset.Change("signwatch", "Table", "AWS::DynamoDB::Table", "Modify", ""),
        ]


class TestMessages:
    def test_update_names_each_parameter_that_changes(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        lines = [line for line in deployed.listener.lines if line.startswith("parameter ")]
        assert lines == ["parameter AccountLabel: '' -> 'shop'"]

    def test_first_deploy_asks_to_click_the_confirmation(self, deployment: FakeDeployment) -> None:
        deployment.deploy()
        assert deployment.listener.lines[-1] == (
            "AWS mails a confirmation to a@example.com: click its link, or no e-mail arrives."
        )

    def test_update_asks_again_only_for_another_address(self, deployed: FakeDeployment) -> None:
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert "confirmation" not in deployed.listener.text()
        deployed.cloudformation.calls.clear()
        deployed.choose(AlertEmail="b@example.com")
        deployed.deploy()
        assert "b@example.com: click its link" in deployed.listener.lines[-1]


def test_template_url_has_the_domain_of_china(deployment: FakeDeployment) -> None:
    deployment.settings = replace(deployment.settings, region="cn-north-1")
    deployment.deploy()
    url = deployment.cloudformation.request("create_change_set")["TemplateURL"]
    assert url.startswith("https://s3.cn-north-1.amazonaws.com.cn/templates/")
