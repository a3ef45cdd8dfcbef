"""The loopback Twilio as one test sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooling.local.twilio_server import TwilioServer


@dataclass
class Twilio:
    """A phone that is shared by many tests, and how many texts it had when this one began."""

    twilio_server: TwilioServer
    before: int

    @property
    def url(self) -> str:
        return self.twilio_server.url

    def fail(self, *given: Any, **named: Any) -> None:
        self.twilio_server.fail(*given, **named)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.twilio_server.messages[self.before :]

    @property
    def reached(self) -> list[str]:
        return [message["to"] for message in self.messages]
