"""Composes the text message and the e-mail of an alert from an allow-list of fields. Pure.

A record contains strings that strangers chose. Only the fields named here are shown, each made safe
and truncated (see gsm7), and the trusted ones come first. A name that the text cannot show whole is
in the e-mail in its own script. The length of a text is counted in
septets, units of 7 bits. It is sent as at most two segments of 153 septets (GSM 03.38).
"""

from __future__ import annotations

import re
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
# For the fields of the text. All of them at full length fit into TEXT_MAX_SEPTETS.
LABEL_MAX_SEPTETS = 20
EVENT_NAME_MAX_SEPTETS = 20
REASON_MAX_SEPTETS = 39
SOURCE_MAX_SEPTETS = 45  # the longest IPv6 address
REGION_MAX_SEPTETS = 16
ID_MAX_SEPTETS = 8  # of the event id; enough to find the event
EVENT_ID_MAX_CHARS = 64  # of the event id in the e-mail
ACCOUNT_MAX_CHARS = 12
# Amazon SNS API reference, Publish: "less than 100 characters long"
SUBJECT_MAX_CHARS = 99
LATE_AFTER_SECONDS = 120  # after a longer delay, the alert says how long ago the sign-in was
CLIENT_MAX_SEPTETS = 36  # if the other fields leave so much
# The id of an Identity Center user: a UUID, which some have after the id of the identity store
# (Identity Store API Reference, UserId). The text shows the UUID, uncut.
USER_ID_PATTERN = r"(?:[0-9a-fA-F]{10}-)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
ID_CHARACTERS = frozenset("0123456789abcdefABCDEF-")
MFA_LINES = {
    "yes": "MFA yes",
    "no": "MFA NO",
    "provider": "MFA up to the identity provider",
    "unrecorded": "MFA not recorded",
}


class Message(NamedTuple):
    """An alert in both forms."""

    text: str  # the text message
    subject: str  # of the e-mail
    body: str  # of the e-mail


def compose(
    sign_in: SignIn | Unreadable,
    verdict: Verdict,
    *,
    label: str,
    delay_seconds: int | None,
    zone: str = "",
) -> Message:
    """Compose an alert. ``label`` is the owner's name for the account, empty if there is none.

    ``delay_seconds`` is the time since the sign-in, None if unknown. ``zone`` is the name of a
    time zone, such as Europe/Berlin, in which the time is shown beside UTC. An unknown name is
    ignored.
    """
    account = format_account(sign_in.account, label)
    lines = [
        f"AWS SIGN-IN ALERT account {account}",
        *_make_detail_lines(sign_in, verdict),
        _make_time_line(sign_in, delay_seconds, zone),
        f"Id {_format_id(sign_in.event_id, ID_MAX_SEPTETS) or 'none'}",
    ]
    if isinstance(sign_in, SignIn) and sign_in.client:
        lines[1] += _format_client(sign_in.client, lines)
    text = gsm7.truncate("\n".join(lines), TEXT_MAX_SEPTETS)
    subject = f"AWS sign-in alert, account {account}: {_describe_event(sign_in)}"
    ascii_subject = subject.encode("ascii", "replace").decode()
    return Message(text, ascii_subject[:SUBJECT_MAX_CHARS], _compose_body(sign_in, verdict, lines))


def format_account(account: str, label: str) -> str:
    """Return the label of the account; without a label, the last four digits of its number."""
    safe_label = gsm7.sanitise(label, LABEL_MAX_SEPTETS)
    if safe_label:
        return safe_label
    is_number = account.isascii() and account.isdigit()
    return f"...{account[-4:]}" if is_number else "unknown"


def _describe_event(sign_in: SignIn | Unreadable) -> str:
    """Return what happened, such as "Console sign-in FAILED"."""
    if isinstance(sign_in, SignIn):
        has_failed = sign_in.outcome == "failure"
        return f"{sign_in.what} FAILED" if has_failed else sign_in.what
    event_name = gsm7.sanitise(sign_in.event_name, EVENT_NAME_MAX_SEPTETS)
    return f"Unreadable sign-in ({event_name or 'unnamed event'})"


def _make_detail_lines(sign_in: SignIn | Unreadable, verdict: Verdict) -> list[str]:
    """Return the lines that say what happened, who it was, from where, and with which MFA."""
    event = _describe_event(sign_in)
    who = f'"{_format_name(sign_in)}"'
    from_line = f"From: {_format_source(sign_in.source)}"
    if isinstance(sign_in, Unreadable):
        reason = gsm7.sanitise(sign_in.reason, REASON_MAX_SEPTETS)
        return [f"{event}: {reason}", f"Who: {who}", from_line]
    if sign_in.identity == "root":
        who = "root user"
    mfa_line = MFA_LINES[sign_in.mfa] + _explain_device_code(sign_in, verdict)
    return [event, f"Who: {who}", from_line, mfa_line]


