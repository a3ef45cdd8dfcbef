"""Texts by Twilio. This module alone imports twilio, which lies in the layer.

Twilio's client has no timeout of its own and does not retry; both are settled here. Sources: Twilio's API errors
(20003, 20429, 21211, 21610, 21617), "Twilio API best practices".
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT, READ = 3.0, 7.0  # seconds
NEEDED = (
    CONNECT + READ + 20.0
)  # seconds that an attempt may take, and the e-mail and the marks after it
PAUSE = 0.5  # seconds before the second attempt
UNANSWERED = "Twilio did not answer in time, and may have sent it"
KEPT = 300.0  # seconds for which a secret is believed
BAD_CREDENTIALS = (401, 403)
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
NO_VALUE = "ResourceNotFoundException"  # Secrets Manager, GetSecretValue: also while there is no version yet
FIELDS = ("account_sid", "api_key_sid", "api_key_secret", "sender")

_cache: dict[str, tuple[float, Secret]] = {}


class Secret(NamedTuple):
    """Twilio's credentials, the sender and the recipients."""

    account_sid: str
    api_key_sid: str
    api_key_secret: str
    sender: str
    recipients: tuple[str, ...]


class NoSecretError(Exception):
    """There are no usable credentials; the text says why without repeating any of them.

    ``passing`` says that another try may find them.
    """

    def __init__(self, why: str, *, passing: bool = False) -> None:
        super().__init__(why)
        self.passing = passing


class Outcome(NamedTuple):
    """What became of one text: ``state`` is accepted, permanent, transient or credentials."""

    state: str
    why: str


def load_secret(
    client: Callable[[str], Any], arn: str, now: float, *, fresh: bool = False
) -> Secret:
    """Return the secret, believed for five minutes, and longer while it cannot be read again.

    Raises NoSecretError while it is empty, unreadable or malformed.
    """
    kept = _cache.get(arn)
    if kept and not fresh and now - kept[0] < KEPT:
        return kept[1]
    try:
        text = client("secretsmanager").get_secret_value(SecretId=arn).get("SecretString", "")
    except Exception as error:  # noqa: BLE001 - whatever keeps the secret away, the e-mail must still go out
        if kept:
            return kept[1]
        empty = type(error).__name__ == NO_VALUE
        why = "the secret is still empty" if empty else "the secret could not be read"
        raise NoSecretError(f"{why} ({type(error).__name__})", passing=not empty) from None
    read = parse_secret(text)
    _cache[arn] = (now, read)
    return read


def parse_secret(text: str) -> Secret:
    """Read the secret's JSON; raises NoSecretError, which never repeats it."""
    if not text:
        raise NoSecretError("the secret is still empty")
    try:
        found = json.loads(text)
        values, recipients = [found[name] for name in FIELDS], found["recipients"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoSecretError("the secret is not the JSON object that invoke secret writes") from None
    if (
        not isinstance(recipients, list)
        or not recipients
        or not all(map(_is_filled, [*values, *recipients]))
    ):
        raise NoSecretError("the secret names no recipient or lacks a value")
    account, key, key_secret, sender = values
    return Secret(account, key, key_secret, sender, tuple(dict.fromkeys(recipients)))


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def send(
    given: Secret, recipient: str, text: str, base_url: str, seconds_left: Callable[[], float]
) -> Outcome:
    """Send one text; a passing fault is tried once more. Nothing is begun that would cost the e-mail its time.

    An answer that does not come is not tried again at once: Twilio may have sent the text.
    """
    if seconds_left() < NEEDED:
        return Outcome("transient", "there was no time left")
    outcome = _attempt(given, recipient, text, base_url)
    if (
        outcome.state == "transient"
        and outcome.why != UNANSWERED
        and seconds_left() >= NEEDED + PAUSE
    ):
        time.sleep(PAUSE)
        outcome = _attempt(given, recipient, text, base_url)
    return outcome


def _attempt(given: Secret, recipient: str, text: str, base_url: str) -> Outcome:
    logging.getLogger("twilio.http_client").setLevel(
        logging.WARNING
    )  # at INFO it writes addresses and account ids
    sender = {"messaging_service_sid" if given.sender.startswith("MG") else "from_": given.sender}
    try:
        with _HttpClient(base_url) as http:
            client = Client(
                given.api_key_sid, given.api_key_secret, given.account_sid, http_client=http
            )
            client.messages.create(to=recipient, body=text, **sender)
    except TwilioRestException as error:
        return classify(error.status, error.code)
    except Exception as error:  # noqa: BLE001 - whatever Twilio answers, the other recipients and the e-mail follow
        why = f"Twilio could not be reached ({type(error).__name__})"
        return Outcome("transient", UNANSWERED if type(error).__name__ == "ReadTimeout" else why)
    return Outcome("accepted", "")


def classify(status: int, code: int | None) -> Outcome:
    """Return what an HTTP status of Twilio means for a text (Twilio docs, "Error and warning dictionary")."""
    why = f"Twilio answered {status}" + (f", error {code}" if code else "")
    if status in BAD_CREDENTIALS:
        return Outcome("credentials", why)
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return Outcome("transient", why)
    return Outcome("permanent", why)


class _HttpClient(TwilioHttpClient):  # type: ignore[misc] # twilio ships no types
    """Twilio's own client with timeouts, sent to ``base_url``: https, or http to this machine alone."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.timeout = (
            CONNECT,
            READ,
        )  # for each request; the constructor takes a single number only
        parts = urlsplit(base_url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1")
        ):
            raise ValueError("Twilio's base URL must be https, or http to the loopback address")
        self.base = parts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        moved = urlsplit(url)._replace(scheme=self.base.scheme, netloc=self.base.netloc)
        return super().request(method, urlunsplit(moved), *args, **kwargs)
