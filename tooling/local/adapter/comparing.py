"""Drift detection: what the emulator compares wrongly, or not at all, of the resources that matter here.

Source: CloudFormation User Guide, "Resource type support for imports and drift detection".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ministack.services import eventbridge
from ministack.services.cloudformation import drift

from tooling.local.adapter.resources import secret_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[str, Mapping[str, Any]], dict[str, Any] | None]

READERS: dict[str, tuple[Read, frozenset[str]]] = drift._DRIFT_READERS


def install() -> None:
    """Replace what these readers do.

    - Secret: looked for by its name, which is no Ref; here by its ARN
    - Rule: only whether it is there; here its state and its pattern too
    """
    read, properties = READERS["AWS::SecretsManager::Secret"]
    READERS["AWS::SecretsManager::Secret"] = (
        lambda arn, wanted: read(secret_name(arn), wanted),
        properties,
    )
    READERS["AWS::Events::Rule"] = (_rule, frozenset({"State", "EventPattern"}))


def _rule(name: str, properties: Mapping[str, Any]) -> dict[str, Any] | None:
    bus = str(properties.get("EventBusName") or "default")
    found = eventbridge._rules.get(eventbridge._rule_key(name.rpartition("|")[2], bus))
    return found and {
        "State": found["State"],
        "EventPattern": json.loads(found.get("EventPattern") or "{}"),
    }
