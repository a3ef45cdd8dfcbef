"""A loopback Twilio: the Messages resource of its REST API (2010-04-01), which keeps the texts instead of sending them.

It answers as Twilio documents it ("Messages resource", "Error and warning dictionary", "Test credentials" for the magic
numbers) and fails on request. ``GET /__messages`` shows what was received.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESOURCE = re.compile(
    r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages(?:/((?:SM|MM)[0-9a-f]{32}))?\.json"
)
E164 = re.compile(r"\+[1-9]\d{1,14}")
INVALID, UNSUBSCRIBED = "+15005550001", "+15005550004"  # Twilio docs, "Test credentials"
LONGEST_TEXT = 1600  # characters
LARGEST_BODY = 65_536  # bytes of a request, ample for 1,600 characters written as %F0%9F%93%B1
GSM = (  # 3GPP TS 23.038
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_ESCAPED = "\f^{}\\[~]|€"  # two septets each
GSM_SEGMENT, UCS2_SEGMENT = (160, 153), (70, 67)  # alone, and with the header that joins several


@dataclass(frozen=True)
class Fault:
    """How one request is answered: refused with ``status``, late by ``slow`` seconds, or cut off without an answer."""

    status: int | None = None
    code: int = 0
    message: str = ""
    retry_after: int | None = None
    slow: float = 0.0
    reset: bool = False


class ApiError(Exception):
    """Twilio refuses a request: HTTP ``status``, Twilio's ``code`` and sentence, seconds of Retry-After."""

    def __init__(
        self, status: int, code: int, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class TwilioServer:
    """The texts that were received, the faults that come next, and the way in; safe to use from any thread."""

    def __init__(self, accounts: Mapping[str, str], url: str = "") -> None:
        self.url = url
        self.stopping = threading.Event()
        self._accounts = dict(accounts)
        self._messages: dict[str, dict[str, Any]] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def start(cls, *, accounts: Mapping[str, str], port: int = 0) -> Iterator[TwilioServer]:
        """Run a phone for the API keys in ``accounts`` (SID to secret) on 127.0.0.1; stop it at the end.

        Raises OSError when ``port`` is taken.
        """
        twilio_server = cls(accounts)
        server = _Server(twilio_server, port)
        twilio_server.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield twilio_server
        finally:
            twilio_server.stopping.set()
            server.stop()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages so far, oldest first, with the keys of Twilio's answer; a copy."""
        with self._lock:
            return [dict(message) for message in self._messages.values()]

    def fail(
        self,
        status: int | None = None,
        code: int | None = None,
        message: str = "",
        *,
        retry_after: int | None = None,
        slow: float = 0.0,
        reset: bool = False,
        times: int = 1,
    ) -> None:
        """Script the answers to the next ``times`` requests of an authenticated client.

        Without ``status`` the request is served, late by ``slow`` seconds; with ``reset`` it is never answered.
        Twilio's own ``code`` is 20429 for 429, else 20000 and the status, unless given.
        """
        chosen = code if code is not None else 20_000 + (status or 0)
        fault = Fault(
            status, chosen, message or f"Scripted failure {status}", retry_after, slow, reset
        )
        with self._lock:
            self._faults += [fault] * times

    def report(
        self, sid: str, status: str, error_code: int | None = None, error_message: str | None = None
    ) -> None:
        """Settle what a later lookup of message ``sid`` says, such as undelivered with error 30034.

        Raises KeyError for an unknown message.
        """
        with self._lock:
            self._messages[sid] |= {
                "status": status,
                "error_code": error_code,
                "error_message": error_message,
            }

    def admits(self, account_sid: str, authorization: str) -> bool:
        """Say whether the header ``authorization`` (HTTP Basic) belongs to a known key, or to the account itself."""
        kind, _, coded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(coded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        known = (
            kind.lower() == "basic" and user in self._accounts and self._accounts[user] == password
        )
        return known and (not user.startswith("AC") or user == account_sid)

    def next_fault(self) -> Fault:
        """Take the fault for this request."""
        with self._lock:
            return self._faults.pop(0) if self._faults else Fault()

    def receive(self, account_sid: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Keep the text in ``form`` and return its message; raises ApiError as Twilio refuses it."""
        _check(form)
        message = _message(account_sid, form)
        with self._lock:
            self._messages[message["sid"]] = message
            return dict(message)

    def look_up(self, account_sid: str, sid: str) -> dict[str, Any]:
        """Return the message as it stands; raises ApiError 20404 when the account has none of that name."""
        with self._lock:
            message = self._messages.get(sid)
            if message is None or message["account_sid"] != account_sid:
                path = f"/2010-04-01/Accounts/{account_sid}/Messages/{sid}.json"
                raise ApiError(404, 20404, f"The requested resource {path} was not found")
            return dict(message)


def segments(text: str) -> int:
    """Return how many segments a text takes: GSM-7 septets where its alphabet has every character, else UCS-2."""
    gsm = all(character in GSM or character in GSM_ESCAPED for character in text)
    sizes = [1 + (c in GSM_ESCAPED if gsm else ord(c) > 0xFFFF) for c in text]  # noqa: PLR2004 - the last that UTF-16 writes in one unit
    alone, joined = GSM_SEGMENT if gsm else UCS2_SEGMENT
    if sum(sizes) <= alone:
        return 1
    count, used = 1, 0
    for size in sizes:  # neither an escaped character nor a surrogate pair is split
        count, used = (count, used + size) if used + size <= joined else (count + 1, size)
    return count


def _check(form: Mapping[str, str]) -> None:
    to, sender, text = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    refusals = [
        (not to, 21604, "A 'To' phone number is required."),
        (
            not sender and not form.get("MessagingServiceSid"),
            21603,
            "A 'From' phone number is required.",
        ),
        (
            not E164.fullmatch(to) or to == INVALID,
            21211,
            f"The 'To' number {to} is not a valid phone number.",
        ),
        (sender == INVALID, 21212, f"The 'From' number {sender} is not a valid phone number."),
        (to == UNSUBSCRIBED, 21610, "Attempt to send to unsubscribed recipient"),
        (not text, 21602, "Message body is required."),
        (
            len(text) > LONGEST_TEXT,
            21617,
            "The concatenated message body exceeds the 1600 character limit.",
        ),
    ]
    for refused, code, sentence in refusals:
        if refused:
            raise ApiError(400, code, sentence)


def _message(account_sid: str, form: Mapping[str, str]) -> dict[str, Any]:
    sid, now = f"SM{secrets.token_hex(16)}", formatdate().replace("-0000", "+0000")
    uri = f"/2010-04-01/Accounts/{account_sid}/Messages/{sid}"
    service = form.get("MessagingServiceSid") or None
    return {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": form["Body"],
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From") or None,
        "messaging_service_sid": service,
        "num_media": "0",
        "num_segments": str(segments(form["Body"])),
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "accepted" if service else "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"],
        "uri": f"{uri}.json",
    }


class _Server(socketserver.ThreadingTCPServer):
    """One thread a connection; all of them end with the server."""

    daemon_threads = True
    allow_reuse_address = True  # of a phone that has just been stopped
    request_queue_size = 128

    def __init__(self, twilio_server: TwilioServer, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.twilio_server = twilio_server
        self._open: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self._listen, name="phone", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self.twilio_server.stopping.is_set():
            self.handle_request()  # waits for a connection; unlike serve_forever it does not wake up to look around

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._attend, args=(request, client_address), name="phone", daemon=True
        )
        self._open[thread] = request
        thread.start()

    def _attend(self, request: Any, client_address: Any) -> None:
        self.process_request_thread(request, client_address)
        del self._open[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that hung up."""

    def stop(self) -> None:
        """Close the way in and every connection, also those that a client keeps open, and wait for their threads."""
        socket.create_connection(self.server_address[:2]).close()  # type: ignore[arg-type] # IPv4: host and port
        self._thread.join()
        self.server_close()
        for thread, connection in list(self._open.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/__messages":
            return self._answer(200, self.server.twilio_server.messages)
        return self._serve({})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True  # what follows is not read
            known = length.isdecimal()
            return self._refuse(
                ApiError(
                    413 if known else 411, 20001, "The request body is too large or of no length"
                )
            )
        body = self.rfile.read(int(length)).decode(errors="replace")
        return self._serve(
            {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
        )

    def _serve(self, form: Mapping[str, str]) -> None:
        try:
            account_sid, sid = self._resource()
            if not self._spoil(self.server.twilio_server.next_fault()):
                self._carry_out(account_sid, sid, form)
        except ApiError as refusal:
            self._refuse(refusal)

    def _resource(self) -> tuple[str, str | None]:
        """Return account and message that the path names; raises ApiError for others and for strangers."""
        found = RESOURCE.fullmatch(self.path.partition("?")[0])
        if not found or bool(found[2]) != (self.command == "GET"):
            raise ApiError(404, 20404, f"The requested resource {self.path} was not found")
        if not self.server.twilio_server.admits(found[1], self.headers.get("Authorization", "")):
            raise ApiError(401, 20003, "Authenticate")
        return found[1], found[2]

    def _spoil(self, fault: Fault) -> bool:
        """Carry out the fault; say whether that leaves nothing to answer."""
        late = bool(fault.slow) and self.server.twilio_server.stopping.wait(fault.slow)
        if late or fault.reset:
            self.close_connection = True
            return True
        if fault.status is not None:
            raise ApiError(fault.status, fault.code, fault.message, fault.retry_after)
        return False

    def _carry_out(self, account_sid: str, sid: str | None, form: Mapping[str, str]) -> None:
        twilio_server = self.server.twilio_server
        if sid:
            self._answer(200, twilio_server.look_up(account_sid, sid))
        else:
            self._answer(201, twilio_server.receive(account_sid, form))

    def _refuse(self, refusal: ApiError) -> None:
        more = f"https://www.twilio.com/docs/errors/{refusal.code}"
        told = {
            "code": refusal.code,
            "message": refusal.message,
            "more_info": more,
            "status": refusal.status,
        }
        later = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        self._answer(refusal.status, told, later)

    def _answer(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        told = {
            "Content-Type": "application/json;charset=utf-8",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        self.send_response(status)
        for name, text in {**told, "Twilio-Request-Id": f"RQ{secrets.token_hex(16)}"}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""
