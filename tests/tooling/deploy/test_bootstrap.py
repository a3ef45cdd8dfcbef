"""The bootstrap: who may deploy, what a plan changes, what is refused, and the contract in SSM."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.aws import ACCOUNT, CALLER, REGION, Parameters, account, client_error
from tests.support.listener import Listener
from tooling.deploy import bootstrap
from tooling.deploy.account import Account
from tooling.deploy.bootstrap import Bootstrap, Change, Place
from tooling.errors import RefusedError
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTRACT = {f"/signwatch/bootstrap/{item.name}": f"the {item.name}" for item in fields(Bootstrap)}
SSO = f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Deploy_All_0123456789abcdef/anna@example.com"
ROLE_ARN = f"arn:aws-us-gov:iam::{ACCOUNT}:role/team/build/ci"
ROLE = f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/ci/run-7"


def settings(root: Path = Path(), **chosen: list[str] | str) -> Settings:
    return Settings(account=ACCOUNT, region=REGION, prefix="signwatch", bootstrap=chosen, root=root)


class Roles:
    """IAM that knows one role below a path, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.asked = failure, list[str]()

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        self.asked.append(RoleName)
        if self.failure:
            raise self.failure
        return {"Role": {"Arn": ROLE_ARN}}


def called_by(arn: str, roles: Roles | None = None) -> Account:
    """The opened account, with ``arn`` for whoever runs the bootstrap there."""
    return replace(account(iam=roles or Roles()), caller_arn=arn)


def trust_of(variables: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: variables[name] for name in variables if name.startswith(("sso_", "trusted_"))}


class TestVariables:
    def test_the_target_is_that_of_the_settings(self) -> None:
        found = bootstrap.variables(settings(), called_by(CALLER))
        assert (found["account_id"], found["region"], found["prefix"]) == (
            ACCOUNT,
            REGION,
            "signwatch",
        )

    @pytest.mark.parametrize(
        ("caller", "trust", "asked"),
        [
            (CALLER, {"trusted_principal_arns": [CALLER]}, []),
            (SSO, {"sso_permission_set_names": ["Deploy_All"]}, []),
            (ROLE, {"trusted_principal_arns": [ROLE_ARN]}, ["ci"]),
        ],
        ids=["user", "permission set", "role"],
    )
    def test_where_nobody_is_named_the_caller_may_deploy(
        self, caller: str, trust: dict[str, list[str]], asked: list[str]
    ) -> None:
        """A role by the ARN that IAM knows: the session's has no path in it."""
        roles = Roles()
        assert trust_of(bootstrap.variables(settings(), called_by(caller, roles))) == trust
        assert roles.asked == asked

    @pytest.mark.parametrize(
        "failure",
        [
            client_error("AccessDenied", "not yours"),
            EndpointConnectionError(endpoint_url="https://iam"),
        ],
    )
    def test_a_role_that_iam_does_not_tell_of_is_refused_with_what_to_name(
        self, failure: Exception
    ) -> None:
        with pytest.raises(
            RefusedError, match=r"is a session of role ci, and IAM did not tell"
        ) as refused:
            bootstrap.variables(settings(), called_by(ROLE, Roles(failure)))
        assert str(failure) in refused.value.what
        for name in ("iam:GetRole", "sso_permission_set_names", "trusted_principal_arns"):
            assert name in refused.value.remedy

    def test_the_root_user_is_refused_for_it_can_assume_no_role(self) -> None:
        with pytest.raises(
            RefusedError, match="is the account's root user, who cannot assume a role"
        ) as refused:
            bootstrap.variables(settings(), called_by(f"arn:aws:iam::{ACCOUNT}:root"))
        for way in ("permission set", "IAM role or user", "trusted_principal_arns"):
            assert way in refused.value.remedy

    @pytest.mark.parametrize(
        "caller", [SSO, ROLE, f"arn:aws:iam::{ACCOUNT}:root"], ids=["set", "role", "root"]
    )
    @pytest.mark.parametrize("name", ["sso_permission_set_names", "trusted_principal_arns"])
    def test_whoever_is_named_is_trusted_alone_and_the_caller_does_not_matter(
        self, name: str, caller: str
    ) -> None:
        roles = Roles(client_error("AccessDenied"))
        found = bootstrap.variables(
            settings(Path(), **{name: ["somebody"]}), called_by(caller, roles)
        )
        assert trust_of(found) == {name: ["somebody"]}
        assert roles.asked == []


