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
        .get_queue_attributes(QueueUrl=get_queue_url(deployment), AttributeNames=[attribute])
    )
    return int(response["Attributes"][attribute])


def put(deployment: LocalDeployment, kind: str, content: object) -> None:
    """Put a message into the queue, without a delay."""
    body = json.dumps({"later": kind, "content": content})
    sqs = deployment.as_owner().client("sqs")
    sqs.send_message(QueueUrl=get_queue_url(deployment), MessageBody=body)


def redeliver(deployment: LocalDeployment, event: Mapping[str, Any]) -> dict[str, Any]:
    """Queue an event that has one decision, without a delay; return the second decision."""
    put(deployment, "second-look", event)

    def later_decisions() -> list[str]:
        parts = (event["detail"]["eventID"], '"verdict"')
        return [line for line in deployment.log_lines() if all(part in line for part in parts)][1:]

    (line,) = deployment.wait_until(later_decisions)
    return dict(json.loads(line))


def get_queue_url(deployment: LocalDeployment) -> str:
    """Return the queue's URL."""
    name = f"{deployment.settings.prefix}-later"
    response = deployment.as_owner().client("sqs").get_queue_url(QueueName=name)
    return str(response["QueueUrl"])
