"""Checks the rights of each role together: what its actions need, and what it may tag.

- An action can depend on others: a key can only be created with the right to set its policy.
- CloudFormation has a handler for each resource type, which creates, reads, updates and deletes
  such resources. It calls AWS with the rights of the service role.
- A condition on a tag limits a right to the resources that have this tag. A role that may set the
  tag on any resource is not limited by it.

``reference`` is AWS's list of all actions. The checks yield a sentence for each problem.
"""

from __future__ import annotations

import re
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tooling.checks.authorization_reference import covers_all
from tooling.checks.iam_policies import as_list, is_allow, list_conditions, list_principals
from tooling.resolved_templates import REQUIRED_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tooling.checks.authorization_reference import Action, Reference
    from tooling.checks.iam_policies import Collection, Condition, Policy, Role

HANDLER_STEPS = ("create", "read", "update", "delete")
STEPS_OF_CREATION = ("create", "read")  # CloudFormation reads what it has just created
# The start of a condition key for a tag of the resource, such as aws:ResourceTag/owner.
TAG_OF_RESOURCE = re.compile(r"\w+:resourcetag/", re.IGNORECASE)
# Operators whose condition also holds for a key that the request does not carry.
HOLDS_WITHOUT_KEY = re.compile(r"ForAllValues:|.*IfExists$|\w+Not[A-Z]|Not[A-Z]")
SERVICE_ROLE_ARN = REQUIRED_VALUES["ServiceRoleArn"]


def check_roles(collection: Collection, reference: Reference) -> Iterator[str]:
    """Yield each right that a role lacks for its own actions, and each right to tag too much."""
    for role in collection.roles:
        rights = RoleRights(role, collection.policies, reference)
        yield from _check_dependent_actions(rights)
    yield from _check_tagging(collection, reference)


class RoleRights:
    """What the identity policies of a role, and the resource policies that name it, allow."""

    def __init__(self, role: Role, policies: Sequence[Policy], reference: Reference) -> None:
        self.name = role.name
        self._reference = reference
        self._own_statements = [
            statement for policy in role.identity_policies for statement in policy.statements
        ]
        self._resource_statements = [  # those that name the role
            statement
            for policy in policies
            if policy.resource_arn
            for statement in policy.statements
            if role.arn in list_principals(statement, "AWS")
        ]

    def list_allowed_actions(self) -> list[Action]:
        """Return the actions that the role's own policies allow, each once, sorted by name."""
        patterns = {
            pattern
            for statement in self._own_statements
            if is_allow(statement)
            for pattern in as_list(statement.get("Action", []))
        }
        actions = {
            action.name: action
            for pattern in patterns
            for action in self._reference.expand(pattern)
        }
        return [actions[name] for name in sorted(actions)]

    def has(self, name: str, service: str) -> bool:
        """Return whether the role may use the action ``name`` on some resource.

        ``service``, such as "lambda", is the one to which iam:PassRole would pass a role.
        """
        statements = self._find_statements(name)
        return any(_allows(statement, name, service) for statement in statements)

    def has_without_tags(self, name: str, service: str) -> bool:
        """Return whether the role may use the action on a new resource, which has no tags yet."""
        if any(_denies_without_tags(statement, name) for statement in self._own_statements):
            return False
        return any(
            _allows(statement, name, service) and holds_without_tags(statement)
            for statement in self._find_statements(name)
        )

    def _find_statements(self, name: str) -> list[dict[str, Any]]:
        """Return the statements that can allow an action; none if the role's own deny it always.

        A right to tag must be the role's own: a new resource has no policy yet that could give it.
        """
        if any(_denies_everywhere(statement, name) for statement in self._own_statements):
            return []
        if any(action.sets_tags for action in self._reference.expand(name)):
            return self._own_statements
        return self._own_statements + self._resource_statements


