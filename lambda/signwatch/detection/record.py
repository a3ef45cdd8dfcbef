"""The CloudTrail record inside an EventBridge event. Any field may be missing or of another type.

Facts: AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon EventBridge, "Events
delivered via CloudTrail".
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The texts that every reading needs, in the order of Record's fields.
TEXT_KEYS = (
    "eventSource",
    "eventName",
    "eventID",
    "eventTime",
    "awsRegion",
    "sourceIPAddress",
    "recipientAccountId",
)
GET_TEXT_VALUES: Callable[[dict[str, Any]], tuple[str, ...]] = itemgetter(*TEXT_KEYS)


class Record(NamedTuple):
    """The EventBridge envelope (empty around a bare record), the CloudTrail record, and its texts.

    ``user`` is userIdentity and ``extra`` is additionalEventData, each empty if it is no object. A
    text is empty if neither record nor envelope has it. All texts are read at once, because
    reading takes most of its time for looking them up.
    """

    envelope: dict[str, Any]
    detail: dict[str, Any]
    user: dict[str, Any]
    extra: dict[str, Any]
    service: str = ""  # eventSource as it is written
    name: str = ""  # eventName
    event_id: str = ""  # CloudTrail's, else EventBridge's
    time: str = ""
    region: str = ""
    source: str = ""
    account: str = ""  # the account that was signed in to, as far as the event says

    def part(self, key: str) -> dict[str, Any]:
        """Return the object at ``key``; empty if there is none."""
        return as_object(self.detail.get(key))


def open_record(event: object) -> Record:
    """Return the record in an EventBridge event, or a bare record as it is."""
    envelope, detail = {}, as_object(event)
    if "detail" in detail:
        envelope, detail = detail, as_object(detail["detail"])
    user = as_object(detail.get("userIdentity"))
    extra = as_object(detail.get("additionalEventData"))
    service, name, event_id, time, region, source, account = _texts(detail)
    event_id = event_id or get_text(envelope, "id")
    time = time or get_text(envelope, "time")
    region = region or get_text(envelope, "region")
    account = account or get_text(envelope, "account") or get_text(user, "accountId")
    # By position: keywords would make all of reading a tenth slower.
    return Record(
        envelope, detail, user, extra, service, name, event_id, time, region, source, account
    )


def _texts(detail: dict[str, Any]) -> Sequence[str]:
    """Return the values of TEXT_KEYS, each empty if it is no text."""
    try:
        values = GET_TEXT_VALUES(detail)
        # Raises TypeError unless all are texts, in a fifth of the time that a look at each takes.
        "".join(values)
    except (KeyError, TypeError):
        return [value if isinstance(value, str) else "" for value in map(detail.get, TEXT_KEYS)]
    return values


def as_object(value: object) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def get_text(fields: dict[str, Any], key: str) -> str:
    """Return the text at ``key`` without the space around it; empty if there is no text."""
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""


def digest(text: str, length: int = 64) -> str:
    """Return the first ``length`` characters of the SHA-256 digest of ``text``, in hexadecimal."""
    import hashlib  # takes time to load, and a recognised sign-in does not need it

    return hashlib.sha256(text.encode()).hexdigest()[:length]


def parse_time(text: str) -> datetime | None:
    """Return a time like 2026-11-24T10:12:31Z in UTC; None without a zone or before 1970."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.timestamp() < 0:
            return None
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
