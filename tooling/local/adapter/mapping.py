"""Event source mappings of queues: Lambda takes the messages as the function's role, and not as nobody.

Source: Lambda developer guide, "Using Lambda with Amazon SQS", on the permissions of the execution role.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

from typing import Any

from ministack.services import lambda_svc

from tooling.local.adapter.access import role_may

ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


def install() -> None:
    """Let a mapping take nothing while its function's role may not (stock: nobody's rights are asked)."""
    allowed = lambda_svc._sqs_esm_concurrency

    def concurrency(
        mapping: dict[str, Any], function: Any, configuration: dict[str, Any], *more: Any
    ) -> int:
        may = [
            role_may(configuration["Role"], action, mapping["EventSourceArn"]) for action in ACTIONS
        ]
        return int(allowed(mapping, function, configuration, *more)) if all(may) else 0

    lambda_svc._sqs_esm_concurrency = concurrency
