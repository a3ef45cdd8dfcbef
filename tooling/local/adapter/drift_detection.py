"""Drift detection of secrets and rules, which the emulator compares wrongly or not at all.

Source: CloudFormation User Guide, "Resource type support for imports and drift detection".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ministack.services import eventbridge
from ministack.services.cloudformation import drift

from tooling.local.adapter.stack_resources import secret_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[str, Mapping[str, Any]], dict[str, Any] | None]

# By resource type: how to read a resource's live properties, and the names of those compared.
READERS: dict[str, tuple[Read, frozenset[str]]] = drift._DRIFT_READERS


def install() -> None:
    """Replace how the live properties of these resources are read.

    - Secret: the emulator looks it up by its name, which is not its Ref; here by its ARN
    - Rule: the emulator compares its existence only; here its state and pattern too
    """
    read_by_name, compared_properties = READERS["AWS::SecretsManager::Secret"]

    def read_secret(arn: str, expected: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the live properties of the secret with this ARN."""
        return read_by_name(secret_name(arn), expected)

    READERS["AWS::SecretsManager::Secret"] = (read_secret, compared_properties)
    READERS["AWS::Events::Rule"] = (_read_rule, frozenset({"State", "EventPattern"}))


def _read_rule(physical_id: str, properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the live state and pattern of a rule, or None if the rule is gone.

    ``properties`` are those of the template.
    """
    bus = str(properties.get("EventBusName") or "default")
    name = physical_id.rpartition("|")[2]  # "bus|name" -> "name"
    rule = eventbridge._rules.get(eventbridge._rule_key(name, bus))
    if not rule:
        return None
    pattern = json.loads(rule.get("EventPattern") or "{}")
    return {"State": rule["State"], "EventPattern": pattern}
