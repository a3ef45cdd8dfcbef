"""The loopback Twilio server as one test sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooling.local.twilio_server import TwilioServer


@dataclass
class Twilio:
    """A server that many tests share; it forgets its texts before each."""

    twilio_server: TwilioServer

    @property
    def url(self) -> str:
        return self.twilio_server.url

    def fail(self, *arguments: Any, **options: Any) -> None:
        self.twilio_server.fail(*arguments, **options)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.twilio_server.messages

    @property
    def recipients(self) -> list[str]:
        return [message["to"] for message in self.messages]
