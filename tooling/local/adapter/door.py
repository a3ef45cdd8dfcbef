"""The emulator's front door: AWS's own events and identity stores are here, and plain HTTP counts as TLS."""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

from ministack import app

from tooling.local.adapter import access, directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

TLS = (b"x-forwarded-proto", b"https")


def install() -> None:
    """Put the door in front of the emulator's application."""
    app.app = guarded(app.app)


def guarded(inner: Application) -> Application:
    """Answer our own paths here and hand everything else to ``inner``."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
        elif (scope["method"], scope["path"]) == ("GET", "/_emulator/token"):
            await _answer(send, 200, os.environ.get("SIGNWATCH_CLOUD_TOKEN", ""))
        elif (scope["method"], scope["path"]) == ("POST", "/_emulator/events"):
            await _take_events(receive, send)
        elif (scope["method"], scope["path"]) == ("GET", "/_emulator/decisions"):
            await _answer(send, 200, json.dumps(access.decisions(scope["query_string"].decode())))
        elif directory.operation(scope["headers"]):
            status, told = await asyncio.to_thread(
                directory.answer, scope["headers"], await _body(receive)
            )
            await _answer(send, status, json.dumps(told))
        else:  # so that policies on aws:SecureTransport hold as they do where every endpoint speaks TLS
            await inner({**scope, "headers": [*scope["headers"], TLS]}, receive, send)

    return application


async def _take_events(receive: Receive, send: Send) -> None:
    from tooling.local.adapter import records

    try:
        events = json.loads(await _body(receive))
        answers = await asyncio.to_thread(lambda: [records.deliver(event) for event in events])
    except (ValueError, KeyError, TypeError) as error:
        await _answer(send, 400, f"a list of whole EventBridge events is needed: {error!r}")
    else:
        await _answer(send, 200, json.dumps(answers))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
