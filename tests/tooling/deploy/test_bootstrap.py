"""The bootstrap: who may deploy, what a plan changes, what is refused, the contract in SSM."""

from __future__ import annotations

import time
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.aws import ACCOUNT, CALLER, REGION, Parameters, account, client_error
from tests.support.listener import Listener
from tooling.deploy import bootstrap
from tooling.deploy.account import Account
from tooling.deploy.bootstrap import Bootstrap, Change, TerraformPaths
from tooling.errors import FailedError, RefusedError
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTRACT = {f"/signwatch/bootstrap/{item.name}": f"the {item.name}" for item in fields(Bootstrap)}
SSO_ROLE = "AWSReservedSSO_Deploy_All_0123456789abcdef"
SSO = f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO_ROLE}/anna@example.com"
ROLE_ARN = f"arn:aws-us-gov:iam::{ACCOUNT}:role/team/build/ci"
ROLE = f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/ci/run-7"


def settings(root: Path = Path(), **chosen: list[str] | str) -> Settings:
    return Settings(account=ACCOUNT, region=REGION, prefix="signwatch", bootstrap=chosen, root=root)


class FakeIam:
    """IAM that knows one role below a path, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.role_names: list[str] = []

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        self.role_names.append(RoleName)
        if self.failure:
            raise self.failure
        return {"Role": {"Arn": ROLE_ARN}}


def account_of(arn: str, iam: FakeIam | None = None) -> Account:
    """The opened account with ``arn`` as the caller."""
    return replace(account(iam=iam or FakeIam()), caller_arn=arn)


def trust_of(variables: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: variables[name] for name in variables if name.startswith(("sso_", "trusted_"))}


class TestResolveVariables:
    def test_target_is_that_of_the_settings(self) -> None:
        variables = bootstrap.resolve_variables(settings(), account_of(CALLER))
        assert variables["account_id"] == ACCOUNT
        assert variables["region"] == REGION
        assert variables["prefix"] == "signwatch"

    @pytest.mark.parametrize(
        ("caller", "trust", "role_names"),
        [
            (CALLER, {"trusted_principal_arns": [CALLER]}, []),
            (SSO, {"sso_permission_set_names": ["Deploy_All"]}, []),
            (ROLE, {"trusted_principal_arns": [ROLE_ARN]}, ["ci"]),
        ],
        ids=["user", "permission set", "role"],
    )
    def test_caller_is_trusted_when_the_settings_name_nobody(
        self, caller: str, trust: dict[str, list[str]], role_names: list[str]
    ) -> None:
        """A role is trusted by the ARN that IAM returns: the ARN of its session lacks the path."""
        iam = FakeIam()
        variables = bootstrap.resolve_variables(settings(), account_of(caller, iam))
        assert trust_of(variables) == trust
        assert iam.role_names == role_names

    @pytest.mark.parametrize(
        "failure",
        [
            client_error("AccessDenied", "not yours"),
            EndpointConnectionError(endpoint_url="https://iam"),
        ],
    )
    def test_role_whose_arn_cannot_be_read_is_refused_with_a_remedy(
        self, failure: Exception
    ) -> None:
        message = "is a session of role ci, and IAM did not return"
        with pytest.raises(RefusedError, match=message) as refusal:
            bootstrap.resolve_variables(settings(), account_of(ROLE, FakeIam(failure)))
        assert str(failure) in refusal.value.what
        for name in ("iam:GetRole", "sso_permission_set_names", "trusted_principal_arns"):
            assert name in refusal.value.remedy

    def test_root_user_is_refused_since_it_cannot_assume_a_role(self) -> None:
        message = "is the account's root user, who cannot assume a role"
        with pytest.raises(RefusedError, match=message) as refusal:
            bootstrap.resolve_variables(settings(), account_of(f"arn:aws:iam::{ACCOUNT}:root"))
        for way in ("permission set", "IAM role or user", "trusted_principal_arns"):
            assert way in refusal.value.remedy

    @pytest.mark.parametrize(
        "caller", [SSO, ROLE, f"arn:aws:iam::{ACCOUNT}:root"], ids=["set", "role", "root"]
    )
    @pytest.mark.parametrize("name", ["sso_permission_set_names", "trusted_principal_arns"])
    def test_named_principals_alone_are_trusted_whoever_the_caller_is(
        self, name: str, caller: str
    ) -> None:
        iam = FakeIam(client_error("AccessDenied"))
        chosen = settings(Path(), **{name: ["somebody"]})
        variables = bootstrap.resolve_variables(chosen, account_of(caller, iam))
        assert trust_of(variables) == {name: ["somebody"]}
        assert iam.role_names == []


def test_each_target_has_its_own_state_and_folder(tmp_path: Path) -> None:
    target = settings(tmp_path)
    targets = [
        target,
        replace(target, region="us-east-1"),
        replace(target, prefix="another"),
        replace(target, account="444455556666"),
    ]
    paths = [TerraformPaths.for_settings(target) for target in targets]
    state = tmp_path / "terraform-bootstrap" / "state" / f"{ACCOUNT}-{REGION}-signwatch.tfstate"
    assert paths[0].state == state
    assert len({path for pair in paths for path in (pair.state, pair.folder)}) == 8


def plan_of(*changes: tuple[str, list[str]]) -> dict[str, Any]:
    """A plan as Terraform's JSON describes it: addresses and their actions."""
    resources = [
        {"address": address, "change": {"actions": actions}} for address, actions in changes
    ]
    return {"resource_changes": resources}


