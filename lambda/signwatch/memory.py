"""The memory between events, kept in the ledger's table: what was told of within the day.

It can only ever save a text: while the table is down, everything is the first of its kind, which is the louder answer.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

DAY = 24 * 3600  # seconds


class Memory(NamedTuple):
    """The memory in one table of DynamoDB."""

    dynamodb: Any
    table: str

    def is_first(self, what: str, event: str, now: float) -> bool:
        """Say whether ``what`` was told of by no other event within the day, and remember that it now is.

        ``event`` is the event's own id: asked again for the same event, as by a retry, the answer is the same. Raises
        whatever the table raises.
        """
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item={
                    "alert": {"S": f"once#{hashlib.sha256(what.encode()).hexdigest()}"},
                    "event": {"S": event},
                    "expires_at": {"N": str(int(now) + DAY)},
                },
                ConditionExpression="attribute_not_exists(alert) OR expires_at <= :now OR #event = :event",
                ExpressionAttributeNames={"#event": "event"},
                ExpressionAttributeValues={":now": {"N": str(int(now))}, ":event": {"S": event}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
