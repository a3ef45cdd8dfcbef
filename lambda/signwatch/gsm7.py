"""Makes untrusted text safe to show: in a text message, and names in an e-mail too.

A record holds text that strangers chose: names, user agents, error messages. For a text message, it
is mapped to GSM-7, the 7-bit alphabet of text messages. Control and direction characters are
removed, links and phone numbers are made unclickable, and the result is truncated. The length of a
text message is counted in septets (units of 7 bits). Alphabet: GSM 03.38 (3GPP TS 23.038).

Greek and Cyrillic letters are transliterated: written in Latin letters, much as by ISO 843 and ISO
9, without their marks. A name that is not shown exactly ends with a checksum, so that two names
never look alike.
"""

from __future__ import annotations

import functools
import re

NAME_MAX_SEPTETS = 36  # for the name of a person or a role
# Untrusted text is cut to this before any other work. No name in AWS is longer than 128 characters.
UNTRUSTED_TEXT_MAX_CHARS = 256
BASIC_CHARACTERS = frozenset(  # one septet each
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Greek letters become Latin ones, as GSM-7 has only ten of the capitals.
GREEK_CAPITALS = frozenset("ΔΦΓΛΩΠΨΣΘΞ")
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
CACHED_TEXTS = 256  # whose safe form is remembered; most records of a log hold the same few
CHECKSUM_LENGTH = 6  # hexadecimal digits
CHECKSUM_SEPTETS = 1 + CHECKSUM_LENGTH  # with its "#"
NAMELESS = "name"  # stands for a name without a letter or digit that can be shown
# The Latin forms of the small letters from alpha and from the Cyrillic a on, in Unicode's order
GREEK_IN_LATIN = "a v g d e z i th i k l m n x o p r s s t y f ch ps o"
CYRILLIC_IN_LATIN = "a b v g d e zh z i j k l m n o p r s t u f h c ch sh shh ' y ' e yu ya"
OTHER_LETTERS = (  # Cyrillic of other languages than Russian, then Latin
    "\u0451\u0452\u0454\u0455\u0456\u0457\u0458\u0459\u045a\u045b\u045e\u045f\u0491"
    "\u0111\u00f0\u00fe\u0142\u0153\u0131\u0127"
)
OTHER_LETTERS_IN_LATIN = "yo dj ye dz i yi j lj nj c u dz g d d th l oe i h"
TRANSLITERATIONS = {
    **{chr(0x3B1 + index): latin for index, latin in enumerate(GREEK_IN_LATIN.split())},
    **{chr(0x430 + index): latin for index, latin in enumerate(CYRILLIC_IN_LATIN.split())},
    **dict(zip(OTHER_LETTERS, OTHER_LETTERS_IN_LATIN.split(), strict=True)),
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
    """Return ``text`` as one line of GSM-7: ``"Zoë Łuka" -> "Zoe Luka"``.

    A letter with an accent that GSM-7 lacks loses the accent. An invisible character is dropped.
    A Greek or Cyrillic letter becomes a Latin one. Any other character that GSM-7 lacks becomes
    ``?``.
    """
    if not text.isascii():
        # Imported here and in _map_character because it takes time; ASCII text does not need it.
        import unicodedata

        text = unicodedata.normalize("NFC", text)  # a letter and its accent become one character
    if not BASIC_CHARACTERS.issuperset(text):  # rarely, and mapping takes longer than the check
        text = "".join(map(_map_character, text))
    return " ".join(text.split())


def _map_character(character: str) -> str:
    """Return what stands for a character in GSM-7: a few characters, or nothing."""
    is_basic = character in BASIC_CHARACTERS and character not in GREEK_CAPITALS
    if is_basic or character in EXTENSION_CHARACTERS:
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
    return _transliterate(character) or _transliterate(base) or "?"


def _transliterate(character: str) -> str:
    """Return a letter in the Latin letters of GSM-7: ``"Ж" -> "Zh"``; empty if it has no such form.

    A character that GSM-7 has is returned as it is.
    """
    if character in BASIC_CHARACTERS and character not in GREEK_CAPITALS:
        return character
    latin = TRANSLITERATIONS.get(character.lower(), "")
    return latin.capitalize() if character.isupper() else latin


@functools.lru_cache(CACHED_TEXTS)
def sanitise_name(name: str, max_septets: int = NAME_MAX_SEPTETS) -> str:
    """Return the name of a person or a role in the form that a text message shows.

    Two names never look alike: one that is changed or cut ends with the checksum of the whole name,
    as in ``"Eleni #8d5280"``. Where there is no room for more, the checksum stands alone, cut if it
    is too long.
    """
    if is_shown_whole(name, max_septets):
        return sanitise(name, max_septets)
    checksum = f"#{_compute_checksum(name)}"
    room = max_septets - len(f" {checksum}")
    if room < len(NAMELESS):
        return checksum[:max_septets]
    shown = sanitise(name, room) if can_show(name) else NAMELESS
    return f"{shown} {checksum}"


def is_shown_whole(name: str, max_septets: int = NAME_MAX_SEPTETS) -> bool:
    """Return whether a text message shows every character of a name.

    A link or phone number that is made unclickable counts as shown, unless another name could look
    the same.
    """
    if to_gsm7(name[:UNTRUSTED_TEXT_MAX_CHARS]) != name or _is_ambiguous(name):
        return False
    return count_septets(_make_unclickable(name)) <= max_septets


def _is_ambiguous(name: str) -> bool:
    """Return whether another name may be shown in the same way, such as "a at b" and "a@b"."""
    if '"' in name or "#" in name:  # the first is shown as an apostrophe; checksums have the other
        return True
    has_clickable_character = any(character in name for character in CLICKABLE_CHARACTERS)
    if " " in name and (" at " in name or has_clickable_character):  # each replacement has a space
        return True
    if re.search(r"\d_\d", name):  # a phone number is shown in groups like this
        return True
    phone_numbers = [match[0] for match in PHONE_NUMBER.finditer(name)]
    return not all(map(str.isdigit, phone_numbers))  # separators between its digits are not shown


@functools.lru_cache(CACHED_TEXTS)
def can_show(name: str) -> bool:
    """Return whether a text message shows a letter or digit of a name, or any of an ASCII name."""
    shown = to_gsm7(name[:UNTRUSTED_TEXT_MAX_CHARS])
    return any(map(str.isalnum, shown)) or (shown != "" and name.isascii())


def is_symbol(name: str) -> bool:
    """Return whether a name without a letter or digit shows something, such as an emoji.

    Invisible characters show nothing; nor does ASCII punctuation, which stands for no name.
    """
    return not name.isascii() and to_gsm7(name[:UNTRUSTED_TEXT_MAX_CHARS]) != ""


def _compute_checksum(name: str) -> str:
    """Return the first digits of the name's SHA-256 digest."""
    import hashlib  # here because it takes time, and few names need it

    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return digest[:CHECKSUM_LENGTH]


def escape_name(name: str) -> str:
    r"""Return a name for an e-mail: in its own script, on one line, not clickable.

    Letters, their marks and digits of every script stay, and emoji. Any other character outside
    ASCII, such as one that is invisible or changes the direction, becomes its code: ``"\u202e"``.
    """
    escaped = "".join(map(_escape_character, name[:UNTRUSTED_TEXT_MAX_CHARS]))
    if len(name) > UNTRUSTED_TEXT_MAX_CHARS:
        escaped += "..."
    return _make_unclickable(escaped.replace('"', "'"))


def _escape_character(character: str) -> str:
    """Return a character if it is harmless in one line of Unicode, else its code."""
    if character == "\\":
        return "\\\\"  # so that a name cannot hold a code itself
    if character.isascii() and character.isprintable():
        return character
    if character in REPLACEMENTS:
        return REPLACEMENTS[character]
    import unicodedata

    category = unicodedata.category(character)
    if category[0] in "LMN" or category == "So":  # letter, mark, number, or such as an emoji
        return character
    return f"\\u{ord(character):04x}"


@functools.lru_cache(CACHED_TEXTS)
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
    if count_septets(text) <= max_septets:
        return text
    # A character takes at least one septet. Cut first, because the loop takes quadratic time.
    shortened = text[:max_septets]
    while count_septets(shortened) > max_septets - len("..."):
        shortened = shortened[:-1]
    return shortened + "..."


def _make_unclickable(text: str) -> str:
    """Break up links and phone numbers so that a phone does not make them clickable.

    ``"a@example.com" -> "a at example. com"``. Runs of whitespace become one space.
    """
    text = PHONE_NUMBER.sub(_group_digits, text)
    for character, replacement in CLICKABLE_CHARACTERS.items():
        text = text.replace(character, replacement)
    return " ".join(text.split())


def _group_digits(match: re.Match[str]) -> str:
    """Return the digits of a phone number in groups: ``"1 555 0123456" -> "1_555_0123_456"``."""
    return "_".join(re.findall(r"\d{1,4}", match[0]))
