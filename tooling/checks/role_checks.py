"""Checks the rights of each role together: what its actions need, and what it may tag."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tooling.checks.authorization_reference import covers_all
from tooling.checks.iam_policies import as_list, condition_keys, is_allow, principals
from tooling.checks.resolved_templates import VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tooling.checks.authorization_reference import Action, Reference
    from tooling.checks.iam_policies import Collection, Policy, Role

HANDLER_STEPS = ("create", "read", "update", "delete")
STEPS_OF_CREATION = ("create", "read")  # CloudFormation reads what it has just created
TAG_OF_RESOURCE = re.compile(r"\w+:resourcetag/", re.IGNORECASE)  # a condition key
# Operators whose condition also holds for a key that the request does not carry.
HOLDS_WITHOUT_KEY = re.compile(r"ForAllValues:|.*IfExists$|\w+Not[A-Z]|Not[A-Z]")
SERVICE_ROLE_ARN = VALUES["ServiceRoleArn"]


def check_roles(collection: Collection, reference: Reference) -> Iterator[str]:
    """Yield what each role lacks for its own actions, and what it must not tag."""
    for role in collection.roles:
        rights = RoleRights(role, collection.policies, reference)
        yield from _check_dependent_actions(rights)
    yield from _check_tagging(collection, reference)


class RoleRights:
    """What the identity policies of a role, and the resource policies that name it, allow."""

    def __init__(self, role: Role, policies: Sequence[Policy], reference: Reference) -> None:
        self.name = role.name
        self._reference = reference
        self._own = [
            statement for policy in role.identity_policies for statement in policy.statements
        ]
        self._of_resources = [
            statement
            for policy in policies
            if policy.resource_arn
            for statement in policy.statements
            if role.arn in principals(statement, "AWS")
        ]

    def allowed_actions(self) -> list[Action]:
        """Return the actions that the role's own policies allow, each once, by name."""
        patterns = {
            pattern
            for statement in self._own
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
        """Return whether the role may use an action; ``service`` is who gets a passed role.

        A right to tag must be the role's own: a new resource has no policy yet that could give it.
        """
        return any(_allows(statement, name, service) for statement in self._statements(name))

    def has_without_tags(self, name: str, service: str) -> bool:
        """Return whether the role has the right on a new resource, whose tags do not count yet."""
        return any(
            _allows(statement, name, service) and holds_without_tags(statement)
            for statement in self._statements(name)
        )

    def _statements(self, name: str) -> list[dict[str, Any]]:
        """Return the statements that may allow an action; none if another denies it everywhere."""
        if any(_denies_everywhere(statement, name) for statement in self._own):
            return []
        sets_tags = any(action.sets_tags for action in self._reference.expand(name))
        return self._own if sets_tags else self._own + self._of_resources


def _check_dependent_actions(rights: RoleRights) -> Iterator[str]:
    """Find actions that lack a right which they depend on.

    A creation depends on the rights to tag, too: a new resource is created with its tags.
    """
    allowed = rights.allowed_actions()
    for action in allowed:
        prefix, _, name = action.name.partition(":")
        for dependent in sorted(action.dependent_actions):
            if not rights.has(dependent, prefix):
                yield f"{rights.name}: {action.name} depends on {dependent}, which the role lacks"
        if name.startswith("Create"):
            tagging = {
                other.name for other in allowed if other.sets_tags and other.prefix == prefix
            }
            for needed in sorted({action.name, *action.dependent_actions, *tagging}):
                if rights.has(needed, prefix) and not rights.has_without_tags(needed, prefix):
                    yield _missing_without_tags(rights.name, needed, action.name)


def check_handlers(
    collection: Collection,
    kinds: set[str],
    handlers: Mapping[str, Any],
    reference: Reference,
) -> Iterator[str]:
    """Yield each right that the service role lacks for resources of these types.

    ``handlers`` is the content of handler_permissions.toml: what CloudFormation calls by type.
    """
    for role in collection.roles:
        if role.arn != SERVICE_ROLE_ARN:
            continue
        rights = RoleRights(role, collection.policies, reference)
        for kind in sorted(kinds):
            if kind in handlers:
                yield from _check_handlers_of(kind, handlers[kind], rights)
            else:
                yield f"{role.name}: handler_permissions.toml does not say what it needs for {kind}"
        for entry in handlers["beyond_the_schemas"]:
            if not rights.has(entry["action"], ""):
                yield f"{role.name}: lacks {entry['action']}. {entry['reason']}"


def _check_handlers_of(kind: str, handler: Mapping[str, Any], rights: RoleRights) -> Iterator[str]:
    service = kind.split("::")[1].lower()
    for step in HANDLER_STEPS:
        for action in handler[step]:
            if not rights.has(action, service):
                yield f"{rights.name}: lacks {action}, by which CloudFormation can {step} {kind}"
            elif step in STEPS_OF_CREATION and not rights.has_without_tags(action, service):
                yield _missing_without_tags(rights.name, action, kind)


def _missing_without_tags(role: str, action: str, created: str) -> str:
    return (
        f"{role}: {action} is needed for {created}, but the right hangs on a tag that a new"
        " resource cannot have yet"
    )


def _check_tagging(collection: Collection, reference: Reference) -> Iterator[str]:
    """Find rights to set a tag on any resource of a service in which rights hang on this tag."""
    grants = [
        (role, statement)
        for role in collection.roles
        for policy in role.identity_policies
        for statement in policy.statements
        if is_allow(statement)
    ]
    tags_by_service: dict[str, set[str]] = defaultdict(set)
    for _, statement in grants:
        for pattern in as_list(statement.get("Action", [])):
            tags_by_service[pattern.partition(":")[0]].update(_required_tags(statement))
    for role, statement in grants:
        for action in _tagging_of_any_resource(statement, reference):
            tags = tags_by_service[action.prefix].difference(_guarded_tags(statement))
            if tags:
                yield (
                    f"{role.name} {statement['Sid']}: {action.name} may set"
                    f" {', '.join(sorted(tags))} on any resource, and rights hang on this tag"
                )


def _required_tags(statement: Mapping[str, Any]) -> list[str]:
    """Return the condition keys of the tags without which a statement has no effect."""
    if holds_without_tags(statement):
        return []
    return [key for key in condition_keys(statement) if TAG_OF_RESOURCE.match(key)]


def _guarded_tags(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tags that a resource must lack, or have with a certain value, by a condition."""
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            must_be_absent = (operator, as_list(values)) == ("Null", ["true"])
            has_value = operator != "Null" and not HOLDS_WITHOUT_KEY.match(operator)
            if TAG_OF_RESOURCE.match(key) and (must_be_absent or has_value):
                yield key


def _tagging_of_any_resource(
    statement: Mapping[str, Any], reference: Reference
) -> Iterator[Action]:
    """Yield the actions that may tag every resource of some type, whatever its name."""
    arns = as_list(statement.get("Resource", "*"))
    for pattern in as_list(statement.get("Action", [])):
        for action in reference.expand(pattern):
            arn_formats = action.arn_formats.values()
            if action.sets_tags and any(
                itertools.starmap(covers_all, itertools.product(arn_formats, arns))
            ):
                yield action


def holds_without_tags(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement's conditions can hold for a resource that has no tags yet."""
    return all(
        HOLDS_WITHOUT_KEY.match(operator) or (operator, as_list(values)) == ("Null", ["true"])
        for operator, tests in statement.get("Condition", {}).items()
        for key, values in tests.items()
        if TAG_OF_RESOURCE.match(key)
    )


def _allows(statement: Mapping[str, Any], action: str, service: str) -> bool:
    """Return whether a statement allows an action, whatever the resource.

    A right to pass a role may name the services that get it; ``service`` must be one of them.
    """
    if not is_allow(statement) or not _is_about(statement, action):
        return False
    receivers = [
        value
        for tests in statement.get("Condition", {}).values()
        for key, values in tests.items()
        if key == "iam:PassedToService"
        for value in as_list(values)
    ]
    return not receivers or f"{service}.amazonaws.com" in receivers


def _denies_everywhere(statement: Mapping[str, Any], action: str) -> bool:
    is_everywhere = "*" in as_list(statement.get("Resource", [])) and "Condition" not in statement
    return is_everywhere and not is_allow(statement) and _is_about(statement, action)


def _is_about(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether a statement is about an action."""
    if "NotAction" in statement:
        return not _matches_one(action, as_list(statement["NotAction"]))
    return _matches_one(action, as_list(statement["Action"]))


def _matches_one(action: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
