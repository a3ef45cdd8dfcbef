"""Event source mappings of SQS queues: Lambda reads the queue as the function's role.

The emulator reads it without checking permissions.
Source: Lambda developer guide, "Using Lambda with Amazon SQS", execution role permissions.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

from typing import Any

from ministack.services import lambda_svc

from tooling.local.adapter.permissions import is_role_allowed

ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


def install() -> None:
    """Patch the emulator: a mapping reads no message if its function's role lacks a permission.

    The patched function says how many batches of a mapping may be handled at the same time.
    """
    get_concurrency = lambda_svc._sqs_esm_concurrency

    def get_allowed_concurrency(
        mapping: dict[str, Any], function: Any, configuration: dict[str, Any], *args: Any
    ) -> int:
        """Return the emulator's number, or 0, with which the emulator reads no message."""
        role, queue = configuration["Role"], mapping["EventSourceArn"]
        if all(is_role_allowed(role, action, queue) for action in ACTIONS):
            return int(get_concurrency(mapping, function, configuration, *args))
        return 0

    lambda_svc._sqs_esm_concurrency = get_allowed_concurrency
