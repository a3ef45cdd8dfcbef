"""The templates as CloudFormation deploys them: values passed down, functions evaluated."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.repository import ROOT
from tooling import templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = ROOT / "cfn"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
STACK = "AWS::CloudFormation::Stack"
ACCOUNT, REGION = "111122223333", "eu-central-1"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}
VALUES = {  # what a deploy passes for the parameters without a default
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


class Stack(NamedTuple):
    """One stack as deployed: the values of its parameters, its resources and its outputs."""

    parameters: dict[str, Any]
    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def properties(self, logical_id: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[logical_id]["Properties"]
        return properties

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id to properties, for each resource of ``kind``."""
        return {
            name: body["Properties"]
            for name, body in self.resources.items()
            if body["Type"] == kind
        }


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The template as written; not to be changed."""
    return templates.load(FOLDER / f"{name}.yaml")


@functools.cache
def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


@functools.cache
def installation(**changes: str) -> dict[str, Stack]:
    """Each template's stack, deployed with ``changes`` to the parent's parameters."""
    stacks: dict[str, Stack] = {}
    declared = load("parent")["Parameters"]
    defaults = {name: str(body["Default"]) for name, body in declared.items() if "Default" in body}
    stacks["parent"] = _deploy("parent", defaults | VALUES | changes, stacks)
    return stacks


def resources_of(kind: str, **changes: str) -> list[dict[str, Any]]:
    """The properties of each resource of ``kind`` in all stacks."""
    stacks = installation(**changes).values()
    return [properties for stack in stacks for properties in stack.of_type(kind).values()]


def _deploy(name: str, values: dict[str, Any], stacks: dict[str, Stack]) -> Stack:
    source = load(name)
    scope = _Scope(source, values, stacks)
    resources = {}
    for logical_id, body in source["Resources"].items():
        if not scope.is_created(body):
            continue
        resources[logical_id] = {**body, "Properties": scope.resolve(body.get("Properties", {}))}
        if body["Type"] == STACK:
            child = child_of(logical_id)
            passed = resources[logical_id]["Properties"]["Parameters"]
            stacks[child] = _deploy(child, passed, stacks)
    outputs = {key: scope.resolve(body["Value"]) for key, body in source.get("Outputs", {}).items()}
    return Stack(values, resources, outputs)


def child_of(logical_id: str) -> str:
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

    def is_created(self, body: dict[str, Any]) -> bool:
        """Whether the resource's condition holds; most resources have none."""
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
            return self.stacks[child_of(name)].outputs[attribute.removeprefix("Outputs.")]
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
    """Every value below ``node``, itself included."""
    yield node
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from walk(value)


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy, with Action and Resource as lists."""
    return [
        {
            key: as_list(value) if key in ("Action", "Resource") else value
            for key, value in statement.items()
        }
        for statement in document["Statement"]
    ]


def find_statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    (statement,) = [part for part in statements(document) if part.get("Sid") == sid]
    return statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
