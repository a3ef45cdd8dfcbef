"""Makes untrusted text safe to show in a text message: GSM-7, not clickable, of limited length.

A record holds text that strangers chose: names, user agents, error messages. It is mapped to GSM-7,
the 7-bit alphabet of text messages. Control and direction characters are removed, links and phone
numbers are made unclickable, and the result is truncated. The length of a text message is counted
in septets (units of 7 bits). Alphabet: GSM 03.38 (3GPP TS 23.038).
"""

from __future__ import annotations

import re

NAME_MAX_SEPTETS = 36  # for the name of a person or a role
# Untrusted text is cut to this before any other work. No name in AWS is longer than 128 characters.
UNTRUSTED_TEXT_MAX_CHARS = 256
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
# Unicode categories of characters that are not visible by themselves: controls, formats, marks, ...
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Mc", "Me"})
CLICKABLE_CHARACTERS = {".": ". ", "@": " at ", ":": ": "}  # in hosts, e-mail addresses, URLs
PHONE_NUMBER = re.compile(r"\d(?:[ ()./-]*\d){6,}")  # a phone turns 7 digits or more into a link


def count_septets(text: str) -> int:
    """Return how many septets ``text`` takes. An extension character takes two.

    ``text`` must contain only GSM-7 characters.
    """
    return len(text) + sum(map(text.count, EXTENSION_CHARACTERS))


def to_gsm7(text: str) -> str:
    """Return ``text`` as one line of GSM-7: ``"Zoë Łuka" -> "Zoe ?uka"``.

    A letter with an accent that GSM-7 lacks loses the accent. An invisible character is dropped.
    Any other character that GSM-7 lacks becomes ``?``.
    """
    if not text.isascii():
        # Imported here and in _map_character because it takes time; ASCII text does not need it.
        import unicodedata

        text = unicodedata.normalize("NFC", text)  # a letter and its accent become one character
    if not BASIC_CHARACTERS.issuperset(text):  # rarely, and mapping takes longer than the check
        text = "".join(map(_map_character, text))
    return " ".join(text.split())


def _map_character(character: str) -> str:
    """Return what stands for a character in GSM-7: one character, three dots, or nothing."""
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
    base = unicodedata.normalize("NFKD", character)[:1]  # a letter without its accent
    return base if base in BASIC_CHARACTERS else "?"


def sanitise_name(name: str) -> str:
    """Return the name of a person or a role in the form that a text message shows."""
    return sanitise(name, NAME_MAX_SEPTETS)


def sanitise(text: str, max_septets: int) -> str:
    """Return untrusted text in GSM-7, in at most ``max_septets``.

    Double quotes become apostrophes, because the message shows untrusted text between double
    quotes. Links and phone numbers are made unclickable.
    """
    text = to_gsm7(text[:UNTRUSTED_TEXT_MAX_CHARS]).replace('"', "'")
    return truncate(_make_unclickable(text), max_septets)


def quote(text: str, max_septets: int) -> str:
    """Return the sanitised text in quotation marks, which are not counted in ``max_septets``."""
    return f'"{sanitise(text, max_septets)}"'


def truncate(text: str, max_septets: int) -> str:
    """Return GSM-7 text; if it takes more than ``max_septets``, cut it and append three dots.

    The three dots are counted in ``max_septets``.
    """
    # A character takes at least one septet, so a longer text does not fit in any case. Cut first,
    # because the loop takes quadratic time.
    shortened = text[: max_septets + 1]
    if shortened == text and count_septets(text) <= max_septets:
        return text
    while count_septets(shortened) > max_septets - len("..."):
        shortened = shortened[:-1]
    return shortened + "..."


def _make_unclickable(text: str) -> str:
    """Break up links and phone numbers so that a phone does not make them clickable.

    ``"a@example.com" -> "a at example. com"``. Runs of whitespace become one space.
    """
    text = PHONE_NUMBER.sub(_split_phone_number, text)
    for character, replacement in CLICKABLE_CHARACTERS.items():
        text = text.replace(character, replacement)
    return " ".join(text.split())


def _split_phone_number(match: re.Match[str]) -> str:
    """Return the digits of a phone number in groups: ``"1 555 0123456" -> "1_555_0123_456"``."""
    return "_".join(re.findall(r"\d{1,4}", match[0]))
