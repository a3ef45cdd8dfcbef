"""Reads all templates of a folder as one installation and resolves the references between them.

The parent template has the others, its children, as nested stacks and passes values down to them. A
value that only a deploy knows stays a placeholder: ``!Ref NamePrefix`` of the parent is
``${NamePrefix}`` in every child. So two values are equal exactly when CloudFormation makes them
equal for every choice of parameters. checkov's own view fills in the defaults, which hides such
differences. Below, ``file`` is a template's file name and ``name`` a resource's logical id.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml  # type: ignore[import-untyped] # its types are not in checkov's environment

try:
    from yaml import CSafeLoader as SafeLoader  # ten times faster; some builds lack it
except ImportError:
    from yaml import SafeLoader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STACK = "AWS::CloudFormation::Stack"
SUB_REFERENCE = re.compile(r"\$\{([^}]+)\}")  # in the text of a Fn::Sub
REGION_AND_ACCOUNT = "${AWS::Region}:${AWS::AccountId}"
# The property that names a resource, and how its ARN begins after the partition.
ARN_FORMATS = {
    "AWS::CloudTrail::Trail": ("TrailName", f"cloudtrail:{REGION_AND_ACCOUNT}:trail/"),
    "AWS::CloudWatch::Alarm": ("AlarmName", f"cloudwatch:{REGION_AND_ACCOUNT}:alarm:"),
    "AWS::DynamoDB::Table": ("TableName", f"dynamodb:{REGION_AND_ACCOUNT}:table/"),
    "AWS::Events::EventBus": ("Name", f"events:{REGION_AND_ACCOUNT}:event-bus/"),
    "AWS::Events::Rule": ("Name", f"events:{REGION_AND_ACCOUNT}:rule/"),
    "AWS::Lambda::Function": ("FunctionName", f"lambda:{REGION_AND_ACCOUNT}:function:"),
    "AWS::Logs::LogGroup": ("LogGroupName", f"logs:{REGION_AND_ACCOUNT}:log-group:"),
    "AWS::SNS::Topic": ("TopicName", f"sns:{REGION_AND_ACCOUNT}:"),
    "AWS::SQS::Queue": ("QueueName", f"sqs:{REGION_AND_ACCOUNT}:"),
}


class _Loader(SafeLoader):  # type: ignore[misc] # PyYAML is untyped here
    """YAML with CloudFormation's short-form functions."""


def _construct_function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """Return a short-form function in its long form: ``!Sub x`` is ``{"Fn::Sub": "x"}``.

    ``suffix`` is the tag without "!".
    """
    if isinstance(node, yaml.ScalarNode):
        argument: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        argument = loader.construct_sequence(node, deep=True)
    else:
        argument = loader.construct_mapping(node, deep=True)
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    return {name: argument}


_Loader.add_multi_constructor("!", _construct_function)


class Resource(NamedTuple):
    """One resource of the template ``file``; ``name`` is its logical id, ``kind`` its type.

    ``body`` is as written, ``properties`` are resolved, and ``reference`` is what ``!Ref`` gives.
    """

    file: str
    name: str
    kind: str
    body: dict[str, Any]
    properties: dict[str, Any]
    arn: str
    reference: str


class Parent(NamedTuple):
    """Where a child gets its parameters: the parent's file, and its unresolved values by name."""

    file: str
    values: dict[str, Any]


