"""An allowance: a recognised network for a time, for a person or a role, or for both, kept as one object of JSON.

The tasks write with this code and the function reads with it, so what is written is what is understood.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

from signwatch.detection import networks
from signwatch.detection.record import digest, parse_time
from signwatch.gsm7 import safe_name, to_gsm7

PARAMETER_FOLDER = "networks"  # allowances are kept below /<prefix>/networks/
KEYS = frozenset({"cidr", "label", "who", "expires"})
LONGEST = 128  # characters of a label, a person or a role


class Allowance(NamedTuple):
    """One allowance; ``who`` is empty where it is for everybody, ``expires`` None where it never does.

    ``expires`` counts in seconds since 1970. ``wide`` says that somebody insisted on a range that is too wide.
    """

    cidr: str
    label: str
    who: str
    expires: int | None
    wide: bool
    found: networks.Networks

    @property
    def name(self) -> str:
        """The last part of its name: the same range for the same person is the same allowance.

        A hash, since Systems Manager takes no colon and no slash there ("PutParameter", Name).
        """
        return digest(json.dumps([self.cidr, self.who.casefold()]), 16)

    def is_current(self, now: float) -> bool:
        """Say whether it still counts; at the second of its expiry it does not."""
        return self.expires is None or now < self.expires

    def is_for(self, *names: str) -> bool:
        """Say whether it is for everybody, or for one of these people and roles.

        A whole name in whatever case, as it is recorded or as the text shows it.
        """
        return not self.who or any(
            not _forms(self.who).isdisjoint(_forms(name)) for name in names if name
        )


def make(
    cidr: str, label: str, who: str = "", expires: int | None = None, *, wide: bool = False
) -> Allowance:
    """Make an allowance; raises ValueError with a sentence for one that could match nothing, or too much.

    ``wide`` allows a range wider than /8 (IPv4) or /19 (IPv6).
    """
    network = networks.parse_network(cidr, wide=wide)
    for name, text in (("label", label), ("person or role", who)):
        if len(text) > LONGEST or not text.isprintable() or text != text.strip():
            raise ValueError(f"the {name} is no line of at most {LONGEST} printable characters")
        if "{{" in text:  # Systems Manager takes it for the name of another parameter
            raise ValueError(f"the {name} has two opening braces in a row")
    if not label:
        raise ValueError("it has no label")
    return Allowance(str(network), label, who, expires, wide, networks.index([network]))


def encode(one: Allowance) -> str:
    """Return the JSON as which an allowance is kept."""
    expires = None if one.expires is None else format_time(one.expires)
    kept = {"cidr": one.cidr, "label": one.label, "who": one.who or None, "expires": expires}
    return json.dumps(kept | ({"wide": True} if one.wide else {}))


def decode(text: str) -> Allowance:
    """Read what ``encode`` wrote; raises ValueError with a sentence for everything else."""
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(kept, dict) or set(kept) - {"wide"} != KEYS:
        raise ValueError(f"it is not one object with {', '.join(sorted(KEYS))}")
    who, expires = ("" if kept[key] is None else kept[key] or None for key in ("who", "expires"))
    texts, wide = (kept["cidr"], kept["label"], who, expires), kept.get("wide", False)
    if not all(isinstance(text, str) for text in texts) or not isinstance(wide, bool):
        raise ValueError("one of its values is of the wrong kind")
    return make(
        kept["cidr"],
        kept["label"],
        str(who),
        _seconds(str(expires)) if expires else None,
        wide=wide,
    )


def format_time(seconds: int) -> str:
    """Return a moment, in seconds since 1970, as it stands in an allowance: 2026-11-24T10:12:31Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _forms(name: str) -> set[str]:
    """Return a name and what the text shows for it; the latter only where no character is lost, replaced or cut."""
    told = safe_name(name)
    is_whole = to_gsm7(name) == name and not told.endswith("...")
    return {name.casefold()} | ({told.casefold()} if told and is_whole else set())


def _seconds(expires: str) -> int:
    """Read what ``written`` wrote; a moment without a zone would end at another time in another place."""
    at = parse_time(expires)
    if at is None:
        raise ValueError("its expires is not a moment like 2026-11-24T10:12:31Z")
    return int(at.timestamp())