class TestListChanges:
    def test_each_change_is_listed_once_with_its_action(self) -> None:
        plan = plan_of(
            ("a", ["create"]),
            ("b", ["update"]),
            ("c", ["delete"]),
            ("d", ["delete", "create"]),
            ("e", ["create", "delete"]),
        )
        assert bootstrap.list_changes(plan) == [
            Change("create", "a"),
            Change("update", "b"),
            Change("delete", "c"),
            Change("replace", "d"),
            Change("replace", "e"),
        ]

    def test_reads_and_no_ops_are_left_out(self) -> None:
        assert bootstrap.list_changes(plan_of(("a", ["no-op"]), ("b", ["read"]))) == []

    def test_import_without_a_change_is_listed(self) -> None:
        plan = plan_of(("a", ["no-op"]), ("b", ["update"]))
        for resource in plan["resource_changes"]:
            resource["change"]["importing"] = {"id": "x"}
        assert bootstrap.list_changes(plan) == [Change("import", "a"), Change("update", "b")]

    def test_plan_of_outputs_alone_changes_no_resource(self) -> None:
        assert bootstrap.list_changes({"output_changes": {}}) == []

    def test_resource_that_terraform_forgets_is_a_loss(self) -> None:
        (change,) = bootstrap.list_changes(plan_of(("a", ["forget"])))
        assert change.action == "replace"


class TestHasResources:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (None, False),
            ('{"resources": []}', False),
            ("{}", False),
            ('{"resources": [{"type": "aws_s3_bucket"}]}', True),
            ("{", True),  # Terraform says what is wrong with it
        ],
    )
    def test_only_a_state_with_resources_has_some(
        self, tmp_path: Path, content: str | None, expected: bool
    ) -> None:
        state = tmp_path / "x.tfstate"
        if content is not None:
            state.write_text(content)
        assert bootstrap.has_resources(state) is expected


