"""Sends texts through Twilio. Only this module imports twilio, which is in the Lambda layer.

A text is sent with the client's ``request`` method, because ``client.messages`` would import 82
modules that are not needed. Twilio's client has no timeout and does not retry; this module adds
both.

Sources: Twilio docs, "Messages resource", "What is a String Identifier (SID)?", "Error and warning
dictionary" (the codes below) and "Twilio API best practices"; RFC 9110, sections 10.2.3
(Retry-After), 15.5.9 (408) and 15.6.4 (503).
"""

from __future__ import annotations

import json
import logging
import math
import random
import re
import time
from email.utils import mktime_tz, parsedate_tz
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from signwatch import time_limit
from signwatch.detection.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 3.0, 7.0  # for each address, and each piece
ATTEMPT_SECONDS = 10.0  # for one whole request
MIN_ATTEMPT_SECONDS = 4.0  # none starts with less time
LIST_SIZE = 100  # texts among which one is looked for
CLOCK_MARGIN_SECONDS = 600  # by which Twilio's clock may be behind
MAX_ATTEMPTS = 2  # of one text in one invocation; a retry follows after a minute
PAUSE_SECONDS = 1.0  # the longest before the second attempt
SECRET_CACHE_SECONDS = 300.0
NO_ANSWER = "Twilio did not answer in time"
NO_MESSAGE_ID = "Twilio's answer names no message"
# HTTP status codes
OK, UNAUTHORIZED, REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 200, 401, 408, 429
SERVER_ERROR, SERVICE_UNAVAILABLE = 500, 503
# Twilio's error codes: too many requests, and the sender's queue is full. Both pass by themselves.
TRANSIENT_ERROR_CODES = (20429, 21611)
# Account not active (10001, 20005, 90010), authentication failed, no right, test credentials
ACCOUNT_ERROR_CODES = (10001, 20003, 20005, 20006, 20008, 20403, 70051, 90010)
MAX_RETRY_AFTER_DIGITS = 4
ERROR_MEANINGS = {  # by Twilio's error code
    21211: "the number is not valid",
    21408: "texts to this country are not switched on",
    21608: "a trial account texts verified numbers only",
    21610: "the recipient answered STOP",
    21614: "the number is not a mobile phone's",
    30001: "the sender's queue is full",
    30002: "the account is suspended",
    30003: "the phone is switched off or out of reach",
    30004: "the recipient or the carrier blocks the sender",
    30005: "the number does not exist",
    30006: "the number is a landline, or its carrier cannot be reached",
    30007: "the carrier filtered the text as unwanted",
    30008: "the carrier gave no reason",
    30032: "the toll-free sender is not verified",
    30034: "the US sender is not registered (A2P 10DLC)",
}
MIN_ERROR_CODE = 10_000  # a lower number in an answer is not an error code of Twilio's
MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
MESSAGING_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")
# GetSecretValue raises it for a secret that has no value yet.
EMPTY_VALUE_ERROR_NAME = "ResourceNotFoundException"
STRING_FIELDS = ("account_sid", "api_key_sid", "api_key_secret", "sender")
NO_EDGE = {"TWILIO_EDGE": ""}  # replaces os.environ, where an edge would change the host


class Secret(NamedTuple):
    """Twilio's credentials, the sender and the recipients, from Secrets Manager."""

    account_sid: str
    api_key_sid: str
    api_key_secret: str
    sender: str
    recipients: tuple[str, ...]


class CachedSecret(NamedTuple):
    """A secret, and the time it was read at in seconds since 1970."""

    read_at: float
    secret: Secret


_cache: dict[str, CachedSecret] = {}  # by the secret's ARN


class NoSecretError(Exception):
    """There are no usable credentials. The message says why and contains no secret value.

    ``can_retry`` says that a retry may succeed.
    """

    def __init__(self, reason: str, *, can_retry: bool = False) -> None:
        super().__init__(reason)
        self.can_retry = can_retry


class Outcome(NamedTuple):
    """The outcome of one text.

    Its state is "sent" (Twilio accepted it), "credentials" (Twilio refused them), "transient" (a
    retry may succeed), "unclear" (Twilio may have accepted it) or "failed" (a retry would too).
    """

    state: str
    reason: str = ""  # why it was not accepted
    sid: str = ""  # Twilio's id of an accepted text
    retry_after_seconds: int = 0  # Twilio asks for this pause
    tries: int = 1
    is_server_error: bool = False  # Twilio's answer says so; it is tried again at once


