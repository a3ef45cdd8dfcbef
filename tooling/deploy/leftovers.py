"""Lists what a stack operation leaves in the account, with the command that removes it.

A template may say that a resource is kept when it leaves the stack (status DELETE_SKIPPED). Another
one may fail to be deleted (DELETE_FAILED). A deleted KMS key exists until its waiting period ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tooling.deploy.stack_events import STACK_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tooling.deploy.stack_events import StackEvent

BUCKET, KEY = "AWS::S3::Bucket", "AWS::KMS::Key"
# `aws s3 rb --force` leaves the versions of a versioned bucket, and then fails.
REMOVE_BUCKET = (
    '.venv/bin/python -c "import boto3;'
    " b = boto3.resource('s3', '{region}').Bucket('{physical_id}');"
    ' b.object_versions.delete(); b.delete()"'
)
REMOVE_KEY = (
    "aws kms schedule-key-deletion --region {region} --key-id {physical_id}"
    " --pending-window-in-days 7"
)
COMMANDS = {BUCKET: REMOVE_BUCKET, KEY: REMOVE_KEY}


@dataclass(frozen=True)
class Leftover:
    """A resource that still exists."""

    kind: str  # its type, such as AWS::S3::Bucket
    physical_id: str  # its name, id or ARN
    reason: str  # why it was not deleted; "" if it is kept on purpose
    is_pending_deletion: bool  # a key that AWS deletes later by itself

    def describe(self, region: str) -> str:
        """Return two lines joined by a newline: what is left, and how to remove it."""
        what = f"Left in the account: {self.kind} {self.physical_id}"
        if self.is_pending_deletion:
            return f"{what}\n  AWS deletes this key by itself within 30 days"
        if self.reason:
            what = f"{what} ({self.reason})"
        command = COMMANDS.get(self.kind)
        if command is None:
            return f"{what}\n  to remove it, delete it in the console of its service"
        return (
            f"{what}\n  to remove it: {command.format(region=region, physical_id=self.physical_id)}"
        )


def find(events: Iterable[StackEvent]) -> list[Leftover]:
    """Return the resources that are left. ``events`` are the operation's, the oldest event first.

    A nested stack that failed is left out: the resource in it that failed is listed.
    """
    # A later event of the same resource replaces an earlier one.
    last_events = {(event.stack, event.resource, event.physical_id): event for event in events}
    leftovers = []
    for event in last_events.values():
        is_deleted_key = event.kind == KEY and event.status == "DELETE_COMPLETE"
        is_left = event.status in ("DELETE_SKIPPED", "DELETE_FAILED") and event.kind != STACK_TYPE
        if event.physical_id and (is_left or is_deleted_key):
            leftovers.append(
                Leftover(
                    kind=event.kind,
                    physical_id=event.physical_id,
                    reason=event.reason,
                    is_pending_deletion=is_deleted_key,
                )
            )
    return leftovers
