"""The templates as CloudFormation deploys them: values passed down, functions evaluated.

The parent is the root stack. It passes parameters to its children, the nested stacks. A function is
what CloudFormation evaluates: Ref, Fn::GetAtt (an attribute of a resource), Fn::Sub, Fn::If, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling import invocation, templates
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ROOT_STACK, FORWARDER_STACK = "parent", "forwarder"  # the second one stands alone
STACK = "AWS::CloudFormation::Stack"
ACCOUNT, REGION = "111122223333", "eu-central-1"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}
REQUIRED_VALUES = {  # of the parameters without a default, such as a deploy passes them
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
    "EventBusName": "signwatch-own",
    "OrganizationId": "o-a1b2c3d4e5",
    "IdentityStoreKeyArn": f"arn:aws:kms:{REGION}:444455556666:key/{32 * '0'}",
    "ReservedConcurrency": "7",
    "TrailLogGroupMode": "none",
    "TrailLogGroupName": "/existing/trail",
    "TrailMode": "existing",
}
# The ARN of a resource, without "arn:aws:". The fields in braces are properties of the resource,
# and those that _find_attribute adds.
ARN_FORMATS = {
    "AWS::Events::EventBus": "events:{region_and_account}:event-bus/{Name}",
    "AWS::Events::Rule": "events:{region_and_account}:rule/{bus}{Name}",
    "AWS::IAM::Role": "iam::{account}:role/{RoleName}",
    "AWS::Logs::LogGroup": "logs:{region_and_account}:log-group:{LogGroupName}:*",
    "AWS::SNS::Topic": "sns:{region_and_account}:{TopicName}",
    "AWS::SQS::Queue": "sqs:{region_and_account}:{QueueName}",
}
REF_PROPERTIES = {  # resource type -> the property whose value Ref gives
    "AWS::Events::EventBus": "Name",
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
        """Return the properties of each resource of the type ``kind``, by its logical id."""
        return {
            logical_id: body["Properties"]
            for logical_id, body in self.resources.items()
            if body["Type"] == kind
        }


def resolve(folder: Path, changes: Mapping[str, str]) -> dict[str, Stack]:
    """Return the stacks of the templates in ``folder`` by name, as a deploy creates them.

    ``changes`` are values for parameters of the root stack, other than the defaults and
    REQUIRED_VALUES. What AWS generates stays a placeholder: ``<LogicalId>`` for Ref,
    ``<LogicalId.Arn>`` for an attribute. Raises RefusedError if a template cannot be read or
    resolved.
    """
    sources = {path.stem: templates.load(path) for path in sorted(folder.glob("*.yaml"))}
    stacks: dict[str, Stack] = {}
    try:
        declared = sources[ROOT_STACK]["Parameters"]
        defaults = {
            name: str(body["Default"]) for name, body in declared.items() if "Default" in body
        }
        values = {**defaults, **REQUIRED_VALUES, **changes}
        stacks[ROOT_STACK] = _resolve_stack(ROOT_STACK, values, sources, stacks)
        if FORWARDER_STACK in sources:
            values = _make_forwarder_values(stacks[ROOT_STACK])
            stacks[FORWARDER_STACK] = _resolve_stack(FORWARDER_STACK, values, sources, stacks)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"the templates cannot be resolved ({error!r})"
        remedy = f"fix what this names: {invocation.spell('scan', '--only cfn-lint')}"
        raise RefusedError(folder.name, what, remedy) from error
    return stacks


def _make_forwarder_values(root: Stack) -> dict[str, Any]:
    """Return the parameters that a deploy passes to a forwarder of the root stack."""
    names = ("EventBusArn", "ForwarderRoleArn")
    return {"NamePrefix": root.parameters["NamePrefix"], **{n: root.outputs[n] for n in names}}


def _resolve_stack(
    name: str, values: dict[str, Any], sources: Mapping[str, Any], stacks: dict[str, Stack]
) -> Stack:
    """Return one stack with the parameters ``values``, and add its children to ``stacks``.

    ``sources`` is the content of each template by its name. A child must stand in the template
    before the resources that use its outputs.
    """
    source = sources[name]
    evaluator = _Evaluator(source, values, stacks)
    resources: dict[str, dict[str, Any]] = {}
    for logical_id, body in source["Resources"].items():
        if not evaluator.is_created(body):
            continue
        properties = evaluator.resolve(body.get("Properties", {}))
        resources[logical_id] = {**body, "Properties": properties}
        if body["Type"] == STACK:
            child = get_template_name(logical_id)
            stacks[child] = _resolve_stack(child, properties["Parameters"], sources, stacks)
    outputs = {
        key: evaluator.resolve(body["Value"]) for key, body in source.get("Outputs", {}).items()
    }
    return Stack(values, resources, outputs)


def get_template_name(logical_id: str) -> str:
    """Return the name of a nested stack's template: "LambdaStack" -> "lambda"."""
    return logical_id.removesuffix("Stack").lower()