class TextStatus(NamedTuple):
    """What became of a text that Twilio accepted."""

    status: str  # Twilio's, such as "delivered"
    reason: str = ""  # why it failed


def load_secret(
    get_client: Callable[[str], Any], arn: str, now: float, *, prefer_cache: bool = True
) -> Secret:
    """Return the secret, from the cache if it was read less than five minutes ago.

    If it cannot be read now, return the cached value, however old. Without ``prefer_cache``, the
    cache is not used at all. Raises NoSecretError if there is no value to return, or if the value
    read is empty or malformed. ``get_client`` returns the AWS client of a service.
    """
    cached = _cache.get(arn)
    if cached and prefer_cache and now - cached.read_at < SECRET_CACHE_SECONDS:
        return cached.secret
    try:
        answer = get_client("secretsmanager").get_secret_value(SecretId=arn)
        value = answer.get("SecretString", "")
    except Exception as error:  # noqa: BLE001 - whatever fails, the e-mail must be sent
        if cached and prefer_cache:
            return cached.secret
        error_name = type(error).__name__
        is_empty = error_name == EMPTY_VALUE_ERROR_NAME
        reason = "the secret is still empty" if is_empty else "the secret could not be read"
        raise NoSecretError(f"{reason} ({error_name})", can_retry=not is_empty) from None
    secret = parse_secret(value)
    _cache[arn] = CachedSecret(now, secret)
    return secret


