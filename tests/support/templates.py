"""The templates as CloudFormation would make them: the parent's values handed down, every function worked out."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.repository import ROOT
from tooling import templates

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "cfn"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
STACK = "AWS::CloudFormation::Stack"
ACCOUNT, REGION = "111122223333", "eu-central-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}
VALUES = {  # what a deploy gives for the parameters that have no default
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
}
ARNS = {  # how AWS writes the ARN of a resource, by its properties
    "AWS::Events::Rule": "events:{here}:rule/{bus}{Name}",
    "AWS::IAM::Role": "iam::{account}:role/{RoleName}",
    "AWS::Logs::LogGroup": "logs:{here}:log-group:{LogGroupName}:*",
    "AWS::SNS::Topic": "sns:{here}:{TopicName}",
    "AWS::SQS::Queue": "sqs:{here}:{QueueName}",
}
REFS = {
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
}


class Made(NamedTuple):
    """One stack as it would be made: its parameters' values, its resources and its outputs."""

    parameters: dict[str, Any]
    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def properties(self, logical_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.resources[logical_id]["Properties"]
        return found

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id to properties, for each resource of ``kind``."""
        return {
            name: body["Properties"]
            for name, body in self.resources.items()
            if body["Type"] == kind
        }


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The template as it is written; not to be changed."""
    return templates.load(FOLDER / f"{name}.yaml")


@functools.cache
def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


@functools.cache
def installation(**changes: str) -> dict[str, Made]:
    """Each template's stack, as a deploy with ``changes`` to the parent's parameters would make it."""
    stacks: dict[str, Made] = {}
    declared = load("parent")["Parameters"]
    defaults = {name: str(body["Default"]) for name, body in declared.items() if "Default" in body}
    stacks["parent"] = _make("parent", defaults | VALUES | changes, stacks)
    return stacks


def _make(name: str, values: dict[str, Any], stacks: dict[str, Made]) -> Made:
    source = load(name)
    scope = _Scope(source, values, stacks)
    resources = {}
    for logical_id, body in source["Resources"].items():
        resources[logical_id] = {**body, "Properties": scope.resolve(body.get("Properties", {}))}
        if body["Type"] == STACK:
            child = child_of(logical_id)
            stacks[child] = _make(child, resources[logical_id]["Properties"]["Parameters"], stacks)
    outputs = {key: scope.resolve(body["Value"]) for key, body in source.get("Outputs", {}).items()}
    return Made(values, resources, outputs)


def child_of(logical_id: str) -> str:
    return logical_id.removesuffix("Stack").lower()


class _Scope:
    """What the functions of one template can see."""

    def __init__(
        self, source: dict[str, Any], values: dict[str, Any], stacks: dict[str, Made]
    ) -> None:
        self.source, self.values, self.stacks = source, values, stacks

    def resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not None]
        if not isinstance(node, dict):
            return node
        for function, work in self._functions().items():
            if set(node) == {function}:
                return work(node[function])
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not None}

    def _functions(self) -> dict[str, Any]:
        return {
            "Ref": self._ref,
            "Fn::GetAtt": lambda path: self._attribute(*path),
            "Fn::Sub": lambda pattern: re.sub(
                r"\$\{([^}]+)\}", lambda found: self._named(found[1]), pattern
            ),
            "Fn::If": lambda parts: self.resolve(
                parts[1] if self._condition(parts[0]) else parts[2]
            ),
            "Fn::Equals": lambda pair: str(self.resolve(pair[0])) == str(self.resolve(pair[1])),
            "Fn::Not": lambda single: not self.resolve(single[0]),
        }

    def _condition(self, name: str) -> bool:
        return bool(self.resolve(self.source["Conditions"][name]))

    def _named(self, name: str) -> str:
        resource, _, attribute = name.partition(".")
        return str(self._attribute(resource, attribute) if attribute else self._ref(name))

    def _ref(self, name: str) -> Any:
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.values:
            return self.values[name]
        kind = self.source["Resources"][name]["Type"]
        if kind in REFS:
            return self.resolve(self.source["Resources"][name]["Properties"][REFS[kind]])
        return self._attribute(name, "Arn") if kind == "AWS::SNS::Topic" else f"<{name}>"

    def _attribute(self, name: str, attribute: str) -> Any:
        body = self.source["Resources"][name]
        if body["Type"] == STACK:
            return self.stacks[child_of(name)].outputs[attribute.removeprefix("Outputs.")]
        if attribute != "Arn" or body["Type"] not in ARNS:
            return f"<{name}.{attribute}>"
        properties = self.resolve(body["Properties"])
        bus = properties.get("EventBusName", "default")
        place = {
            "here": f"{REGION}:{ACCOUNT}",
            "account": ACCOUNT,
            "bus": "" if bus == "default" else f"{bus}/",
        }
        return "arn:aws:" + ARNS[body["Type"]].format(**place, **properties)


def walk(node: Any) -> Iterator[Any]:
    """Every value below ``node``, itself included."""
    yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inner:
        yield from walk(value)


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy, with Action and Resource as lists."""
    return [
        {**found, **{key: _listed(found[key]) for key in ("Action", "Resource") if key in found}}
        for found in document["Statement"]
    ]


def statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    (found,) = [found for found in statements(document) if found.get("Sid") == sid]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
