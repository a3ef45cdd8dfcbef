"""Makes text from outside this project safe to show on a terminal, in a table, or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN_TEXT_MAX_CHARS = 80  # in a line for people; JSON holds the whole text


def printable(text: str, max_chars: int = SHOWN_TEXT_MAX_CHARS) -> str:
    """Return the text with every unprintable character escaped, cut to ``max_chars``.

    Python counts as unprintable: control, format (bidirectional and zero-width), surrogate, private
    and unassigned characters, and every space but the plain one.
    """
    escaped = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text[: max_chars + 1]
    )
    return escaped if len(text) <= max_chars else escaped[:max_chars] + "..."


def ascii_json(values: Mapping[str, Any]) -> str:
    """Return one line of JSON in ASCII. json escapes all other control characters, but not DEL."""
    return json.dumps(values).replace("\x7f", "\\u007f")


def markdown_cell(text: str) -> str:
    """Return the text with the column mark of Markdown tables escaped."""
    return text.replace("|", "\\|")
