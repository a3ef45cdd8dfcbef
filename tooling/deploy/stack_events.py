"""A stack operation watched as it goes: the events of the root and its children, live, and the first real cause."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tooling.errors import UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = "AWS::CloudFormation::Stack"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId")
SHORTEST, LONGEST = 0.2, 3.0  # seconds between two looks


@dataclass(frozen=True)
class StackEvent:
    """One stack event. ``stack`` is the name of the stack it belongs to."""

    stack: str
    resource: str
    kind: str
    status: str
    reason: str
    physical_id: str

    @property
    def is_cause(self) -> bool:
        """A failure of its own: not cancelled because of another, and no stack that only passes one on."""
        return (
            self.status.endswith("_FAILED")
            and "cancelled" not in self.reason.lower()
            and self.kind != STACK
        )


@dataclass
class Watch:
    """The events of one operation on ``stack_id`` and all its children, each shown once.

    Children are followed by their id, which stays readable after they are deleted.
    """

    cloudformation: Any
    stack_id: str
    show: Callable[[StackEvent], None]
    sleep: Callable[[float], None] = time.sleep
    events: list[StackEvent] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _stacks: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Pass over all events that lie before the operation."""
        self._stacks = [self.stack_id]
        for _ in self._fresh():
            pass

    def wait(self) -> str:
        """Show events until the operation ends; return the root stack's last status.

        Raises UnknownStateError when the credentials expire or AWS stops answering; the operation then goes on.
        """
        pause = SHORTEST
        while True:
            status = self._status()
            for event in self._fresh():
                self.events.append(event)
                self.show(event)
                pause = SHORTEST
            if not status.endswith("_IN_PROGRESS"):
                return status
            self.sleep(pause)
            pause = min(pause * 1.4, LONGEST)

    def cause(self) -> StackEvent | None:
        """Return the earliest failure of its own, else the earliest failure at all."""
        failures = [event for event in self.events if event.status.endswith("_FAILED")]
        return next(
            (event for event in failures if event.is_cause), failures[0] if failures else None
        )

    def _status(self) -> str:
        try:
            found = self.cloudformation.describe_stacks(StackName=self.stack_id)["Stacks"][0]
        except (ClientError, BotoCoreError) as error:
            raise lost_sight(self.stack_id, error) from error
        return str(found["StackStatus"])

    def _fresh(self) -> list[StackEvent]:
        fresh: list[tuple[Any, StackEvent]] = []
        for stack in self._stacks:  # grows while it is read: a child's events may name a grandchild
            fresh += self._fresh_of(stack)
        return [event for _, event in sorted(fresh, key=lambda pair: pair[0])]

    def _fresh_of(self, stack: str) -> list[tuple[Any, StackEvent]]:
        try:
            found = self._unseen(stack)
        except (ClientError, BotoCoreError) as error:
            raise lost_sight(stack, error) from error
        self._seen.update(item["EventId"] for item in found)
        events = [(item["Timestamp"], _event(item)) for item in found]
        for _, event in reversed(events):
            if (
                event.kind == STACK
                and event.physical_id.startswith("arn:")
                and event.physical_id not in self._stacks
            ):
                self._stacks.append(event.physical_id)
        return list(reversed(events))

    def _unseen(self, stack: str) -> list[dict[str, Any]]:
        """Return what is new, newest first; a page without anything new ends it, for older ones hold months."""
        found: list[dict[str, Any]] = []
        for page in self.cloudformation.get_paginator("describe_stack_events").paginate(
            StackName=stack
        ):
            fresh = [item for item in page["StackEvents"] if item["EventId"] not in self._seen]
            if not fresh:
                break
            found += fresh
        return found


def lost_sight(stack_id: str, error: Exception) -> UnknownStateError:
    """Return the error for an operation that goes on while we can no longer see it."""
    expired = isinstance(error, ClientError) and error.response["Error"]["Code"] in EXPIRED
    what = "the credentials expired" if expired else f"AWS stopped answering ({error})"
    return UnknownStateError(
        stack_id,
        f"{what}; the operation goes on at CloudFormation",
        "sign in again, look at the stack's events in the console, and run the same word again when it has ended",
    )


def _event(item: dict[str, Any]) -> StackEvent:
    return StackEvent(
        stack=item["StackName"],
        resource=item["LogicalResourceId"],
        kind=item.get("ResourceType", ""),
        status=item["ResourceStatus"],
        reason=item.get("ResourceStatusReason", ""),
        physical_id=item.get("PhysicalResourceId", ""),
    )
