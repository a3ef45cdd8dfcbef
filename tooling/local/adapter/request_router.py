"""Routes HTTP requests: the adapter's endpoints, identity stores, and the emulator for the rest.

The router and the emulator are ASGI applications: coroutines that get a request's ``scope`` (its
method, path and headers), a function to receive its body, and one to send the response.
AWS's endpoints use TLS; here, plain HTTP counts as TLS, so that policies on aws:SecureTransport
decide as they do on AWS.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

from ministack import app

from tooling.local.adapter import identity_store, permissions, trail_delivery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

TLS_HEADER = (b"x-forwarded-proto", b"https")


def install() -> None:
    """Put the router in front of the emulator's application."""
    app.app = route(app.app)


def route(inner: Application) -> Application:
    """Return an application that serves the adapter's endpoints, and the rest by ``inner``."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        endpoint = f"{scope['method']} {scope['path']}"
        if endpoint == "GET /_emulator/token":
            await _respond(send, 200, os.environ.get("SIGNWATCH_EMULATOR_TOKEN", ""))
        elif endpoint == "POST /_emulator/events":
            await _deliver_events(receive, send)
        elif endpoint == "GET /_emulator/decisions":
            account = scope["query_string"].decode()  # the URL ends with "?123456789012"
            decisions = permissions.list_decisions(account)
            await _respond(send, 200, json.dumps(decisions))
        elif identity_store.parse_operation(scope["headers"]):
            headers, body = scope["headers"], await _read_body(receive)
            status, content = await asyncio.to_thread(identity_store.respond, headers, body)
            await _respond(send, status, json.dumps(content))
        else:
            await inner({**scope, "headers": [*scope["headers"], TLS_HEADER]}, receive, send)

    return application


async def _deliver_events(receive: Receive, send: Send) -> None:
    """Respond to POST /_emulator/events: deliver each event of the JSON list in the body."""
    try:
        events = json.loads(await _read_body(receive))
        answers = await asyncio.to_thread(_deliver_all, events)
    except (ValueError, KeyError, TypeError) as error:
        await _respond(send, 400, f"a list of whole EventBridge events is needed: {error!r}")
    else:
        await _respond(send, 200, json.dumps(answers))


def _deliver_all(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Deliver the events and return the answers; runs in a thread, because it may block."""
    return [trail_delivery.deliver(event) for event in events]


async def _read_body(receive: Receive) -> bytes:
    """Return the whole body of a request, which arrives in parts."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _respond(send: Send, status: int, text: str) -> None:
    """Send a whole response; ``text`` is its body."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
