"""Composing: the text for the phone and the e-mail, from an allow-list of fields; pure.

A record holds text that strangers chose: names, user agents, error messages. Only the fields named here are shown,
each capped, mapped to GSM-7, cleaned of control and direction characters, quoted, and made unclickable. The trusted
part comes first. Sizes: GSM 03.38, two concatenated segments of 153 septets.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from signwatch.signin import SignIn, Unreadable

if TYPE_CHECKING:
    from signwatch.verdict import Verdict

MOST_SEPTETS = 306
LONGEST_NAME, LONGEST_SOURCE, LONGEST_REGION, LONGEST_LABEL = 48, 45, 20, 20
LATE = 120  # seconds after which the text states its delay
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("^{}\\[~]|€")
REPLACED = {"’": "'", "‘": "'", "“": "'", "”": "'", "–": "-", "—": "-", "…": "...", "\u00a0": " ", "\t": " "}  # noqa: RUF001 - the point
MFA = {
    "yes": "MFA yes",
    "no": "MFA NO",
    "provider": "MFA decided by your identity provider",
    "unrecorded": "MFA not recorded",
}


class Message(NamedTuple):
    """The text, and the same alert as an e-mail."""

    text: str
    subject: str
    body: str


def compose(sign_in: SignIn | Unreadable, verdict: Verdict, *, label: str, delay: int | None) -> Message:
    """Compose an alert; ``delay`` is the seconds from the sign-in to now, None when unknown."""
    lines = [
        _headline(sign_in, label),
        *_facts(sign_in),
        *_when(sign_in, delay),
        f"Id {_plain(sign_in.event_id, 8) or 'none'}",
    ]
    text = _fit("\n".join(lines))
    return Message(text, _subject(sign_in, label), _body(sign_in, verdict, lines))


def septets(text: str) -> int:
    """Return how many septets GSM-7 needs for ``text``, which must hold only its characters."""
    return sum(2 if character in EXTENDED else 1 for character in text)


def gsm(text: str) -> str:
    """Map ``text`` to GSM-7: accents kept or dropped, control and direction characters gone, the rest ``?``."""
    return "".join(_character(character) for character in text)


def account_name(account: str, label: str) -> str:
    """Return the label of the account, or its last four digits."""
    return _plain(label, LONGEST_LABEL) or (f"...{account[-4:]}" if account[-4:].isdigit() else "unknown")


def _headline(sign_in: SignIn | Unreadable, label: str) -> str:
    return f"AWS SIGN-IN ALERT account {account_name(sign_in.account, label)}"


def _facts(sign_in: SignIn | Unreadable) -> list[str]:
    if isinstance(sign_in, Unreadable):
        name = _plain(sign_in.event_name, 30) or "unnamed event"
        return [f"A sign-in record that could not be read ({name}): {sign_in.why}.", f"Who: {_quoted(sign_in.who)}"]
    failed = " FAILED" if sign_in.outcome == "failure" else ""
    return [
        f"{sign_in.what}{failed}".capitalize()
        if not sign_in.what.startswith("Identity")
        else f"{sign_in.what}{failed}",
        f"Who: {'root user' if sign_in.identity == 'root' else _quoted(sign_in.who)}",
        f"From: {_source(sign_in.source)}",
        MFA[sign_in.mfa],
    ]


def _when(sign_in: SignIn | Unreadable, delay: int | None) -> list[str]:
    at = f"{_plain(sign_in.time, 20).replace('T', ' ').replace('Z', ' UTC') or 'time unknown'}"
    region = _plain(sign_in.region, LONGEST_REGION)
    late = f", {delay // 60} min ago" if delay is not None and delay > LATE else ""
    return [f"{region} {at}{late}".strip()]


def _subject(sign_in: SignIn | Unreadable, label: str) -> str:
    what = "unreadable record" if isinstance(sign_in, Unreadable) else sign_in.what
    return f"AWS sign-in alert, account {account_name(sign_in.account, label)}: {what}".encode(
        "ascii", "replace"
    ).decode()[:100]


def _body(sign_in: SignIn | Unreadable, verdict: Verdict, lines: list[str]) -> str:
    return "\n".join(
        [
            *lines,
            "",
            f"Why: {'; '.join(gsm(reason) for reason in verdict.reasons)}",
            f"CloudTrail event: {_plain(sign_in.event_id, 64) or 'without an id'}",
            f"Account: {_plain(sign_in.account, 12) or 'unknown'}",
            "",
            "If this was you or somebody you know, add the address to the recognised networks.",
            "If not: change the password, end the sessions, and look the event up in CloudTrail.",
        ]
    )


def _source(source: str) -> str:
    """An address as it is; anything else is a stranger's text."""
    shown = _plain(source, LONGEST_SOURCE)
    return shown if set(shown) <= set("0123456789abcdefABCDEF.:") else _quoted(source)


def _quoted(value: str) -> str:
    return f'"{_unclickable(_plain(value, LONGEST_NAME))}"'


def _unclickable(value: str) -> str:
    """A phone makes links of dots, schemes and long numbers; a space behind each mark keeps it from doing so."""
    return value.replace("://", ": / / ").replace(".", ". ").replace("@", " at ").replace("+", "+ ")


def _plain(value: str, most: int) -> str:
    cleaned = " ".join(gsm(value).replace('"', "'").split())
    return cleaned if len(cleaned) <= most else cleaned[: most - 3] + "..."


def _character(character: str) -> str:
    character = REPLACED.get(character, character)
    if len(character) > 1 or (character in BASIC and character not in "\r\n"):
        return character
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return " " if character in "\r\n" else ""
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base in BASIC and base not in "\r\n" else "?"


def _fit(text: str) -> str:
    while septets(text) > MOST_SEPTETS:
        text = text[:-4] + "..." if text.endswith("...") else text[:-3] + "..."
    return text
