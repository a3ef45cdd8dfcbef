"""The loopback Twilio as one test sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooling.local.phone import Phone


@dataclass
class Twilio:
    """A phone that is shared by many tests, and how many texts it had when this one began."""

    phone: Phone
    before: int

    @property
    def url(self) -> str:
        return self.phone.url

    def fail(self, *given: Any, **named: Any) -> None:
        self.phone.fail(*given, **named)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.phone.messages[self.before :]

    @property
    def reached(self) -> list[str]:
        return [message["to"] for message in self.messages]
