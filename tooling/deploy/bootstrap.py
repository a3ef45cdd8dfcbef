"""Runs the bootstrap: Terraform makes the buckets, the roles, and the contract that deploys read.

The contract is the agreement between Terraform and the deploys: the Terraform outputs, which are
names of buckets and ARNs of roles. Terraform also writes it to SSM below ``/<prefix>/bootstrap/``,
so that a second machine and a pipeline deploy without Terraform's state file.

Deploys act as the deploy role. The trusted ones may assume it: permission sets of IAM Identity
Center, users and roles of IAM, workflows on GitHub.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from tooling import invocation
from tooling.deploy import account, adoption
from tooling.errors import RefusedError
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tooling.deploy.account import Account
    from tooling.settings import Settings

IDENTITY_CENTER_SESSION = re.compile(
    r"arn:[^:]+:sts::\d{12}:assumed-role/AWSReservedSSO_(?P<permission_set>.+)_[0-9a-f]{16}/.+"
)
ROLE_SESSION = re.compile(r"arn:[^:]+:sts::\d{12}:assumed-role/(?P<role>[^/]+)/.+")
ROOT_USER = re.compile(r"arn:[^:]+:iam::\d{12}:root")
NAME_THE_TRUSTED = (
    "name sso_permission_set_names or trusted_principal_arns below [bootstrap] in signwatch.toml"
)
NEW_ROLE_SECONDS = 300  # a role counts as new for so long
ROLE_WAIT_SECONDS = 30  # how long a new role is tried
ROLE_PAUSE_SECONDS = 5  # between two tries
# Actions in Terraform's JSON plan -> our name; any other combination replaces the resource. A
# resource without an action is only imported.
PLAN_ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("no-op",): "import",
}


@dataclass(frozen=True)
class Bootstrap:
    """The contract; the fields are named like the Terraform outputs."""

    template_bucket_name: str
    artifact_bucket_name: str
    access_log_bucket_name: str
    deploy_role_arn: str
    service_role_arn: str
    boundary_policy_arn: str
    existing_log_group_name: str = ""  # an older bootstrap has none


@dataclass(frozen=True)
class Change:
    """One resource that a plan changes."""

    action: str  # create, update, delete, replace or import
    address: str  # Terraform's name of the resource: aws_iam_role.deploy


@dataclass(frozen=True)
class TerraformPaths:
    """The folder where Terraform runs, which can be deleted, and its state file, which must not."""

    folder: Path
    state: Path

    @classmethod
    def for_settings(cls, settings: Settings) -> TerraformPaths:
        """Return the paths for a real account: one state for each account, Region, prefix."""
        name = f"{settings.account}-{settings.region}-{settings.prefix}"
        state = settings.root / "terraform-bootstrap" / "state" / f"{name}.tfstate"
        return cls(settings.root / "dist" / "bootstrap" / name, state)


def resolve_variables(settings: Settings, aws: Account) -> dict[str, Any]:
    """Return the Terraform variables of a run, by name.

    They are those of the settings, the account, Region and prefix, and the trusted ones. Where the
    settings trust nobody by name, the caller is trusted.
    Raises RefusedError when the caller is the root user, or a role whose ARN IAM does not return.
    """
    variables = make_variables(settings)
    permission_sets = variables.get("sso_permission_set_names")
    if not permission_sets and not variables.get("trusted_principal_arns"):
        variables |= _trust_caller(aws)
    return variables


def make_variables(settings: Settings) -> dict[str, Any]:
    """Return the Terraform variables that the settings give, by name."""
    target = {"region": settings.region, "prefix": settings.prefix}
    return {**settings.bootstrap, "account_id": settings.account, **target}


def _trust_caller(aws: Account) -> dict[str, list[str]]:
    """Return the variable that trusts the caller: a permission set by name, others by ARN."""
    if match := IDENTITY_CENTER_SESSION.fullmatch(aws.caller_arn):
        return {"sso_permission_set_names": [match["permission_set"]]}
    if match := ROLE_SESSION.fullmatch(aws.caller_arn):
        return {"trusted_principal_arns": [_read_role_arn(aws, match["role"])]}
    if ROOT_USER.fullmatch(aws.caller_arn):  # AWS STS API reference, AssumeRole
        what = "is the account's root user, who cannot assume a role and so could not deploy"
        remedy = "sign in with a permission set, or as an IAM role or user; or " + NAME_THE_TRUSTED
        raise RefusedError(aws.caller_arn, what, remedy)
    return {"trusted_principal_arns": [aws.caller_arn]}


def _read_role_arn(aws: Account, name: str) -> str:
    """Return the ARN of the role that the caller acts as.

    IAM is asked for it, because the ARN of a role's session lacks the role's path. Raises
    RefusedError if IAM does not return it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        response = aws.client("iam").get_role(RoleName=name)
    except (ClientError, BotoCoreError) as error:
        what = f"is a session of role {name}, and IAM did not return the role's ARN ({error})"
        remedy = f"allow it iam:GetRole, or {NAME_THE_TRUSTED}"
        raise RefusedError(aws.caller_arn, what, remedy) from error
    return str(response["Role"]["Arn"])


