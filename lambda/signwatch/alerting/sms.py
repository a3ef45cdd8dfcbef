"""Texts by Twilio. Only this module imports twilio, which is in the layer.

A text is sent by the client's own ``request``: ``client.messages`` would import 82 modules that
nothing needs. Twilio's client has no timeout and does not retry; this module does both. Sources:
Twilio docs, "Messages resource", "Error and warning dictionary" (20003, 20429, 21211, 21610, 21617)
and "Twilio API best practices".
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
EMAIL_SECONDS = 20.0  # for the e-mail and the marks in the ledger after the last attempt
MIN_SECONDS_FOR_ATTEMPT = CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS + EMAIL_SECONDS
RETRY_PAUSE_SECONDS = 0.5
SECRET_CACHE_SECONDS = 300.0
NO_ANSWER = "Twilio did not answer in time, and may have sent it"
CREDENTIALS_REFUSED = (401, 403)  # HTTP status codes
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
NO_VALUE = "ResourceNotFoundException"  # GetSecretValue: also while there is no version yet
TEXT_FIELDS = ("account_sid", "api_key_sid", "api_key_secret", "sender")
NO_EDGE = {"TWILIO_EDGE": ""}  # in place of the environment, whose edge would change the host

_cache: dict[str, tuple[float, Secret]] = {}  # by ARN: when it was read, and the secret


class Secret(NamedTuple):
    """Twilio's credentials, the sender and the recipients."""

    account_sid: str
    api_key_sid: str
    api_key_secret: str
    sender: str
    recipients: tuple[str, ...]


class NoSecretError(Exception):
    """There are no usable credentials; the message says why and contains no secret value.

    ``can_retry`` says that a retry may find some.
    """

    def __init__(self, why: str, *, can_retry: bool = False) -> None:
        super().__init__(why)
        self.can_retry = can_retry


class Outcome(NamedTuple):
    """The outcome of one text: ``state`` is accepted, permanent, transient or credentials."""

    state: str
    why: str


def load_secret(
    client: Callable[[str], Any], arn: str, now: float, *, use_cache: bool = True
) -> Secret:
    """Return the secret. It is cached for five minutes, and for longer while it cannot be read.

    Raises NoSecretError while it is empty, unreadable or malformed.
    """
    cached = _cache.get(arn)
    if cached and use_cache and now - cached[0] < SECRET_CACHE_SECONDS:
        return cached[1]
    try:
        text = client("secretsmanager").get_secret_value(SecretId=arn).get("SecretString", "")
    except Exception as error:  # noqa: BLE001 - whatever fails, the e-mail must be sent
        if cached:
            return cached[1]
        is_empty = type(error).__name__ == NO_VALUE
        why = "the secret is still empty" if is_empty else "the secret could not be read"
        raise NoSecretError(f"{why} ({type(error).__name__})", can_retry=not is_empty) from None
    secret = parse_secret(text)
    _cache[arn] = (now, secret)
    return secret


def parse_secret(text: str) -> Secret:
    """Read the secret's JSON. Raises NoSecretError, whose message contains no secret value."""
    if not text:
        raise NoSecretError("the secret is still empty")
    try:
        fields = json.loads(text)
        texts = {name: fields[name] for name in TEXT_FIELDS}
        recipients = fields["recipients"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoSecretError("the secret is not the JSON object that invoke secret writes") from None
    is_list = isinstance(recipients, list) and bool(recipients)
    if not is_list or not all(map(_is_filled, [*texts.values(), *recipients])):
        raise NoSecretError("the secret names no recipient or lacks a value")
    return Secret(**texts, recipients=tuple(dict.fromkeys(recipients)))


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def send(
    secret: Secret, recipient: str, text: str, base_url: str, seconds_left: Callable[[], float]
) -> Outcome:
    """Send one text, with one retry after a transient failure if the time allows.

    After a timeout there is no retry at once, as Twilio may have sent the text. No attempt begins
    without the time left that the e-mail needs after it.
    """
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT:
        return Outcome("transient", "there was no time left")
    outcome = _attempt(secret, recipient, text, base_url)
    if outcome.state != "transient" or outcome.why == NO_ANSWER:
        return outcome
    if seconds_left() < MIN_SECONDS_FOR_ATTEMPT + RETRY_PAUSE_SECONDS:
        return outcome
    time.sleep(RETRY_PAUSE_SECONDS)
    return _attempt(secret, recipient, text, base_url)


def _attempt(secret: Secret, recipient: str, text: str, base_url: str) -> Outcome:
    try:
        status, body = _post(secret, recipient, text, base_url)
        if 200 <= status < 300:  # noqa: PLR2004 - the HTTP status codes of success
            _read_json(body)  # raises for an answer that is not Twilio's
            return Outcome("accepted", "")
    except Exception as error:  # noqa: BLE001 - others and the e-mail follow
        if type(error).__name__ == "ReadTimeout":
            return Outcome("transient", NO_ANSWER)
        return Outcome("transient", f"Twilio could not be reached ({type(error).__name__})")
    return classify(status, _error_code(body))


def _post(secret: Secret, recipient: str, text: str, base_url: str) -> tuple[int, str]:
    """Ask Twilio to send a text; return the HTTP status and the body of its answer."""
    sender_field = "MessagingServiceSid" if secret.sender.startswith("MG") else "From"
    message = {"To": recipient, sender_field: secret.sender, "Body": text}
    url = f"{_origin(base_url)}/2010-04-01/Accounts/{secret.account_sid}/Messages.json"
    logging.getLogger("twilio.http_client").setLevel(logging.WARNING)  # INFO logs account ids
    http = TwilioHttpClient()
    http.timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)  # __init__ takes only one number
    client = Client(
        secret.api_key_sid,
        secret.api_key_secret,
        secret.account_sid,
        http_client=http,
        environment=NO_EDGE,
    )
    try:
        response = client.request("POST", url, data=message)
    finally:
        http.session.close()
    return response.status_code, response.text


def _origin(base_url: str) -> str:
    """Return scheme and host of the base URL. Raises ValueError unless https or loopback."""
    url = urlsplit(base_url)
    is_loopback = url.scheme == "http" and url.hostname in ("127.0.0.1", "::1")
    if url.scheme != "https" and not is_loopback:
        raise ValueError("Twilio's base URL must be https, or http to the loopback address")
    return f"{url.scheme}://{url.netloc}"


def _error_code(body: str) -> int | None:
    """Return Twilio's error code in the body of a refusal; None if there is none."""
    try:
        code = _read_json(body).get("code")
    except (ValueError, RecursionError):
        return None
    return code if isinstance(code, int) else None


def _read_json(body: str) -> dict[str, Any]:
    """Return the object in the body of an answer. Raises ValueError if it holds anything else."""
    answer = json.loads(body or "{}")
    if not isinstance(answer, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - as for what is no JSON
    return answer


def classify(status: int, code: int | None) -> Outcome:
    """Return the outcome that Twilio's HTTP status and error code mean for a text."""
    why = f"Twilio answered {status}"
    if code:
        why += f", error {code}"
    if status in CREDENTIALS_REFUSED:
        return Outcome("credentials", why)
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return Outcome("transient", why)
    return Outcome("permanent", why)
