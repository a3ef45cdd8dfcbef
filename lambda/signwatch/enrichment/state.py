"""The state that is kept between events: reported alerts, sent texts and addresses.

It is stored in the same DynamoDB table as the ledger; the table's primary key is the attribute
``alert``. An item holds a value. Keys are stored as digests, so that the table contains no names.
Every item expires at most a day after it was last useful; the site of a person's last sign-in is
kept for as long as a session can last. If the table cannot be read, callers send the alert
unchanged. Bursts are counted in items of another form (see burst_store). BatchProgress alone asks
the state without being about sign-ins.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.detection.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from signwatch.dependencies import Dependencies

DAY_SECONDS = 24 * 3600
WINDOW_SECONDS = 15 * 60  # of what belongs together: a console link and its use, one sign-in
# DynamoDB writes only if: there is no value, it has expired, or it is the same.
CLAIM_CONDITION = "attribute_not_exists(alert) OR expires_at <= :now OR #value = :value"
# DynamoDB writes only if there is no value, or it has expired; only if it is the one read before.
NO_VALUE_CONDITION = "attribute_not_exists(alert) OR expires_at <= :now"
SAME_VALUE_CONDITION = "#value = :old"
OPEN, MAILED, DONE = "-md"  # the marks of BatchProgress; MAILED: only a text is missing
LOAD_SECONDS = 3.0  # from the start of a batch; most are done by then


class State(NamedTuple):
    """The state in one DynamoDB table. Every method passes DynamoDB's errors on.

    A ``key`` says what is stored or counted, such as "111122223333#link#Anaya". ``now`` is in
    seconds since 1970, ``storage_seconds`` is the time until a value expires.
    """

    dynamodb: Any
    table: str

    def put(self, key: str, value: str, now: float, storage_seconds: int) -> None:
        """Store ``value`` under ``key``, replacing any earlier value."""
        item = _make_value_item(key, value, now, storage_seconds)
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def claim(self, key: str, value: str, now: float, storage_seconds: int) -> bool:
        """Store ``value`` under ``key``, unless it has another value that has not expired.

        Return whether it is stored. A retry that claims the same value again succeeds.
        """
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=_make_value_item(key, value, now, storage_seconds),
                ConditionExpression=CLAIM_CONDITION,
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"S": value}, ":now": {"N": str(int(now))}},
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def replace(self, key: str, old: str, value: str, now: float, storage_seconds: int) -> bool:
        """Store ``value`` under ``key`` if ``old`` is stored there; "" stands for no value.

        Return whether it is stored.
        """
        condition: dict[str, Any] = {
            "ConditionExpression": SAME_VALUE_CONDITION,
            "ExpressionAttributeNames": {"#value": "value"},
            "ExpressionAttributeValues": {":old": {"S": old}},
        }
        if not old:
            condition = {
                "ConditionExpression": NO_VALUE_CONDITION,
                "ExpressionAttributeValues": {":now": {"N": str(int(now))}},
            }
        item = _make_value_item(key, value, now, storage_seconds)
        try:
            self.dynamodb.put_item(TableName=self.table, Item=item, **condition)
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def get(self, key: str, now: float) -> str:
        """Return the value under ``key``; empty if there is none or it has expired."""
        item = self._get_item(_make_table_key(key))
        if not item or int(item["expires_at"]["N"]) <= now:
            return ""
        return str(item["value"]["S"])

    def _get_item(self, table_key: dict[str, Any]) -> dict[str, Any]:
        """Return an item in DynamoDB's form, {"value": {"S": "..."}}; empty if there is none."""
        response: dict[str, Any] = self.dynamodb.get_item(
            TableName=self.table, Key=table_key, ConsistentRead=True
        )
        return dict(response.get("Item", {}))


def _make_value_item(key: str, value: str, now: float, storage_seconds: int) -> dict[str, Any]:
    """Return an item in DynamoDB's form that holds ``value``."""
    return {
        **_make_table_key(key),
        "value": {"S": value},
        "expires_at": {"N": str(int(now) + storage_seconds)},
    }


def _make_table_key(key: str) -> dict[str, Any]:
    """Return the primary key of the item that holds the value under ``key``."""
    return {"alert": {"S": f"kept#{digest(key)}"}}


class BatchProgress:
    """How far invocations got in a batch of the trail, so that the next one goes on there.

    The ledger knows what became of each alert, but to ask it about hundreds of them takes longer
    than an invocation may. So the state holds a mark for each event of a batch that takes long. No
    method raises.
    """

    def __init__(self, events: Sequence[Any], dependencies: Dependencies) -> None:
        self.marks = [OPEN] * len(events)
        self._events, self._dependencies = events, dependencies
        self._start = dependencies.clock()
        self._key = ""  # once the stored marks are loaded

    def take_turns(self) -> Iterator[int]:
        """Yield the index of each event that is not done, in an order that differs each time.

        An event that takes long or fails thus cannot keep the others from their turn. Once the
        stored marks are loaded, alerts without an e-mail come first.
        """
        waiting = random.sample(range(len(self.marks)), len(self.marks))  # the last is the next
        while waiting:
            if self._key or self._dependencies.clock() < self._start + LOAD_SECONDS:
                yield waiting.pop()
                continue
            self._key = f"batch#{digest(json.dumps(self._events), length=32)}"
            stored = self._use(lambda state, now: state.get(self._key, now)) or ""
            for index, mark in enumerate(stored):
                self.marks[index] = max(mark, self.marks[index], key=(OPEN, MAILED, DONE).index)
            waiting = [index for index in waiting if self.marks[index] != DONE]
            waiting.sort(key=lambda index: self.marks[index] == OPEN)

    def save(self) -> None:
        """Store the marks if the batch has taken long."""
        if self._key:
            marks, seconds = "".join(self.marks), 14 * DAY_SECONDS  # no queue keeps it for longer
            self._use(lambda state, now: state.put(self._key, marks, now, seconds))

    def _use(self, call: Callable[[State, float], str | None]) -> str | None:
        """Return what ``call`` returns; None if it fails."""
        now, table = self._dependencies.clock(), self._dependencies.settings.ledger_table_name
        try:
            return call(State(self._dependencies.client("dynamodb", quick=True), table), now)
        except Exception as error:  # noqa: BLE001 - then the ledger is asked about each event
            log.write_failure("state", error, now)
            return None
