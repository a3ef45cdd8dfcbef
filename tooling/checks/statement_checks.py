"""Checks each policy statement by itself, against AWS's Service Authorization Reference.

An action of a statement is a pattern, such as ``kms:GenerateDataKey*``; the reference expands it to
the actions that AWS has. ``where`` names the statement in a finding, by its policy and its Sid.
``policy`` is the one that contains the statement.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tooling.checks.authorization_reference import can_match
from tooling.checks.iam_policies import as_list, is_allow, list_conditions, list_principals

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
    for service in list_principals(statement, "Service"):
        if not reference.has_service_principal(service):
            yield f"{where} {service} is no service of AWS"
    if "NotAction" in statement:
        yield from _check_not_action(where, policy, statement, reference)
        return
    all_actions: list[Action] = []
    for pattern in patterns:
        actions = reference.expand(pattern)
        all_actions += actions
        if actions:
            yield from _check_action(where, pattern, actions, policy, statement)
            yield from _check_condition_keys(where, pattern, actions, statement)
    yield from _check_resources(where, all_actions, policy, statement)


def _check_not_action(
    where: str, policy: Policy, statement: Mapping[str, Any], reference: Reference
) -> Iterator[str]:
    """Check a statement for all actions but some: some service of AWS must know what it names."""
    for arn in _list_resources(policy, statement):
        if arn != "*" and not reference.has_resource(arn):
            yield f"{where} no action of AWS takes {arn}"
    for condition in list_conditions(statement):
        key = condition.key
        if not reference.has_condition_key(key):
            yield f"{where} {key} is no condition key of AWS"


def _check_action(
    where: str,
    pattern: str,
    actions: Sequence[Action],
    policy: Policy,
    statement: Mapping[str, Any],
) -> Iterator[str]:
    """Check that the actions of a pattern can be used on the resources of its statement.

    An action without resource-level permissions takes no ARN: only ``Resource: "*"`` matches it. If
    an identity policy allows the pattern, all its actions must take an ARN. In a statement that
    denies, and in a resource policy, one that does is enough.
    """
    resources = _list_resources(policy, statement)
    if "*" in resources or "NotResource" in statement:
        return
    without_resource = [action.name for action in actions if not action.arn_formats]
    must_all_take_arn = is_allow(statement) and not policy.resource_arn
    max_without_resource = 0 if must_all_take_arn else len(actions) - 1
    if len(without_resource) > max_without_resource:
        names = ", ".join(without_resource)
        yield f'{where} {names} has no resource-level permissions: it matches Resource "*" alone'
    elif not any(action.takes(arn) for action in actions for arn in resources):
        yield f"{where} {pattern} takes none of the statement's resources"
    elif len(actions) == 1 and is_allow(statement):
        yield from _check_required_types(where, actions[0], resources)


def _check_required_types(where: str, action: Action, resources: Sequence[str]) -> Iterator[str]:
    """Check that the resources include one of each type that the action requires together."""
    for name in sorted(action.required_types):
        arn_format = action.arn_formats[name]
        if not any(can_match(arn_format, arn) for arn in resources):
            yield f"{where} {action.name} also needs a resource of type {name} ({arn_format})"


def _check_condition_keys(
    where: str, pattern: str, actions: Sequence[Action], statement: Mapping[str, Any]
) -> Iterator[str]:
    """Check that a request for some action of the pattern can carry each condition key."""
    for condition in list_conditions(statement):
        key = condition.key
        if not any(action.has_condition_key(key) for action in actions):
            yield f"{where} {pattern} never carries the condition key {key}"


def _check_resources(
    where: str, actions: Sequence[Action], policy: Policy, statement: Mapping[str, Any]
) -> Iterator[str]:
    """Check that some action can be used on each resource of the statement.

    In a resource policy, each must also be the resource that has the policy, or a part of it.
    """
    with_resource = [action for action in actions if action.arn_formats]
    for arn in sorted(set(_list_resources(policy, statement)) - {"*"}):
        if with_resource and not any(action.takes(arn) for action in with_resource):
            yield f"{where} no action of the statement takes {arn}"
        elif policy.resource_arn and not _is_part_of(arn, policy.resource_arn):
            yield f"{where} {arn} is not the resource of the policy, {policy.resource_arn}"


def _is_part_of(arn: str, resource_arn: str) -> bool:
    """Return whether an ARN pattern matches a resource, or objects in it if it is a bucket."""
    return fnmatchcase(resource_arn, arn) or arn.startswith(f"{resource_arn}/")


def _list_resources(policy: Policy, statement: Mapping[str, Any]) -> list[str]:
    """Return the ARN patterns of a statement; "*" in a resource policy is the resource itself."""
    resources = as_list(statement.get("Resource", statement.get("NotResource", "*")))
    if not policy.resource_arn:
        return resources
    return [policy.resource_arn if arn == "*" else arn for arn in resources]
