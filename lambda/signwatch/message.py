"""Composing: the text for the phone and the e-mail, from an allow-list of fields; pure.

A record holds text that strangers chose: names, user agents, error messages. Only the fields named here are shown,
each mapped to GSM-7, cleaned of control and direction characters, made unclickable, quoted, and capped after all that.
The trusted part comes first. Sizes: GSM 03.38, two concatenated segments of 153 septets.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from signwatch.record import moment
from signwatch.signin import DEVICE, SignIn, Unreadable
from signwatch.verdict import APPROVAL_UNKNOWN, DEVICE_CODE

if TYPE_CHECKING:
    from datetime import datetime

    from signwatch.verdict import Verdict

MOST_SEPTETS = 306
MOST_OF_SUBJECT = 99  # characters (Amazon SNS API reference, Publish: "less than 100 characters long")
LABEL, EVENT_NAME, WHY, NAME, SOURCE, REGION, TAG = 20, 20, 39, 36, 45, 16, 8  # septets; together they fit
READ = 256  # characters of a recorded text that are looked at; no name in AWS is longer than 128
LATE = 120  # seconds after which the text states its delay
HOUR, MINUTE = 3600, 60
BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("^{}\\[~]|€")
REPLACED = {"’": "'", "‘": "'", "`": "'", "“": "'", "”": "'", "–": "-", "—": "-", "…": "..."}  # noqa: RUF001 - the point
DROPPED = ("Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Mc", "Me")  # Unicode categories that show nothing of their own
CLICKABLE = {".": ". ", "@": " at ", ":": ": "}  # a phone makes links of hosts, addresses and schemes
DIALLABLE = re.compile(r"\d(?:[ ()./-]*\d){6,}")  # and of seven digits or more
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
    account = account_name(sign_in.account, label)
    lines = [
        f"AWS SIGN-IN ALERT account {account}",
        *_facts(sign_in, verdict),
        _when(sign_in, delay, zone),
        f"Id {_tag(sign_in.event_id, TAG) or 'none'}",
    ]
    subject = f"AWS sign-in alert, account {account}: {_what(sign_in)}"
    ascii_only = subject.encode("ascii", "replace").decode()[:MOST_OF_SUBJECT]
    return Message(_capped("\n".join(lines), MOST_SEPTETS), ascii_only, _body(sign_in, verdict, lines))


def septets(text: str) -> int:
    """Return how many septets GSM-7 needs for ``text``, which must hold only its characters."""
    return sum(2 if character in EXTENDED else 1 for character in text)


def gsm(text: str) -> str:
    """Map ``text`` to one line of GSM-7: accents kept or dropped, what shows nothing dropped, the rest ``?``."""
    return " ".join("".join(_character(character) for character in unicodedata.normalize("NFC", text)).split())


def shown(name: str) -> str:
    """Return the name of a person or a role as the text shows it, between the quotation marks."""
    return _safe(name, NAME)


def account_name(account: str, label: str) -> str:
    """Return the label of the account, or its last four digits."""
    digits = account[-4:] if account.isascii() and account.isdigit() else ""
    return _safe(label, LABEL) or (f"...{digits}" if digits else "unknown")


def _what(sign_in: SignIn | Unreadable) -> str:
    if isinstance(sign_in, Unreadable):
        return f"Unreadable sign-in ({_safe(sign_in.event_name, EVENT_NAME) or 'unnamed event'})"
    return sign_in.what + (" FAILED" if sign_in.outcome == "failure" else "")


def _facts(sign_in: SignIn | Unreadable, verdict: Verdict) -> list[str]:
    source = f"From: {_source(sign_in.source)}"
    if isinstance(sign_in, Unreadable):
        return [f"{_what(sign_in)}: {_safe(sign_in.why, WHY)}", f"Who: {_quoted(sign_in.who, NAME)}", source]
    who = "root user" if sign_in.identity == "root" else _quoted(sign_in.who, NAME)
    return [_what(sign_in), f"Who: {who}", source, MFA[sign_in.mfa] + _approval(sign_in, verdict)]


def _approval(sign_in: SignIn, verdict: Verdict) -> str:
    """Say what makes a device code an alert, wherever it came from, and the portal sign-in that approved it."""
    if APPROVAL_UNKNOWN in verdict.reasons:
        return "; approval unknown"
    if DEVICE_CODE in verdict.reasons:
        return "; approved elsewhere" if sign_in.grant == DEVICE else "; code used elsewhere"
    return ""


def _when(sign_in: SignIn | Unreadable, delay: int | None, zone: str) -> str:
    at = moment(sign_in.time)
    shown = at.strftime("%Y-%m-%d %H:%M:%S UTC") + _local(at, zone) if at else "time unknown"
    late = f", {_ago(delay)} ago" if delay is not None and delay > LATE else ""
    return f"{_safe(sign_in.region, REGION)} {shown}{late}".strip()


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
        f"Why: {'; '.join(gsm(reason) for reason in verdict.reasons)}",
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
    return _capped(", ".join(parts), SOURCE) if all(map(_is_address, parts)) else _quoted(source, SOURCE - 2)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text)) and "%" not in text  # a zone id may hold anything, such as a host name
    except ValueError:
        return False


def _tag(value: str, most: int) -> str:
    """An id as it is, so that it can be searched for; what is not shaped like one is a stranger's text."""
    return value[:most] if set(value) <= TAGS else _safe(value, most)


def _quoted(value: str, most: int) -> str:
    return f'"{_safe(value, most)}"'


def _safe(value: str, most: int) -> str:
    """What a stranger may have written, in at most ``most`` septets and with nothing in it to tap on."""
    return _capped(_unclickable(gsm(value[:READ]).replace('"', "'")), most)


def _unclickable(value: str) -> str:
    value = DIALLABLE.sub(_undiallable, value)
    for mark, harmless in CLICKABLE.items():
        value = value.replace(mark, harmless)
    return " ".join(value.split())


def _undiallable(found: re.Match[str]) -> str:
    groups = re.findall(r"\d{1,4}", found[0])
    return "_".join(groups)


def _capped(text: str, most: int) -> str:
    """Cut ``text`` to ``most`` septets, with three dots where something is missing."""
    text, rest = text[: most + 1], text[most + 1 :]  # a name may be long, and this takes time by the square of it
    if not rest and septets(text) <= most:
        return text
    while septets(text) > most - 3:
        text = text[:-1]
    return text + "..."


def _character(character: str) -> str:
    if character in BASIC or character in EXTENDED:
        return character
    if character in REPLACED:
        return REPLACED[character]
    if character.isspace():
        return " "
    if unicodedata.category(character) in DROPPED:
        return ""
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base in BASIC else "?"
