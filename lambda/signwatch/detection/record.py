"""Reads the CloudTrail record in an EventBridge event. Any field may be missing or of another type.

The envelope is the EventBridge event; the record is its ``detail``. A bare record, as in a trail's
files, has no envelope. An object is a JSON object.

Facts: AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon EventBridge, "Events
delivered via CloudTrail".
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

# The strings that are read from every record, in the order of Record's fields.
STRING_KEYS = (
    "eventSource",
    "eventName",
    "eventID",
    "eventTime",
    "awsRegion",
    "sourceIPAddress",
    "recipientAccountId",
)
# Returns the value of each key, and raises KeyError if one is missing.
_get_values: Callable[[dict[str, Any]], tuple[str, ...]] = itemgetter(*STRING_KEYS)


class Record(NamedTuple):
    """A CloudTrail record: its objects, and the strings that are read from every record.

    An object is empty if it is missing or not an object, a string if neither the record nor the
    envelope has it. All strings are read at once, because these look-ups take most of the time.
    """

    envelope: dict[str, Any]  # the EventBridge event; empty for a bare record
    detail: dict[str, Any]  # the CloudTrail record itself
    user: dict[str, Any]  # userIdentity
    extra: dict[str, Any]  # additionalEventData
    service: str = ""  # eventSource, such as "signin.amazonaws.com"
    name: str = ""  # eventName
    event_id: str = ""  # eventID, or EventBridge's id if that is missing
    time: str = ""
    region: str = ""
    source: str = ""
    account: str = ""  # the account that was signed in to

    def get_object(self, key: str) -> dict[str, Any]:
        """Return the object at ``key``; empty if there is none."""
        return as_object(self.detail.get(key))


def open_record(event: object) -> Record:
    """Return the Record of an EventBridge event or of a bare CloudTrail record.

    If the record lacks its id, time, Region or account, that of the envelope is used.
    """
    fields = as_object(event)
    envelope, detail = {}, fields
    if "detail" in fields:
        envelope, detail = fields, as_object(fields["detail"])
    user, extra = detail.get("userIdentity"), detail.get("additionalEventData")
    # Without as_object, as two calls for every event would make reading slower.
    user = user if isinstance(user, dict) else {}
    extra = extra if isinstance(extra, dict) else {}
    service, name, event_id, time, region, source, account = _read_strings(detail)
    event_id = event_id or get_string(envelope, "id")
    time = time or get_string(envelope, "time")
    region = region or get_string(envelope, "region")
    account = account or get_string(envelope, "account") or get_string(user, "accountId")
    # In the order of Record's fields: Record(...) would make signin.read slower.
    values = envelope, detail, user, extra, service, name, event_id, time, region, source, account
    return tuple.__new__(Record, values)


def _read_strings(detail: dict[str, Any]) -> Sequence[str]:
    """Return the values of STRING_KEYS, with "" for one that is missing or not a string."""
    try:
        values = _get_values(detail)
        "".join(values)  # only a check, faster than isinstance: TypeError if one is not a string
    except (KeyError, TypeError):
        return [value if isinstance(value, str) else "" for value in map(detail.get, STRING_KEYS)]
    return values


def as_object(value: object) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object, else an empty object."""
    return value if isinstance(value, dict) else {}


def get_string(fields: dict[str, Any], key: str) -> str:
    """Return the string at ``key``, stripped; empty if there is none."""
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""


def digest(text: str, length: int = 64) -> str:
    """Return the first ``length`` characters of the SHA-256 digest of ``text``, in hexadecimal."""
    import hashlib  # here because it takes time, and a recognised sign-in does not need it

    return hashlib.sha256(text.encode()).hexdigest()[:length]


def parse_time(text: str) -> datetime | None:
    """Return a time like "2026-11-24T10:12:31Z" in UTC.

    Return None if it is malformed, has no time zone, or is before 1970.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.timestamp() < 0:
            return None
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
