"""The queue ``later`` on the deployed stacks, and how to skip its delay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tooling.local.rehearsal import LocalDeployment


def count_delayed(deployment: LocalDeployment) -> int:
    """Return the number of messages whose delay is not over."""
    attribute = "ApproximateNumberOfMessagesDelayed"
    response = (
        deployment.as_owner()
        .client("sqs")
        .get_queue_attributes(QueueUrl=_queue_url(deployment), AttributeNames=[attribute])
    )
    return int(response["Attributes"][attribute])


def redeliver(deployment: LocalDeployment, event: Mapping[str, Any]) -> dict[str, Any]:
    """Queue an event that has one decision, without a delay; return the second decision."""
    body = json.dumps({"later": "second-look", "content": event})
    deployment.as_owner().client("sqs").send_message(
        QueueUrl=_queue_url(deployment), MessageBody=body
    )

    def later_decisions() -> list[str]:
        parts = (event["detail"]["eventID"], '"verdict"')
        return [line for line in deployment.log_lines() if all(part in line for part in parts)][1:]

    (line,) = deployment.wait_until(later_decisions)
    return dict(json.loads(line))


def _queue_url(deployment: LocalDeployment) -> str:
    name = f"{deployment.settings.prefix}-later"
    response = deployment.as_owner().client("sqs").get_queue_url(QueueName=name)
    return str(response["QueueUrl"])
