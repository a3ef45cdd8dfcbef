"""The line that says what goes on now, for whatever takes over two seconds.

It is announced like any other line, so the rooms that announce it need no terminal.
"""

from __future__ import annotations

from typing import Self


class Ongoing(str):
    """A line about work that goes on until the next line is announced: "terraform plan ...".

    A screen shows the seconds with it (tooling/terminal/live_line.py). To say how far the work is,
    announce it again with the same subject and another detail: "terraform apply: 12 resources ...".
    One that is not kept fills the pause between two lines, and leaves no trace on a terminal.
    """

    subject: str
    detail: str
    is_kept: bool

    def __new__(cls, subject: str, detail: str = "", *, is_kept: bool = True) -> Self:
        """Return the line; ``detail`` says how far the work is, and may be empty."""
        line = super().__new__(cls, f"{subject}: {detail} ..." if detail else f"{subject} ...")
        line.subject, line.detail, line.is_kept = subject, detail, is_kept
        return line
