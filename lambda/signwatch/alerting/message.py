"""Composes the text message and the e-mail of an alert from an allow-list of fields. Pure.

A record contains strings that strangers chose. Only the fields named here are shown, each made safe
and truncated (see gsm7), and the trusted ones come first. The length of a text is counted in
septets, units of 7 bits. It is sent as at most two segments of 153 septets (GSM 03.38). A text that
is too long takes a shorter form (TEXT_FORMS); the e-mail has everything, a name that the text
cannot show whole in its own script.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from signwatch import gsm7
from signwatch.alerting.advice import (
    IDENTITY_CENTER_USER,
    LOOK_UP,
    TOO_MANY_TEXTS,
    advise,
    advise_on_stream,
)
from signwatch.detection import networks
from signwatch.detection.bursts import (
    BurstClosing,
    Closing,
    FurtherEvent,
    SignInClosing,
    TextsClosing,
)
from signwatch.detection.record import parse_time
from signwatch.detection.signin import DEVICE_CODE_GRANT, SignIn, Unreadable
from signwatch.detection.verdict import APPROVAL_UNKNOWN, DEVICE_CODE, STREAMS

if TYPE_CHECKING:
    from datetime import datetime

    from signwatch.detection.verdict import Verdict

TEXT_MAX_SEPTETS = 306
# For the fields of the text
LABEL_MAX_SEPTETS = 20
EVENT_NAME_MAX_SEPTETS = 20
REASON_MAX_SEPTETS = 39
SOURCE_MAX_SEPTETS = 45  # the longest IPv6 address
REGION_MAX_SEPTETS = 16
ID_MAX_SEPTETS = 8  # of the event id; enough to find the event
EVENT_ID_MAX_CHARS = 64  # of the event id in the e-mail
# A role that Identity Center makes for a permission set (User Guide, "Permission sets": the suffix)
PERMISSION_SET_PATTERN = r"AWSReservedSSO_(.+)_[0-9a-f]{16}"
SOURCE_PART_MAX_SEPTETS = 20  # of a part of a list that is not an address
ACCOUNT_CHARS = ACCOUNT_MAX_CHARS = 12
VPC_ENDPOINT_MAX_SEPTETS = 22  # of an id like vpce-0123456789abcdef0
# Amazon SNS API reference, Publish: "less than 100 characters long"
SUBJECT_MAX_CHARS = 99
LATE_AFTER_SECONDS = 120  # after a longer delay, the alert says how long ago the sign-in was
DATE_AND_TIME_CHARS = 19  # 2026-11-24 10:12:31
CLIENT_MAX_SEPTETS = 36  # if the other fields leave so much
# The id of an Identity Center user: a UUID, which some have after the id of the identity store
# (Identity Store API Reference, UserId). The text shows the UUID, uncut.
USER_ID_PATTERN = r"(?:[0-9a-fA-F]{10}-)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
CACHED_ACCOUNTS = 64  # whose form in a text is remembered; most alerts are about the same few
ID_CHARACTERS = frozenset("0123456789abcdefABCDEF-")
COUNTED_LINE = "Further ones are counted and told together."
MFA_LINES = {
    "yes": "MFA yes",
    "no": "MFA NO",
    "provider": "MFA up to the identity provider",
    "unrecorded": "MFA not recorded",
}


class TextForm(NamedTuple):
    """How much a text shows. The shorter forms exist because two segments do not hold everything.

    One that is not full lacks the Region, the local time, the delay and an MFA that is unknown, and
    has accounts by their last digits.
    """

    name_max_septets: int  # of a person's and of a role's name
    source_max_septets: int = SOURCE_MAX_SEPTETS
    is_full: bool = True


EMAIL_FORM = TextForm(gsm7.UNTRUSTED_TEXT_MAX_CHARS, gsm7.UNTRUSTED_TEXT_MAX_CHARS)
# In the last one, all fields at full length fit into TEXT_MAX_SEPTETS.
TEXT_FORMS = (
    TextForm(gsm7.NAME_MAX_SEPTETS),
    TextForm(gsm7.NAME_MAX_SEPTETS, is_full=False),
    TextForm(24, is_full=False),
    TextForm(12, is_full=False),
    TextForm(gsm7.CHECKSUM_SEPTETS, is_full=False),
)


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
    known_networks: str = "",
) -> Message:
    """Compose an alert. ``label`` is the owner's name for the account, empty if there is none.

    ``delay_seconds`` is the time since the sign-in, None if unknown. ``zone`` is the name of a
    time zone, such as Europe/Berlin, in which the time is shown beside UTC. An unknown name is
    ignored. If the record lists several sources, those in ``known_networks``, which are separated
    by commas, come last.
    """
    options = _Options(label, delay_seconds, zone, known_networks)
    account = format_account(sign_in.account, label)
    event = _describe_event(sign_in, verdict)
    subject = f"{_format_severity(verdict)}AWS sign-in alert, account {account}: {event}"
    ascii_subject = subject.encode("ascii", "replace").decode()
    body = _compose_body(sign_in, verdict, _make_lines(sign_in, verdict, options, EMAIL_FORM))
    text = _compose_text(sign_in, verdict, options)
    return Message(text, ascii_subject[:SUBJECT_MAX_CHARS], body)


def compose_closing(closing: Closing, *, label: str) -> Message:
    """Compose the message about events that were only counted, or sent without a text.

    ``label`` is the owner's name for the account, empty if there is none.
    """
    if isinstance(closing, TextsClosing):
        account, parts = format_account("", label or "any"), _make_texts_parts(closing)
    elif isinstance(closing, SignInClosing):
        account, parts = format_account(closing.account, label), _make_sign_in_parts(closing)
    else:
        account, parts = format_account(closing.account, label), _make_burst_parts(closing)
    title = f"AWS SIGN-IN ALERT account {account}"
    text = gsm7.truncate("\n".join([title, *parts.text]), TEXT_MAX_SEPTETS)
    subject = f"AWS sign-in alert, account {account}: {parts.subject}"
    ascii_subject = subject.encode("ascii", "replace").decode()
    return Message(text, ascii_subject[:SUBJECT_MAX_CHARS], "\n".join([title, *parts.body]))


class _ClosingParts(NamedTuple):
    """The parts of a closing message, without the account."""

    subject: str
    text: list[str]  # lines
    body: list[str]


def _make_burst_parts(closing: BurstClosing) -> _ClosingParts:
    """Return what is told about each stream of a burst."""
    numbers = [
        f"{STREAMS[each.stream].capitalize()}: {each.number} in {each.hours} h"
        for each in closing.streams
    ]
    body = ["Not every one of these had an alert of its own."]
    for number, each in zip(numbers, closing.streams, strict=True):
        sources = [_format_source(source, "", SOURCE_MAX_SEPTETS) for source in each.sources]
        names = [f'"{gsm7.escape_name(name)}"' for name in each.names]
        body += ["", number]
        if sources:
            body.append(f"From, the latest few: {', '.join(sources)}")
        if names:
            body.append(f"Who, the latest few: {', '.join(names)}")
        body.append(advise_on_stream(each.stream))
    return _ClosingParts("; ".join(numbers), [*numbers, "See the e-mail."], body)


def _make_texts_parts(closing: TextsClosing) -> _ClosingParts:
    """Return what is told about texts that were left out."""
    number = f"Alerts without a text: {closing.number}"
    reason = f"They came by e-mail only, after {closing.texts_an_hour} texts in an hour."
    body = [number, reason, "", TOO_MANY_TEXTS]
    return _ClosingParts(number, [number, reason, "Read the e-mails now."], body)


def _make_sign_in_parts(closing: SignInClosing) -> _ClosingParts:
    """Return what is told about the events of one Identity Center sign-in after its text."""
    tag = _format_id(closing.tag, ID_MAX_SEPTETS)
    number = f"Further events of the sign-in with Id {tag}: {len(closing.events)}"
    body = [
        number,
        f'Who: "{gsm7.escape_name(closing.who)}"',
        f"From: {_format_source(closing.source, '', SOURCE_MAX_SEPTETS)}",
        *map(_describe_further_event, closing.events),
        "",
        IDENTITY_CENTER_USER,
        LOOK_UP,
    ]
    return _ClosingParts(number, [number], body)


def _describe_further_event(event: FurtherEvent) -> str:
    """Return a line like '10:12:31 UTC Role keys, role "Admin" in 111122223333'."""
    time = parse_time(event.time)
    clock_time = f"{time:%H:%M:%S} UTC " if time else ""
    role = f', role "{gsm7.escape_name(event.role)}"' if event.role else ""
    return f"{clock_time}{event.what}{role} in {_format_account_number(event.account, EMAIL_FORM)}"


def compose_text(
    sign_in: SignIn | Unreadable, verdict: Verdict, *, label: str, zone: str, known_networks: str
) -> str:
    """Compose the text of a past alert alone: without a delay, and faster than ``compose``."""
    return _compose_text(sign_in, verdict, _Options(label, None, zone, known_networks))


class _Options(NamedTuple):
    """The arguments of ``compose`` that say how an alert is shown."""

    label: str
    delay_seconds: int | None
    zone: str
    known_networks: str


def _compose_text(sign_in: SignIn | Unreadable, verdict: Verdict, options: _Options) -> str:
    """Return the text in the first form that fits, which is almost always the first of all."""
    for form in TEXT_FORMS:
        text = "\n".join(_make_lines(sign_in, verdict, options, form))
        if gsm7.count_septets(text) <= TEXT_MAX_SEPTETS:
            break
    return gsm7.truncate(text, TEXT_MAX_SEPTETS)


def _make_lines(
    sign_in: SignIn | Unreadable, verdict: Verdict, options: _Options, form: TextForm
) -> list[str]:
    """Return the lines that the text and the e-mail both have, as long as ``form`` allows."""
    account = format_account(sign_in.account, options.label)
    source = _format_source(sign_in.source, options.known_networks, form.source_max_septets)
    return [
        f"{_format_severity(verdict)}AWS SIGN-IN ALERT account {account}",
        *_make_detail_lines(sign_in, verdict, source, form),
        _make_time_line(sign_in, options.delay_seconds, options.zone, form),
        f"Id {_format_id(sign_in.event_id, ID_MAX_SEPTETS) or 'none'}",
    ]


def _format_severity(verdict: Verdict) -> str:
    """Return the word that a severe alert begins with; empty for any other."""
    return "HIGH " if verdict.severity == "high" else ""


@functools.lru_cache(CACHED_ACCOUNTS)
def format_account(account: str, label: str) -> str:
    """Return the label of the account; without a label, the last four digits of its number."""
    safe_label = gsm7.sanitise(label, LABEL_MAX_SEPTETS)
    if safe_label:
        return safe_label
    is_number = account.isascii() and account.isdigit()
    return f"...{account[-4:]}" if is_number else "unknown"


def _describe_event(sign_in: SignIn | Unreadable, verdict: Verdict) -> str:
    """Return what happened, such as "Console sign-in FAILED, 10 in 1 h"."""
    number = f", {verdict.number} in {verdict.hours} h" if verdict.number > 1 else ""
    if isinstance(sign_in, SignIn):
        has_failed = sign_in.outcome == "failure"
        return f"{sign_in.what}{' FAILED' if has_failed else ''}{number}"
    event_name = gsm7.sanitise(sign_in.event_name, EVENT_NAME_MAX_SEPTETS)
    return f"Unreadable sign-in ({event_name or 'unnamed event'}){number}"


def _make_detail_lines(
    sign_in: SignIn | Unreadable, verdict: Verdict, source: str, form: TextForm
) -> list[str]:
    """Return the lines that say what happened, who it was, from where, and with which MFA.

    ``source`` is formatted already (see _format_source).
    """
    event = _describe_event(sign_in, verdict)
    who = f'"{_format_name(sign_in, form)}"'
    from_line = f"From: {source}"
    if isinstance(sign_in, Unreadable):
        reason = gsm7.sanitise(sign_in.reason, REASON_MAX_SEPTETS)
        return [f"{event}: {reason}", f"Who: {who}", from_line]
    if sign_in.client:
        event += f": {_format_client(sign_in.client, form)}"
    if sign_in.identity == "root":
        who = "root user"
    lines = [
        event,
        f"Who: {who}",
        *_make_role_lines(sign_in, form),
        from_line,
    ]
    if sign_in.vpc_endpoint:
        lines.append(f"Via {_format_vpc_endpoint(sign_in.vpc_endpoint)}")
    remark = _explain_device_code(sign_in, verdict)
    if form.is_full or remark or sign_in.mfa in ("yes", "no"):
        lines.append(MFA_LINES[sign_in.mfa] + remark)
    return lines


def _make_role_lines(sign_in: SignIn, form: TextForm) -> list[str]:
    """Return the lines that name the role with its account, and the account of the caller."""
    lines = []
    target = _format_account_number(sign_in.target_account, form)
    if sign_in.role:
        role = _format_role(sign_in.role, form)
        lines.append(f"{role} in {target}" if target else role)
    elif target:
        lines.append(f"In account: {target}")
    origin = _format_account_number(sign_in.origin_account, form)
    if origin and sign_in.origin_account != (sign_in.target_account or sign_in.account):
        lines.append(f"From account: {origin}")
    return lines


def _format_role(role: str, form: TextForm) -> str:
    """Return a role with what it is, such as ``'Permission set: "ReadOnly"'``.

    The text names the permission set that Identity Center made the role for, because all such roles
    have the same long beginning. The e-mail has the whole name of the role.
    """
    match = re.fullmatch(PERMISSION_SET_PATTERN, role)
    if match and form is not EMAIL_FORM:
        return f'Permission set: "{gsm7.sanitise_name(match[1], form.name_max_septets)}"'
    return f'Role: "{gsm7.sanitise_name(role, form.name_max_septets)}"'


def _format_account_number(account: str, form: TextForm) -> str:
    """Return the number of an account, in a short form "...2333"; anything else made safe.

    Empty stays empty.
    """
    is_number = account.isascii() and account.isdigit() and len(account) == ACCOUNT_CHARS
    if not is_number:
        return gsm7.quote(account, ACCOUNT_MAX_CHARS - len('""')) if account else ""
    return account if form.is_full else format_account(account, label="")


def _format_vpc_endpoint(endpoint: str) -> str:
    """Return the id of a VPC endpoint unchanged; anything else quoted and made safe."""
    prefix, _, digits = endpoint.partition("-")
    if prefix == "vpce" and set(digits) <= ID_CHARACTERS:
        return endpoint[:VPC_ENDPOINT_MAX_SEPTETS]
    return gsm7.quote(endpoint, VPC_ENDPOINT_MAX_SEPTETS - len('""'))


def _format_name(sign_in: SignIn | Unreadable, form: TextForm) -> str:
    """Return the user's name as a text shows it; the user id if there is no name that it can show.

    Without a name in the record, ``who`` is the user id.
    """
    has_name = sign_in.who != sign_in.user_id and gsm7.can_show(sign_in.who)
    if form.name_max_septets >= gsm7.NAME_MAX_SEPTETS and not has_name:
        user_id_match = re.fullmatch(USER_ID_PATTERN, sign_in.user_id)
        if user_id_match:
            return user_id_match[1]  # the UUID
    return gsm7.sanitise_name(sign_in.who, form.name_max_septets)


def _format_client(client: str, form: TextForm) -> str:
    """Return the program that a person gave access (OAuth), in quotes (SignIn.client).

    It is the host that the program is called back at, or the end of its client id. Of a long one,
    only the end is shown, because it decides whose host it is. One that is cut or changed has a
    checksum, so that it does not look like another.
    """
    max_septets = min(CLIENT_MAX_SEPTETS, form.name_max_septets)
    end_septets = max_septets - len("... ") - gsm7.CHECKSUM_SEPTETS
    end_chars = end_septets // 2  # what makes it unclickable takes room too
    if gsm7.is_shown_whole(client, max_septets) or len(client) <= end_chars or end_chars < 1:
        return f'"{gsm7.sanitise_name(client, max_septets)}"'
    checksum = gsm7.sanitise_name(client, gsm7.CHECKSUM_SEPTETS)
    return f'"...{gsm7.sanitise(client[-end_chars:], end_septets)} {checksum}"'


def _explain_device_code(sign_in: SignIn, verdict: Verdict) -> str:
    """Return a remark if the address that approved a device code is another or unknown; else "".

    A device code signs in a program after a person approved it in a browser. Both are recorded, and
    the alert is about the one that arrived last. The remark says that the other was elsewhere.
    """
    if APPROVAL_UNKNOWN in verdict.reasons:
        return "; approval unknown"
    if DEVICE_CODE not in verdict.reasons:
        return ""
    if sign_in.grant == DEVICE_CODE_GRANT:  # the alert is about the use of the code
        return "; approved elsewhere"
    return "; code used elsewhere"  # the alert is about the approval


def _make_time_line(
    sign_in: SignIn | Unreadable, delay_seconds: int | None, zone: str, form: TextForm
) -> str:
    """Return a line like "eu-central-1 2026-11-24 10:12:31 UTC (11:12 +0100), 7 min ago".

    The part in parentheses is there if ``zone`` is known, the delay if it is long. A short form has
    only the time in UTC.
    """
    region = gsm7.sanitise(sign_in.region, REGION_MAX_SEPTETS)
    if not form.is_full:
        region, zone, delay_seconds = "", "", None
    time = parse_time(sign_in.time)
    when = "time unknown"
    if time:
        date_and_time = time.isoformat(" ")[:DATE_AND_TIME_CHARS]  # faster than strftime
        when = f"{date_and_time} UTC{_format_local_time(time, zone)}"
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
        *([COUNTED_LINE] if verdict.number else []),
        f"CloudTrail event: {event_id}",
        f"Account: {account}",
        "",
        *advise(sign_in, verdict),
    ]
    return "\n".join([*lines, "", *more_lines])


def _make_full_name_lines(sign_in: SignIn | Unreadable) -> list[str]:
    """Return the e-mail's lines with the names and ids that other lines do not show whole."""
    lines = []
    if re.fullmatch(USER_ID_PATTERN, sign_in.user_id):
        lines.append(f"User id: {sign_in.user_id}")
    has_name = sign_in.who != sign_in.user_id  # without a name, ``who`` is the user id
    is_whole = gsm7.is_shown_whole(sign_in.who, EMAIL_FORM.name_max_septets)
    if has_name and not is_whole:
        lines.append(f'Full name: "{gsm7.escape_name(sign_in.who)}"')
    if isinstance(sign_in, SignIn) and sign_in.client:
        lines.append(f'Application: "{gsm7.escape_name(sign_in.client)}"')
    return lines


