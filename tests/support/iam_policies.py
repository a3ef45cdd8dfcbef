"""The policies of the bootstrap's roles, as Terraform writes them, and what they allow."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.support.repository import ROOT
from tests.support.templates import statements
from tooling.checks import iam_policies
from tooling.checks.iam_policies import Policy, as_list, list_principals
from tooling.resolved_templates import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ACCOUNT_ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def plan_statements(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The statements of each policy of the bootstrap, by Terraform address."""
    sources = {"bootstrap": ROOT / "terraform-bootstrap"}
    planned = iam_policies.plan_bootstraps(sources, folder, os.environ)["bootstrap"]
    return {policy.name: statements(dict(policy.document)) for policy in planned.policies}


def make_policy(action: Any, resource: Any = "*", effect: str = "Allow", **more: Any) -> Policy:
    """An identity policy with one statement, whose Sid is S."""
    statement = {"Sid": "S", "Effect": effect, "Action": action, "Resource": resource, **more}
    return Policy("role", {"Statement": [statement]})


def resource_policy_of(document: dict[str, Any], principal: str, arn: str) -> list[dict[str, Any]]:
    """The statements of the policy of resource ``arn`` that apply to a principal of the account.

    A statement that allows the account something leaves it to the principal's own policies.
    """
    return [
        {**statement, "Resource": [arn]}
        for statement in statements(document)
        if _applies_to(statement, principal)
    ]


def _applies_to(statement: Mapping[str, Any], principal: str) -> bool:
    if statement["Principal"] == "*":
        return True
    named = {principal, "*"}
    if statement["Effect"] == "Deny":
        named.add(ACCOUNT_ROOT)
    return not named.isdisjoint(list_principals(statement, "AWS"))


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
    """Whether a statement names the action and the resource; IAM ignores the case of actions."""
    actions = [name.lower() for name in _values(statement, "Action", "NotAction")]
    has_action = _is_like_one(action.lower(), actions) != ("NotAction" in statement)
    resources = _values(statement, "Resource", "NotResource")
    has_resource = _is_like_one(arn, resources) != ("NotResource" in statement)
    return has_action and has_resource


def _values(statement: Mapping[str, Any], element: str, opposite: str) -> list[str]:
    return as_list(statement[element if element in statement else opposite])


def _has_met_conditions(statement: Mapping[str, Any], request: Mapping[str, str]) -> bool:
    return all(
        _is_met(operator, request.get(key), as_list(values))
        for operator, conditions in statement.get("Condition", {}).items()
        for key, values in conditions.items()
    )


def _is_met(operator: str, value: str | None, expected: list[str]) -> bool:
    """Whether a condition holds; ``value`` is None if the request does not have its key.

    Source: IAM user guide, "IAM JSON policy elements: Condition operators".
    """
    if operator == "Null":
        return expected == [str(value is None).lower()]
    comparison = operator.removesuffix("IfExists")
    is_negated = "Not" in comparison
    if value is None:
        return is_negated or operator.endswith("IfExists")
    comparison = comparison.replace("Not", "")
    if comparison in ("StringEquals", "Bool"):
        return (value in expected) != is_negated
    assert comparison in ("ArnEquals", "ArnLike", "StringLike"), operator
    return _is_like_one(value, expected) != is_negated


def _is_like_one(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)
