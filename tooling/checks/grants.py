"""Checks every policy statement against AWS's Service Authorization Reference.

A statement can be valid JSON and still grant nothing: the action does not exist, the action has no
resource-level permissions, the resource belongs to another action, or a request for this action
never carries the condition key. Such a deploy fails in the middle, or a part of it does nothing.

``reviewed_grants.toml`` lists the findings that passed a review.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.checks import iam_policies, resolved_templates
from tooling.checks.authorization_reference import Action, Reference, can_match, covers_all
from tooling.checks.iam_policies import Collection, Policy, Role, as_list, is_allow, principals
from tooling.checks.resolved_templates import OPTIONAL_VALUES, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REVIEWED_GRANTS = Path("tooling/checks/reviewed_grants.toml")
HANDLER_PERMISSIONS = Path("tooling/checks/handler_permissions.toml")
REASON_MIN_CHARS = 20
HANDLER_STEPS = ("create", "read", "update", "delete")
STEPS_OF_CREATION = ("create", "read")  # CloudFormation reads what it has just created
TAG_OF_RESOURCE = re.compile(r"\w+:resourcetag/", re.IGNORECASE)  # a condition key
# IAM user guide, "IAM JSON policy elements: Condition operators".
CONDITION_OPERATOR = re.compile(
    r"Null|(For(Any|All)Values:)?"
    r"(String(Not)?(Equals|EqualsIgnoreCase|Like)|(Numeric|Date)(Not)?Equals"
    r"|(Numeric|Date)(Less|Greater)Than(Equals)?|Bool|BinaryEquals|(Not)?IpAddress"
    r"|Arn(Not)?(Equals|Like))(IfExists)?"
)
# Operators whose condition also holds for a key that the request does not carry.
HOLDS_WITHOUT_KEY = re.compile(r"ForAllValues:|.*IfExists$|\w+Not[A-Z]|Not[A-Z]")
SERVICE_ROLE_ARN = VALUES["ServiceRoleArn"]


@dataclass(frozen=True)
class Result:
    """How many policies were checked, and a sentence for each thing to fix."""

    passed: int
    findings: tuple[str, ...]


def run(root: Path, python: Path) -> Result:
    """Check the repository at ``root``; ``python`` is that of the scan environment.

    Raises ToolError if Terraform cannot plan the bootstrap, or something cannot be read.
    """
    reference = Reference.load(python)
    (bootstrap,) = plan_bootstraps([root]).values()
    return check_repository(root, bootstrap, reference)


def plan_bootstraps(roots: Sequence[Path]) -> dict[Path, Collection]:
    """Return the planned bootstrap of each of these copies of the repository."""
    names = {f"copy_{number}": root for number, root in enumerate(roots)}
    sources = {name: root / "terraform-bootstrap" for name, root in names.items()}
    with tempfile.TemporaryDirectory(prefix="signwatch-grants-") as folder:
        planned = iam_policies.plan_bootstraps(sources, Path(folder), os.environ)
    return {root: planned[name] for name, root in names.items()}


def check_repository(root: Path, bootstrap: Collection, reference: Reference) -> Result:
    """Check the policies of the bootstrap, and of the stacks in ``root``/cfn.

    The stacks are checked twice: with the default of each parameter, and with values that switch
    every condition.
    """
    handlers = tomllib.loads((root / HANDLER_PERMISSIONS).read_text(encoding="utf-8"))
    reviewed = tomllib.loads((root / REVIEWED_GRANTS).read_text(encoding="utf-8"))["reviewed"]
    findings: dict[str, None] = {}  # in order, each once
    names: set[str] = set()
    for changes in ({}, OPTIONAL_VALUES):
        stacks = resolved_templates.resolve(root / "cfn", changes)
        collection = bootstrap + iam_policies.collect_stacks(stacks)
        kinds = {body["Type"] for stack in stacks.values() for body in stack.resources.values()}
        findings |= dict.fromkeys(check_collection(collection, reference))
        findings |= dict.fromkeys(check_handlers(collection, kinds, handlers, reference))
        names |= {policy.name for policy in collection.policies}
    return Result(len(names), tuple(apply_reviews([*findings], reviewed)))


def apply_reviews(findings: Sequence[str], reviewed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the findings without a review, each review without a reason, and each unused one."""
    accepted = {finding for review in reviewed for finding in review["findings"]}
    yield from (finding for finding in findings if finding not in accepted)
    for review in reviewed:
        if len(review["reason"]) < REASON_MIN_CHARS:
            first = review["findings"][0]
            yield f"{REVIEWED_GRANTS}: no reason of at least {REASON_MIN_CHARS} characters: {first}"
    for finding in sorted(accepted - set(findings)):
        yield f"{REVIEWED_GRANTS}: found no longer, delete it: {finding}"


