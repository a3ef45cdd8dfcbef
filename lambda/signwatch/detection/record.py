"""The CloudTrail record inside an EventBridge event, where every field may be missing or of another type.

Facts: AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon EventBridge, "Events delivered via CloudTrail".
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


# The texts of a record that every reading needs, in the order of Record's fields; with the envelope's names for some.
TEXTS = (
    "eventSource",
    "eventName",
    "eventID",
    "eventTime",
    "awsRegion",
    "sourceIPAddress",
    "recipientAccountId",
)
FOUND: Callable[[dict[str, Any]], tuple[str, ...]] = itemgetter(*TEXTS)


class Record(NamedTuple):
    """The EventBridge envelope (empty around a bare record), the CloudTrail record in it, and its texts.

    ``user`` is its userIdentity, ``extra`` its additionalEventData; each is empty where it is no object. A text is
    empty where neither record nor envelope has it. Read all at once, as most of the time goes into looking them up.
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
    account: str = ""  # the account that was signed in to, as far as anything in the event tells

    def part(self, key: str) -> dict[str, Any]:
        """Return the object at ``key``; empty where there is none."""
        return as_object(self.detail.get(key))


def open_record(event: object) -> Record:
    """Return the record in an EventBridge event, or a bare record as it is."""
    outer = event if isinstance(event, dict) else {}
    envelope, detail = (outer, as_object(outer["detail"])) if "detail" in outer else ({}, outer)
    user, extra = detail.get("userIdentity"), detail.get("additionalEventData")
    service, name, event_id, time, region, source, account = _texts(detail)
    return Record(
        envelope,
        detail,
        user if isinstance(user, dict) else {},
        extra if isinstance(extra, dict) else {},
        service,
        name,
        event_id or get_text(envelope, "id"),
        time or get_text(envelope, "time"),
        region or get_text(envelope, "region"),
        source,
        account or get_text(envelope, "account") or get_text(as_object(user), "accountId"),
    )


def _texts(detail: dict[str, Any]) -> Sequence[str]:
    """Return the values of TEXTS, each empty where there is no text; a whole record has them all."""
    try:
        found = FOUND(detail)
        "".join(found)  # raises for what is no text, at a fifth of what it costs to look at each
    except (KeyError, TypeError):
        return [value if isinstance(value, str) else "" for value in map(detail.get, TEXTS)]
    return found


def as_object(value: object) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def get_text(found: dict[str, Any], key: str) -> str:
    """Return the text at ``key`` without the space around it; empty for whatever is no text."""
    value = found.get(key)
    return value.strip() if isinstance(value, str) else ""


def parse_time(text: str) -> datetime | None:
    """Return the moment in UTC that a record's time names ("2026-11-24T10:12:31Z"); None for none since 1970."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo and at.timestamp() >= 0 else None
    except (ValueError, OverflowError):
        return None


def digest(text: str, length: int = 64) -> str:
    """Return the SHA-256 of a text in hex, cut to ``length``; it stands for the text in a name."""
    import hashlib  # here, so that a recognised sign-in does not load it

    return hashlib.sha256(text.encode()).hexdigest()[:length]