def _list_trusted(variables: Mapping[str, Any]) -> list[str]:
    """Return the trusted ones as a person reads them, from the Terraform variables."""
    trusted = [
        *variables.get("sso_permission_set_names", ()),
        *variables.get("trusted_principal_arns", ()),
    ]
    if repository := variables.get("github_repository"):
        trusted.append(f"workflows of {repository} on GitHub")
    return trusted


def apply(
    settings: Settings,
    aws: Account,
    paths: TerraformPaths,
    *,
    announce: Callable[[str], None],
    show: Callable[[list[Change]], None],
    approve: Callable[[str], None],
    allow_replace: bool = False,
    adopt: bool = False,
) -> Bootstrap:
    """Run Terraform: init, plan, show the plan, apply it. Return the contract.

    ``approve`` is called with a question before anything changes; it raises to stop. With
    ``adopt``, the plan imports into the state what exists in the account and the state lacks.
    Raises RefusedError as ``resolve_variables`` does, when the state is lost and ``adopt`` is not
    set, and when the plan would delete or replace something and ``allow_replace`` is not set;
    FailedError when Terraform fails.
    """
    if not adopt:
        refuse_lost_state(settings, aws, paths)
    variables = resolve_variables(settings, aws)
    announce(f"The deploy role may be assumed by: {', '.join(_list_trusted(variables))}")
    source = settings.root / "terraform-bootstrap"
    environment = aws.make_environment()
    terraform = Terraform.prepare(source, paths.folder, paths.state, environment, announce)
    terraform.init()
    plan = terraform.plan(variables)
    if plan and adopt:
        plan = adoption.plan_imports(
            terraform, plan, variables, iam_arn=_make_iam_arn(aws), announce=announce
        )
    if plan is None:
        announce("No changes: the buckets, roles and the contract are as they should be.")
        return outputs(aws, settings.prefix)
    changes = list_changes(plan)
    show(changes)
    if not allow_replace:
        _refuse_loss(changes)
    approve(f"Make these {len(changes)} changes in account {settings.account}?")
    terraform.apply(len(changes))
    return outputs(aws, settings.prefix)


def _make_iam_arn(aws: Account) -> str:
    """Return the beginning of the account's ARNs in IAM: arn:aws:iam::111122223333."""
    partition = aws.caller_arn.split(":")[1]
    return f"arn:{partition}:iam::{aws.account}"


def list_changes(plan: Mapping[str, Any]) -> list[Change]:
    """Return the changes in a plan, which is in Terraform's JSON form; leave out mere reads."""
    changes = []
    for resource in plan.get("resource_changes", []):
        actions = tuple(resource["change"]["actions"])
        is_unchanged = actions == ("no-op",) and "importing" not in resource["change"]
        if not is_unchanged and actions != ("read",):
            changes.append(Change(PLAN_ACTIONS.get(actions, "replace"), resource["address"]))
    return changes


