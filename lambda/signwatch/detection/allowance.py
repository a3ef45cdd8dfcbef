"""An allowance: a network that is recognised for a time, for a person or a role, or for both.

The tasks write allowances with this code and the function reads them with it. Each is kept as one
JSON object.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from signwatch.detection import networks
from signwatch.detection.record import digest, parse_time
from signwatch.gsm7 import sanitise_name, to_gsm7

PARAMETER_FOLDER = "networks"  # allowances are kept below /<prefix>/networks/
KEYS = frozenset({"cidr", "label", "who", "expires"})  # and "wide", if it is true
TEXT_MAX_CHARS = 128  # of a label, a person or a role


class Allowance(NamedTuple):
    """One allowance. ``who`` is empty if it is for everybody, ``expires`` None if it never does.

    ``expires`` is in seconds since 1970. ``wide`` says that a range that is too wide was insisted
    on. ``ranges`` holds the one network in the form in which an address is looked up.
    """

    cidr: str
    label: str
    who: str
    expires: int | None
    wide: bool
    ranges: networks.Networks

    @property
    def name(self) -> str:
        """The last part of the parameter's name; the same for the same range and person.

        A digest, because Systems Manager allows no colon and no slash there ("PutParameter", Name).
        """
        return digest(json.dumps([self.cidr, self.who.casefold()]), 16)

    def is_current(self, now: float) -> bool:
        """Return whether it still counts; at the second of its expiry it does not."""
        return self.expires is None or now < self.expires

    def is_for(self, *names: str) -> bool:
        """Return whether it is for everybody, or for one of these people and roles.

        A whole name matches in any case of letters, as it is recorded or as a text shows it.
        """
        if not self.who:
            return True
        forms = _forms(self.who)
        return any(not forms.isdisjoint(_forms(name)) for name in names if name)


def make(
    cidr: str, label: str, who: str = "", expires: int | None = None, *, wide: bool = False
) -> Allowance:
    """Make an allowance. Raises ValueError with a sentence if it would match nothing or too much.

    ``wide`` allows a range wider than /8 (IPv4) or /19 (IPv6).
    """
    network = networks.parse_network(cidr, wide=wide)
    for name, text in (("label", label), ("person or role", who)):
        if len(text) > TEXT_MAX_CHARS or not text.isprintable() or text != text.strip():
            raise ValueError(
                f"the {name} is not a line of at most {TEXT_MAX_CHARS} printable characters"
            )
        if "{{" in text:  # Systems Manager takes it for the name of another parameter
            raise ValueError(f"the {name} has two opening braces in a row")
    if not label:
        raise ValueError("it has no label")
    return Allowance(str(network), label, who, expires, wide, networks.index([network]))


def encode(allowance: Allowance) -> str:
    """Return the JSON in which an allowance is kept."""
    fields: dict[str, Any] = {
        "cidr": allowance.cidr,
        "label": allowance.label,
        "who": allowance.who or None,
        "expires": None if allowance.expires is None else format_time(allowance.expires),
    }
    if allowance.wide:
        fields["wide"] = True
    return json.dumps(fields)


def decode(text: str) -> Allowance:
    """Read what ``encode`` wrote. Raises ValueError with a sentence for anything else."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() - {"wide"} != KEYS:
        raise ValueError(f"it is not one object with {', '.join(sorted(KEYS))}")
    cidr, label, who, expires = (fields[key] for key in ("cidr", "label", "who", "expires"))
    wide = fields.get("wide", False)
    has_texts = isinstance(cidr, str) and isinstance(label, str)
    if (
        not has_texts
        or not isinstance(wide, bool)
        or not all(map(_is_none_or_text, (who, expires)))
    ):
        raise ValueError("one of its values is of the wrong kind")
    seconds = None if expires is None else _parse_expiry(expires)
    return make(cidr, label, who or "", seconds, wide=wide)


def format_time(seconds: int) -> str:
    """Return a moment, in seconds since 1970, as an allowance holds it: 2026-11-24T10:12:31Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_none_or_text(value: object) -> bool:
    """Return whether a value may stand for a person or an expiry; an empty text may not."""
    return value is None or (isinstance(value, str) and value != "")


def _parse_expiry(text: str) -> int:
    """Read a moment. One without a time zone would be another one elsewhere."""
    moment = parse_time(text)
    if moment is None:
        raise ValueError("its expires is not a moment like 2026-11-24T10:12:31Z")
    return int(moment.timestamp())


def _forms(name: str) -> set[str]:
    """Return a name in lower case, and also as a text shows it if that shows it whole."""
    shown = sanitise_name(name)
    is_whole = shown and to_gsm7(name) == name and not shown.endswith("...")
    return {name.casefold(), shown.casefold()} if is_whole else {name.casefold()}