def check_collection(collection: Collection, reference: Reference) -> list[str]:
    """Return what is wrong with the statements, and with the rights of each role together."""
    findings: list[str] = []
    for policy in collection.policies:
        for statement in policy.statements:
            findings += _check_statement(policy, statement, reference)
    for role in collection.roles:
        findings += _check_dependent_actions(RoleRights(role, collection.policies, reference))
    findings += _check_tagging(collection, reference)
    return findings


# --- each statement by itself -------------------------------------------------------------------


def _check_statement(
    policy: Policy, statement: Mapping[str, Any], reference: Reference
) -> Iterator[str]:
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
    yield from _check_resources(where, [*sum(actions.values(), ())], policy, statement)


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


def condition_keys(statement: Mapping[str, Any]) -> list[str]:
    """Return the keys of all conditions of a statement."""
    return [key for tests in statement.get("Condition", {}).values() for key in tests]


# --- the rights of a role together --------------------------------------------------------------


class RoleRights:
    """What the identity policies of a role, and the resource policies that name it, allow."""

    def __init__(self, role: Role, policies: Sequence[Policy], reference: Reference) -> None:
        self.name = role.name
        self._reference = reference
        self._own = [body for policy in role.identity_policies for body in policy.statements]
        self._of_resources = [
            body
            for policy in policies
            if policy.resource_arn
            for body in policy.statements
            if role.arn in principals(body, "AWS")
        ]

    def allowed_actions(self) -> list[Action]:
        """Return the actions that the role's own policies allow, each once, by name."""
        patterns = {
            pattern
            for body in self._own
            if is_allow(body)
            for pattern in as_list(body.get("Action", []))
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
        return any(_allows(body, name, service) for body in self._statements(name))

    def has_without_tags(self, name: str, service: str) -> bool:
        """Return whether the role has the right on a new resource, whose tags do not count yet."""
        return any(
            _allows(body, name, service) and holds_without_tags(body)
            for body in self._statements(name)
        )

    def _statements(self, name: str) -> list[dict[str, Any]]:
        """Return the statements that may allow an action; none if another denies it everywhere."""
        if any(_denies_everywhere(body, name) for body in self._own):
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
            tagging = {one.name for one in allowed if one.sets_tags and one.prefix == prefix}
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
            yield from _check_handlers_of(kind, handlers[kind], rights)
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
    keys_by_service: dict[str, set[str]] = {}
    statements = [
        (role, body)
        for role in collection.roles
        for policy in role.identity_policies
        for body in policy.statements
        if is_allow(body)
    ]
    for _, body in statements:
        if not holds_without_tags(body):
            for pattern in as_list(body.get("Action", [])):
                keys = filter(TAG_OF_RESOURCE.match, condition_keys(body))
                keys_by_service.setdefault(pattern.partition(":")[0], set()).update(keys)
    for role, body in statements:
        for action in _tagging_of_any_resource(body, reference):
            tags = keys_by_service.get(action.partition(":")[0], set()) - set(_guarded_tags(body))
            if tags:
                yield (
                    f"{role.name} {body['Sid']}: {action} may set {', '.join(sorted(tags))} on any"
                    " resource, and rights hang on this tag"
                )


def _guarded_tags(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tags that a resource must lack, or have with a certain value, by a condition."""
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            must_be_absent = (operator, as_list(values)) == ("Null", ["true"])
            has_value = operator != "Null" and not HOLDS_WITHOUT_KEY.match(operator)
            if TAG_OF_RESOURCE.match(key) and (must_be_absent or has_value):
                yield key


def _tagging_of_any_resource(body: Mapping[str, Any], reference: Reference) -> Iterator[str]:
    for pattern in as_list(body.get("Action", [])):
        for action in reference.expand(pattern):
            if action.sets_tags and any(
                covers_all(arn_format, arn)
                for arn_format in action.arn_formats.values()
                for arn in as_list(body.get("Resource", "*"))
            ):
                yield action.name


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
    if not is_allow(statement) or not _names(statement, action):
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
    return is_everywhere and not is_allow(statement) and _names(statement, action)


def _names(statement: Mapping[str, Any], action: str) -> bool:
    """Return whether a statement is about an action."""
    if "NotAction" in statement:
        return not _matches_one(action, as_list(statement["NotAction"]))
    return _matches_one(action, as_list(statement["Action"]))


def _matches_one(action: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
