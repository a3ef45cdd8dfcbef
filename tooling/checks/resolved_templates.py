"""The templates as CloudFormation deploys them: values passed down, functions evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling import templates
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ROOT_STACK = "parent"
STACK = "AWS::CloudFormation::Stack"
ACCOUNT, REGION = "111122223333", "eu-central-1"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}
REQUIRED_VALUES = {  # what a deploy passes for the parameters without a default
    "AlertEmail": "owner@example.com",
    "NamePrefix": "signwatch",
    "HomeRegion": REGION,
    "TemplateBucketName": "signwatch-templates",
    "TemplateDigest": "0123456789abcdef0123456789abcdef",
    "ArtifactBucketName": "signwatch-artifacts",
    "AccessLogBucketName": "signwatch-access-logs",
    "CodeKey": "function/code.zip",
    "LayerKey": "layer/layer.zip",
    "BoundaryPolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary",
    "ServiceRoleArn": f"arn:aws:iam::{ACCOUNT}:role/signwatch-cloudformation",
}
OPTIONAL_VALUES = {  # values other than the default that switch every condition
    "EventBusName": "own",
    "IdentityStoreKeyArn": f"arn:aws:kms:{REGION}:444455556666:key/{32 * '0'}",
    "ReservedConcurrency": "2",
    "TrailLogGroupMode": "none",
}
ARN_FORMATS = {  # the ARN of a resource by its properties
    "AWS::Events::Rule": "events:{region_and_account}:rule/{bus}{Name}",
    "AWS::IAM::Role": "iam::{account}:role/{RoleName}",
    "AWS::Logs::LogGroup": "logs:{region_and_account}:log-group:{LogGroupName}:*",
    "AWS::SNS::Topic": "sns:{region_and_account}:{TopicName}",
    "AWS::SQS::Queue": "sqs:{region_and_account}:{QueueName}",
}
REF_PROPERTIES = {  # the property that Ref gives
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
}


@dataclass(frozen=True)
class Stack:
    """One stack as deployed: the values of its parameters, its resources and its outputs."""

    parameters: Mapping[str, Any]
    resources: Mapping[str, dict[str, Any]]
    outputs: Mapping[str, Any]

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Return the properties of a resource."""
        properties: dict[str, Any] = self.resources[logical_id]["Properties"]
        return properties

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return logical id and properties of each resource of the type ``kind``."""
        return {
            name: body["Properties"]
            for name, body in self.resources.items()
            if body["Type"] == kind
        }


def resolve(folder: Path, changes: Mapping[str, str]) -> dict[str, Stack]:
    """Return the stacks of the templates in ``folder`` by name, as a deploy creates them.

    ``changes`` are values for the parameters of the root stack. What AWS generates stays a
    placeholder: ``<LogicalId>`` for Ref, ``<LogicalId.Arn>`` for an attribute. Raises RefusedError
    if a template cannot be read or resolved.
    """
    sources = {path.stem: templates.load(path) for path in sorted(folder.glob("*.yaml"))}
    stacks: dict[str, Stack] = {}
    try:
        declared = sources[ROOT_STACK]["Parameters"]
        defaults = {
            name: str(body["Default"]) for name, body in declared.items() if "Default" in body
        }
        values = {**defaults, **REQUIRED_VALUES, **changes}
        stacks[ROOT_STACK] = _deploy(ROOT_STACK, values, sources, stacks)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"the templates cannot be resolved ({error!r})"
        raise RefusedError(
            folder.name, what, "fix what ./inv scan --only cfn-lint names"
        ) from error
    return stacks


def _deploy(
    name: str, values: dict[str, Any], sources: Mapping[str, Any], stacks: dict[str, Stack]
) -> Stack:
    source = sources[name]
    scope = _Scope(source, values, stacks)
    resources = {}
    for logical_id, body in source["Resources"].items():
        if not scope.is_created(body):
            continue
        resources[logical_id] = {**body, "Properties": scope.resolve(body.get("Properties", {}))}
        if body["Type"] == STACK:
            child = get_template_name(logical_id)
            passed = resources[logical_id]["Properties"]["Parameters"]
            stacks[child] = _deploy(child, passed, sources, stacks)
    outputs = {key: scope.resolve(body["Value"]) for key, body in source.get("Outputs", {}).items()}
    return Stack(values, resources, outputs)


def get_template_name(logical_id: str) -> str:
    """Return the template's name of a nested stack."""
    return logical_id.removesuffix("Stack").lower()


class _Scope:
    """Evaluates the functions of one template."""

    def __init__(
        self, source: dict[str, Any], values: dict[str, Any], stacks: dict[str, Stack]
    ) -> None:
        self.source, self.values, self.stacks = source, values, stacks
        self.functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::If": self._if,
            "Fn::Equals": self._equals,
            "Fn::Not": lambda argument: not self.resolve(argument[0]),
        }

    def is_created(self, body: Mapping[str, Any]) -> bool:
        """Return whether the condition of a resource holds; most resources have none."""
        condition = body.get("Condition")
        return condition is None or bool(self.resolve(self.source["Conditions"][condition]))

    def resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if key in self.functions:
                return self.functions[key](argument)
            if key.startswith("Fn::"):
                raise ValueError(f"{key} is not supported")
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not None}

    def _ref(self, name: str) -> Any:
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self.values:
            return self.values[name]
        resource = self.source["Resources"][name]
        if resource["Type"] in REF_PROPERTIES:
            return self.resolve(resource["Properties"][REF_PROPERTIES[resource["Type"]]])
        if resource["Type"] == "AWS::SNS::Topic":
            return self._attribute(name, "Arn")
        return f"<{name}>"

    def _get_att(self, path: list[str]) -> Any:
        return self._attribute(*path)

    def _sub(self, pattern: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda match: str(self._lookup(match[1])), pattern)

    def _if(self, parts: list[Any]) -> Any:
        condition, value, otherwise = parts
        is_true = self.resolve(self.source["Conditions"][condition])
        return self.resolve(value if is_true else otherwise)

    def _equals(self, pair: list[Any]) -> bool:
        first, second = pair
        return str(self.resolve(first)) == str(self.resolve(second))

    def _lookup(self, path: str) -> Any:
        name, _, attribute = path.partition(".")
        return self._attribute(name, attribute) if attribute else self._ref(name)

    def _attribute(self, name: str, attribute: str) -> Any:
        body = self.source["Resources"][name]
        kind = body["Type"]
        if kind == STACK:
            return self.stacks[get_template_name(name)].outputs[attribute.removeprefix("Outputs.")]
        if attribute != "Arn" or kind not in ARN_FORMATS:
            return f"<{name}.{attribute}>"
        properties = self.resolve(body["Properties"])
        bus = properties.get("EventBusName", "default")
        fields = {
            **properties,
            "region_and_account": f"{REGION}:{ACCOUNT}",
            "account": ACCOUNT,
            "bus": "" if bus == "default" else f"{bus}/",
        }
        return "arn:aws:" + ARN_FORMATS[kind].format_map(fields)


def walk(node: Any) -> Iterator[Any]:
    """Yield every value below ``node``, itself included."""
    yield node
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from walk(value)
