"""The bootstrap: Terraform makes the buckets and roles and writes the contract that every deploy reads.

The contract is the set of Terraform outputs, also kept in SSM below ``/<prefix>/bootstrap/``, so that a second laptop
and a pipeline deploy without the state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tooling.errors import RefusedError
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tooling.deploy.account import Account
    from tooling.settings import Settings

IDENTITY_CENTER_SESSION = re.compile(
    r"arn:[^:]+:sts::\d{12}:assumed-role/AWSReservedSSO_(.+)_[0-9a-f]{16}/.+"
)
ROLE_SESSION = re.compile(r"arn:[^:]+:sts::\d{12}:assumed-role/([^/]+)/.+")
ROOT_USER = re.compile(r"arn:[^:]+:iam::\d{12}:root")
NAME_THEM = (
    "name sso_permission_set_names or trusted_principal_arns below [bootstrap] in signwatch.toml"
)


@dataclass(frozen=True)
class Bootstrap:
    """What the bootstrap made; the fields are named like the Terraform outputs."""

    template_bucket_name: str
    artifact_bucket_name: str
    access_log_bucket_name: str
    deploy_role_arn: str
    service_role_arn: str
    boundary_policy_arn: str


@dataclass(frozen=True)
class Change:
    """One line of a plan: ``action`` is create, update, delete or replace."""

    action: str
    address: str


@dataclass(frozen=True)
class Place:
    """Where Terraform works (``folder``, disposable) and where the state is kept (``state``, precious)."""

    folder: Path
    state: Path

    @classmethod
    def of(cls, settings: Settings) -> Place:
        """Return the places of a real account: one state for each account, Region and prefix."""
        name = f"{settings.account}-{settings.region}-{settings.prefix}"
        state = settings.root / "terraform-bootstrap" / "state" / f"{name}.tfstate"
        return cls(settings.root / "dist" / "bootstrap" / name, state)


def variables(settings: Settings, aws: Account) -> dict[str, Any]:
    """Return the Terraform variables of a run: what the settings say, and who may deploy.

    Where nobody is named, whoever runs the bootstrap may: a permission set by its name, anybody else by the ARN.
    Raises RefusedError where that is the root user, or a role whose ARN IAM does not tell.
    """
    chosen = {
        **settings.bootstrap,
        "account_id": settings.account,
        "region": settings.region,
        "prefix": settings.prefix,
    }
    if not chosen.get("sso_permission_set_names") and not chosen.get("trusted_principal_arns"):
        chosen |= _trust(aws)
    return chosen


def _trust(aws: Account) -> dict[str, list[str]]:
    if session := IDENTITY_CENTER_SESSION.fullmatch(aws.caller_arn):
        return {"sso_permission_set_names": [session[1]]}
    if session := ROLE_SESSION.fullmatch(aws.caller_arn):
        return {"trusted_principal_arns": [_role_arn(aws, session[1])]}
    if ROOT_USER.fullmatch(
        aws.caller_arn
    ):  # AWS STS API reference, AssumeRole: never with the root user's credentials
        what = "is the account's root user, who cannot assume a role and so could not deploy"
        raise RefusedError(
            aws.caller_arn,
            what,
            f"sign in by a permission set, or as an IAM role or user; or {NAME_THEM}",
        )
    return {"trusted_principal_arns": [aws.caller_arn]}


def _role_arn(aws: Account, name: str) -> str:
    """Return a role's ARN, which alone a trust takes: that of its session leaves the path out (IAM API, GetRole)."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        arn: str = aws.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except (ClientError, BotoCoreError) as error:
        what = f"is a session of role {name}, and IAM did not tell the role's ARN, which its trust needs ({error})"
        raise RefusedError(aws.caller_arn, what, f"allow it iam:GetRole, or {NAME_THEM}") from error
    return arn


def _trusted(chosen: Mapping[str, Any]) -> list[str]:
    """Return who may assume the deploy role, as a person would name them."""
    people = [
        *chosen.get("sso_permission_set_names", ()),
        *chosen.get("trusted_principal_arns", ()),
    ]
    repository = chosen.get("github_repository")
    return [*people, f"workflows of {repository} on GitHub"] if repository else people


def apply(
    settings: Settings,
    aws: Account,
    place: Place,
    *,
    announce: Callable[[str], None],
    show: Callable[[list[Change]], None],
    allow_replace: bool = False,
) -> Bootstrap:
    """Init, plan, show the plan, apply it; return the contract.

    Raises RefusedError as ``variables`` does, and when the plan would delete or replace something and ``allow_replace``
    is not set; FailedError when Terraform fails.
    """
    chosen = variables(settings, aws)
    announce(f"The deploy role may be assumed by: {', '.join(_trusted(chosen))}")
    source = settings.root / "terraform-bootstrap"
    terraform = Terraform.prepare(source, place.folder, place.state, aws.environment())
    announce("terraform init")
    terraform.init()
    announce("terraform plan")
    plan = terraform.plan(chosen)
    if plan is None:
        announce("No changes: the buckets, roles and the contract are as they should be.")
        return outputs(aws, settings.prefix)
    changes = read_plan(plan)
    show(changes)
    _refuse_losses(changes, allow_replace=allow_replace)
    announce("terraform apply")
    terraform.apply()
    return outputs(aws, settings.prefix)


def read_plan(plan: Mapping[str, Any]) -> list[Change]:
    """Return the changes of a plan in Terraform's JSON form, without reads and no-ops."""
    found = [
        (change["change"]["actions"], change["address"])
        for change in plan.get("resource_changes", [])
    ]
    names = {("create",): "create", ("update",): "update", ("delete",): "delete"}
    writes = [
        (actions, address) for actions, address in found if actions not in (["no-op"], ["read"])
    ]
    return [Change(names.get(tuple(actions), "replace"), address) for actions, address in writes]


def _refuse_losses(changes: list[Change], *, allow_replace: bool) -> None:
    lost = [change.address for change in changes if change.action in ("delete", "replace")]
    if lost and not allow_replace:
        what = f"the plan would delete or replace {', '.join(lost)}; nothing was changed"
        raise RefusedError("bootstrap", what, "if that is wanted, add --allow-replace")


def outputs(aws: Account, prefix: str) -> Bootstrap:
    """Read the contract from SSM.

    Raises RefusedError when the account has none under this prefix, or an incomplete one.
    """
    path = f"/{prefix}/bootstrap"
    pages = (
        aws.client("ssm")
        .get_paginator("get_parameters_by_path")
        .paginate(Path=path, WithDecryption=True)
    )
    found = {
        item["Name"].rpartition("/")[2]: item["Value"]
        for page in pages
        for item in page["Parameters"]
    }
    wanted = [field.name for field in fields(Bootstrap)]
    missing = [name for name in wanted if name not in found]
    if missing:
        what = f"account {aws.account} has no bootstrap in {aws.region}: {path} lacks {', '.join(missing)}"
        raise RefusedError(
            f"prefix {prefix}",
            what,
            "run: invoke bootstrap, or choose the right --region and --prefix",
        )
    return Bootstrap(**{name: found[name] for name in wanted})
