"""An allowance: an extra recognised network, often for a limited time or for one person or role.

The `invoke networks.*` tasks write allowances as Systems Manager parameters; the function reads
them. Both use this module. Each parameter's value is one JSON object:
``{"cidr": "198.51.100.0/24", "label": "hotel", "who": null, "expires": "2026-11-24T10:12:31Z"}``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from signwatch.detection import networks
from signwatch.detection.record import digest, parse_time
from signwatch.gsm7 import is_shown_whole, sanitise_name

PARAMETER_FOLDER = "networks"  # parameters are named /<prefix>/networks/<name>
KEYS = frozenset({"cidr", "label", "who", "expires"})  # all are required
# An earlier version wrote this key to permit a range of any width. It has no effect any more: the
# register can be changed without a deploy, so no entry in it may recognise most of the internet.
IGNORED_KEYS = frozenset({"wide"})
TEXT_MAX_CHARS = 128  # of a label, a person or a role


class Allowance(NamedTuple):
    """One allowance. Make it with ``make`` or ``decode``, which check the values."""

    cidr: str  # the network, as an address or a CIDR range
    label: str  # the owner's note, shown in the log
    who: str  # the name of the one person or role; empty if it is for everybody
    expires: int | None  # in seconds since 1970; None if it never expires
    parsed_cidr: networks.Networks  # ``cidr`` in the form that is searched

    @property
    def name(self) -> str:
        """The last part of the parameter's name, made from ``cidr`` and ``who`` alone.

        It is a digest, because the name may contain neither a colon nor a slash (Systems Manager
        API Reference, PutParameter, Name).
        """
        return digest(json.dumps([self.cidr, self.who.casefold()]), length=16)

    def is_current(self, now: float) -> bool:
        """Return whether it has not expired at ``now``, in seconds since 1970."""
        return self.expires is None or now < self.expires

    def is_for(self, *names: str) -> bool:
        """Return whether it is for everybody, or for one of these people and roles.

        Empty names are ignored, and so is case. The owner may have written a name as it is recorded
        or as a text message shows it.
        """
        if not self.who:
            return True
        own_forms = _list_comparable_forms(self.who)
        return any(own_forms & _list_comparable_forms(name) for name in names)


def make(cidr: str, label: str, who: str = "", expires: int | None = None) -> Allowance:
    """Return an allowance. Raises ValueError, with a sentence for people, if a value is unusable.

    The arguments are the fields of Allowance. A range wider than /8 (IPv4) or /19 (IPv6) is
    unusable.
    """
    network = networks.parse_network(cidr)
    _check_text("label", label)
    _check_text("person or role", who)
    if not label:
        raise ValueError("it has no label")
    return Allowance(str(network), label, who, expires, networks.build_networks([network]))


def _check_text(name: str, text: str) -> None:
    """Raise ValueError, with a sentence that has ``name`` in it, if ``text`` cannot be stored."""
    is_one_line = text.isprintable() and text == text.strip()
    if not is_one_line or len(text) > TEXT_MAX_CHARS:
        raise ValueError(
            f"the {name} is not a line of at most {TEXT_MAX_CHARS} printable characters"
        )
    if "{{" in text:  # Systems Manager would insert another parameter there
        raise ValueError(f"the {name} has two opening braces in a row")


def encode(allowance: Allowance) -> str:
    """Return the value of the allowance's parameter: its fields as JSON."""
    expires = None if allowance.expires is None else format_time(allowance.expires)
    fields: dict[str, Any] = {
        "cidr": allowance.cidr,
        "label": allowance.label,
        "who": allowance.who or None,
        "expires": expires,
    }
    return json.dumps(fields)


def decode(text: str) -> Allowance:
    """Parse the JSON that ``encode`` writes.

    Raises ValueError, with a sentence for people, for anything else.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() - IGNORED_KEYS != KEYS:
        raise ValueError(f"it is not one object with {', '.join(sorted(KEYS))}")
    cidr, label, who, expires = (fields[key] for key in ("cidr", "label", "who", "expires"))
    has_required = isinstance(cidr, str) and isinstance(label, str)
    has_optional = _is_optional_string(who) and _is_optional_string(expires)
    if not (has_required and has_optional):
        raise ValueError("one of its values is of the wrong kind")
    seconds = None if expires is None else _parse_expiry(expires)
    return make(cidr, label, who or "", seconds)


def format_time(seconds: int) -> str:
    """Return a time, given in seconds since 1970, in the form 2026-11-24T10:12:31Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_optional_string(value: object) -> bool:
    """Return whether ``value`` is None or a string that is not empty."""
    return value is None or (isinstance(value, str) and value != "")


def _parse_expiry(text: str) -> int:
    """Return a time like "2026-11-24T10:12:31Z" in seconds since 1970, else raise ValueError."""
    moment = parse_time(text)
    if moment is None:
        raise ValueError("its expires is not a time like 2026-11-24T10:12:31Z")
    return int(moment.timestamp())


def _list_comparable_forms(name: str) -> set[str]:
    """Return both forms of a name that an owner may copy into an allowance, in lower case.

    They copy it from CloudTrail, as it is recorded, or from a text message, which changes it; both
    must match: ``"ana@example.com" -> {"ana@example.com", "ana at example. com"}``. A text message
    also replaces characters and cuts long names. Then its form is left out, because the names of
    two people could look the same in it.
    """
    forms = {name.casefold()}
    if is_shown_whole(name):
        forms.add(sanitise_name(name).casefold())
    return forms