def refuse_lost_state(settings: Settings, aws: Account, paths: TerraformPaths) -> None:
    """Raise RefusedError if the account has the contract and this machine no state of it.

    Terraform would plan to create everything again, and fail at the first name that is taken.
    """
    if has_resources(paths.state) or not _read_contract(aws, settings.prefix):
        return
    what = (
        f"is missing or empty, and account {aws.account} has a bootstrap of {settings.prefix};"
        " nothing was changed"
    )
    adopt_command = invocation.spell("bootstrap", "--adopt")
    remedy = f"copy it from the machine that ran bootstrap, or make it again: {adopt_command}"
    raise RefusedError(f"Terraform's state {paths.state}", what, remedy)


def has_resources(state: Path) -> bool:
    """Return whether the file is a state that has resources."""
    try:
        content = json.loads(state.read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        return True  # Terraform says what is wrong with it
    return bool(content.get("resources")) if isinstance(content, dict) else True


def _refuse_loss(changes: list[Change]) -> None:
    """Raise RefusedError if a resource would be deleted or replaced."""
    lost = [change.address for change in changes if change.action in ("delete", "replace")]
    if lost:
        what = f"the plan would delete or replace {', '.join(lost)}; nothing was changed"
        raise RefusedError("bootstrap", what, "if you want that, add --allow-replace")


def outputs(aws: Account, prefix: str) -> Bootstrap:
    """Read the contract from SSM.

    Raises RefusedError when the account has none under this prefix, or an incomplete one.
    """
    path = _contract_path(prefix)
    values = {
        parameter["Name"].removeprefix(f"{path}/"): parameter["Value"]
        for parameter in _read_contract(aws, prefix)
    }
    missing = [
        field.name
        for field in fields(Bootstrap)
        if field.name not in values and field.default is MISSING
    ]
    if missing:
        what = (
            f"account {aws.account} has no bootstrap in {aws.region}:"
            f" {path} lacks {', '.join(missing)}"
        )
        remedy = "choose the right --region and --prefix, or run: " + invocation.spell("bootstrap")
        raise RefusedError(f"prefix {prefix}", what, remedy)
    names = {field.name for field in fields(Bootstrap)}
    return Bootstrap(**{name: value for name, value in values.items() if name in names})


def assume_role(
    aws: Account, prefix: str, contract: Bootstrap, *, announce: Callable[[str], None]
) -> Account:
    """Return the account with the rights of the deploy role. If it is new, try for 30 seconds.

    A new role is not known everywhere at once (IAM user guide, "Changes that I make are not always
    immediately visible"). Raises FailedError as ``account.assume_role`` does.
    """
    waited_seconds = 0
    while True:
        try:
            return account.assume_role(aws, contract.deploy_role_arn)
        except account.DeniedRoleError:
            if waited_seconds >= ROLE_WAIT_SECONDS or not _is_role_new(aws, prefix):
                raise
        announce(
            "The deploy role is new, and AWS does not let you assume it yet: trying again"
            f" ({waited_seconds} of {ROLE_WAIT_SECONDS} seconds)"
        )
        time.sleep(ROLE_PAUSE_SECONDS)
        waited_seconds += ROLE_PAUSE_SECONDS


def _is_role_new(aws: Account, prefix: str) -> bool:
    """Return whether the contract, which is written with the role, is a few minutes old.

    A contract without dates counts as old.
    """
    times = [
        parameter["LastModifiedDate"].timestamp()
        for parameter in _read_contract(aws, prefix)
        if "LastModifiedDate" in parameter
    ]
    age_seconds = time.time() - max(times, default=0)
    return age_seconds < NEW_ROLE_SECONDS


def _read_contract(aws: Account, prefix: str) -> list[dict[str, Any]]:
    """Return the contract's SSM parameters as AWS describes them, one for each output."""
    paginator = aws.client("ssm").get_paginator("get_parameters_by_path")
    pages = paginator.paginate(Path=_contract_path(prefix), WithDecryption=True)
    return [parameter for page in pages for parameter in page["Parameters"]]


def _contract_path(prefix: str) -> str:
    """Return the path below which the contract is stored in SSM: /signwatch/bootstrap."""
    return f"/{prefix}/bootstrap"