def _check_dependent_actions(rights: RoleRights) -> Iterator[str]:
    """Yield each right that an action of the role depends on and that the role lacks."""
    allowed = rights.list_allowed_actions()
    for action in allowed:
        for dependent in sorted(action.dependent_actions):
            if not rights.has(dependent, action.prefix):
                yield f"{rights.name}: {action.name} depends on {dependent}, which the role lacks"
        if action.name.startswith(f"{action.prefix}:Create"):
            yield from _check_creation(action, allowed, rights)


def _check_creation(
    creation: Action, allowed: Sequence[Action], rights: RoleRights
) -> Iterator[str]:
    """Yield each right that a creation needs and that the role has on tagged resources alone.

    A new resource is created with its tags, so a creation also needs the rights to tag.
    """
    service = creation.prefix
    tagging = {action.name for action in allowed if action.sets_tags and action.prefix == service}
    for needed in sorted({creation.name, *creation.dependent_actions, *tagging}):
        if rights.has(needed, service) and not rights.has_without_tags(needed, service):
            yield _describe_need_of_tag(rights.name, needed, creation.name)


def check_handlers(
    collection: Collection,
    kinds: set[str],
    handlers: Mapping[str, Any],
    reference: Reference,
) -> Iterator[str]:
    """Yield each right that the service role lacks for resources of the types in ``kinds``.

    ``handlers`` is the content of handler_permissions.toml. It has the actions that each handler
    calls: ``{"AWS::SQS::Queue": {"create": ["sqs:CreateQueue"], ...}}``. "beyond_the_schemas" has
    the actions that AWS does not list for any handler, each with the reason why it is needed.
    """
    for role in collection.roles:
        if role.arn != SERVICE_ROLE_ARN:
            continue
        rights = RoleRights(role, collection.policies, reference)
        for kind in sorted(kinds):
            if kind in handlers:
                yield from _check_handler(kind, handlers[kind], rights)
            else:
                yield f"{role.name}: handler_permissions.toml does not say what it needs for {kind}"
        for entry in handlers["beyond_the_schemas"]:
            if not rights.has(entry["action"], ""):
                yield f"{role.name}: lacks {entry['action']}. {entry['reason']}"


def _check_handler(kind: str, handler: Mapping[str, Any], rights: RoleRights) -> Iterator[str]:
    """Yield each right that one resource type's handler calls and that the service role lacks."""
    service = kind.split("::")[1].lower()  # "AWS::SQS::Queue" -> "sqs"
    for step in HANDLER_STEPS:
        for action in handler[step]:
            if not rights.has(action, service):
                yield f"{rights.name}: lacks {action}, by which CloudFormation can {step} {kind}"
            elif step in STEPS_OF_CREATION and not rights.has_without_tags(action, service):
                yield _describe_need_of_tag(rights.name, action, kind)


def _describe_need_of_tag(role: str, action: str, needed_by: str) -> str:
    """Return the sentence about a right that a new resource needs and that needs a tag on it.

    The right is needed to create a resource, but is granted only for resources that already have a
    tag. ``needed_by`` is an action that creates ("kms:CreateKey"), or a resource type
    ("AWS::SQS::Queue").
    """
    return (
        f"{role}: {action} is needed for {needed_by}, but the right hangs on a tag that a new"
        " resource cannot have yet"
    )


def _check_tagging(collection: Collection, reference: Reference) -> Iterator[str]:
    """Yield each right to set a tag on any resource of a service whose rights depend on this tag.

    Whoever has it can tag a resource, and then use the rights that are limited to this tag.
    """
    allowing = [
        (role, statement)
        for role in collection.roles
        for policy in role.identity_policies
        for statement in policy.statements
        if is_allow(statement)
    ]
    tags_by_service: dict[str, set[str]] = defaultdict(set)  # the tags' condition keys
    for _, statement in allowing:
        for pattern in as_list(statement.get("Action", [])):
            service = pattern.partition(":")[0]
            tags_by_service[service].update(_find_required_tags(statement))
    for role, statement in allowing:
        for action in _find_tagging_of_any_resource(statement, reference):
            tags = tags_by_service[action.prefix].difference(_find_checked_tags(statement))
            if tags:
                yield (
                    f"{role.name} {statement['Sid']}: {action.name} may set"
                    f" {', '.join(sorted(tags))} on any resource, and rights hang on this tag"
                )


