"""The Twilio secret: its form, from JSON on standard input, to and from Secrets Manager.

The secret is one JSON object: a string for each of FIELDS, and ``recipients``, a list of phone
numbers in the order in which texts are sent and failures are reported.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from tooling.deploy.phone_numbers import WrongValueError, normalise
from tooling.errors import FailedError, RefusedError
from tooling.invocation import spell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tooling.deploy.account import Account


class Field(NamedTuple):
    """A string of the secret: its pattern, and what a person is told about it."""

    pattern: str
    description: str


# The patterns of SIDs: Twilio docs, "What is a String Identifier (SID)?"
FIELDS = {
    "account_sid": Field(r"AC[0-9a-fA-F]{32}", "AC and 32 hexadecimal digits"),
    "api_key_sid": Field(r"SK[0-9a-fA-F]{32}", "SK and 32 hexadecimal digits"),
    "api_key_secret": Field(r"[!-~]{8,128}", "shown once, when the API key was created"),
    # Names: Twilio docs, "AlphaSender resource". A phone number is read by phonenumbers.
    "sender": Field(
        r"MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}",
        "a phone number like +15005550006, a messaging service (MG and 32 hexadecimal digits), or"
        " a name of at most 11 letters, digits, spaces and + - _ &",
    ),
}
CREDENTIAL_FIELDS = ("account_sid", "api_key_sid", "api_key_secret")
KEYS = ", ".join((*FIELDS, "recipients"))
JSON_REMEDY = f"run the task on a terminal, or send one JSON object with {KEYS}"
SID_KINDS = {  # how a SID begins -> what it names
    "AC": "an account",
    "SK": "an API key",
    "MG": "a messaging service",
    "PN": "a phone number",
    "SM": "a message",
}
SID = re.compile(r"([A-Z]{2})[0-9a-fA-F]{32}")
# Error codes of GetSecretValue (Secrets Manager API reference); AWS KMS adds the second.
UNREADABLE_CODES = ("AccessDeniedException", "DecryptionFailure", "AccessDenied")
EMPTY_CODE = "ResourceNotFoundException"  # the secret has no value yet


def read_json(stdin: TextIO | None) -> dict[str, Any]:
    """Read the secret as one JSON object and check it.

    Raises RefusedError, whose message never contains the input.
    """
    try:
        text = stdin.read() if stdin else ""
    except (OSError, ValueError):  # closed, or not text: a UnicodeDecodeError is a ValueError
        raise RefusedError("secret", "standard input cannot be read", JSON_REMEDY) from None
    if not text.strip():
        what = "there is no terminal to ask at, and no JSON on standard input"
        raise RefusedError("secret", what, JSON_REMEDY)
    try:
        value = json.loads(text.removeprefix("\ufeff"))  # a byte order mark, as Windows writes it
    except (ValueError, RecursionError):
        raise RefusedError("secret", "standard input is not JSON", JSON_REMEDY) from None
    return check(value)


def check(secret: Any) -> dict[str, Any]:
    """Return the secret with its phone numbers in E.164 form, and each recipient once.

    Raises RefusedError if a key is missing or unknown, or if a value has the wrong form.
    """
    if not isinstance(secret, dict):
        raise RefusedError("secret", "is not one JSON object", f"send one with {KEYS}")
    unknown = set(secret) - set(FIELDS) - {"recipients"}
    if unknown:
        raise RefusedError("secret", f"has {len(unknown)} unknown keys", f"use {KEYS}")
    checked: dict[str, Any] = {}
    for name in FIELDS:
        try:
            checked[name] = check_field(name, secret.get(name))
        except WrongValueError as error:
            raise RefusedError(f"secret, {name}", error.what, error.remedy) from None
    checked["recipients"] = _check_recipients(secret.get("recipients"))
    return checked


def check_field(name: str, value: object) -> str:
    """Return the value of a field of FIELDS, a phone number in E.164 form.

    Raises WrongValueError, which does not repeat the value.
    """
    field = FIELDS[name]
    remedy = f"it is {field.description}"
    if not isinstance(value, str) or not value:
        raise WrongValueError("is missing or no text", remedy)
    if re.fullmatch(field.pattern, value):
        return value
    if name == "sender" and not re.search("[A-Za-z]", value):
        return normalise(value)
    sid = SID.fullmatch(value)
    kind = SID_KINDS.get(sid[1]) if sid else None
    what = f"is the SID of {kind}" if kind else "has the wrong form"
    raise WrongValueError(what, remedy)


def _check_recipients(numbers: object) -> list[str]:
    """Return the phone numbers in E.164 form, each once and in the order given."""
    where = "secret, recipients"
    if not isinstance(numbers, list) or not numbers:
        remedy = "give a list of numbers like +4915112345678"
        raise RefusedError(where, "is missing or empty", remedy)
    checked: dict[str, None] = {}  # a set that keeps the order
    for position, number in enumerate(numbers, 1):
        place = f"number {position} of {len(numbers)}"
        if not isinstance(number, str):
            raise RefusedError(where, f"{place} is no text", "write it in quotes")
        try:
            checked[normalise(number)] = None
        except WrongValueError as error:
            raise RefusedError(where, f"{place} {error.what}", error.remedy) from None
    return list(checked)


def put(aws: Account, secret_arn: str, secret: Mapping[str, Any]) -> None:
    """Write ``secret`` to Secrets Manager; it replaces the present one."""
    text = json.dumps(secret)
    aws.client("secretsmanager").put_secret_value(SecretId=secret_arn, SecretString=text)


def load(aws: Account, secret_arn: str) -> dict[str, Any]:
    """Return the stored secret, checked.

    Raises RefusedError if the caller may not read it, FailedError if it is empty or malformed.
    """
    from botocore.exceptions import ClientError

    where, run_again = "the stored secret", f"run: {spell('secret')}"
    try:
        answer = aws.client("secretsmanager").get_secret_value(SecretId=secret_arn)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == EMPTY_CODE:
            raise FailedError(where, "is still empty", run_again) from None
        if code not in UNREADABLE_CODES:
            raise
        what = f"may not be read by {aws.caller_arn} ({code})"
        remedy = (
            "use a profile with the rights secretsmanager:GetSecretValue on it and kms:Decrypt on"
            " its key. The deploy role can write it and not read it, on purpose"
        )
        raise RefusedError(where, what, remedy) from None
    try:
        return check(json.loads(answer.get("SecretString", "")))
    except RefusedError as error:
        raise FailedError(where, f"{error.where}: {error.what}", run_again) from None
    except (ValueError, RecursionError):
        raise FailedError(where, "is not JSON", run_again) from None