class Installation:
    """The templates of one folder by file name, and all their resources."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """``texts`` maps file names to YAML. A file that has no template is left out."""
        loaded = {file: parse(text) for file, text in texts.items()}
        self.templates = {file: body for file, body in loaded.items() if isinstance(body, dict)}
        self._parents: dict[str, Parent] = {}  # by the child's file
        # By the parent's file and the logical id of the nested stack: the child's file.
        self._nested_templates: dict[tuple[str, str], str] = {}
        bodies = [
            (file, name, body)
            for file, template in self.templates.items()
            for name, body in template.get("Resources", {}).items()
        ]
        for file, name, body in bodies:
            if body.get("Type") == STACK:
                self._register_nested_template(file, name, body["Properties"])
        self.resources = tuple(self._resource(file, name, body) for file, name, body in bodies)

    def _register_nested_template(self, file: str, name: str, properties: dict[str, Any]) -> None:
        """Register the template of a nested stack, which is resource ``name`` of ``file``."""
        url = str(self.resolve(file, properties["TemplateURL"]))
        nested_template = url.rsplit("/", 1)[-1]  # "https://.../lambda.yaml" -> "lambda.yaml"
        self._nested_templates[file, name] = nested_template
        self._parents[nested_template] = Parent(file, properties.get("Parameters", {}))

    def _resource(self, file: str, name: str, body: dict[str, Any]) -> Resource:
        """Return one resource, with its references resolved."""
        properties = self.resolve(file, body.get("Properties", {}))
        arn, reference = self._arn(file, name), self._reference(file, name)
        return Resource(file, name, str(body.get("Type")), body, properties, arn, reference)

    def resources_of(self, kind: str) -> list[Resource]:
        """Return every resource of ``kind`` in all templates."""
        return [resource for resource in self.resources if resource.kind == kind]

    def properties_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the properties of every resource of ``kind``."""
        return [resource.properties for resource in self.resources_of(kind)]

    def arns_of(self, kind: str) -> set[str]:
        """Return the ARN of every resource of ``kind``."""
        return {resource.arn for resource in self.resources_of(kind)}

    def find_by_name(self, file: str, name: str) -> Resource:
        """Return the resource ``name`` of ``file``. Raises StopIteration if there is none."""
        here = (resource for resource in self.resources if resource.file == file)
        return next(resource for resource in here if resource.name == name)

    def find_by_arn(self, kind: str, arn: str) -> Resource:
        """Return the resource of ``kind`` that has this ARN. Raises StopIteration if none has."""
        return next(resource for resource in self.resources_of(kind) if resource.arn == arn)

    def find_by_reference(self, kind: str, reference: str | None) -> Resource:
        """Return the resource of ``kind`` with this ``!Ref``. Raises StopIteration if none has."""
        resources = self.resources_of(kind)
        return next(resource for resource in resources if resource.reference == reference)

    def parameters(self, file: str) -> dict[str, Any]:
        """Return the parameters that a template declares."""
        parameters: dict[str, Any] = self.templates[file].get("Parameters", {})
        return parameters

    def root_parameters(self) -> dict[str, Any]:
        """Return the parameters that an owner can set: those of every template without a parent."""
        roots = [file for file in self.templates if file not in self._parents]
        return {name: body for file in roots for name, body in self.parameters(file).items()}

    def resolve(self, file: str, node: Any) -> Any:
        """Return ``node`` of ``file`` with its references replaced by values or placeholders.

        References are Ref, Fn::GetAtt and Fn::Sub. ``node`` is any part of the template.
        """
        if isinstance(node, list):
            return [self.resolve(file, item) for item in node]
        if not isinstance(node, dict):
            return node
        if set(node) == {"Ref"}:
            return self._lookup(file, node["Ref"])
        if set(node) == {"Fn::GetAtt"}:
            path = node["Fn::GetAtt"]  # "Name.Arn" or ["Name", "Arn"]
            return self._lookup(file, path if isinstance(path, str) else ".".join(path))
        if set(node) == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str):
            return SUB_REFERENCE.sub(
                lambda match: str(self._lookup(file, match[1])), node["Fn::Sub"]
            )
        return {key: self.resolve(file, value) for key, value in node.items()}

    def _lookup(self, file: str, path: str) -> Any:
        """Return the value of a reference: ``Parameter``, ``Resource`` or ``Resource.Attribute``.

        A parameter of the parent, or of AWS, stays a placeholder: ``${Parameter}``.
        """
        name, _, attribute = path.partition(".")
        if name in self.templates[file].get("Resources", {}):
            return self._attribute(file, name, attribute)
        if file in self._parents and name in self.parameters(file):
            parent = self._parents[file]
            if name in parent.values:
                return self.resolve(parent.file, parent.values[name])
            return self.parameters(file)[name].get("Default")
        return f"${{{path}}}"

    def _attribute(self, file: str, name: str, attribute: str) -> Any:
        """Return an attribute of a resource, or its ``!Ref`` if ``attribute`` is empty.

        An output of a nested stack ("Outputs.NAME") is looked up in its template. Any other
        attribute except the ARN is a placeholder.
        """
        if attribute == "":
            return self._reference(file, name)
        if attribute == "Arn":
            return self._arn(file, name)
        nested_template = self._nested_templates.get((file, name), "")
        outputs = self.templates.get(nested_template, {}).get("Outputs", {})
        prefix, _, output = attribute.partition(".")
        if prefix == "Outputs" and output in outputs:
            return self.resolve(nested_template, outputs[output]["Value"])
        return _placeholder(file, f"{name}.{attribute}")

    def _arn(self, file: str, name: str) -> str:
        """Return the resource's ARN, or a placeholder if ARN_FORMATS does not have its kind."""
        kind = self._kind(file, name)
        if kind not in ARN_FORMATS:
            return _placeholder(file, name)
        _, prefix = ARN_FORMATS[kind]
        arn = f"arn:${{AWS::Partition}}:{prefix}{self._physical_name(file, name)}"
        if kind == "AWS::Logs::LogGroup":
            return f"{arn}:*"  # as CloudFormation's GetAtt returns it
        return arn

    def _reference(self, file: str, name: str) -> str:
        """Return what ``!Ref`` of the resource gives: a topic's ARN, a queue's URL, else a name.

        Return a placeholder if ARN_FORMATS does not have the resource's kind.
        """
        kind = self._kind(file, name)
        if kind not in ARN_FORMATS or kind == "AWS::SNS::Topic":
            return self._arn(file, name)
        physical_name = self._physical_name(file, name)
        if kind == "AWS::SQS::Queue":
            host = "sqs.${AWS::Region}.${AWS::URLSuffix}"
            return f"https://{host}/${{AWS::AccountId}}/{physical_name}"
        return physical_name

    def _kind(self, file: str, name: str) -> str:
        """Return the type of a resource, such as "AWS::SQS::Queue"."""
        return str(self.templates[file]["Resources"][name].get("Type"))

    def _physical_name(self, file: str, name: str) -> str:
        """Return the name that the template gives the resource, or a placeholder if none."""
        properties = self.templates[file]["Resources"][name].get("Properties", {})
        name_property, _ = ARN_FORMATS[self._kind(file, name)]
        return str(self.resolve(file, properties.get(name_property, _placeholder(file, name))))


def _placeholder(file: str, path: str) -> str:
    """Return text that stands for a value that only a deploy knows and that no parameter sets.

    ``("lambda.yaml", "Layer") -> "${lambda.yaml/Layer}"``: no other value is equal to it.
    """
    return f"${{{file}/{path}}}"


@functools.lru_cache(maxsize=64)
def parse(text: str) -> Any:
    """Return one template as plain data, in which ``!Ref X`` is ``{"Ref": "X"}``.

    The result is cached and shared: do not modify it.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader


@functools.lru_cache(maxsize=2)
def load_installation(folder: Path) -> Installation:
    """Return the installation whose templates are in ``folder``.

    It is cached: call ``load_installation.cache_clear()`` if a file has changed.
    """
    paths = sorted(folder.glob("*.yaml"))
    return Installation({path.name: path.read_text(encoding="utf-8") for path in paths})
