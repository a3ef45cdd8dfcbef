"""Sends texts through Twilio. Only this module imports twilio, which is in the Lambda layer.

A text is sent with the client's ``request`` method, because ``client.messages`` would import 82
modules that are not needed. Twilio's client has no timeout and does not retry; this module adds
both.

Sources: Twilio docs, "Messages resource", "What is a String Identifier (SID)?", "Error and warning
dictionary" (10001, 20003, 20005, 20006, 20008, 20403, 20429, 20500, 21211, 21408, 21610, 21611,
21617, 70051, 90010) and "Twilio API best practices"; RFC 9110, sections 15.5.9 (408) and 15.6.4
(503).
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 3.0, 7.0
EMAIL_SECONDS = 20.0  # left after the last attempt for the e-mail and the ledger
MIN_SECONDS_FOR_ATTEMPT = CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS + EMAIL_SECONDS
RETRY_PAUSE_SECONDS = 0.5
SECRET_CACHE_SECONDS = 300.0
NO_ANSWER = "Twilio did not answer in time"
NO_MESSAGE_ID = "Twilio's answer names no message"
# HTTP status codes
UNAUTHORIZED, REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 401, 408, 429
SERVER_ERROR, SERVICE_UNAVAILABLE = 500, 503
# Twilio's error codes: too many requests, and the sender's queue is full. Both pass by themselves.
TRANSIENT_ERROR_CODES = (20429, 21611)
# Account not active (10001, 20005, 90010), authentication failed, no right, test credentials
ACCOUNT_ERROR_CODES = (10001, 20003, 20005, 20006, 20008, 20403, 70051, 90010)
MIN_ERROR_CODE = 10_000  # a lower number in an answer is not an error code of Twilio's
MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
MESSAGING_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")
# GetSecretValue raises it for a secret that has no value yet.
EMPTY_VALUE_ERROR_NAME = "ResourceNotFoundException"
STRING_FIELDS = ("account_sid", "api_key_sid", "api_key_secret", "sender")
# ValueError is our own, for a wrong base URL; the others are exceptions of requests.
EXCEPTIONS_BEFORE_SENDING = ("ConnectTimeout", "ProxyError", "ValueError")
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

    Its state is "accepted" (Twilio will send the text), "credentials" (Twilio refused them),
    "transient" (a retry may succeed) or "permanent" (a retry would fail too).
    """

    state: str
    reason: str  # why it was not accepted
    may_be_sent: bool = False  # Twilio may have accepted the text although its answer is missing


def load_secret(
    get_client: Callable[[str], Any], arn: str, now: float, *, prefer_cache: bool = True
) -> Secret:
    """Return the secret, from the cache if it was read less than five minutes ago.

    Without ``prefer_cache``, read it again in any case. If it cannot be read now, return the cached
    value, however old. Raises NoSecretError if there is no cached value, or if the value read is
    empty or malformed. ``get_client`` returns the AWS client of a service.
    """
    cached = _cache.get(arn)
    if cached and prefer_cache and now - cached.read_at < SECRET_CACHE_SECONDS:
        return cached.secret
    try:
        answer = get_client("secretsmanager").get_secret_value(SecretId=arn)
        value = answer.get("SecretString", "")
    except Exception as error:  # noqa: BLE001 - whatever fails, the e-mail must be sent
        if cached:
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
    secret: Secret, recipient: str, text: str, base_url: str, seconds_left: Callable[[], float]
) -> Outcome:
    """Send one text. After a transient failure, try once more. Never raises.

    After a timeout, or an answer without a message id, Twilio probably sent the text, and a second
    one would be a duplicate: this function does not try again, but Lambda's retry may. After a
    server error or a broken connection, Twilio probably did not send it, and a duplicate is better
    than no text: this function tries again. An attempt is made only if it leaves enough time for
    the e-mail. ``seconds_left`` returns the time until Lambda's timeout.
    """
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT:
        return Outcome("transient", "there was no time left")
    outcome = _send_once(secret, recipient, text, base_url)
    if outcome.state != "transient" or outcome.reason in (NO_ANSWER, NO_MESSAGE_ID):
        return outcome
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT + RETRY_PAUSE_SECONDS:
        return outcome
    time.sleep(RETRY_PAUSE_SECONDS)
    second_outcome = _send_once(secret, recipient, text, base_url)
    if second_outcome.state == "accepted":
        return second_outcome
    # The first attempt may have sent it too, after a server error or a broken connection.
    may_be_sent = outcome.may_be_sent or second_outcome.may_be_sent
    return second_outcome._replace(may_be_sent=may_be_sent)


