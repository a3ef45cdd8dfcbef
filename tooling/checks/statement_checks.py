"""Checks each policy statement by itself, against AWS's Service Authorization Reference."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tooling.checks.authorization_reference import can_match
from tooling.checks.iam_policies import as_list, condition_keys, is_allow, principals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tooling.checks.authorization_reference import Action, Reference
    from tooling.checks.iam_policies import Policy

# IAM user guide, "IAM JSON policy elements: Condition operators".
CONDITION_OPERATOR = re.compile(
    r"Null|(For(Any|All)Values:)?"
    r"(String(Not)?(Equals|EqualsIgnoreCase|Like)|(Numeric|Date)(Not)?Equals"
    r"|(Numeric|Date)(Less|Greater)Than(Equals)?|Bool|BinaryEquals|(Not)?IpAddress"
    r"|Arn(Not)?(Equals|Like))(IfExists)?"
)


def check_statement(
    policy: Policy, statement: Mapping[str, Any], reference: Reference
) -> Iterator[str]:
    """Yield a sentence for each part of a statement that does not exist or has no effect."""
    where = f"{policy.name} {statement['Sid']}:"
    patterns = as_list(statement.get("Action", statement.get("NotAction", [])))
    for pattern in patterns:
        if not reference.expand(pattern):
            yield f"{where} {pattern} is no action of AWS"
    for operator in statement.get("Condition", {}):
        if not CONDITION_OPERATOR.fullmatch(operator):
            yield f"{where} {operator} is no condition operator of AWS"
    for service in principals(statement, "Service"):
        if not reference.has_service_principal(service):
            yield f"{where} {service} is no service of AWS"
    if "NotAction" in statement:
        yield from _check_not_action(where, policy, statement, reference)
        return
    actions = {pattern: reference.expand(pattern) for pattern in patterns}
    for pattern, expanded in actions.items():
        if expanded:
            yield from _check_action(where, pattern, expanded, policy, statement)
            yield from _check_condition_keys(where, pattern, expanded, statement)
    every_action = [action for expanded in actions.values() for action in expanded]
    yield from _check_resources(where, every_action, policy, statement)


def _check_not_action(
    where: str, policy: Policy, statement: Mapping[str, Any], reference: Reference
) -> Iterator[str]:
    """Check a statement for all actions but some: its resources and keys may be of any service."""
    for arn in _resources(policy, statement):
        if arn != "*" and not reference.has_resource(arn):
            yield f"{where} no action of AWS takes {arn}"
    for key in condition_keys(statement):
        if not reference.has_condition_key(key):
            yield f"{where} {key} is no condition key of AWS"


def _check_action(
    where: str,
    pattern: str,
    actions: Sequence[Action],
    policy: Policy,
    statement: Mapping[str, Any],
) -> Iterator[str]:
    """Check that the actions of a pattern take the resources of its statement."""
    resources = _resources(policy, statement)
    if "*" in resources or "NotResource" in statement:
        return
    is_identity_grant = is_allow(statement) and not policy.resource_arn
    without_resource = [action.name for action in actions if not action.arn_formats]
    if len(without_resource) == len(actions) or (is_identity_grant and without_resource):
        names = ", ".join(without_resource)
        yield f'{where} {names} has no resource-level permissions: it matches Resource "*" alone'
    elif not any(action.takes(arn) for action in actions for arn in resources):
        yield f"{where} {pattern} takes none of the statement's resources"
    elif len(actions) == 1 and is_allow(statement):
        yield from _check_required_types(where, actions[0], resources)


def _check_required_types(where: str, action: Action, resources: Sequence[str]) -> Iterator[str]:
    for name in sorted(action.required_types):
        arn_format = action.arn_formats[name]
        if not any(can_match(arn_format, arn) for arn in resources):
            yield f"{where} {action.name} also needs a resource of type {name} ({arn_format})"


def _check_condition_keys(
    where: str, pattern: str, actions: Sequence[Action], statement: Mapping[str, Any]
) -> Iterator[str]:
    for key in condition_keys(statement):
        if not any(action.has_condition_key(key) for action in actions):
            yield f"{where} {pattern} never carries the condition key {key}"


def _check_resources(
    where: str, actions: Sequence[Action], policy: Policy, statement: Mapping[str, Any]
) -> Iterator[str]:
    """Check that each resource belongs to some action, and in a resource policy to its own ARN."""
    with_resource = [action for action in actions if action.arn_formats]
    for arn in sorted(set(_resources(policy, statement)) - {"*"}):
        if with_resource and not any(action.takes(arn) for action in with_resource):
            yield f"{where} no action of the statement takes {arn}"
        elif policy.resource_arn and not _belongs_to(arn, policy.resource_arn):
            yield f"{where} {arn} is not the resource of the policy, {policy.resource_arn}"


def _belongs_to(arn: str, resource_arn: str) -> bool:
    """Return whether an ARN pattern matches the resource of a policy, or objects in its bucket."""
    return fnmatchcase(resource_arn, arn) or arn.startswith(f"{resource_arn}/")


def _resources(policy: Policy, statement: Mapping[str, Any]) -> list[str]:
    resources = as_list(statement.get("Resource", statement.get("NotResource", "*")))
    if not policy.resource_arn:
        return resources
    return [policy.resource_arn if arn == "*" else arn for arn in resources]
