"""GSM-7: makes text that strangers wrote safe to show in a text message, and counts what it needs.

A record holds text that strangers chose: names, user agents, error messages. Here it is mapped to GSM-7, cleaned of
control and direction characters, made unclickable, and cut to a number of septets. Alphabet: GSM 03.38 (3GPP TS 23.038).
"""

from __future__ import annotations

import re
import unicodedata

NAME_SEPTETS = 36  # of a person or a role
RECORDED_TEXT_MAX_CHARS = (
    256  # of a recorded text that are looked at; no name in AWS is longer than 128
)
BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("^{}\\[~]|€")
REPLACED = {"’": "'", "‘": "'", "`": "'", "“": "'", "”": "'", "–": "-", "—": "-", "…": "..."}  # noqa: RUF001 - the point
DROPPED = (
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Cn",
    "Mn",
    "Mc",
    "Me",
)  # Unicode categories that show nothing of their own
CLICKABLE = {
    ".": ". ",
    "@": " at ",
    ":": ": ",
}  # a phone makes links of hosts, addresses and schemes
DIALLABLE = re.compile(r"\d(?:[ ()./-]*\d){6,}")  # and of seven digits or more


def septets(text: str) -> int:
    """Return how many septets GSM-7 needs for ``text``, which must hold only its characters."""
    return sum(2 if character in EXTENDED else 1 for character in text)


def to_gsm7(text: str) -> str:
    """Map ``text`` to one line of GSM-7: accents kept or dropped, what shows nothing dropped, the rest ``?``."""
    return " ".join(
        "".join(_character(character) for character in unicodedata.normalize("NFC", text)).split()
    )


def safe_name(name: str) -> str:
    """Return the name of a person or a role as the text shows it, between the quotation marks."""
    return safe(name, NAME_SEPTETS)


def safe(value: str, most: int) -> str:
    """What a stranger may have written, in at most ``most`` septets and with nothing in it to tap on."""
    return cut(_unclickable(to_gsm7(value[:RECORDED_TEXT_MAX_CHARS]).replace('"', "'")), most)


def quoted(value: str, most: int) -> str:
    """Return ``safe`` between quotation marks."""
    return f'"{safe(value, most)}"'


def cut(text: str, most: int) -> str:
    """Cut ``text`` to ``most`` septets, with three dots where something is missing."""
    text, rest = (
        text[: most + 1],
        text[most + 1 :],
    )  # a name may be long, and this takes time by the square of it
    if not rest and septets(text) <= most:
        return text
    while septets(text) > most - 3:
        text = text[:-1]
    return text + "..."


def _unclickable(value: str) -> str:
    value = DIALLABLE.sub(_undiallable, value)
    for mark, harmless in CLICKABLE.items():
        value = value.replace(mark, harmless)
    return " ".join(value.split())


def _undiallable(found: re.Match[str]) -> str:
    groups = re.findall(r"\d{1,4}", found[0])
    return "_".join(groups)


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