def test_each_target_has_a_state_and_a_folder_of_its_own(tmp_path: Path) -> None:
    one = Place.of(settings(tmp_path))
    others = [
        Place.of(Settings(account=ACCOUNT, region="us-east-1", prefix="signwatch", root=tmp_path)),
        Place.of(Settings(account=ACCOUNT, region=REGION, prefix="another", root=tmp_path)),
        Place.of(
            Settings(account="444455556666", region=REGION, prefix="signwatch", root=tmp_path)
        ),
    ]
    assert (
        one.state
        == tmp_path / "terraform-bootstrap" / "state" / f"{ACCOUNT}-{REGION}-signwatch.tfstate"
    )
    assert (
        len({place.state for place in (one, *others)} | {place.folder for place in (one, *others)})
        == 8
    )


class TestPlanned:
    def plan(self, *changes: tuple[str, list[str]]) -> dict[str, Any]:
        return {
            "resource_changes": [
                {"address": address, "change": {"actions": what}} for address, what in changes
            ]
        }

    def test_each_change_is_named_once_with_its_kind(self) -> None:
        plan = self.plan(
            ("a", ["create"]),
            ("b", ["update"]),
            ("c", ["delete"]),
            ("d", ["delete", "create"]),
            ("e", ["create", "delete"]),
        )
        assert bootstrap.read_plan(plan) == [
            Change("create", "a"),
            Change("update", "b"),
            Change("delete", "c"),
            Change("replace", "d"),
            Change("replace", "e"),
        ]

    def test_reads_and_what_stays_are_left_out(self) -> None:
        assert bootstrap.read_plan(self.plan(("a", ["no-op"]), ("b", ["read"]))) == []

    def test_a_plan_of_outputs_alone_changes_no_resource(self) -> None:
        assert bootstrap.read_plan({"output_changes": {}}) == []

    def test_what_terraform_forgets_counts_as_a_loss(self) -> None:
        (change,) = bootstrap.read_plan(self.plan(("a", ["forget"])))
        assert change.action == "replace"


