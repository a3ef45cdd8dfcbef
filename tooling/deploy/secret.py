"""The Twilio secret: read from a prompt or from standard input, checked, put where the function reads it."""

from __future__ import annotations

import getpass
import json
import re
from typing import TYPE_CHECKING, Any, TextIO

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.deploy.account import Account

SHAPES = {
    "account_sid": (r"AC[0-9a-f]{32}", "AC and 32 hexadecimal digits"),
    "api_key_sid": (r"SK[0-9a-f]{32}", "SK and 32 hexadecimal digits"),
    "api_key_secret": (r"\S{8,128}", "the secret shown once when the API key was made"),
    "sender": (
        r"\+[1-9][0-9]{6,14}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}",
        "a number like +15005550006, MG..., or a sender name",
    ),
}
RECIPIENT = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164


def read(stdin: TextIO, *, ask: Callable[[str], str] = getpass.getpass) -> dict[str, Any]:
    """Return the checked secret: one JSON object from a pipe, or the answers to five questions that are not echoed.

    Raises RefusedError, which never repeats what was given.
    """
    return _checked(_asked(ask) if stdin.isatty() else _parsed(stdin))


def put(aws: Account, secret_arn: str, secret: dict[str, Any]) -> None:
    """Write ``secret`` as the new current version."""
    aws.client("secretsmanager").put_secret_value(
        SecretId=secret_arn, SecretString=json.dumps(secret)
    )


def _asked(ask: Callable[[str], str]) -> dict[str, Any]:
    try:
        given: dict[str, Any] = {
            name: ask(f"Twilio {name} ({text}): ").strip() for name, (_, text) in SHAPES.items()
        }
        numbers = ask("Recipients' numbers, separated by commas (+4915112345678): ")
    except EOFError:
        raise RefusedError(
            "secret", "the questions were not all answered", "run the same word again"
        ) from None
    return given | {"recipients": numbers.replace(" ", "").split(",")}


def _parsed(stdin: TextIO) -> Any:
    try:
        return json.loads(stdin.read())
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        what = "what came on standard input is not JSON"
        raise RefusedError(
            "secret", what, f"send one object with {', '.join(SHAPES)}, recipients"
        ) from None


def _checked(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RefusedError(
            "secret", "is not one JSON object", f"send one with {', '.join(SHAPES)}, recipients"
        )
    unknown = sorted(set(given) - set(SHAPES) - {"recipients"})
    if unknown:
        raise RefusedError(
            "secret", f"has {len(unknown)} unknown keys", f"use {', '.join(SHAPES)}, recipients"
        )
    for name, (shape, text) in SHAPES.items():
        if not isinstance(given.get(name), str) or not re.fullmatch(shape, given[name]):
            raise RefusedError(
                f"secret, {name}", "is missing or not of the right form", f"it is {text}"
            )
    numbers = given.get("recipients")
    if not isinstance(numbers, list) or not numbers:
        raise RefusedError(
            "secret, recipients",
            "is missing or empty",
            "give a list of numbers like +4915112345678",
        )
    for place, number in enumerate(numbers, 1):
        if not isinstance(number, str) or not RECIPIENT.fullmatch(number):
            what = f"number {place} of {len(numbers)} is not a phone number in E.164 form"
            raise RefusedError(
                "secret, recipients",
                what,
                "write + and the country code, no spaces: +4915112345678",
            )
    return {**given, "recipients": sorted(set(numbers))}
