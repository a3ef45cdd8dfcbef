"""The rights that the bootstrap gives, as Terraform writes them, and whether they let a call through."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.support.repository import ROOT
from tests.support.templates import ACCOUNT, REGION, VALUES, statements
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# The real provider, because it writes policy documents on this machine alone; it has no credentials and asks nobody.
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


def planned(folder: Path, *policies: str) -> list[dict[str, Any]]:
    """The statements of these managed policies of the bootstrap, planned in ``folder``."""
    made = Terraform.prepare(
        ROOT / "terraform-bootstrap", folder / "run", folder / "x.tfstate", dict(os.environ)
    )
    (made.folder / "providers.tf").write_text(PROVIDER)
    made.init()
    plan = made.plan(VARIABLES)
    assert plan is not None
    found = {
        one["address"]: one["values"] for one in plan["planned_values"]["root_module"]["resources"]
    }
    documents = [json.loads(found[f"aws_iam_policy.{name}"]["policy"]) for name in policies]
    return [part for document in documents for part in statements(document)]


def permits(
    given: Sequence[Mapping[str, Any]], action: str, arn: str, request: Mapping[str, str]
) -> bool:
    """Say whether these statements let a call with such condition keys through: one allows it, and none denies it."""
    speaking = [
        part["Effect"] for part in given if _speaks_of(part, action, arn) and _meets(part, request)
    ]
    return "Allow" in speaking and "Deny" not in speaking


def _speaks_of(part: Mapping[str, Any], action: str, arn: str) -> bool:
    named = (
        action in part["Action"] if "Action" in part else action not in listed(part["NotAction"])
    )
    return named and any(_like(arn, pattern) for pattern in part["Resource"])


def _meets(part: Mapping[str, Any], request: Mapping[str, str]) -> bool:
    asked = [
        (how, key, given)
        for how, keys in part.get("Condition", {}).items()
        for key, given in keys.items()
    ]
    assert {how for how, _, _ in asked} <= {
        "StringEquals",
        "ArnLike",
    }  # what is compared here, and nothing else
    return all(
        any(
            _like(request.get(key, ""), one) if how == "ArnLike" else request.get(key) == one
            for one in listed(given)
        )
        for how, key, given in asked
    )


def _like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