def _format_source(source: str, known_networks: str, max_septets: int) -> str:
    """Return a source that is one or more addresses as it is, anything else quoted and made safe.

    AWS may record several parts, separated by commas. The addresses outside ``known_networks`` come
    first, then what is no address, then the known addresses. The number of parts that do not fit is
    added: "198.51.100.23 and 2 more".
    """
    if not source.strip():
        return "not recorded"
    if _is_address(source):  # as almost every source, so this comes first
        return source
    parts = networks.split_list(source)
    addresses = list(filter(_is_address, parts))
    if len(parts) < 2 and not addresses:  # noqa: PLR2004 - it is no list
        return gsm7.quote(source, max_septets - len('""'))
    known = networks.parse_list(known_networks)
    unknown_addresses = [part for part in addresses if not networks.recognises(known, part)]
    known_addresses = [part for part in addresses if networks.recognises(known, part)]
    others = [gsm7.quote(part, SOURCE_PART_MAX_SEPTETS) for part in parts if part not in addresses]
    shown_parts = [*unknown_addresses, *others, *known_addresses]
    for shown_count in range(len(parts), 1, -1):  # from all of them down to two
        shown = _list_parts(shown_parts, shown_count)
        if gsm7.count_septets(shown) <= max_septets:
            return shown
    return _list_parts(shown_parts, 1)


def _list_parts(parts: list[str], shown_count: int) -> str:
    """Return the first ``shown_count`` parts of a source, and how many are not shown."""
    shown = ", ".join(parts[:shown_count])
    more = len(parts) - shown_count
    return f"{shown} and {more} more" if more else shown


def _is_address(text: str) -> bool:
    """Return whether a part of a source is an address."""
    # A zone id, which follows "%", may contain anything, such as a host name.
    return "%" not in text and networks.pack_address(text) is not None


def _format_id(value: str, max_septets: int) -> str:
    """Return an id unchanged, so that people can search for it; make anything else safe.

    Both are cut to ``max_septets``.
    """
    if set(value) <= ID_CHARACTERS:
        return value[:max_septets]
    return gsm7.sanitise(value, max_septets)
