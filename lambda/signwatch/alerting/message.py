"""Composes the text message and the e-mail of an alert from an allow-list of fields. Pure.

A record holds text that strangers chose. Only the fields named here are shown, each made safe and
truncated (see gsm7), and the trusted ones come first. Sizes: GSM 03.38, two concatenated segments
of 153 septets.
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
# Of the fields in it; with the longest of everything else they still fit.
LABEL_MAX_SEPTETS = 20
EVENT_NAME_MAX_SEPTETS = 20
WHY_MAX_SEPTETS = 39
SOURCE_MAX_SEPTETS = 45  # the longest IPv6 address
REGION_MAX_SEPTETS = 16
ID_MAX_SEPTETS = 8  # enough to find the event by
EVENT_ID_MAX_CHARS = 64  # of the whole id, in the e-mail
ACCOUNT_MAX_CHARS = 12
# Amazon SNS API reference, Publish: "less than 100 characters long"
SUBJECT_MAX_CHARS = 99
LATE_AFTER_SECONDS = 120  # from then on the text states its delay
ID_CHARACTERS = frozenset("0123456789abcdefABCDEF-")
MFA = {
    "yes": "MFA yes",
    "no": "MFA NO",
    "provider": "MFA up to the identity provider",
    "unrecorded": "MFA not recorded",
}


class Message(NamedTuple):
    """The text message, and the same alert as an e-mail."""

    text: str
    subject: str
    body: str


def compose(
    sign_in: SignIn | Unreadable, verdict: Verdict, *, label: str, delay: int | None, zone: str = ""
) -> Message:
    """Compose an alert.

    ``delay`` is the seconds from the sign-in to now, None if unknown. ``zone`` names a time zone,
    such as Europe/Berlin, whose time is shown beside UTC. An unknown zone is left out.
    """
    account = format_account(sign_in.account, label)
    lines = [
        f"AWS SIGN-IN ALERT account {account}",
        *_facts(sign_in, verdict),
        _when(sign_in, delay, zone),
        f"Id {_format_id(sign_in.event_id, ID_MAX_SEPTETS) or 'none'}",
    ]
    text = gsm7.truncate("\n".join(lines), TEXT_MAX_SEPTETS)
    subject = f"AWS sign-in alert, account {account}: {_what(sign_in)}"
    ascii_subject = subject.encode("ascii", "replace").decode()
    return Message(text, ascii_subject[:SUBJECT_MAX_CHARS], _body(sign_in, verdict, lines))


def format_account(account: str, label: str) -> str:
    """Return the label of the account, or its last four digits."""
    safe_label = gsm7.sanitise(label, LABEL_MAX_SEPTETS)
    if safe_label:
        return safe_label
    return f"...{account[-4:]}" if account.isascii() and account.isdigit() else "unknown"


def _what(sign_in: SignIn | Unreadable) -> str:
    if isinstance(sign_in, SignIn):
        return f"{sign_in.what} FAILED" if sign_in.outcome == "failure" else sign_in.what
    event_name = gsm7.sanitise(sign_in.event_name, EVENT_NAME_MAX_SEPTETS)
    return f"Unreadable sign-in ({event_name or 'unnamed event'})"


def _facts(sign_in: SignIn | Unreadable, verdict: Verdict) -> list[str]:
    what = _what(sign_in)
    who = gsm7.quote(sign_in.who, gsm7.NAME_MAX_SEPTETS)
    source = f"From: {_source(sign_in.source)}"
    if isinstance(sign_in, Unreadable):
        return [f"{what}: {gsm7.sanitise(sign_in.why, WHY_MAX_SEPTETS)}", f"Who: {who}", source]
    if sign_in.identity == "root":
        who = "root user"
    return [what, f"Who: {who}", source, MFA[sign_in.mfa] + _device_code_note(sign_in, verdict)]


def _device_code_note(sign_in: SignIn, verdict: Verdict) -> str:
    """Return why a device code, or the portal sign-in that approved one, is an alert."""
    if APPROVAL_UNKNOWN in verdict.reasons:
        return "; approval unknown"
    if DEVICE_CODE not in verdict.reasons:
        return ""
    is_code = sign_in.grant == DEVICE_CODE_GRANT
    return "; approved elsewhere" if is_code else "; code used elsewhere"


def _when(sign_in: SignIn | Unreadable, delay: int | None, zone: str) -> str:
    region = gsm7.sanitise(sign_in.region, REGION_MAX_SEPTETS)
    moment = parse_time(sign_in.time)
    when = "time unknown"
    if moment:
        when = f"{moment:%Y-%m-%d %H:%M:%S} UTC{_local_time(moment, zone)}"
    if delay is not None and delay > LATE_AFTER_SECONDS:
        when += f", {_format_delay(delay)} ago"
    return f"{region} {when}".strip()


def _local_time(moment: datetime, zone: str) -> str:
    """Return the time in a zone, such as " (11:00 +0100)"; empty for no zone or an unknown one."""
    if not zone:
        return ""
    from zoneinfo import ZoneInfo  # here, since it takes time to import and few alerts need it

    try:
        return moment.astimezone(ZoneInfo(zone)).strftime(" (%H:%M %z)")
    except Exception:  # noqa: BLE001 - zoneinfo raises many classes, and the alert goes out anyway
        return ""


def _format_delay(seconds: int) -> str:
    hours = seconds // 3600
    return f"{hours} h" if hours > 1 else f"{seconds // 60} min"


def _body(sign_in: SignIn | Unreadable, verdict: Verdict, lines: list[str]) -> str:
    account = _format_id(sign_in.account, ACCOUNT_MAX_CHARS) or "unknown"
    if isinstance(sign_in, SignIn) and sign_in.partition != "aws":
        account += f" in {sign_in.partition}"
    more_lines = [
        f"Why: {'; '.join(map(gsm7.to_gsm7, verdict.reasons))}",
        f"CloudTrail event: {_format_id(sign_in.event_id, EVENT_ID_MAX_CHARS) or 'without an id'}",
        f"Account: {account}",
        "",
        "If this was you or somebody you know, add the address to the recognised networks.",
        "If not: change the password, end the sessions, and look the event up in CloudTrail.",
    ]
    return "\n".join([*lines, "", *more_lines])


def _source(source: str) -> str:
    """Return an address, or a list of addresses, as it is; anything else quoted and made safe."""
    if not source.strip():
        return "not recorded"
    parts = [part.strip() for part in source.split(",")]
    if all(map(_is_address, parts)):
        return gsm7.truncate(", ".join(parts), SOURCE_MAX_SEPTETS)
    return gsm7.quote(source, SOURCE_MAX_SEPTETS - len('""'))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone id may hold anything, such as a host name


def _format_id(value: str, max_septets: int) -> str:
    """Return an id as it is, to be searched for; what does not look like one is made safe."""
    if set(value) <= ID_CHARACTERS:
        return value[:max_septets]
    return gsm7.sanitise(value, max_septets)
