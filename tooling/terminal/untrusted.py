"""Makes text that strangers wrote safe to show on a terminal or to write as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN_TEXT_MAX_CHARS = 80  # of a text on a line for people; JSON holds all of it


def printable(text: str, max_chars: int = SHOWN_TEXT_MAX_CHARS) -> str:
    """Return what a stranger wrote with nothing in it that a terminal obeys, or that shows nothing or turns it round.

    Python counts as printable no control, format (bidirectional and zero-width), surrogate, private or unassigned
    character, and no space but the plain one.
    """
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: max_chars + 1])
    return shown if len(text) <= max_chars else shown[:max_chars] + "..."


def ascii_json(values: Mapping[str, Any]) -> str:
    """Return one line of JSON in ASCII: json escapes every other character, and of these the control ones but DEL."""
    return json.dumps(values).replace("\x7f", "\\u007f")
