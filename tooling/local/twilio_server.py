"""A loopback Twilio server: keeps the texts of its Messages resource instead of sending them.

It implements part of Twilio's REST API (2010-04-01) as documented in "Messages resource", "Error
and warning dictionary" and "Test credentials" (the magic numbers), and fails on request.
``GET /__messages`` shows the received texts. A text that is looked up moves on to "sent" and
"delivered" for the next look-up.

A text travels in segments of at most 140 bytes. If the alphabet GSM-7 has all its characters, it is
encoded in units of 7 bits (septets), else in UCS-2's units of 16 bits.
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

MESSAGES_PATH = re.compile(
    r"/2010-04-01/Accounts/(?P<account>AC[0-9a-fA-F]{32})/Messages"
    r"(?:/(?P<message>(?:SM|MM)[0-9a-f]{32}))?\.json"
)
E164 = re.compile(r"\+[1-9]\d{1,14}")
INVALID_NUMBER, UNSUBSCRIBED_NUMBER = "+15005550001", "+15005550004"  # Twilio, "Test credentials"
TEXT_MAX_CHARS = 1600
DEFAULT_PAGE_SIZE, PAGE_SIZE_MAX = 50, 1000  # of a list (Twilio, "Paging")
NEXT_STATUSES = {"accepted": "sent", "queued": "sent", "sent": "delivered"}
REQUEST_MAX_BYTES = 65_536  # ample for 1,600 characters written as %F0%9F%93%B1
GSM7_CHARS = (  # 3GPP TS 23.038
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_ESCAPED_CHARS = "\f^{}\\[~]|€"  # two septets each
# Units that fit into the only segment of a text, and into each of several, which have a header.
GSM7_SEGMENT_SIZES, UCS2_SEGMENT_SIZES = (160, 153), (70, 67)
LAST_CHAR_OF_ONE_UTF16_UNIT = "\uffff"


@dataclass(frozen=True)
class SimulatedFailure:
    """How one request fails; with the default values, it does not.

    It is refused with the HTTP ``status`` and Twilio's error ``code``, answered only after
    ``delay_seconds``, or, with ``reset``, its connection is closed without an answer.
    """

    status: int | None = None
    code: int = 0
    message: str = ""
    retry_after: int | None = None
    delay_seconds: float = 0.0
    reset: bool = False
    to: str = ""  # only a text to this number fails


class ApiError(Exception):
    """Twilio refuses a request: HTTP status, Twilio's error code, seconds of Retry-After."""

    def __init__(
        self, status: int, code: int, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class TwilioServer:
    """Keeps the received texts, and the failures to simulate; safe to use from any thread."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        """``credentials`` maps the SID of an API key or account to its secret; see start()."""
        self.url = ""
        self.stopping = threading.Event()
        self._credentials = dict(credentials)
        self._messages: dict[str, dict[str, Any]] = {}
        self._failures: list[SimulatedFailure] = []
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def start(cls, *, credentials: Mapping[str, str], port: int = 0) -> Iterator[TwilioServer]:
        """Run a server on 127.0.0.1; it stops at the end of the ``with`` block.

        ``credentials`` maps the SID (id) of an API key or account to its secret. ``port`` 0 takes a
        free one. Raises OSError if ``port`` is in use.
        """
        twilio_server = cls(credentials)
        listener = _Listener(twilio_server, port)
        twilio_server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        try:
            yield twilio_server
        finally:
            twilio_server.stopping.set()
            listener.stop()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A copy of the messages so far, oldest first, with the keys of Twilio's answer."""
        with self._lock:
            return [dict(message) for message in self._messages.values()]

    def forget_messages(self) -> None:
        """Forget all messages, so that a list has later ones alone."""
        with self._lock:
            self._messages.clear()

    def fail(
        self,
        status: int | None = None,
        code: int | None = None,
        message: str = "",
        *,
        retry_after: int | None = None,
        delay_seconds: float = 0.0,
        reset: bool = False,
        times: int = 1,
        to: str = "",
    ) -> None:
        """Simulate a failure of the next ``times`` requests of an authenticated client.

        Without ``status`` a request is served after ``delay_seconds``; with ``reset`` it is never
        answered. With ``to``, only texts to this number fail. Twilio's ``code`` is 20000 plus the
        status by default.
        """
        if code is None:
            code = 20_000 + (status or 0)
        message = message or f"Scripted failure {status}"
        failure = SimulatedFailure(status, code, message, retry_after, delay_seconds, reset, to)
        with self._lock:
            self._failures += [failure] * times

    def set_status(
        self, sid: str, status: str, error_code: int | None = None, error_message: str | None = None
    ) -> None:
        """Set the status that a later lookup returns, such as undelivered with error 30034.

        Raises KeyError for an unknown message.
        """
        with self._lock:
            self._messages[sid] |= {
                "status": status,
                "error_code": error_code,
                "error_message": error_message,
            }

    def is_authorized(self, account_sid: str, authorization: str) -> bool:
        """Return whether the Authorization header (HTTP Basic) names a known key and its secret.

        The user is the SID of an API key, or of the account itself.
        """
        kind, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        if kind.lower() != "basic" or user not in self._credentials:
            return False
        is_other_account = user.startswith("AC") and user != account_sid
        return not is_other_account and self._credentials[user] == password

    def take_failure(self, to: str = "") -> SimulatedFailure:
        """Remove and return the failure to simulate for the next request, a text to ``to``.

        If none is queued, return a SimulatedFailure that changes nothing.
        """
        with self._lock:
            for failure in self._failures:
                if failure.to in ("", to):
                    self._failures.remove(failure)
                    return failure
            return SimulatedFailure()

    def receive(self, account_sid: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Store the message that ``form`` asks for and return it, with the keys of Twilio's answer.

        Raises ApiError if Twilio would refuse it.
        """
        _check_form(form)
        message = _make_message(account_sid, form)
        with self._lock:
            self._messages[message["sid"]] = message
            return dict(message)

    def look_up(self, account_sid: str, sid: str) -> dict[str, Any]:
        """Return the account's message, and move its status on for the next look-up.

        Raises ApiError with code 20404 if there is none.
        """
        with self._lock:
            message = self._messages.get(sid)
            if message is None or message["account_sid"] != account_sid:
                path = f"/2010-04-01/Accounts/{account_sid}/Messages/{sid}.json"
                raise ApiError(404, 20404, f"The requested resource {path} was not found")
            seen = dict(message)
            message["status"] = NEXT_STATUSES.get(message["status"], message["status"])
            return seen

    def list_messages(self, account_sid: str, page_size: int) -> dict[str, Any]:
        """Return the newest messages of an account, as the first page of Twilio's list."""
        messages = [one for one in self.messages[::-1] if one["account_sid"] == account_sid]
        path = f"/2010-04-01/Accounts/{account_sid}/Messages.json?PageSize={page_size}&Page=0"
        return {
            "messages": messages[:page_size],
            "page": 0,
            "page_size": page_size,
            "start": 0,
            "end": max(0, min(page_size, len(messages)) - 1),
            "uri": path,
            "first_page_uri": path,
            "next_page_uri": None,
            "previous_page_uri": None,
        }


def count_segments(text: str) -> int:
    """Return how many segments a text takes: in GSM-7 if it can encode the text, else in UCS-2."""
    if set(text) <= set(GSM7_CHARS + GSM7_ESCAPED_CHARS):
        char_sizes = [2 if char in GSM7_ESCAPED_CHARS else 1 for char in text]
        only_segment_size, segment_size = GSM7_SEGMENT_SIZES
    else:
        char_sizes = [2 if char > LAST_CHAR_OF_ONE_UTF16_UNIT else 1 for char in text]
        only_segment_size, segment_size = UCS2_SEGMENT_SIZES
    if sum(char_sizes) <= only_segment_size:
        return 1
    segment_count, used_units = 1, 0
    for size in char_sizes:  # a character of two units is never split
        if used_units + size > segment_size:
            segment_count += 1
            used_units = 0
        used_units += size
    return segment_count


def _check_form(form: Mapping[str, str]) -> None:
    """Raise ApiError for the first problem that Twilio would find in the form."""
    to, sender, text = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    has_sender = sender or form.get("MessagingServiceSid")
    is_valid = E164.fullmatch(to) and to != INVALID_NUMBER
    is_too_long = len(text) > TEXT_MAX_CHARS
    # Whether Twilio refuses the form, its error code, and its message.
    checks = [
        (not to, 21604, "A 'To' phone number is required."),
        (not has_sender, 21603, "A 'From' phone number is required."),
        (not is_valid, 21211, f"The 'To' number {to} is not a valid phone number."),
        (
            sender == INVALID_NUMBER,
            21212,
            f"The 'From' number {sender} is not a valid phone number.",
        ),
        (to == UNSUBSCRIBED_NUMBER, 21610, "Attempt to send to unsubscribed recipient"),
        (not text, 21602, "Message body is required."),
        (is_too_long, 21617, "The concatenated message body exceeds the 1600 character limit."),
    ]
    for is_refused, code, message in checks:
        if is_refused:
            raise ApiError(400, code, message)


def _make_message(account_sid: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return a message as Twilio's API returns it just after it was accepted."""
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
        "num_segments": str(count_segments(form["Body"])),
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "accepted" if service else "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"],
        "uri": f"{uri}.json",
    }


class _Listener(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread of its own; stop() ends all of them."""

    daemon_threads = True
    allow_reuse_address = True  # so that a fixed port is free again just after a server stopped
    request_queue_size = 128

    def __init__(self, twilio_server: TwilioServer, port: int) -> None:
        """Start to listen; ``port`` 0 takes a free one. Raises OSError if it is in use."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.twilio_server = twilio_server
        self._connections: dict[threading.Thread, socket.socket] = {}  # the open ones
        self._thread = threading.Thread(target=self._listen, name="twilio-server", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        """Accept connections until the server stops; runs in a thread of its own."""
        while not self.twilio_server.stopping.is_set():
            self.handle_request()  # blocks until a connection; serve_forever would poll

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread that stop() can end."""
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="twilio-server", daemon=True
        )
        self._connections[thread] = request
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end; runs in the connection's thread."""
        self.process_request_thread(request, client_address)
        del self._connections[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hung up."""

    def stop(self) -> None:
        """Stop listening, close every open connection, and wait for the threads.

        ``twilio_server.stopping`` must be set. The listener looks at it after each connection, so
        this makes one.
        """
        socket.create_connection(self.server_address[:2]).close()  # type: ignore[arg-type] # IPv4: host and port
        self._thread.join()
        self.server_close()
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Responds to the requests of one connection."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # buffered: each response is sent at once, and not in small parts
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond with one message, with a list, or with all of them at /__messages."""
        if self.path == "/__messages":
            self._respond(200, self.server.twilio_server.messages)
        else:
            self._serve({})

    def do_POST(self) -> None:
        """Receive a new message, in a form of at most REQUEST_MAX_BYTES."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > REQUEST_MAX_BYTES:
            self.close_connection = True  # the body is not read
            status = 413 if length.isdecimal() else 411
            message = "The request body is too large, or its length is missing"
            self._refuse(ApiError(status, 20001, message))
            return
        body = self.rfile.read(int(length)).decode(errors="replace")
        fields = parse_qs(body, keep_blank_values=True)
        self._serve({name: values[0] for name, values in fields.items()})

    def _serve(self, form: Mapping[str, str]) -> None:
        """Respond to a request for the Messages resource; ``form`` is empty unless it is a POST."""
        twilio_server = self.server.twilio_server
        try:
            account_sid, sid = self._parse_path()
            to = form.get("To", "")
            failure = twilio_server.take_failure(to)  # a failure that a test ordered, if any
            drops_connection = self._simulate(failure)
            if drops_connection:
                self.close_connection = True
            elif sid:
                self._respond(200, twilio_server.look_up(account_sid, sid))
            elif self.command == "GET":
                page_size = self._parse_page_size()
                self._respond(200, twilio_server.list_messages(account_sid, page_size))
            else:
                self._respond(201, twilio_server.receive(account_sid, form))
        except ApiError as error:
            self._refuse(error)

    def _parse_path(self) -> tuple[str, str | None]:
        """Return the SIDs of the account and of the message in the path; a list has no message.

        Raises ApiError if there is no such resource, or the client is not authorised.
        """
        match = MESSAGES_PATH.fullmatch(self.path.partition("?")[0])
        names_message = bool(match and match["message"])
        if not match or (names_message and self.command == "POST"):
            raise ApiError(404, 20404, f"The requested resource {self.path} was not found")
        authorization = self.headers.get("Authorization", "")
        if not self.server.twilio_server.is_authorized(match["account"], authorization):
            raise ApiError(401, 20003, "Authenticate")
        return match["account"], match["message"]

    def _parse_page_size(self) -> int:
        """Return how many messages the list may have: PageSize in the query."""
        fields = parse_qs(self.path.partition("?")[2])
        text = fields.get("PageSize", [""])[0]
        is_number = re.fullmatch("[1-9][0-9]{0,3}", text)
        return min(int(text), PAGE_SIZE_MAX) if is_number else DEFAULT_PAGE_SIZE

    def _simulate(self, failure: SimulatedFailure) -> bool:
        """Wait, or raise ApiError, as the failure says; return whether to close without answer."""
        stopping = self.server.twilio_server.stopping
        # The wait ends early, with True, if the server stops.
        has_stopped = failure.delay_seconds > 0 and stopping.wait(failure.delay_seconds)
        if has_stopped or failure.reset:
            return True
        if failure.status is not None:
            raise ApiError(failure.status, failure.code, failure.message, failure.retry_after)
        return False

    def _refuse(self, error: ApiError) -> None:
        """Respond with an error in Twilio's format."""
        body = {
            "code": error.code,
            "message": error.message,
            "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
            "status": error.status,
        }
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        self._respond(error.status, body, headers)

    def _respond(
        self, status: int, value: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole response with ``value`` as JSON."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Twilio-Request-Id", f"RQ{secrets.token_hex(16)}")
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""
