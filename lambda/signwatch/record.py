"""The CloudTrail record inside an EventBridge event, where every field may be missing or of another type.

Facts: AWS CloudTrail User Guide, "CloudTrail record contents"; Amazon EventBridge, "Events delivered via CloudTrail".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple


class Record(NamedTuple):
    """The EventBridge envelope (empty around a bare record) and the CloudTrail record in it.

    ``user`` is its userIdentity, ``extra`` its additionalEventData; each is empty where it is no object.
    """

    envelope: dict[str, Any]
    detail: dict[str, Any]
    user: dict[str, Any]
    extra: dict[str, Any]

    @property
    def event_id(self) -> str:
        """CloudTrail's id of the event, else EventBridge's."""
        return self.text("eventID", "id")

    @property
    def kind(self) -> str:
        """The detail-type of the envelope, in lower case."""
        return text_of(self.envelope, "detail-type").lower()

    @property
    def account(self) -> str:
        """The account that was signed in to, as far as anything in the event tells."""
        return self.text("recipientAccountId", "account") or text_of(self.user, "accountId")

    def text(self, key: str, envelope_key: str = "") -> str:
        """Return the text at ``key``, else the envelope's; empty where there is none."""
        value = self.detail.get(key)  # text_of, written out: this is asked a dozen times a record
        found = value.strip() if isinstance(value, str) else ""
        return found or (text_of(self.envelope, envelope_key) if envelope_key else "")

    def part(self, key: str) -> dict[str, Any]:
        """Return the object at ``key``; empty where there is none."""
        return mapping(self.detail.get(key))


def opened(event: object) -> Record:
    """Return the record in an EventBridge event, or a bare record as it is."""
    outer = mapping(event)
    envelope, detail = (outer, mapping(outer["detail"])) if "detail" in outer else ({}, outer)
    return Record(envelope, detail, mapping(detail.get("userIdentity")), mapping(detail.get("additionalEventData")))


def mapping(value: object) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_of(found: dict[str, Any], key: str) -> str:
    """Return the text at ``key`` without the space around it; empty for whatever is no text."""
    value = found.get(key)
    return value.strip() if isinstance(value, str) else ""


def moment(text: str) -> datetime | None:
    """Return the moment in UTC that a record's time names ("2026-11-24T10:12:31Z"); None for none since 1970."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo and at.timestamp() >= 0 else None
    except (ValueError, OverflowError):
        return None
