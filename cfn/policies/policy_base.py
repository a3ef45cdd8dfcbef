"""The decorator that makes a checkov policy of a function, and helpers that read access policies.

An access policy is an IAM, key, queue, topic or bucket policy: a document with statements.
``examples/<id>.toml`` holds templates that pass a policy, and one edit that makes them fail.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkov.cloudformation.checks.resource.base_resource_check import BaseResourceCheck
from checkov.common.models.enums import CheckCategories, CheckResult
from installation import Installation, Resource, load_installation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOREIGN_BUS = "${EventBusArn}"  # the parameter of cfn/forwarder.yaml, a template without a parent

Rule = Callable[[Resource, Installation], bool]


def policy(check_id: str, *kinds: str) -> Callable[[Rule], Rule]:
    """Register a function as checkov's check of resources of ``kinds``.

    The function returns whether a resource of an installation is compliant. Its docstring is the
    sentence that a scan shows for a resource that is not.
    """

    def register(rule: Rule) -> Rule:
        """Register ``rule`` and return it unchanged."""
        _Check(check_id, kinds, rule)  # adds itself to checkov's list
        return rule

    return register


class _Check(BaseResourceCheck):
    """One policy in the form in which checkov calls it.

    checkov sets ``entity_path`` before each call: "PATH:LOGICAL ID" of the resource.
    """

    def __init__(self, check_id: str, kinds: Sequence[str], rule: Rule) -> None:
        """Register the policy: the base class adds it to checkov's list."""
        self.rule = rule
        super().__init__(
            name=" ".join((rule.__doc__ or "").split()),
            id=check_id,
            categories=[CheckCategories.LOGGING],
            supported_resources=list(kinds),
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Check one resource; ``conf`` is its body. An error counts as a failed check."""
        try:
            path = Path(_source_path(conf))
            installation = load_installation(path.parent)
            logical_id = self.entity_path.rsplit(":", 1)[1]
            resource = installation.find_by_name(path.name, logical_id)
            is_compliant = self.rule(resource, installation)
        except Exception:  # noqa: BLE001 - checkov counts a check that raises as not run
            return CheckResult.FAILED
        return CheckResult.PASSED if is_compliant else CheckResult.FAILED


def _source_path(node: Any) -> str:
    """Return the template's path, which checkov adds to the mappings of a resource.

    Return the first one found at or below ``node``, or "".
    """
    if isinstance(node, dict) and "__file__" in node:
        return str(node["__file__"])
    children = node.values() if isinstance(node, dict) else as_list(node)
    for child in children:
        if isinstance(child, dict | list) and (path := _source_path(child)):
            return path
    return ""


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, None as an empty list, and any other value as a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def value_if_present(value: Any) -> Any:
    """Return the value of a property that a condition can leave out.

    ``!If [HasX, value, !Ref AWS::NoValue]`` -> ``value``. Any other value is returned unchanged.
    """
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        _condition, present_value, otherwise = value["Fn::If"]
        if otherwise == "${AWS::NoValue}":  # a resolved !Ref AWS::NoValue
            return present_value
    return value


def possible_values(value: Any) -> list[Any]:
    """Return each value that a property can have: both of an ``!If``, else its only one."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return list(value["Fn::If"][1:])
    return [value]


def rule_targets(rule: Resource) -> list[dict[str, Any]]:
    """Return the properties of each target of a rule."""
    return as_list(rule.properties.get("Targets"))


def is_forwarding(rule: Resource) -> bool:
    """Return whether a rule sends to another bus, and so not to the function."""
    arns = [str(target["Arn"]) for target in rule_targets(rule)]
    return any(":event-bus/" in arn or arn == FOREIGN_BUS for arn in arns)


def is_in_other_region(rule: Resource, installation: Installation) -> bool:
    """Return whether a rule stands in a Region without the other resources.

    Its template then gets the bus as a parameter that no parent passes.
    """
    has_parameter = "EventBusArn" in installation.parameters(rule.file)
    return has_parameter and installation.resolve(rule.file, {"Ref": "EventBusArn"}) == FOREIGN_BUS


def allow_statements(documents: Iterable[Any], service: str = "") -> list[dict[str, Any]]:
    """Return the Allow statements of access policies, all or those for an AWS service.

    With ``service``, such as "events.amazonaws.com", only those that name it as a principal.
    """
    statements = [
        statement
        for document in documents
        for statement in as_list(document.get("Statement"))
        if statement.get("Effect") == "Allow"
    ]
    if not service:
        return statements
    return [statement for statement in statements if _names_service(statement, service)]


def _names_service(statement: dict[str, Any], service: str) -> bool:
    """Return whether a statement names this service as a principal."""
    principal = statement.get("Principal")
    return isinstance(principal, dict) and service in as_list(principal.get("Service"))


def principals(statement: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the principals of a statement: ``{("Service", "lambda.amazonaws.com")}``.

    Raises AttributeError if the principal is a plain ``*``.
    """
    return {
        (kind, name) for kind, names in statement["Principal"].items() for name in as_list(names)
    }


def is_allowed(
    statements: Iterable[dict[str, Any]],
    action: str,
    resource: str,
    request_keys: dict[str, str] | None = None,
) -> bool:
    """Return whether one of the statements allows ``action`` on ``resource``.

    ``request_keys``: the request's condition keys and their values, ``{"aws:SourceArn": "..."}``.
    """
    return any(
        _covers(statement, action, resource) and meets_conditions(request_keys or {}, statement)
        for statement in statements
    )


def _covers(statement: dict[str, Any], action: str, resource: str) -> bool:
    """Return whether a statement, which may have wildcards, names the action and the resource."""
    actions, resources = as_list(statement.get("Action")), as_list(statement.get("Resource"))
    names_action = any(fnmatch.fnmatchcase(action, pattern) for pattern in actions)
    return names_action and any(_matches(resource, pattern) for pattern in resources)


def _matches(text: str, pattern: Any) -> bool:
    """Return whether a pattern of IAM matches: ``*`` and ``?`` are wildcards, brackets are not.

    A pattern that is not a string, such as an unresolved function, matches nothing.
    """
    return isinstance(pattern, str) and fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def _equals(text: str, value: Any) -> bool:
    """Return whether both are the same. It has the form of _matches, without wildcards."""
    return bool(text == value)


# How each operator of a condition compares the request's value with the statement's.
# IAM accepts wildcards in ArnEquals too. Here they are a mistake: ArnLike says what is meant.
OPERATORS = {
    "StringEquals": _equals,
    "ArnEquals": _equals,
    "StringLike": _matches,
    "ArnLike": _matches,
}


def condition_values(statement: dict[str, Any], key: str) -> list[Any]:
    """Return every value that a statement's conditions compare ``key`` with, by any operator."""
    return [
        value
        for conditions in statement.get("Condition", {}).values()
        for value in as_list(conditions.get(key))
    ]


def meets_conditions(request_keys: dict[str, str], statement: dict[str, Any]) -> bool:
    """Return whether a request with these condition keys meets every condition of a statement.

    A condition is not met if the request lacks its key, unless its operator ends in IfExists, or if
    OPERATORS lacks its operator.
    """
    for name, conditions in statement.get("Condition", {}).items():
        operator = name.removesuffix("IfExists")
        for key, values in conditions.items():
            if operator != name and key not in request_keys:
                continue
            if operator not in OPERATORS or key not in request_keys:
                return False
            compare = OPERATORS[operator]
            expected = [value_if_present(value) for value in as_list(values)]
            if not any(compare(request_keys[key], value) for value in expected):
                return False
    return True
