"""The summary that a pipeline shows beside a run (GitHub Actions, "Adding a job summary"); elsewhere there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "GITHUB_STEP_SUMMARY"  # the environment variable that names it


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Add a table in Markdown to the summary; nothing happens where no pipeline asks for one."""
    if path := os.environ.get(FILE):
        lines = [
            f"### {title}",
            "",
            _line(columns),
            _line(["---"] * len(columns)),
            *map(_line, rows),
            "",
        ]
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
