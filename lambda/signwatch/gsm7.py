"""Makes untrusted text safe to show in a text message: GSM-7, nothing to tap on, a limited length.

A record holds text that strangers chose: names, user agents, error messages. Here it is mapped to
GSM-7, freed of control and direction characters, made unclickable, and truncated to a number of
septets, the unit in which a text message is counted. Alphabet: GSM 03.38 (3GPP TS 23.038).
"""

from __future__ import annotations

import re

NAME_MAX_SEPTETS = 36  # of a person or a role
# The part of a recorded text that is looked at; no name in AWS is longer than 128 characters.
RECORDED_TEXT_MAX_CHARS = 256
BASIC_CHARACTERS = frozenset(  # one septet each
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION_CHARACTERS = frozenset("^{}\\[~]|€")  # two septets each
REPLACEMENTS = {  # no "\N{...}", since compiling that loads unicodedata
    "`": "'",
    "\u2018": "'",  # single quotation marks
    "\u2019": "'",
    "\u201c": "'",  # double quotation marks
    "\u201d": "'",
    "\u2013": "-",  # dashes
    "\u2014": "-",
    "\u2026": "...",  # ellipsis
}
# Unicode categories of characters that show nothing by themselves: controls, formats, marks, ...
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Mc", "Me"})
CLICKABLE_MARKS = {".": ". ", "@": " at ", ":": ": "}  # in hosts, e-mail addresses and schemes
PHONE_NUMBER = re.compile(r"\d(?:[ ()./-]*\d){6,}")  # a phone makes seven digits or more a link


def count_septets(text: str) -> int:
    """Return how many septets ``text`` takes; it must hold characters of GSM-7 alone."""
    return len(text) + sum(character in EXTENSION_CHARACTERS for character in text)


def to_gsm7(text: str) -> str:
    """Return ``text`` as one line of GSM-7.

    An accent that GSM-7 lacks is dropped, an invisible character too; any other becomes ``?``.
    """
    if not text.isascii():
        # Here and below: the import takes time, and a text of ASCII alone needs nothing of it.
        import unicodedata

        text = unicodedata.normalize("NFC", text)
    return " ".join("".join(map(_map_character, text)).split())


def _map_character(character: str) -> str:
    if character in BASIC_CHARACTERS or character in EXTENSION_CHARACTERS:
        return character
    if character in REPLACEMENTS:
        return REPLACEMENTS[character]
    if character.isspace():
        return " "
    if character.isascii():
        return ""  # a control character
    import unicodedata

    if unicodedata.category(character) in INVISIBLE_CATEGORIES:
        return ""
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base in BASIC_CHARACTERS else "?"


def sanitise_name(name: str) -> str:
    """Return the name of a person or a role as a text message shows it."""
    return sanitise(name, NAME_MAX_SEPTETS)


def sanitise(text: str, max_septets: int) -> str:
    """Return untrusted text as GSM-7 without quotation marks and with nothing to tap on."""
    text = to_gsm7(text[:RECORDED_TEXT_MAX_CHARS]).replace('"', "'")
    return truncate(_make_unclickable(text), max_septets)


def quote(text: str, max_septets: int) -> str:
    """Return the sanitised text between quotation marks, which come on top of ``max_septets``."""
    return f'"{sanitise(text, max_septets)}"'


def truncate(text: str, max_septets: int) -> str:
    """Return ``text`` in at most ``max_septets``, with three dots where something was cut off."""
    # A character takes a septet at least. Cut first: the loop takes time by the length's square.
    shortened = text[: max_septets + 1]
    if shortened == text and count_septets(text) <= max_septets:
        return text
    while count_septets(shortened) > max_septets - len("..."):
        shortened = shortened[:-1]
    return shortened + "..."


def _make_unclickable(text: str) -> str:
    text = PHONE_NUMBER.sub(_split_phone_number, text)
    for mark, harmless in CLICKABLE_MARKS.items():
        text = text.replace(mark, harmless)
    return " ".join(text.split())


def _split_phone_number(match: re.Match[str]) -> str:
    return "_".join(re.findall(r"\d{1,4}", match[0]))