def _find_required_tags(statement: Mapping[str, Any]) -> list[str]:
    """Return the condition keys of the tags that a resource must have for a statement to hold."""
    if holds_without_tags(statement):
        return []
    return [condition.key for condition in _list_tag_conditions(statement)]


def _find_checked_tags(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield the condition keys of the tags that a statement checks before it allows to set tags.

    The resource must either lack such a tag, or have a certain value of it already.
    """
    for condition in _list_tag_conditions(statement):
        operator = condition.operator
        must_have_value = operator != "Null" and not HOLDS_WITHOUT_KEY.match(operator)
        if must_have_value or _requires_absence(condition):
            yield condition.key


def _find_tagging_of_any_resource(
    statement: Mapping[str, Any], reference: Reference
) -> Iterator[Action]:
    """Yield the actions by which a statement allows to tag every resource of some type."""
    arns = as_list(statement.get("Resource", "*"))
    for pattern in as_list(statement.get("Action", [])):
        for action in reference.expand(pattern):
            is_of_any_resource = any(
                covers_all(arn_format, arn)
                for arn_format in action.arn_formats.values()
                for arn in arns
            )
            if action.sets_tags and is_of_any_resource:
                yield action


def holds_without_tags(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement's conditions can hold for a resource that has no tags yet."""
    return all(
        HOLDS_WITHOUT_KEY.match(condition.operator) or _requires_absence(condition)
        for condition in _list_tag_conditions(statement)
    )


def _list_tag_conditions(statement: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions on a tag of the resource."""
    conditions = list_conditions(statement)
    return [condition for condition in conditions if TAG_OF_RESOURCE.match(condition.key)]


def _requires_absence(condition: Condition) -> bool:
    """Return whether the condition holds only if the request does not have its key."""
    return condition.operator == "Null" and condition.values == ["true"]


def _allows(statement: Mapping[str, Any], action: str, service: str) -> bool:
    """Return whether a statement allows an action, on whatever resource.

    A right to pass a role can be limited to some services; ``service`` must be one of them.
    """
    if not is_allow(statement) or not _is_about(statement, action):
        return False
    receiving_services = [
        value
        for condition in list_conditions(statement)
        if condition.key == "iam:PassedToService"
        for value in condition.values
    ]
    return not receiving_services or f"{service}.amazonaws.com" in receiving_services


def _denies_everywhere(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether a statement denies an action on every resource and without a condition."""
    return "Condition" not in statement and _denies_all_resources(statement, action)


def _denies_without_tags(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether a statement denies an action on every resource that has no tags.

    A condition on anything but a tag may not hold, so a statement that has one does not count.
    """
    has_tag_conditions_alone = _list_tag_conditions(statement) == list_conditions(statement)
    return (
        has_tag_conditions_alone
        and holds_without_tags(statement)
        and _denies_all_resources(statement, action)
    )


def _denies_all_resources(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether a statement denies an action on "*", if its conditions hold."""
    is_everywhere = "*" in as_list(statement.get("Resource", []))
    return is_everywhere and not is_allow(statement) and _is_about(statement, action)


def _is_about(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether an action is among those that a statement allows or denies."""
    if "NotAction" in statement:
        return not _matches_one(action, as_list(statement["NotAction"]))
    return _matches_one(action, as_list(statement["Action"]))


def _matches_one(action: str, patterns: Sequence[str]) -> bool:
    """Return whether an action matches one of the patterns, such as "kms:Get*", in any case."""
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
