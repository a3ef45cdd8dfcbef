"""The summary that GitHub shows beside a run (GitHub Actions, "Adding a job summary")."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tooling.terminal.untrusted import escape_markdown_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATH_VARIABLE = "GITHUB_STEP_SUMMARY"  # the environment variable with the summary's path


def add_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Add a Markdown table to the summary; does nothing outside GitHub Actions."""
    path = os.environ.get(PATH_VARIABLE)
    if not path:
        return
    rule = ["---"] * len(columns)  # the line below the columns' names
    lines = [f"### {title}", "", *map(_format_row, (columns, rule, *rows)), "", ""]
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))


def _format_row(cells: Iterable[str]) -> str:
    """Return the cells as one line of a Markdown table: "| a | b |"."""
    return f"| {' | '.join(map(escape_markdown_cell, cells))} |"
