"""Sign-ins from unrecognised addresses, made from the case files."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.support.sign_ins import CASES

if TYPE_CHECKING:
    import random

# Each causes a text by itself. All are successes, as failures are counted and not texted one by
# one.
KINDS = (
    "iam-user-signs-in-with-mfa",
    "iam-user-signs-in-without-mfa",
    "iam-user-signs-in-over-ipv6",
    "root-signs-in-with-mfa",
    "root-signs-in-without-mfa",
    "federated-user-signs-in",
    "federation-token-user-signs-in",
    "federated-user-takes-a-role-by-saml",
    "identity-center-user-signs-in-with-totp",
    "identity-center-user-signs-in-with-a-passkey",
    "identity-center-user-signs-in-through-a-provider",
    "command-line-gets-a-token-by-authorization-code",
    "command-line-gets-role-keys",
    "aws-login-gets-a-token",
    "organisation-takes-a-root-session",
)
FIRST_ACCOUNT = 100_000_000_000


TAG_LINE = re.compile(r"^Id ([0-9a-f]{8})$", re.MULTILINE)  # of a text or an e-mail
SOURCE_LINE = re.compile(r"^From: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class SimulatedSignIn:
    """A sign-in: when it happens, and its event. The tag is the beginning of its event id."""

    tag: str
    seconds: float  # since 1970
    event: dict[str, Any]

    @property
    def source(self) -> str:
        """The address, which no other sign-in has."""
        return str(self.event["detail"]["sourceIPAddress"])


def find_tag(message: str, sign_ins_by_source: dict[str, SimulatedSignIn]) -> str:
    """Return the tag of the sign-in that a text or an e-mail is about; "" for none.

    A text that was cut may lack the tag, and has the address alone.
    """
    tag_line, source_line = TAG_LINE.search(message), SOURCE_LINE.search(message)
    if tag_line:
        return tag_line[1]
    if source_line and source_line[1] in sign_ins_by_source:
        return sign_ins_by_source[source_line[1]].tag
    return ""


def make_sign_ins(
    count: int, start: float, duration: float, rng: random.Random
) -> list[SimulatedSignIn]:
    """Return ``count`` sign-ins at random times.

    Each is in an account of its own and from an address of its own, so that none belongs to another
    and is told together with it.
    """
    times = sorted(start + rng.random() * duration for _ in range(count))
    return [_make_sign_in(number, seconds, rng) for number, seconds in enumerate(times)]


def _make_sign_in(number: int, seconds: float, rng: random.Random) -> SimulatedSignIn:
    """Return the sign-in of a number from 0 on."""
    event = copy.deepcopy(CASES[rng.choice(KINDS)]["event"])
    account = event["detail"]["recipientAccountId"]
    event = json.loads(json.dumps(event).replace(account, str(FIRST_ACCOUNT + number)))
    record = event["detail"]
    tag = f"{number:08x}"
    record["eventID"] = f"{tag}{record['eventID'][8:]}"
    record["eventTime"] = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if ":" in record["sourceIPAddress"]:
        record["sourceIPAddress"] = f"2a01:4f8:{number >> 16:x}:{number & 0xFFFF:x}::1"
    else:
        octets = (number >> 16, number >> 8, number)
        first, second, third = (octet & 255 for octet in octets)
        record["sourceIPAddress"] = f"{11 + first}.{second}.{third}.7"
    return SimulatedSignIn(tag, seconds, event)
