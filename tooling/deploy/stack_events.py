"""Follows a stack operation: shows its events as they happen, and finds the cause of a failure.

A stack operation creates, updates or deletes the root stack and its children, which are the stacks
nested in it at any depth. CloudFormation records an event for each change of a resource's status.
An ``item`` is such an event as AWS returns it.
"""

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
SUCCESS_STATUSES = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")
MIN_PAUSE_SECONDS = 0.2  # between two requests
MAX_PAUSE_SECONDS = 3.0


@dataclass(frozen=True)
class StackEvent:
    """One stack event."""

    stack: str  # the name of the stack it belongs to
    resource: str  # the logical id
    kind: str  # the resource's type, such as AWS::S3::Bucket
    status: str  # such as CREATE_FAILED
    reason: str  # empty if AWS gives none
    physical_id: str  # the resource's name or ARN; empty if it was not created
    stack_id: str = ""  # the ARN of the stack it belongs to
    time: datetime | None = None

    @property
    def is_cause(self) -> bool:
        """Whether the resource failed by itself.

        It did not if it was cancelled because another one failed, or if it is a nested stack, in
        which a resource failed.
        """
        is_cancelled = "cancelled" in self.reason.lower()
        return self.status.endswith("_FAILED") and not is_cancelled and self.kind != STACK_TYPE


@dataclass
class StackOperation:
    """One operation on the root stack ``stack_id`` and its children; each event is shown once.

    Call ``skip_earlier_events`` unless the stack is new, start the operation, then call ``wait``.
    Children are followed by their id, which stays readable after they are deleted.
    """

    cloudformation: Any
    stack_id: str
    show: Callable[[StackEvent], None]
    sleep: Callable[[float], None] = time.sleep
    is_live: bool = True  # whether events are shown as they happen, or only after a failure
    events: list[StackEvent] = field(default_factory=list)  # of this operation, oldest first
    _known_event_ids: set[str] = field(default_factory=set)
    _stack_ids: list[str] = field(default_factory=list)  # the root, and the children known so far

    def skip_earlier_events(self) -> None:
        """Read the events of earlier operations and show none. Call it before this one starts."""
        self._read_new_events()

    def wait(self) -> str:
        """Show events until the operation ends; return the root stack's last status.

        One that is not live asks for nothing that it does not need: beside others of its kind, each
        request costs their time too.
        The pause between two polls grows while nothing happens.
        Raises UnknownStateError when the credentials expire or AWS stops answering; the operation
        then goes on.
        """
        pause_seconds = MIN_PAUSE_SECONDS
        if not self.is_live:
            self.sleep(pause_seconds)
        while True:
            status = self._read_status()
            is_over = not status.endswith("_IN_PROGRESS")
            has_failed = is_over and status not in SUCCESS_STATUSES
            for event in self._read_new_events() if self.is_live or has_failed else ():
                self.events.append(event)
                self.show(event)
                pause_seconds = MIN_PAUSE_SECONDS
            if is_over:
                return status
            self.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.4, MAX_PAUSE_SECONDS)

    def find_cause(self) -> StackEvent | None:
        """Return the event of the first resource that failed by itself, else of the first failure.

        Return None if nothing failed.
        """
        failures = [event for event in self.events if event.status.endswith("_FAILED")]
        causes = [event for event in failures if event.is_cause]
        if causes:
            return causes[0]
        return failures[0] if failures else None

    def _read_status(self) -> str:
        """Return the root stack's status, such as UPDATE_IN_PROGRESS."""
        try:
            response = self.cloudformation.describe_stacks(StackName=self.stack_id)
        except (ClientError, BotoCoreError) as error:
            raise _make_unknown_state_error(self.stack_id, error) from error
        return str(response["Stacks"][0]["StackStatus"])

    def _read_new_events(self) -> list[StackEvent]:
        """Return the new events of all stacks, oldest first."""
        items: list[dict[str, Any]] = []
        self._stack_ids = self._stack_ids or [self.stack_id]
        for stack_id in self._stack_ids:  # grows in the loop: an event may name another child
            items += self._read_new_items(stack_id)
        items.sort(key=lambda item: item["Timestamp"])
        return [_build_event(item) for item in items]

    def _read_new_items(self, stack_id: str) -> list[dict[str, Any]]:
        """Return one stack's new events, oldest first; remember them and the children they name."""
        try:
            items = self._fetch_new_items(stack_id)
        except (ClientError, BotoCoreError) as error:
            raise _make_unknown_state_error(stack_id, error) from error
        items.reverse()
        for item in items:
            self._known_event_ids.add(item["EventId"])
            physical_id = item.get("PhysicalResourceId", "")
            is_stack = item.get("ResourceType") == STACK_TYPE and physical_id.startswith("arn:")
            if is_stack and physical_id not in self._stack_ids:
                self._stack_ids.append(physical_id)
        return items

    def _fetch_new_items(self, stack_id: str) -> list[dict[str, Any]]:
        """Return one stack's new events, newest first, as AWS lists them.

        Stop at the first page without a new one: further pages hold the events of months.
        """
        paginator = self.cloudformation.get_paginator("describe_stack_events")
        items: list[dict[str, Any]] = []
        for page in paginator.paginate(StackName=stack_id):
            events = page["StackEvents"]
            new = [item for item in events if item["EventId"] not in self._known_event_ids]
            if not new:
                break
            items += new
        return items


def _make_unknown_state_error(stack_id: str, error: Exception) -> UnknownStateError:
    """Return the error for an operation that goes on while its state cannot be read."""
    what = f"AWS stopped answering ({error})"
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in EXPIRED_CODES:
        what = "the credentials expired"
    remedy = (
        "sign in again, look at the stack's events in the console, and run the same task again"
        " when it has ended"
    )
    return UnknownStateError(stack_id, f"{what}; the operation goes on at CloudFormation", remedy)


def _build_event(item: dict[str, Any]) -> StackEvent:
    """Return the event that AWS describes as ``item``."""
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
