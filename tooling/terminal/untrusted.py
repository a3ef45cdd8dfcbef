"""Makes text from outside this project safe to show on a terminal, in a table, or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN_MAX_CHARS = 80  # of one string on the terminal; JSON output contains the whole string


def escape_unprintable(text: str, max_chars: int = SHOWN_MAX_CHARS) -> str:
    """Return the text with unprintable characters escaped, cut to ``max_chars``.

    These are control, format (bidirectional and zero-width), surrogate, private and unassigned
    characters, and every space except the plain one (Python, str.isprintable).
    """
    escaped = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text[: max_chars + 1]
    )
    return escaped if len(text) <= max_chars else escaped[:max_chars] + "..."


def ascii_json(values: Mapping[str, Any]) -> str:
    """Return one line of JSON in ASCII, with DEL escaped, which json.dumps leaves as it is."""
    return json.dumps(values).replace("\x7f", "\\u007f")


def markdown_cell(text: str) -> str:
    """Return the text with "|" escaped, which separates the columns of a Markdown table."""
    return text.replace("|", "\\|")