def parse_secret(value: str) -> Secret:
    """Parse the secret's JSON. Raises NoSecretError, whose message contains no secret value."""
    if not value:
        raise NoSecretError("the secret is still empty")
    try:
        fields = json.loads(value)
        strings = {name: fields[name] for name in STRING_FIELDS}
        recipients = fields["recipients"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoSecretError("the secret is not the JSON object that invoke secret writes") from None
    has_recipients = isinstance(recipients, list) and bool(recipients)
    if not has_recipients or not all(map(_is_nonempty_string, [*strings.values(), *recipients])):
        raise NoSecretError("the secret names no recipient or lacks a value")
    unique_recipients = tuple(dict.fromkeys(recipients))
    return Secret(**strings, recipients=unique_recipients)


def _is_nonempty_string(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def send(
    secret: Secret,
    recipient: str,
    text: str,
    base_url: str,
    deadline: float,
    attempts: int = MAX_ATTEMPTS,
) -> Outcome:
    """Send one text; try again after a transient failure, if ``attempts`` allows. Never raises.

    No attempt ends after ``deadline``, a time of ``time.monotonic``. The pauses have full jitter
    and are at least what Twilio asks for. If Twilio may have accepted the text, this function tries
    again only after a server error, since Twilio has most likely not processed it then.
    """
    outcome = Outcome("transient", "there was no time left", tries=0)
    for attempt in range(attempts):
        pause = float(outcome.retry_after_seconds)
        if attempt:
            pause += random.uniform(0, PAUSE_SECONDS)  # noqa: S311 - no secret
        seconds_left = deadline - time.monotonic() - pause
        if seconds_left < MIN_ATTEMPT_SECONDS:
            break
        time.sleep(pause)
        may_be_sent = outcome.state == "unclear"
        outcome = _send_once(secret, recipient, text, base_url, min(seconds_left, ATTEMPT_SECONDS))
        outcome = outcome._replace(tries=attempt + 1)
        if may_be_sent and outcome.state == "transient":
            outcome = outcome._replace(state="unclear")
        if outcome.state != "transient" and not outcome.is_server_error:
            break
    return outcome


def make_mark(text: str) -> str:
    """Return what find_text needs of a text: its length and a digest, "160-0123456789ab"."""
    return f"{len(text)}-{digest(text, length=12)}"


def find_status(secret: Secret, sid: str, base_url: str) -> TextStatus:
    """Ask Twilio what became of a text. The status is empty if Twilio does not tell. Never raises.

    A key that may only read and create messages may ask this.
    """
    ask = partial(_request, secret, "GET", f"/{sid}", base_url)
    try:
        status, body, _ = time_limit.call(ask, ATTEMPT_SECONDS)
    except Exception as error:  # noqa: BLE001 - it is asked again later
        return TextStatus("", f"Twilio could not be asked ({type(error).__name__})")
    answer = _parse_object(body)
    code = answer.get("error_code")
    if status != OK:
        return TextStatus("", classify(status, _read_error_code(answer)).reason)
    reason = _describe_error(code) if isinstance(code, int) else ""
    return TextStatus(str(answer.get("status") or ""), reason)


def find_text(
    secret: Secret, recipient: str, mark: str, since: float, base_url: str, deadline: float
) -> Outcome:
    """Ask Twilio whether it accepted a text, among the last LIST_SIZE to a recipient. Never raises.

    The state is "sent", "absent", "unclear" (Twilio cannot be asked now) or "failed" (it refuses).
    ``mark`` is of make_mark, ``since`` the time in seconds since 1970 of the first try, since an
    earlier text may read the same; ``deadline`` is as in send. Twilio's own filter by date would
    leave out a text that still waits in the sender's queue.
    """
    query = {"To": recipient, "PageSize": str(LIST_SIZE)}
    ask = partial(_request, secret, "GET", "", base_url, query)
    try:
        seconds = min(ATTEMPT_SECONDS, deadline - time.monotonic())
        status, body, _ = time_limit.call(ask, seconds)
    except Exception as error:  # noqa: BLE001 - it is asked again by the next invocation
        return Outcome("unclear", type(error).__name__)
    answer = _parse_object(body)
    messages = answer.get("messages")
    if status != OK or not isinstance(messages, list):
        refusal = classify(status, _read_error_code(answer))
        is_lasting = status != OK and refusal.state in ("credentials", "failed")
        return Outcome("failed" if is_lasting else "unclear", refusal.reason)
    for message in filter(_is_object, messages):
        # A trial account puts words before a text.
        ending = str(message.get("body"))[-int(mark.partition("-")[0]) :]
        is_text = make_mark(ending) == mark and message.get("to") == recipient
        if is_text and _read_creation(message) >= since - CLOCK_MARGIN_SECONDS:
            return Outcome("sent", sid=str(message.get("sid")))
    return Outcome("absent")


def _read_creation(message: dict[str, Any]) -> float:
    """Return when Twilio accepted a text, in seconds since 1970; infinity if that is unreadable."""
    date = parsedate_tz(str(message.get("date_created")))
    return mktime_tz(date) if date else math.inf


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _send_once(secret: Secret, recipient: str, text: str, base_url: str, seconds: float) -> Outcome:
    """Send one text in a single attempt of at most ``seconds``. Never raises."""
    # A messaging service is a pool of numbers. An alphanumeric sender may begin with MG too.
    is_service = MESSAGING_SERVICE_SID.fullmatch(secret.sender)
    sender_field = "MessagingServiceSid" if is_service else "From"
    form = {"To": recipient, sender_field: secret.sender, "Body": text}
    body = _Body()
    post = partial(_request, secret, "POST", "", base_url, form, body)
    try:
        status, answer_text, headers = time_limit.call(post, seconds)
    except Exception as error:  # noqa: BLE001 - the other recipients and the e-mail follow
        body.is_abandoned = True
        return _classify_exception(error, has_begun=body.has_begun)
    answer = _parse_object(answer_text)
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP status codes of success
        sid = str(answer.get("sid"))
        if MESSAGE_SID.fullmatch(sid):
            return Outcome("sent", sid=sid)
        return Outcome("unclear", NO_MESSAGE_ID)
    outcome = classify(status, _read_error_code(answer))
    return outcome._replace(retry_after_seconds=_read_retry_after(headers))


class _Body:
    """The body of a request, which knows whether the request is on its way.

    Once it is abandoned, a thread that was left behind cannot send it any more.
    """

    def __init__(self) -> None:
        self.content = b""
        self.has_begun = self.is_abandoned = False

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content to the connection, which is open by then."""
        self.has_begun = True
        if self.is_abandoned:
            raise TimeoutError
        yield self.content


def _classify_exception(error: Exception, *, has_begun: bool) -> Outcome:
    """Return the Outcome of a text whose request raised an exception.

    ``has_begun`` says that Twilio may have received the request.
    """
    name = type(error).__name__
    if not has_begun:
        return Outcome("transient", f"Twilio could not be reached ({name})")
    is_late = name in ("ReadTimeout", "TimeoutError")
    reason = NO_ANSWER if is_late else f"the connection to Twilio failed ({name})"
    return Outcome("unclear", reason)


def _request(
    secret: Secret,
    method: str,
    path: str,
    base_url: str,
    fields: dict[str, str] | None = None,
    body: _Body | None = None,
) -> tuple[int, str, Any]:
    """Send a request to Twilio's Messages; return the answer's HTTP status, body and headers.

    ``path`` comes after ".../Messages". ``fields`` are the form of a POST, or the query of a GET.
    ``body`` takes over the encoded form.
    """
    messages = f"{_read_origin(base_url)}/2010-04-01/Accounts/{secret.account_sid}/Messages"
    logging.getLogger("twilio.http_client").setLevel(logging.WARNING)  # INFO logs account ids

    def authenticate(request: Any) -> Any:
        """Add the credentials to a prepared request, and let ``body`` take over its body."""
        if body is not None:
            body.content, request.body = request.body.encode(), body
        request.prepare_auth((secret.api_key_sid, secret.api_key_secret))
        return request

    http = TwilioHttpClient()
    http.timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)  # __init__ takes only one number
    client = Client(
        secret.api_key_sid,
        secret.api_key_secret,
        secret.account_sid,
        http_client=http,
        environment=NO_EDGE,  # in place of os.environ, where an edge would change the host
    )
    url = f"{messages}{path}.json"
    place = "data" if method == "POST" else "params"
    try:
        response = client.request(method, url, auth=authenticate, **{place: fields})
    finally:
        http.session.close()
    return response.status_code, response.text, response.headers


def _read_origin(base_url: str) -> str:
    """Return scheme and host of a URL: ``"https://api.twilio.com/x" -> "https://api.twilio.com"``.

    Raises ValueError unless it is https, or http to the loopback address (for tests).
    """
    url = urlsplit(base_url)
    is_loopback = url.scheme == "http" and url.hostname in ("127.0.0.1", "::1")
    if url.scheme != "https" and not is_loopback:
        raise ValueError("Twilio's base URL must be https, or http to the loopback address")
    return f"{url.scheme}://{url.netloc}"


def _parse_object(body: str) -> dict[str, Any]:
    """Parse the JSON object in the body of an answer; return an empty one for anything else.

    A server between the function and Twilio answers in HTML, for example.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _read_error_code(answer: dict[str, Any]) -> int | None:
    """Return Twilio's error code in its refusal; None if there is none."""
    code = answer.get("code")
    is_error_code = isinstance(code, int) and code >= MIN_ERROR_CODE
    return code if is_error_code else None


def _read_retry_after(headers: Any) -> int:
    """Return the seconds of an answer's Retry-After; 0 if it has none, or a date."""
    value = str((headers or {}).get("Retry-After", ""))
    is_number = value.isascii() and value.isdecimal() and len(value) <= MAX_RETRY_AFTER_DIGITS
    return int(value) if is_number else 0


def _describe_error(code: int | None) -> str:
    """Return Twilio's error code, with its meaning if it is known."""
    meaning = ERROR_MEANINGS.get(code or 0)
    return f"error {code} ({meaning})" if meaning else f"error {code}"


def classify(status: int, code: int | None) -> Outcome:
    """Return the Outcome of a text that was refused with an HTTP status.

    ``code`` is Twilio's error code. None means that the answer has none, so it is of a server in
    between, such as a firewall: that says nothing about the text. After a server error, Twilio may
    have sent the text (error 20500), except after 503.
    """
    reason = f"Twilio answered {status}, {_describe_error(code)}"
    if code is None:
        reason = f"the answer was HTTP status {status}, without an error code of Twilio's"
    if status == REQUEST_TIMEOUT or status >= SERVER_ERROR:
        may_be_sent = status != SERVICE_UNAVAILABLE
        state = "unclear" if may_be_sent else "transient"
        return Outcome(state, reason, is_server_error=may_be_sent)
    if code is None or code in TRANSIENT_ERROR_CODES or status == TOO_MANY_REQUESTS:
        return Outcome("transient", reason)
    if status == UNAUTHORIZED or code in ACCOUNT_ERROR_CODES:
        return Outcome("credentials", reason)
    return Outcome("failed", reason)
