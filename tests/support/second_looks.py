"""The queue in which right passwords wait, on the deployed stacks, and what comes out of it without the waiting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tooling.local.rehearsal import LocalDeployment


def delayed(stage: LocalDeployment) -> int:
    """The right passwords whose time is not over."""
    named = "ApproximateNumberOfMessagesDelayed"
    asked = {"QueueUrl": _url(stage), "AttributeNames": [named]}
    return int(stage.as_owner().client("sqs").get_queue_attributes(**asked)["Attributes"][named])


def decided_again(stage: LocalDeployment, event: Mapping[str, Any]) -> dict[str, Any]:
    """Put an event that was decided on once into the queue, as if its time were over; the decision that follows."""
    stage.as_owner().client("sqs").send_message(QueueUrl=_url(stage), MessageBody=json.dumps(event))

    def later() -> list[str]:
        wanted = (event["detail"]["eventID"], '"verdict"')
        return [line for line in stage.log_lines() if all(part in line for part in wanted)][1:]

    (line,) = stage.wait_until(later)
    return dict(json.loads(line))


def _url(stage: LocalDeployment) -> str:
    url: str = (
        stage.as_owner()
        .client("sqs")
        .get_queue_url(QueueName=f"{stage.settings.prefix}-second-looks")["QueueUrl"]
    )
    return url
