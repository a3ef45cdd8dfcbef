"""Follows a stack operation: the events of root and children, and the cause of a failure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tooling.errors import UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

STACK_TYPE = "AWS::CloudFormation::Stack"
EXPIRED_CODES = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId")
MIN_PAUSE_SECONDS = 0.2  # between two requests
MAX_PAUSE_SECONDS = 3.0


@dataclass(frozen=True)
class StackEvent:
    """One stack event. ``stack`` and ``stack_id`` are name and id of the stack it belongs to."""

    stack: str
    resource: str
    kind: str
    status: str
    reason: str
    physical_id: str
    stack_id: str = ""
    time: datetime | None = None

    @property
    def is_cause(self) -> bool:
        """Whether the resource itself failed, not cancelled and not a stack with a failed child."""
        is_cancelled = "cancelled" in self.reason.lower()
        return self.status.endswith("_FAILED") and not is_cancelled and self.kind != STACK_TYPE


@dataclass
class StackOperation:
    """One operation on ``stack_id`` and all its children; each event is shown once.

    Children are followed by their id, which stays readable after they are deleted.
    """

    cloudformation: Any
    stack_id: str
    show: Callable[[StackEvent], None]
    sleep: Callable[[float], None] = time.sleep
    events: list[StackEvent] = field(default_factory=list)
    _known_event_ids: set[str] = field(default_factory=set)
    _stack_ids: list[str] = field(default_factory=list)

    def skip_earlier_events(self) -> None:
        """Read all events from before the operation, and show none. Call it before it starts."""
        self._stack_ids = [self.stack_id]
        self._read_new_events()

    def wait(self) -> str:
        """Show events until the operation ends; return the root stack's last status.

        Raises UnknownStateError when the credentials expire or AWS stops answering; the operation
        then goes on.
        """
        pause = MIN_PAUSE_SECONDS
        while True:
            status = self._read_status()
            for event in self._read_new_events():
                self.events.append(event)
                self.show(event)
                pause = MIN_PAUSE_SECONDS
            if not status.endswith("_IN_PROGRESS"):
                return status
            self.sleep(pause)
            pause = min(pause * 1.4, MAX_PAUSE_SECONDS)

    def find_cause(self) -> StackEvent | None:
        """Return the first resource that failed by itself, else the first failure of any kind."""
        failures = [event for event in self.events if event.status.endswith("_FAILED")]
        causes = [event for event in failures if event.is_cause]
        return next(iter(causes + failures), None)

    def _read_status(self) -> str:
        try:
            response = self.cloudformation.describe_stacks(StackName=self.stack_id)
        except (ClientError, BotoCoreError) as error:
            raise _unknown_state(self.stack_id, error) from error
        return str(response["Stacks"][0]["StackStatus"])

    def _read_new_events(self) -> list[StackEvent]:
        """Return the new events of all stacks, oldest first."""
        items: list[dict[str, Any]] = []
        for stack_id in self._stack_ids:  # grows meanwhile: a child's events may name a grandchild
            items += self._read_new_items(stack_id)
        items.sort(key=lambda item: item["Timestamp"])
        return [_read_event(item) for item in items]

    def _read_new_items(self, stack_id: str) -> list[dict[str, Any]]:
        """Return one stack's new events, oldest first, and note the stacks that they name."""
        try:
            items = self._read_new_pages(stack_id)
        except (ClientError, BotoCoreError) as error:
            raise _unknown_state(stack_id, error) from error
        items.reverse()
        for item in items:
            self._known_event_ids.add(item["EventId"])
            child_id = item.get("PhysicalResourceId", "")
            is_stack = item.get("ResourceType") == STACK_TYPE and child_id.startswith("arn:")
            if is_stack and child_id not in self._stack_ids:
                self._stack_ids.append(child_id)
        return items

    def _read_new_pages(self, stack_id: str) -> list[dict[str, Any]]:
        """Return new events, newest first; stop at a page without any: older pages hold months."""
        paginator = self.cloudformation.get_paginator("describe_stack_events")
        items: list[dict[str, Any]] = []
        for page in paginator.paginate(StackName=stack_id):
            events = page["StackEvents"]
            new = [item for item in events if item["EventId"] not in self._known_event_ids]
            if not new:
                break
            items += new
        return items


def _unknown_state(stack_id: str, error: Exception) -> UnknownStateError:
    """Return the error for an operation that goes on while its state cannot be read."""
    what = f"AWS stopped answering ({error})"
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in EXPIRED_CODES:
        what = "the credentials expired"
    return UnknownStateError(
        stack_id,
        f"{what}; the operation goes on at CloudFormation",
        "sign in again, look at the stack's events in the console, and run the same task again"
        " when it has ended",
    )


def _read_event(item: dict[str, Any]) -> StackEvent:
    return StackEvent(
        stack=item["StackName"],
        resource=item["LogicalResourceId"],
        kind=item.get("ResourceType", ""),
        status=item["ResourceStatus"],
        reason=item.get("ResourceStatusReason", ""),
        physical_id=item.get("PhysicalResourceId", ""),
        stack_id=item["StackId"],
        time=item["Timestamp"],
    )
