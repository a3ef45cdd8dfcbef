"""Draws the texts of a demo as a phone's screen: the picture in the README, an SVG file.

Only the texts are in it, each line as it was sent; a line that is too long for the screen is
wrapped. No script, no font and no image is loaded from elsewhere.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEXTS = 2  # more would make the picture taller than the page
LINE_CHARS = 44  # on one line of the screen
WIDTH, MARGIN, LINE_HEIGHT, PADDING, GAP = 420, 24, 18, 12, 14  # in pixels
TITLE_HEIGHT = 44
STYLE = (
    ".phone{fill:#111}.screen{fill:#f6f7f9}.bubble{fill:#e3e6ea}"
    "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#111}"
    ".title{font-weight:bold;text-anchor:middle}"
)


def wrap(text: str) -> list[str]:
    """Return the lines of a text as the screen shows them."""
    return [part for line in text.splitlines() for part in textwrap.wrap(line, LINE_CHARS)]


def draw(texts: Sequence[str]) -> str:
    """Return an SVG with one bubble for each of the first MAX_TEXTS texts."""
    bubbles, top = [], MARGIN + TITLE_HEIGHT
    for text in texts[:MAX_TEXTS]:
        lines = wrap(text)
        height = len(lines) * LINE_HEIGHT + 2 * PADDING
        bubbles.append(_draw_bubble(lines, top, height))
        top += height + GAP
    height = top + MARGIN
    middle = WIDTH // 2
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                f'width="{WIDTH}" height="{height}" role="img">'
            ),
            "<title>Texts of Signwatch on a phone</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="phone" width="{WIDTH}" height="{height}" rx="36"/>',
            (
                f'<rect class="screen" x="10" y="10" width="{WIDTH - 20}" height="{height - 20}" '
                'rx="28"/>'
            ),
            f'<text class="title" x="{middle}" y="{MARGIN + 18}">Signwatch</text>',
            *bubbles,
            "</svg>",
            "",
        ]
    )


def _draw_bubble(lines: Sequence[str], top: int, height: int) -> str:
    """Return one text in its bubble; ``top`` and ``height`` are in pixels."""
    left = MARGIN
    parts = [
        (
            f'<rect class="bubble" x="{left}" y="{top}" width="{WIDTH - 2 * MARGIN}" '
            f'height="{height}" rx="16"/>'
        )
    ]
    for number, line in enumerate(lines, 1):
        baseline = top + PADDING + number * LINE_HEIGHT - 5
        parts.append(f'<text x="{left + PADDING}" y="{baseline}">{escape(line)}</text>')
    return "\n".join(parts)