def _send_once(secret: Secret, recipient: str, text: str, base_url: str) -> Outcome:
    """Send one text in a single attempt. Never raises."""
    try:
        status, body = _post(secret, recipient, text, base_url)
    except Exception as error:  # noqa: BLE001 - the other recipients and the e-mail follow
        return _classify_exception(error)
    answer = _parse_object(body)
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP status codes of success
        if MESSAGE_SID.fullmatch(str(answer.get("sid"))):
            return Outcome("accepted", "")
        return Outcome("transient", NO_MESSAGE_ID, may_be_sent=True)
    return classify(status, _read_error_code(answer))


def _classify_exception(error: Exception) -> Outcome:
    """Return the Outcome of a text whose request raised an exception of requests or our own."""
    name = type(error).__name__
    if name == "ReadTimeout":
        return Outcome("transient", NO_ANSWER, may_be_sent=True)
    if name in EXCEPTIONS_BEFORE_SENDING or _is_refused_connection(error):
        return Outcome("transient", f"Twilio could not be reached ({name})")
    return Outcome("transient", f"the connection to Twilio failed ({name})", may_be_sent=True)


def _is_refused_connection(error: Exception) -> bool:
    """Return whether no connection was made: urllib3's reason is in requests' ConnectionError."""
    cause = error.args[0] if error.args else None
    reason_class = type(getattr(cause, "reason", None))
    return any(kind.__name__ == "NewConnectionError" for kind in reason_class.__mro__)


def _post(secret: Secret, recipient: str, text: str, base_url: str) -> tuple[int, str]:
    """Ask Twilio to send a text; return the HTTP status and the body of the answer."""
    # A messaging service is a pool of numbers. An alphanumeric sender may begin with MG too.
    is_service = MESSAGING_SERVICE_SID.fullmatch(secret.sender)
    sender_field = "MessagingServiceSid" if is_service else "From"
    message = {"To": recipient, sender_field: secret.sender, "Body": text}
    url = f"{_read_origin(base_url)}/2010-04-01/Accounts/{secret.account_sid}/Messages.json"
    logging.getLogger("twilio.http_client").setLevel(logging.WARNING)  # INFO logs account ids
    http = TwilioHttpClient()
    http.timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)  # __init__ takes only one number
    client = Client(
        secret.api_key_sid,
        secret.api_key_secret,
        secret.account_sid,
        http_client=http,
        environment=NO_EDGE,  # in place of os.environ, where an edge would change the host
    )
    try:
        response = client.request("POST", url, data=message)
    finally:
        http.session.close()
    return response.status_code, response.text


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


def classify(status: int, code: int | None) -> Outcome:
    """Return the Outcome of a text that was refused with an HTTP status.

    ``code`` is Twilio's error code. None means that the answer has none, so it is of a server in
    between, such as a firewall: that says nothing about the text. After a server error, Twilio may
    have sent the text (error 20500), except after 503.
    """
    reason = f"Twilio answered {status}, error {code}"
    if code is None:
        reason = f"the answer was HTTP status {status}, without an error code of Twilio's"
    if status == REQUEST_TIMEOUT or status >= SERVER_ERROR:
        may_be_sent = status != SERVICE_UNAVAILABLE
        return Outcome("transient", reason, may_be_sent=may_be_sent)
    if code is None or code in TRANSIENT_ERROR_CODES or status == TOO_MANY_REQUESTS:
        return Outcome("transient", reason)
    if status == UNAUTHORIZED or code in ACCOUNT_ERROR_CODES:
        return Outcome("credentials", reason)
    return Outcome("permanent", reason)
