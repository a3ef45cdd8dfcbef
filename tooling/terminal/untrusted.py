"""Makes text from outside this project safe to show on a terminal or in a table."""

from __future__ import annotations

SHOWN_MAX_CHARS = 80  # of one string on the terminal; JSON output contains the whole string


def escape_unprintable(text: str, max_chars: int = SHOWN_MAX_CHARS) -> str:
    """Return the text with unprintable characters escaped, cut to ``max_chars``.

    Unprintable are control, format (bidirectional and zero-width), surrogate, private and
    unassigned characters, and every space except the plain one (Python, str.isprintable). If the
    text is longer than ``max_chars``, "..." follows.
    """
    if len(text) <= max_chars and text.isprintable():  # as almost every text, and faster
        return text
    escaped = "".join(
        character if character.isprintable() else ascii(character).strip("'")
        for character in text[:max_chars]
    )
    return escaped if len(text) <= max_chars else escaped[:max_chars] + "..."


def escape_markdown_cell(text: str) -> str:
    """Return the text with "|" escaped, which would end the cell of a Markdown table."""
    return text.replace("|", "\\|")
