"""Composing: the text for the phone and the e-mail, from an allow-list of fields; pure.

A record holds text that strangers chose: names, user agents, error messages. Only the fields named here are shown,
each mapped to GSM-7, cleaned of control and direction characters, made unclickable, quoted, and capped after all that.
The trusted part comes first. Sizes: GSM 03.38, two concatenated segments of 153 septets.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from signwatch import gsm7
from signwatch.detection.record import parse_time
from signwatch.detection.signin import DEVICE_CODE_GRANT, SignIn, Unreadable
from signwatch.detection.verdict import APPROVAL_UNKNOWN, DEVICE_CODE

if TYPE_CHECKING:
    from datetime import datetime

    from signwatch.detection.verdict import Verdict

TEXT_MAX_SEPTETS = 306
MOST_OF_SUBJECT = (
    99  # characters (Amazon SNS API reference, Publish: "less than 100 characters long")
)
LABEL, EVENT_NAME, WHY, SOURCE, REGION, TAG = 20, 20, 39, 45, 16, 8  # septets; together they fit
LATE_AFTER_SECONDS = 120  # seconds after which the text states its delay
HOUR, MINUTE = 3600, 60
TAGS = frozenset("0123456789abcdefABCDEF-")
MFA = {
    "yes": "MFA yes",
    "no": "MFA NO",
    "provider": "MFA up to the identity provider",
    "unrecorded": "MFA not recorded",
}


class Message(NamedTuple):
    """The text, and the same alert as an e-mail."""

    text: str
    subject: str
    body: str


def compose(
    sign_in: SignIn | Unreadable, verdict: Verdict, *, label: str, delay: int | None, zone: str = ""
) -> Message:
    """Compose an alert.

    ``delay`` is the seconds from the sign-in to now, None when unknown. ``zone`` names a time zone, such as
    Europe/Berlin, whose time is told beside UTC; one that is not known is left out.
    """
    account = format_account(sign_in.account, label)
    lines = [
        f"AWS SIGN-IN ALERT account {account}",
        *_facts(sign_in, verdict),
        _when(sign_in, delay, zone),
        f"Id {_tag(sign_in.event_id, TAG) or 'none'}",
    ]
    subject = f"AWS sign-in alert, account {account}: {_what(sign_in)}"
    ascii_only = subject.encode("ascii", "replace").decode()[:MOST_OF_SUBJECT]
    return Message(
        gsm7.cut("\n".join(lines), TEXT_MAX_SEPTETS), ascii_only, _body(sign_in, verdict, lines)
    )


def format_account(account: str, label: str) -> str:
    """Return the label of the account, or its last four digits."""
    digits = account[-4:] if account.isascii() and account.isdigit() else ""
    return gsm7.safe(label, LABEL) or (f"...{digits}" if digits else "unknown")


def _what(sign_in: SignIn | Unreadable) -> str:
    if isinstance(sign_in, Unreadable):
        return (
            f"Unreadable sign-in ({gsm7.safe(sign_in.event_name, EVENT_NAME) or 'unnamed event'})"
        )
    return sign_in.what + (" FAILED" if sign_in.outcome == "failure" else "")


def _facts(sign_in: SignIn | Unreadable, verdict: Verdict) -> list[str]:
    source = f"From: {_source(sign_in.source)}"
    if isinstance(sign_in, Unreadable):
        return [
            f"{_what(sign_in)}: {gsm7.safe(sign_in.why, WHY)}",
            f"Who: {gsm7.quoted(sign_in.who, gsm7.NAME_SEPTETS)}",
            source,
        ]
    who = "root user" if sign_in.identity == "root" else gsm7.quoted(sign_in.who, gsm7.NAME_SEPTETS)
    return [_what(sign_in), f"Who: {who}", source, MFA[sign_in.mfa] + _approval(sign_in, verdict)]


def _approval(sign_in: SignIn, verdict: Verdict) -> str:
    """Say what makes a device code an alert, wherever it came from, and the portal sign-in that approved it."""
    if APPROVAL_UNKNOWN in verdict.reasons:
        return "; approval unknown"
    if DEVICE_CODE in verdict.reasons:
        return (
            "; approved elsewhere"
            if sign_in.grant == DEVICE_CODE_GRANT
            else "; code used elsewhere"
        )
    return ""


def _when(sign_in: SignIn | Unreadable, delay: int | None, zone: str) -> str:
    at = parse_time(sign_in.time)
    shown = at.strftime("%Y-%m-%d %H:%M:%S UTC") + _local(at, zone) if at else "time unknown"
    late = f", {_ago(delay)} ago" if delay is not None and delay > LATE_AFTER_SECONDS else ""
    return f"{gsm7.safe(sign_in.region, REGION)} {shown}{late}".strip()


def _local(at: datetime, zone: str) -> str:
    """Return the time in a zone as " (11:00 +0100)"; nothing for no zone, or for one that cannot be found."""
    if not zone:
        return ""
    from zoneinfo import ZoneInfo  # which takes time to import, and only this needs it

    try:
        return at.astimezone(ZoneInfo(zone)).strftime(" (%H:%M %z)")
    except Exception:  # noqa: BLE001 - zoneinfo raises of many kinds, and no alert may wait for a time of day
        return ""


def _ago(delay: int) -> str:
    return f"{delay // MINUTE} min" if delay < 2 * HOUR else f"{delay // HOUR} h"


def _body(sign_in: SignIn | Unreadable, verdict: Verdict, lines: list[str]) -> str:
    more = [
        f"Why: {'; '.join(gsm7.to_gsm7(reason) for reason in verdict.reasons)}",
        f"CloudTrail event: {_tag(sign_in.event_id, 64) or 'without an id'}",
        f"Account: {_tag(sign_in.account, 12) or 'unknown'}{_partition(sign_in)}",
        "",
        "If this was you or somebody you know, add the address to the recognised networks.",
        "If not: change the password, end the sessions, and look the event up in CloudTrail.",
    ]
    return "\n".join([*lines, "", *more])


def _partition(sign_in: SignIn | Unreadable) -> str:
    partition = sign_in.partition if isinstance(sign_in, SignIn) else "aws"
    return "" if partition == "aws" else f" in {partition}"


def _source(source: str) -> str:
    """An address, or a list of them, as it is; anything else is a stranger's text."""
    if not source.strip():
        return "not recorded"
    parts = [part.strip() for part in source.split(",")]
    return (
        gsm7.cut(", ".join(parts), SOURCE)
        if all(map(_is_address, parts))
        else gsm7.quoted(source, SOURCE - 2)
    )


def _is_address(text: str) -> bool:
    try:
        return (
            bool(ip_address(text)) and "%" not in text
        )  # a zone id may hold anything, such as a host name
    except ValueError:
        return False


def _tag(value: str, most: int) -> str:
    """An id as it is, so that it can be searched for; what is not shaped like one is a stranger's text."""
    return value[:most] if set(value) <= TAGS else gsm7.safe(value, most)
