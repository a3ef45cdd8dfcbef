"""An allowance: an extra recognised network, often for a limited time or for one person or role.

The `invoke networks.*` tasks write allowances as Systems Manager parameters; the function reads
them. Both use this module. Each parameter's value is one JSON object.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from signwatch.detection import networks
from signwatch.detection.record import digest, parse_time
from signwatch.gsm7 import sanitise_name, to_gsm7

PARAMETER_FOLDER = "networks"  # parameters are named /<prefix>/networks/<name>
KEYS = frozenset({"cidr", "label", "who", "expires"})  # required; "wide" is optional
TEXT_MAX_CHARS = 128  # of a label, a person or a role


class Allowance(NamedTuple):
    """One allowance."""

    cidr: str  # the network, as an address or a CIDR range
    label: str  # the owner's note, shown in the log
    who: str  # the name of the one person or role; empty if it is for everybody
    expires: int | None  # in seconds since 1970; None if it never expires
    wide: bool  # a range wider than usually permitted was explicitly accepted
    parsed_cidr: networks.Networks  # ``cidr`` in the form that is searched

    @property
    def name(self) -> str:
        """The last part of the parameter's name, made from range and person alone.

        It is a digest, because Systems Manager does not allow a colon or a slash there
        ("PutParameter", Name).
        """
        return digest(json.dumps([self.cidr, self.who.casefold()]), 16)

    def is_current(self, now: float) -> bool:
        """Return whether it has not expired; in the second of its expiry it has."""
        return self.expires is None or now < self.expires

    def is_for(self, *names: str) -> bool:
        """Return whether it is for everybody, or for one of these people and roles.

        Case is ignored. A name may be written as it is recorded or as a text message shows it.
        """
        if not self.who:
            return True
        own_forms = _comparable_forms(self.who)
        return any(own_forms & _comparable_forms(name) for name in names if name)


def make(
    cidr: str, label: str, who: str = "", expires: int | None = None, *, wide: bool = False
) -> Allowance:
    """Return an allowance. Raises ValueError, with a sentence for people, if a value is unusable.

    ``wide`` permits a range wider than /8 (IPv4) or /19 (IPv6).
    """
    network = networks.parse_network(cidr, wide=wide)
    for name, text in (("label", label), ("person or role", who)):
        if len(text) > TEXT_MAX_CHARS or not text.isprintable() or text != text.strip():
            raise ValueError(
                f"the {name} is not a line of at most {TEXT_MAX_CHARS} printable characters"
            )
        if "{{" in text:  # Systems Manager would insert another parameter there
            raise ValueError(f"the {name} has two opening braces in a row")
    if not label:
        raise ValueError("it has no label")
    return Allowance(str(network), label, who, expires, wide, networks.build_networks([network]))


def encode(allowance: Allowance) -> str:
    """Return the allowance as JSON, the value of its parameter."""
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
    """Parse what ``encode`` wrote. Raises ValueError, with a sentence, for anything else."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() - {"wide"} != KEYS:
        raise ValueError(f"it is not one object with {', '.join(sorted(KEYS))}")
    cidr, label, who, expires = (fields[key] for key in ("cidr", "label", "who", "expires"))
    wide = fields.get("wide", False)
    has_strings = isinstance(cidr, str) and isinstance(label, str)
    has_optional_strings = all(map(_is_none_or_nonempty_string, (who, expires)))
    if not (has_strings and has_optional_strings and isinstance(wide, bool)):
        raise ValueError("one of its values is of the wrong kind")
    seconds = None if expires is None else _parse_expiry(expires)
    return make(cidr, label, who or "", seconds, wide=wide)


def format_time(seconds: int) -> str:
    """Return a time, given in seconds since 1970, in the form 2026-11-24T10:12:31Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_none_or_nonempty_string(value: object) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _parse_expiry(text: str) -> int:
    """Return the time in seconds since 1970. Raises ValueError if it has no time zone."""
    moment = parse_time(text)
    if moment is None:
        raise ValueError("its expires is not a time like 2026-11-24T10:12:31Z")
    return int(moment.timestamp())


def _comparable_forms(name: str) -> set[str]:
    """Return the spellings of a name that count as equal, in lower case.

    These are the name as recorded and as a text message shows it. The latter counts only if no
    character was lost, because otherwise two people could share it.
    """
    shown = sanitise_name(name)
    forms = {name.casefold()}
    if shown and to_gsm7(name) == name and not shown.endswith("..."):
        forms.add(shown.casefold())
    return forms
