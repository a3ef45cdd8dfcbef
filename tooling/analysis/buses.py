"""On which bus a rule of the templates is, and whether CloudTrail's events get there.

CloudTrail delivers to the default bus alone. Another bus receives what a rule of the default bus
forwards to it (Amazon EventBridge User Guide, "AWS service events delivered via AWS CloudTrail").
The templates name their bus by the parameter EventBusName, "default" or a name of the owner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signwatch.detection.record import as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BUS = "default"
CUSTOM_BUS = "own"  # stands for any name that an owner may choose
PARAMETER = "EventBusName"
RULE_TYPE, BUS_TYPE = "AWS::Events::Rule", "AWS::Events::EventBus"


@dataclass(frozen=True)
class Template:
    """One template, with a value of the parameter EventBusName."""

    content: Mapping[str, Any]
    bus_name: str

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that exist: their condition, if they have one, is known and true."""
        bodies = as_object(self.content.get("Resources"))
        resources = {name: as_object(body) for name, body in bodies.items()}
        return {
            name: body
            for name, body in resources.items()
            if "Condition" not in body or self.holds(body["Condition"])
        }

    @property
    def has_parameter(self) -> bool:
        """Whether the owner may choose the bus."""
        return PARAMETER in as_object(self.content.get("Parameters"))

    def find_bus(self, rule: Mapping[str, Any]) -> str:
        """Return the name of the bus that a rule is on."""
        return self.evaluate(as_object(rule.get("Properties")).get("EventBusName")) or DEFAULT_BUS

    def list_forwarded_buses(self, rule: Mapping[str, Any]) -> set[str]:
        """Return the names of the buses to which a rule forwards its events."""
        targets = as_object(rule.get("Properties")).get("Targets")
        arns = [as_object(target).get("Arn") for target in targets or []]
        return {name for arn in arns if (name := self._find_bus_of_arn(arn))}

    def holds(self, condition: object) -> bool:
        """Return whether a condition is true; one on anything but the bus is not known to be."""
        node = as_object(self.content.get("Conditions")).get(str(condition))
        return self._evaluate_condition(node) is True

    def evaluate(self, value: object) -> str:
        """Return the name of a bus that a property contains, or "" if there is none."""
        node = as_object(value)
        if "Fn::If" in node:
            condition, if_true, if_false = node["Fn::If"]
            return self.evaluate(if_true if self.holds(condition) else if_false)
        if "Ref" not in node:
            return str(value) if isinstance(value, str) else ""
        if node["Ref"] == PARAMETER:
            return self.bus_name
        bus = as_object(as_object(self.content.get("Resources")).get(node["Ref"]))
        return self.evaluate(as_object(bus.get("Properties")).get("Name")) or str(node["Ref"])

    def _evaluate_condition(self, node: object) -> bool | None:
        """Return the value of a condition, None if it is not about the bus."""
        operator = as_object(node)
        if "Fn::Not" in operator:
            value = self._evaluate_condition(operator["Fn::Not"][0])
            return None if value is None else not value
        if "Fn::Equals" in operator:
            values = operator["Fn::Equals"]
            if {"Ref": PARAMETER} in values:
                first, second = map(self.evaluate, values)
                return first == second
        return None

    def _find_bus_of_arn(self, arn: object) -> str:
        """Return the name of the bus that a target's ARN is of, or "" if it is no bus's."""
        node = as_object(arn)
        if "Fn::GetAtt" in node:
            resource = node["Fn::GetAtt"][0]
            body = as_object(as_object(self.content.get("Resources")).get(resource))
            return self.evaluate({"Ref": resource}) if body.get("Type") == BUS_TYPE else ""
        if node.get("Ref") == "EventBusArn":  # the bus of the rules: cfn/parent.yaml computes it
            return self.bus_name
        text = str(node.get("Fn::Sub", arn))
        name = text.partition(":event-bus/")[2]
        return self.bus_name if name == f"${{{PARAMETER}}}" else name