def _format_name(sign_in: SignIn | Unreadable) -> str:
    """Return the user's name as the text shows it, or the id if it cannot show a letter of it."""
    has_name = sign_in.who != sign_in.user_id and gsm7.can_show(sign_in.who)
    user_id = re.fullmatch(USER_ID_PATTERN, sign_in.user_id)
    if user_id and not has_name:
        return user_id[1]
    return gsm7.sanitise_name(sign_in.who)


def _format_client(client: str, lines: list[str]) -> str:
    """Return what names an authorised application, in the room that the lines leave."""
    room = TEXT_MAX_SEPTETS - gsm7.count_septets("\n".join(lines)) - len(': ""')
    return f": {gsm7.quote(client, min(room, CLIENT_MAX_SEPTETS))}"


def _explain_device_code(sign_in: SignIn, verdict: Verdict) -> str:
    """Return a remark if the alert is about a device code or its approval in the portal; else "".

    A device code signs in a program after a person approved it in a browser.
    """
    if APPROVAL_UNKNOWN in verdict.reasons:
        return "; approval unknown"
    if DEVICE_CODE not in verdict.reasons:
        return ""
    is_device_code = sign_in.grant == DEVICE_CODE_GRANT
    return "; approved elsewhere" if is_device_code else "; code used elsewhere"


def _make_time_line(sign_in: SignIn | Unreadable, delay_seconds: int | None, zone: str) -> str:
    """Return a line like "eu-central-1 2026-11-24 10:12:31 UTC (11:12 +0100), 7 min ago".

    The part in parentheses is there if ``zone`` is known, the delay if it is long.
    """
    region = gsm7.sanitise(sign_in.region, REGION_MAX_SEPTETS)
    time = parse_time(sign_in.time)
    when = "time unknown"
    if time:
        when = f"{time:%Y-%m-%d %H:%M:%S} UTC{_format_local_time(time, zone)}"
    if delay_seconds is not None and delay_seconds > LATE_AFTER_SECONDS:
        when += f", {_format_delay(delay_seconds)} ago"
    return f"{region} {when}".strip()


def _format_local_time(time: datetime, zone: str) -> str:
    """Return the time in a zone, such as " (11:12 +0100)"; empty if the zone is unknown."""
    if not zone:
        return ""
    from zoneinfo import ZoneInfo  # here because the import takes time and few alerts need it

    try:
        return time.astimezone(ZoneInfo(zone)).strftime(" (%H:%M %z)")
    except Exception:  # noqa: BLE001 - zoneinfo raises many classes; none may stop the alert
        return ""


def _format_delay(seconds: int) -> str:
    """Return a delay in minutes, or in hours from two on: ``420 -> "7 min"``."""
    hours = seconds // 3600
    return f"{hours} h" if hours > 1 else f"{seconds // 60} min"


def _compose_body(sign_in: SignIn | Unreadable, verdict: Verdict, lines: list[str]) -> str:
    """Return the body of the e-mail: the lines of the text, the reasons and what to do."""
    account = _format_id(sign_in.account, ACCOUNT_MAX_CHARS) or "unknown"
    event_id = _format_id(sign_in.event_id, EVENT_ID_MAX_CHARS) or "without an id"
    reasons = "; ".join(map(gsm7.to_gsm7, verdict.reasons))
    if isinstance(sign_in, SignIn) and sign_in.partition != "aws":
        account += f" in {sign_in.partition}"
    more_lines = [
        *_make_full_name_lines(sign_in),
        f"Why: {reasons}",
        f"CloudTrail event: {event_id}",
        f"Account: {account}",
        "",
        "If this was you or somebody you know, add the address to the recognised networks.",
        "If not: change the password, end the sessions, and look the event up in CloudTrail.",
    ]
    return "\n".join([*lines, "", *more_lines])


def _make_full_name_lines(sign_in: SignIn | Unreadable) -> list[str]:
    """Return lines with the names and ids that the text does not show whole."""
    lines = []
    if re.fullmatch(USER_ID_PATTERN, sign_in.user_id):
        lines.append(f"User id: {sign_in.user_id}")
    if sign_in.who != sign_in.user_id and not gsm7.is_shown_whole(sign_in.who):
        lines.append(f'Full name: "{gsm7.escape_name(sign_in.who)}"')
    if isinstance(sign_in, SignIn) and sign_in.client:
        lines.append(f'Application: "{gsm7.escape_name(sign_in.client)}"')
    return lines


def _format_source(source: str) -> str:
    """Return a source that is one or more addresses as it is, anything else quoted and made safe.

    AWS may record several addresses, separated by commas.
    """
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
    return "%" not in text  # a zone id may contain anything, such as a host name


def _format_id(value: str, max_septets: int) -> str:
    """Return an id unchanged, so that people can search for it; make anything else safe.

    Both are cut to ``max_septets``.
    """
    if set(value) <= ID_CHARACTERS:
        return value[:max_septets]
    return gsm7.sanitise(value, max_septets)