@dataclass
class Terraform:
    """Terraform that plans what it is told, and the words that it was asked for."""

    planned: dict[str, Any] | None
    words: list[str] = field(default_factory=list)
    prepared: tuple[Any, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, *places: Any) -> Terraform:
        self.prepared = places
        return self

    def init(self) -> None:
        self.words.append("init")

    def plan(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        self.words.append("plan")
        self.variables = variables
        return self.planned

    def apply(self) -> None:
        self.words.append("apply")


def plan_of(*actions: str) -> dict[str, Any]:
    return {
        "resource_changes": [
            {"address": "aws_s3_bucket.artifacts", "change": {"actions": list(actions)}}
        ]
    }


class TestApply:
    def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        terraform: Terraform,
        *,
        allow: bool = False,
        **variables: str,
    ) -> tuple[Bootstrap, Listener]:
        monkeypatch.setattr(bootstrap, "Terraform", terraform)
        clients = account(ssm=Parameters(CONTRACT)).session.clients
        session = boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)
        monkeypatch.setattr(Account, "client", lambda _, service: clients[service])
        aws, listener = Account(session, ACCOUNT, REGION, CALLER), Listener()
        chosen = settings(Path("checkout"), **variables)
        made = bootstrap.apply(
            chosen,
            aws,
            Place.of(chosen),
            announce=listener.announce,
            show=listener.plan,
            allow_replace=allow,
        )
        return made, listener

    def test_the_plan_is_shown_and_applied_and_the_contract_returned(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = Terraform(plan_of("create"))
        made, listener = self.run(monkeypatch, terraform)
        assert terraform.words == ["init", "plan", "apply"]
        assert listener.planned == [Change("create", "aws_s3_bucket.artifacts")]
        assert made.artifact_bucket_name == "the artifact_bucket_name"
        assert terraform.variables["trusted_principal_arns"] == [CALLER]

    def test_who_may_assume_the_deploy_role_is_said_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, listener = self.run(monkeypatch, Terraform(plan_of("create")))
        assert listener.lines[0] == f"The deploy role may be assumed by: {CALLER}"

    def test_a_repository_is_named_beside_the_people_and_takes_nobodys_place(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = Terraform(plan_of("create"))
        _, listener = self.run(monkeypatch, terraform, github_repository="org/repo")
        assert (
            listener.lines[0]
            == f"The deploy role may be assumed by: {CALLER}, workflows of org/repo on GitHub"
        )
        assert terraform.variables["github_repository"] == "org/repo"

    def test_terraform_works_in_its_place_with_plain_credentials(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = Terraform(None)
        self.run(monkeypatch, terraform)
        source, folder, state, environment = terraform.prepared
        place = Place.of(settings(Path("checkout")))
        assert (source, folder, state) == (
            Path("checkout/terraform-bootstrap"),
            place.folder,
            place.state,
        )
        assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_REGION"]) == (
            "AKIAEXAMPLE",
            REGION,
        )

    def test_a_second_run_says_that_nothing_changes_and_applies_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terraform = Terraform(None)
        made, listener = self.run(monkeypatch, terraform)
        assert terraform.words == ["init", "plan"]
        assert listener.lines[-1].startswith("No changes:")
        assert listener.planned == []
        assert made.service_role_arn == "the service_role_arn"

    @pytest.mark.parametrize("actions", [("delete",), ("delete", "create"), ("create", "delete")])
    def test_a_loss_is_shown_and_refused(
        self, monkeypatch: pytest.MonkeyPatch, actions: tuple[str, ...]
    ) -> None:
        terraform = Terraform(plan_of(*actions))
        with pytest.raises(
            RefusedError, match=r"would delete or replace aws_s3_bucket\.artifacts; nothing"
        ) as refused:
            self.run(monkeypatch, terraform)
        assert "--allow-replace" in refused.value.remedy
        assert terraform.words == ["init", "plan"]

    def test_a_loss_that_is_wanted_is_applied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terraform = Terraform(plan_of("delete"))
        self.run(monkeypatch, terraform, allow=True)
        assert terraform.words == ["init", "plan", "apply"]


class TestOutputs:
    def test_the_contract_is_read_from_all_pages(self) -> None:
        made = bootstrap.outputs(account(ssm=Parameters(CONTRACT)), "signwatch")
        assert vars(made) == {item.name: f"the {item.name}" for item in fields(Bootstrap)}

    def test_what_a_newer_bootstrap_adds_does_no_harm(self) -> None:
        more = {**CONTRACT, "/signwatch/bootstrap/something_new": "x"}
        assert bootstrap.outputs(account(ssm=Parameters(more)), "signwatch").deploy_role_arn

    @pytest.mark.parametrize("prefix", ["signwatch", "another"])
    def test_a_missing_contract_says_what_to_run(self, prefix: str) -> None:
        there = CONTRACT if prefix == "another" else {}
        with pytest.raises(
            RefusedError, match=f"account {ACCOUNT} has no bootstrap in {REGION}"
        ) as refused:
            bootstrap.outputs(account(ssm=Parameters(there)), prefix)
        assert refused.value.exit_code == 2
        assert refused.value.remedy.startswith("run: invoke bootstrap")

    @pytest.mark.parametrize("lost", [item.name for item in fields(Bootstrap)])
    def test_an_incomplete_one_names_what_it_lacks(self, lost: str) -> None:
        values = {name: value for name, value in CONTRACT.items() if not name.endswith(f"/{lost}")}
        with pytest.raises(RefusedError, match=f"/signwatch/bootstrap lacks {lost}\n"):
            bootstrap.outputs(account(ssm=Parameters(values)), "signwatch")
