"""The policies of the bootstrap's roles, as Terraform writes them, and what they allow."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.support.repository import ROOT
from tests.support.templates import as_list, statements
from tooling.checks.resolved_templates import ACCOUNT, REGION, VALUES
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# The real provider writes policy documents without any call, so it needs no credentials.
PROVIDER = """\
provider "aws" {
  region                      = var.region
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}
"""
VARIABLES = {
    "account_id": ACCOUNT,
    "region": REGION,
    "prefix": VALUES["NamePrefix"],
    "trusted_principal_arns": [f"arn:aws:iam::{ACCOUNT}:root"],
}


def plan_statements(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The statements of each IAM policy of the bootstrap, by Terraform address."""
    terraform = Terraform.prepare(
        ROOT / "terraform-bootstrap", folder / "run", folder / "x.tfstate", dict(os.environ)
    )
    (terraform.folder / "providers.tf").write_text(PROVIDER)
    terraform.init()
    plan = terraform.plan(VARIABLES)
    assert plan is not None
    resources = plan["planned_values"]["root_module"]["resources"]
    return {
        resource["address"]: statements(json.loads(resource["values"]["policy"]))
        for resource in resources
        if resource["type"] in ("aws_iam_policy", "aws_iam_role_policy")
    }


def is_permitted(
    policy: Sequence[Mapping[str, Any]], action: str, arn: str, request: Mapping[str, str]
) -> bool:
    """Whether a statement allows a call with these condition keys, and no statement denies it."""
    effects = [
        statement["Effect"]
        for statement in policy
        if _is_about(statement, action, arn) and _has_met_conditions(statement, request)
    ]
    return "Allow" in effects and "Deny" not in effects


def _is_about(statement: Mapping[str, Any], action: str, arn: str) -> bool:
    if "NotAction" in statement and action in as_list(statement["NotAction"]):
        return False
    has_action = "NotAction" in statement or action in statement["Action"]
    return has_action and any(_is_like(arn, pattern) for pattern in statement["Resource"])


def _has_met_conditions(statement: Mapping[str, Any], request: Mapping[str, str]) -> bool:
    return all(
        _is_met(operator, request.get(key), as_list(values))
        for operator, conditions in statement.get("Condition", {}).items()
        for key, values in conditions.items()
    )


def _is_met(operator: str, value: str | None, expected: list[str]) -> bool:
    """Whether a condition holds; ``value`` is None if the request does not have its key."""
    if operator == "Null":
        return expected == [str(value is None).lower()]
    if operator == "StringEquals":
        return value in expected
    assert operator in ("ArnLike", "StringLike"), operator
    return any(_is_like(value or "", pattern) for pattern in expected)


def _is_like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))
