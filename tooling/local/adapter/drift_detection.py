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

READERS: dict[str, tuple[Read, frozenset[str]]] = drift._DRIFT_READERS


def install() -> None:
    """Replace how the live properties of these resources are read.

    - Secret: stock looks it up by its name, which is not its Ref; here by its ARN
    - Rule: stock compares its existence only; here its state and pattern too
    """
    read, properties = READERS["AWS::SecretsManager::Secret"]
    READERS["AWS::SecretsManager::Secret"] = (
        lambda arn, expected: read(secret_name(arn), expected),
        properties,
    )
    READERS["AWS::Events::Rule"] = (_read_rule, frozenset({"State", "EventPattern"}))


def _read_rule(physical_id: str, properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the live properties of a rule to compare, or None if the rule is gone."""
    bus = str(properties.get("EventBusName") or "default")
    rule = eventbridge._rules.get(eventbridge._rule_key(physical_id.rpartition("|")[2], bus))
    if not rule:
        return None
    pattern = json.loads(rule.get("EventPattern") or "{}")
    return {"State": rule["State"], "EventPattern": pattern}
