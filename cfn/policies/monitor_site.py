"""All templates of a folder as one installation: the parent's values handed down to its children, as symbols.

``!Ref NamePrefix`` of the parent stays ``${NamePrefix}``, so that two values are equal exactly when CloudFormation
would make them equal for every choice of parameters. checkov's own view has the defaults filled in, which hides that.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml  # type: ignore[import-untyped] # its types are not in checkov's environment

try:
    from yaml import (
        CSafeLoader as SafeLoader,  # ten times faster; some builds of PyYAML come without it
    )
except ImportError:
    from yaml import SafeLoader

if TYPE_CHECKING:
    from pathlib import Path

STACK = "AWS::CloudFormation::Stack"
HERE = "${AWS::Region}:${AWS::AccountId}"
NAMED = {  # how AWS writes the ARN of a resource after the partition, and the property with its name
    "AWS::CloudTrail::Trail": ("TrailName", f"cloudtrail:{HERE}:trail/"),
    "AWS::CloudWatch::Alarm": ("AlarmName", f"cloudwatch:{HERE}:alarm:"),
    "AWS::DynamoDB::Table": ("TableName", f"dynamodb:{HERE}:table/"),
    "AWS::Events::Rule": ("Name", f"events:{HERE}:rule/"),
    "AWS::Lambda::Function": ("FunctionName", f"lambda:{HERE}:function:"),
    "AWS::Logs::LogGroup": ("LogGroupName", f"logs:{HERE}:log-group:"),
    "AWS::SNS::Topic": ("TopicName", f"sns:{HERE}:"),
    "AWS::SQS::Queue": ("QueueName", f"sqs:{HERE}:"),
}


class _Loader(SafeLoader):  # type: ignore[misc] # PyYAML is untyped here
    """YAML with CloudFormation's short-form functions."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


class Resource(NamedTuple):
    """One resource; ``body`` as written, ``properties`` with every function worked out to a symbol."""

    file: str
    name: str
    kind: str
    body: dict[str, Any]
    properties: dict[str, Any]
    arn: str
    reference: str


class Site:
    """The templates of one folder, by file name."""

    def __init__(self, texts: tuple[tuple[str, str], ...]) -> None:
        loaded = {name: parse(text) for name, text in texts}
        self.templates = {name: found for name, found in loaded.items() if isinstance(found, dict)}
        self._given: dict[str, tuple[str, dict[str, Any]]] = {}
        self._children: dict[tuple[str, str], str] = {}
        for file, name, body in self._bodies():
            if body.get("Type") == STACK:
                self._adopt(file, name, body["Properties"])
        self.resources = tuple(self._resource(*found) for found in self._bodies())

    def _bodies(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [
            (file, name, body)
            for file, template in self.templates.items()
            for name, body in template.get("Resources", {}).items()
        ]

    def _adopt(self, file: str, name: str, properties: dict[str, Any]) -> None:
        child = str(self.resolve(file, properties["TemplateURL"])).rsplit("/", 1)[-1]
        self._children[file, name] = child
        self._given[child] = (file, properties.get("Parameters", {}))

    def _resource(self, file: str, name: str, body: dict[str, Any]) -> Resource:
        properties = self.resolve(file, body.get("Properties", {}))
        arn, reference = self._attribute(file, name, "Arn"), self._attribute(file, name, "")
        return Resource(file, name, str(body.get("Type")), body, properties, arn, reference)

    def of(self, kind: str) -> list[Resource]:
        """Every resource of ``kind``, in all templates."""
        return [found for found in self.resources if found.kind == kind]

    def parameters(self, file: str) -> dict[str, Any]:
        """The declared parameters of a template."""
        found: dict[str, Any] = self.templates[file].get("Parameters", {})
        return found

    def root_parameters(self) -> dict[str, Any]:
        """The declared parameters of every template that is nobody's child: what an owner can choose."""
        roots = [file for file in self.templates if file not in self._given]
        return {name: body for file in roots for name, body in self.parameters(file).items()}

    def resolve(self, file: str, node: Any) -> Any:
        """Work out ``node`` of template ``file``; a text holds ``${Symbol}`` where the value is not known yet."""
        if isinstance(node, list):
            return [self.resolve(file, item) for item in node]
        if not isinstance(node, dict):
            return node
        if set(node) == {"Ref"}:
            return self._value(file, node["Ref"])
        if set(node) == {"Fn::GetAtt"}:
            place = node["Fn::GetAtt"]
            return self._value(file, place if isinstance(place, str) else ".".join(place))
        if set(node) == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str):
            return re.sub(
                r"\$\{([^}]+)\}", lambda hit: str(self._value(file, hit[1])), node["Fn::Sub"]
            )
        return {key: self.resolve(file, value) for key, value in node.items()}

    def _value(self, file: str, place: str) -> Any:
        name, _, attribute = place.partition(".")
        if name in self.templates[file].get("Resources", {}):
            return self._attribute(file, name, attribute)
        if file in self._given and name in self.parameters(file):
            parent, given = self._given[file]
            return (
                self.resolve(parent, given[name])
                if name in given
                else self.parameters(file)[name].get("Default")
            )
        return f"${{{place}}}"

    def _attribute(self, file: str, name: str, attribute: str) -> Any:
        child = self._children.get((file, name), "")
        output = attribute.removeprefix("Outputs.")
        if output != attribute and output in self.templates.get(child, {}).get("Outputs", {}):
            return self.resolve(child, self.templates[child]["Outputs"][output]["Value"])
        return self._identity(file, name, attribute)

    def _identity(self, file: str, name: str, attribute: str) -> str:
        body = self.templates[file]["Resources"][name]
        kind, symbol = body.get("Type"), f"{file}/{name}"
        if kind not in NAMED or attribute not in ("", "Arn"):
            return (
                f"${{{symbol}.{attribute}}}" if attribute not in ("", "Arn") else f"${{{symbol}}}"
            )
        key, start = NAMED[kind]
        own = str(self.resolve(file, body.get("Properties", {}).get(key, f"${{{symbol}}}")))
        arn = f"arn:${{AWS::Partition}}:{start}{own}"
        if attribute == "Arn" and kind == "AWS::Logs::LogGroup":
            return f"{arn}:*"
        if attribute == "" and kind == "AWS::SQS::Queue":
            return f"https://sqs.${{AWS::Region}}.${{AWS::URLSuffix}}/${{AWS::AccountId}}/{own}"
        return arn if attribute or kind == "AWS::SNS::Topic" else own


@functools.lru_cache(maxsize=64)
def parse(text: str) -> Any:
    """Read one template; ``!Ref X`` becomes ``{"Ref": "X"}``. Nobody may change what comes back."""
    return yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader


@functools.lru_cache(maxsize=2)
def around(folder: Path) -> Site:
    """Build the installation of the templates in ``folder``, once a run; who changes the files calls cache_clear."""
    return Site(
        tuple(
            (path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))
        )
    )