@dataclass
class FakeTerraform:
    """Terraform with a given plan; records its commands."""

    planned: dict[str, Any] | None
    commands: list[str] = field(default_factory=list)
    prepared: tuple[Any, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, *arguments: Any) -> FakeTerraform:
        self.prepared = arguments
        return self

    def init(self) -> None:
        self.commands.append("init")

    def plan(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        self.commands.append("plan")
        self.variables = variables
        return self.planned

    def apply(self, change_count: int) -> None:
        assert change_count == len(bootstrap.list_changes(self.planned or {}))
        self.commands.append("apply")


def terraform_that(*actions: str) -> FakeTerraform:
    """Terraform whose plan has these actions for one bucket."""
    return FakeTerraform(plan_of(("aws_s3_bucket.artifacts", list(actions))))


class TestApply:
    def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        terraform: FakeTerraform,
        *,
        allow_replace: bool = False,
        has_state: bool = True,
        **variables: str,
    ) -> tuple[Bootstrap, Listener]:
        monkeypatch.setattr(bootstrap, "Terraform", terraform)
        monkeypatch.setattr(bootstrap, "has_resources", lambda _: has_state)
        clients = {"ssm": Parameters(CONTRACT)}
        monkeypatch.setattr(Account, "client", lambda _, service: clients[service])
        session = boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)
        chosen, listener = settings(Path("checkout"), **variables), Listener()
        contract = bootstrap.apply(
            chosen,
            Account(session, ACCOUNT, REGION, CALLER),
            TerraformPaths.for_settings(chosen),
            announce=listener.announce,
            show=listener.plan,
            approve=listener.approve,
            allow_replace=allow_replace,
        )
        return contract, listener

    def test_plan_is_shown_and_applied_and_the_contract_returned(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = terraform_that("create")
        contract, listener = self.run(monkeypatch, terraform)
        assert terraform.commands == ["init", "plan", "apply"]
        assert listener.planned == [Change("create", "aws_s3_bucket.artifacts")]
        assert contract.artifact_bucket_name == "the artifact_bucket_name"
        assert terraform.variables["trusted_principal_arns"] == [CALLER]

    def test_contract_without_a_state_is_refused_before_terraform_runs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = terraform_that("create")
        with pytest.raises(RefusedError, match="is missing or empty, and account") as refusal:
            self.run(monkeypatch, terraform, has_state=False)
        assert f"{ACCOUNT}-{REGION}-signwatch.tfstate" in refusal.value.where
        assert "bootstrap --adopt" in refusal.value.remedy
        assert terraform.commands == []

    def test_account_without_contract_and_state_is_bootstrapped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = terraform_that("create")
        monkeypatch.setattr(bootstrap, "_read_contract", lambda *_: [])
        with pytest.raises(RefusedError, match="has no bootstrap"):  # this fake writes none
            self.run(monkeypatch, terraform, has_state=False)
        assert terraform.commands == ["init", "plan", "apply"]

    def test_trusted_principals_are_announced_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, listener = self.run(monkeypatch, terraform_that("create"))
        assert listener.lines[0] == f"The deploy role may be assumed by: {CALLER}"

    def test_repository_is_trusted_beside_the_caller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terraform = terraform_that("create")
        _, listener = self.run(monkeypatch, terraform, github_repository="org/repo")
        trusted = f"{CALLER}, workflows of org/repo on GitHub"
        assert listener.lines[0] == f"The deploy role may be assumed by: {trusted}"
        assert terraform.variables["github_repository"] == "org/repo"

    def test_terraform_runs_in_its_own_folder_with_plain_credentials(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = FakeTerraform(None)
        self.run(monkeypatch, terraform)
        source, folder, state, environment, _announce = terraform.prepared
        assert source == Path("checkout/terraform-bootstrap")
        assert TerraformPaths(folder, state) == TerraformPaths.for_settings(
            settings(Path("checkout"))
        )
        assert environment["AWS_ACCESS_KEY_ID"] == "AKIAEXAMPLE"
        assert environment["AWS_REGION"] == REGION

    def test_second_run_says_that_nothing_changes_and_applies_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = FakeTerraform(None)
        contract, listener = self.run(monkeypatch, terraform)
        assert terraform.commands == ["init", "plan"]
        assert listener.lines[-1].startswith("No changes:")
        assert listener.planned == []
        assert contract.service_role_arn == "the service_role_arn"

    @pytest.mark.parametrize("actions", [("delete",), ("delete", "create"), ("create", "delete")])
    def test_loss_is_shown_and_refused(
        self, monkeypatch: pytest.MonkeyPatch, actions: tuple[str, ...]
    ) -> None:
        terraform = terraform_that(*actions)
        message = r"would delete or replace aws_s3_bucket\.artifacts; nothing"
        with pytest.raises(RefusedError, match=message) as refusal:
            self.run(monkeypatch, terraform)
        assert "--allow-replace" in refusal.value.remedy
        assert terraform.commands == ["init", "plan"]

    def test_loss_that_the_user_allows_is_applied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terraform = terraform_that("delete")
        self.run(monkeypatch, terraform, allow_replace=True)
        assert terraform.commands == ["init", "plan", "apply"]


class TestOutputs:
    def test_contract_is_read_from_all_pages(self) -> None:
        contract = bootstrap.outputs(account(ssm=Parameters(CONTRACT)), "signwatch")
        assert vars(contract) == {item.name: f"the {item.name}" for item in fields(Bootstrap)}

    def test_additions_of_a_newer_bootstrap_are_ignored(self) -> None:
        values = {**CONTRACT, "/signwatch/bootstrap/something_new": "x"}
        assert bootstrap.outputs(account(ssm=Parameters(values)), "signwatch").deploy_role_arn

    @pytest.mark.parametrize("prefix", ["signwatch", "another"])
    def test_missing_contract_is_refused_with_the_task_to_run(self, prefix: str) -> None:
        values = CONTRACT if prefix == "another" else {}
        message = f"account {ACCOUNT} has no bootstrap in {REGION}"
        with pytest.raises(RefusedError, match=message) as refusal:
            bootstrap.outputs(account(ssm=Parameters(values)), prefix)
        assert refusal.value.exit_code == 2
        assert refusal.value.remedy.endswith("or run: ./inv bootstrap")

    def test_an_older_bootstrap_knows_no_existing_log_group(self) -> None:
        values = {key: value for key, value in CONTRACT.items() if "log_group" not in key}
        contract = bootstrap.outputs(account(ssm=Parameters(values)), "signwatch")
        assert contract.existing_log_group_name == ""

    @pytest.mark.parametrize(
        "name", [item.name for item in fields(Bootstrap) if item.default is MISSING]
    )
    def test_incomplete_contract_is_refused_naming_what_is_missing(self, name: str) -> None:
        values = {key: value for key, value in CONTRACT.items() if not key.endswith(f"/{name}")}
        with pytest.raises(RefusedError, match=f"/signwatch/bootstrap lacks {name}\n"):
            bootstrap.outputs(account(ssm=Parameters(values)), "signwatch")


class FakeSts:
    """STS that denies a role some times, or for another reason, and then lets it be assumed."""

    def __init__(self, denials: int, code: str = "AccessDenied") -> None:
        self.denials, self.code = denials, code
        self.calls = 0

    def assume_role(self, **_: str) -> dict[str, Any]:
        self.calls += 1
        if self.calls <= self.denials:
            raise client_error(self.code, "no", "AssumeRole")
        keys = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "made-up", "SessionToken": "token"}
        return {"Credentials": keys, "AssumedRoleUser": {"Arn": "the session"}}


class TestAssumeRole:
    """A role that was just made is not known everywhere at once; any other refusal is final."""

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        return pauses

    def assume(self, sts: FakeSts, age: timedelta = timedelta(seconds=3)) -> tuple[str, list[str]]:
        parameters = Parameters(CONTRACT, datetime.now(UTC) - age)
        aws, listener = account(sts=sts, ssm=parameters), Listener()
        contract = bootstrap.outputs(aws, "signwatch")
        try:
            aws = bootstrap.assume_role(aws, "signwatch", contract, announce=listener.announce)
        except FailedError as error:
            return str(error), listener.lines
        return aws.caller_arn, listener.lines

    def test_new_role_is_tried_again_with_progress(self, pauses: list[float]) -> None:
        caller, lines = self.assume(FakeSts(denials=2))
        assert caller == "the session"
        assert pauses == [5, 5]
        assert lines == [
            "The deploy role is new, and AWS does not let you assume it yet: trying again"
            f" ({seconds} of 30 seconds)"
            for seconds in (0, 5)
        ]

    def test_new_role_is_given_up_after_thirty_seconds(self, pauses: list[float]) -> None:
        refusal, _ = self.assume(FakeSts(denials=99))
        assert "may not be assumed by" in refusal
        assert sum(pauses) == 30

    def test_wrong_profile_does_not_wait_for_an_older_role(self, pauses: list[float]) -> None:
        sts = FakeSts(denials=1)
        refusal, lines = self.assume(sts, age=timedelta(hours=1))
        assert "may not be assumed by" in refusal
        assert (sts.calls, pauses, lines) == (1, [], [])

    def test_another_error_is_final(self, pauses: list[float]) -> None:
        sts = FakeSts(denials=1, code="RegionDisabledException")
        refusal, _ = self.assume(sts)
        assert "RegionDisabledException" in refusal
        assert (sts.calls, pauses) == (1, [])

    def test_clock_that_is_late_does_not_make_a_new_role_old(self) -> None:
        caller, _ = self.assume(FakeSts(denials=1), age=timedelta(minutes=-4))
        assert caller == "the session"
