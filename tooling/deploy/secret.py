"""Reads the Twilio secret from questions or standard input, checks it, and writes it to AWS.

The secret is one JSON object: a string for each of FIELDS, and ``recipients``, a list of phone
numbers.
"""

from __future__ import annotations

import getpass
import json
import re
from typing import TYPE_CHECKING, Any, TextIO

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.deploy.account import Account

FIELDS = {  # name -> pattern, description
    "account_sid": (r"AC[0-9a-f]{32}", "AC and 32 hexadecimal digits"),
    "api_key_sid": (r"SK[0-9a-f]{32}", "SK and 32 hexadecimal digits"),
    "api_key_secret": (r"\S{8,128}", "the secret shown once when the API key was created"),
    "sender": (
        r"\+[1-9][0-9]{6,14}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}",
        "a number like +15005550006, MG..., or a sender name",
    ),
}
KEYS = ", ".join((*FIELDS, "recipients"))
PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164


def read(stdin: TextIO, *, ask: Callable[[str], str] = getpass.getpass) -> dict[str, Any]:
    """Read the secret and check it.

    On a terminal, ask for each value without echoing it; otherwise read one JSON object from stdin.
    Raises RefusedError, whose message never contains the input.
    """
    if stdin.isatty():
        return _check(_ask_for_values(ask))
    return _check(_parse(stdin))


def put(aws: Account, secret_arn: str, secret: dict[str, Any]) -> None:
    """Write ``secret`` to Secrets Manager; it replaces the present one."""
    text = json.dumps(secret)
    aws.client("secretsmanager").put_secret_value(SecretId=secret_arn, SecretString=text)


def _ask_for_values(ask: Callable[[str], str]) -> dict[str, Any]:
    """Return the secret from the user's answers, not checked yet.

    Raises RefusedError if the input ends before the last answer.
    """
    secret: dict[str, Any] = {}
    try:
        for name, (_, description) in FIELDS.items():
            secret[name] = ask(f"Twilio {name} ({description}): ").strip()
        numbers = ask("Recipients' numbers, separated by commas (+4915112345678): ")
    except EOFError:
        what = "the questions were not all answered"
        raise RefusedError("secret", what, "run the same task again") from None
    secret["recipients"] = numbers.replace(" ", "").split(",")
    return secret


def _parse(stdin: TextIO) -> Any:
    """Return the JSON value on standard input. Raises RefusedError if it is not JSON."""
    try:
        return json.loads(stdin.read())
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        what = "standard input is not JSON"
        raise RefusedError("secret", what, f"send one object with {KEYS}") from None


def _check(secret: Any) -> dict[str, Any]:
    """Return the secret with its recipients sorted and each once.

    Raises RefusedError if a key is missing or unknown, or if a value has the wrong form.
    """
    if not isinstance(secret, dict):
        raise RefusedError("secret", "is not one JSON object", f"send one with {KEYS}")
    unknown = set(secret) - set(FIELDS) - {"recipients"}
    if unknown:
        raise RefusedError("secret", f"has {len(unknown)} unknown keys", f"use {KEYS}")
    for name, (pattern, description) in FIELDS.items():
        value = secret.get(name)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            what = "is missing or has the wrong form"
            raise RefusedError(f"secret, {name}", what, f"it is {description}")
    numbers = secret.get("recipients")
    if not isinstance(numbers, list) or not numbers:
        remedy = "give a list of numbers like +4915112345678"
        raise RefusedError("secret, recipients", "is missing or empty", remedy)
    for position, number in enumerate(numbers, 1):
        if not isinstance(number, str) or not PHONE_NUMBER.fullmatch(number):
            what = f"number {position} of {len(numbers)} is not a phone number in E.164 form"
            remedy = "write + and the country code, no spaces: +4915112345678"
            raise RefusedError("secret, recipients", what, remedy)
    return {**secret, "recipients": sorted(set(numbers))}
