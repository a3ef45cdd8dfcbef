"""Sends texts through Twilio. Only this module imports twilio, which is in the Lambda layer.

A text is sent with the client's ``request`` method, because ``client.messages`` would import 82
modules that are not needed. Twilio's client has no timeout and does not retry; this module adds
both.

Sources: Twilio docs, "Messages resource", "Error and warning dictionary" (20003, 20429, 21211,
21610, 21617) and "Twilio API best practices".
"""

from __future__ import annotations

import json
import logging
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
NO_ANSWER = "Twilio did not answer in time, and may have sent it"
CREDENTIALS_REFUSED = (401, 403)  # HTTP status codes
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
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

    Its state is "accepted" (Twilio will send the text), "credentials" (Twilio refused them),
    "transient" (a retry may succeed) or "permanent" (a retry would fail too).
    """

    state: str
    reason: str  # why it was not accepted


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

    After a timeout the text is not sent again here, because Twilio may have sent it. An attempt is
    made only if it leaves enough time for the e-mail. ``seconds_left`` returns the time until the
    function's timeout.
    """
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT:
        return Outcome("transient", "there was no time left")
    outcome = _send_once(secret, recipient, text, base_url)
    if outcome.state != "transient" or outcome.reason == NO_ANSWER:
        return outcome
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT + RETRY_PAUSE_SECONDS:
        return outcome
    time.sleep(RETRY_PAUSE_SECONDS)
    return _send_once(secret, recipient, text, base_url)


def _send_once(secret: Secret, recipient: str, text: str, base_url: str) -> Outcome:
    """Send one text in a single attempt. Never raises."""
    try:
        status, body = _post(secret, recipient, text, base_url)
        if 200 <= status < 300:  # noqa: PLR2004 - the HTTP status codes of success
            _parse_object(body)  # raises if the answer is not from Twilio
            return Outcome("accepted", "")
    except Exception as error:  # noqa: BLE001 - the other recipients and the e-mail follow
        if type(error).__name__ == "ReadTimeout":
            return Outcome("transient", NO_ANSWER)
        return Outcome("transient", f"Twilio could not be reached ({type(error).__name__})")
    return classify(status, _read_error_code(body))


def _post(secret: Secret, recipient: str, text: str, base_url: str) -> tuple[int, str]:
    """Ask Twilio to send a text; return the HTTP status and the body of the answer."""
    is_service = secret.sender.startswith("MG")  # a pool of numbers, not one number
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


def _read_error_code(body: str) -> int | None:
    """Return Twilio's error code in the body of a refusal; None if there is none."""
    try:
        code = _parse_object(body).get("code")
    except (ValueError, RecursionError):
        return None
    return code if isinstance(code, int) else None


def _parse_object(body: str) -> dict[str, Any]:
    """Parse the JSON object in the body of an answer; an empty body counts as an empty object.

    Raises ValueError for anything else.
    """
    answer = json.loads(body or "{}")
    if not isinstance(answer, dict):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - as for invalid JSON
    return answer


def classify(status: int, code: int | None) -> Outcome:
    """Return the Outcome of a text that Twilio refused with an HTTP status and an error code."""
    reason = f"Twilio answered {status}"
    if code:
        reason += f", error {code}"
    if status in CREDENTIALS_REFUSED:
        return Outcome("credentials", reason)
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return Outcome("transient", reason)
    return Outcome("permanent", reason)