class _Evaluator:
    """Evaluates the functions in one template.

    source: the template's content.
    values: the parameters of the stack.
    stacks: the nested stacks that are already resolved, by the names of their templates.
    functions: by its name, what evaluates a function with its argument in the template.
    """

    def __init__(
        self, source: dict[str, Any], values: dict[str, Any], stacks: dict[str, Stack]
    ) -> None:
        self.source, self.values, self.stacks = source, values, stacks
        self.functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._evaluate_ref,
            "Fn::GetAtt": self._evaluate_get_att,
            "Fn::Sub": self._evaluate_sub,
            "Fn::If": self._evaluate_if,
            "Fn::Equals": self._evaluate_equals,
            "Fn::Not": self._evaluate_not,
            "Fn::And": self._evaluate_and,
            "Condition": self._evaluate_condition,
        }

    def is_created(self, body: Mapping[str, Any]) -> bool:
        """Return whether the condition of a resource holds; most resources have none."""
        condition = body.get("Condition")
        return condition is None or bool(self.resolve(self.source["Conditions"][condition]))

    def resolve(self, node: Any) -> Any:
        """Return a part of the template with each function in it replaced by its value.

        A value of None, which is AWS::NoValue, is left out of lists and dictionaries. Raises
        ValueError for a function that is not supported.
        """
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

    def _evaluate_ref(self, name: str) -> Any:
        """Return the value of a parameter, or the name that stands for a resource."""
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self.values:
            return self.values[name]
        resource = self.source["Resources"][name]
        kind = resource["Type"]
        if kind in REF_PROPERTIES:
            return self.resolve(resource["Properties"][REF_PROPERTIES[kind]])
        if kind == "AWS::SNS::Topic":
            return self._find_attribute(name, "Arn")
        return f"<{name}>"

    def _evaluate_get_att(self, path: list[str]) -> Any:
        """Evaluate ``[logical id, attribute]``."""
        return self._find_attribute(*path)

    def _evaluate_sub(self, text: str) -> str:
        """Replace each ``${Name}`` as Ref does, and ``${Name.Attribute}`` as Fn::GetAtt does."""
        return re.sub(r"\$\{([^}]+)\}", lambda match: str(self._look_up(match[1])), text)

    def _evaluate_if(self, parts: list[Any]) -> Any:
        """Evaluate ``[name of a condition, value if it holds, other value]``."""
        condition, value, other_value = parts
        is_true = self.resolve(self.source["Conditions"][condition])
        return self.resolve(value if is_true else other_value)

    def _evaluate_equals(self, pair: list[Any]) -> bool:
        """Return whether the two values are the same when written as text."""
        first, second = pair
        return str(self.resolve(first)) == str(self.resolve(second))

    def _evaluate_not(self, conditions: list[Any]) -> bool:
        """Return the opposite of the condition, the only one in the list."""
        (condition,) = conditions
        return not self.resolve(condition)

    def _evaluate_and(self, conditions: list[Any]) -> bool:
        """Return whether all conditions hold."""
        return all(map(self.resolve, conditions))

    def _evaluate_condition(self, name: str) -> bool:
        """Return whether the condition with this name holds."""
        return bool(self.resolve(self.source["Conditions"][name]))

    def _look_up(self, path: str) -> Any:
        """Return what Ref gives for "Name", or Fn::GetAtt for "Name.Attribute"."""
        name, _, attribute = path.partition(".")
        return self._find_attribute(name, attribute) if attribute else self._evaluate_ref(name)

    def _find_attribute(self, logical_id: str, attribute: str) -> Any:
        """Return an output of a nested stack, the ARN of a resource, or a placeholder."""
        body = self.source["Resources"][logical_id]
        kind = body["Type"]
        if kind == STACK:
            child = self.stacks[get_template_name(logical_id)]
            return child.outputs[attribute.removeprefix("Outputs.")]
        if attribute != "Arn" or kind not in ARN_FORMATS:
            return f"<{logical_id}.{attribute}>"
        properties = self.resolve(body["Properties"])
        bus = properties.get("EventBusName", "default")
        fields = {
            **properties,
            "region_and_account": f"{REGION}:{ACCOUNT}",
            "account": ACCOUNT,
            "bus": "" if bus == "default" else f"{bus}/",  # AWS leaves the default bus out
        }
        return "arn:aws:" + ARN_FORMATS[kind].format_map(fields)


def walk(node: Any) -> Iterator[Any]:
    """Yield ``node`` and every value in it, at every depth; of a dictionary, no keys."""
    yield node
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from walk(value)
