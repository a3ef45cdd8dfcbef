"""The repository as its own tests see it: its files, and what is on its pages."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@functools.cache
def files() -> tuple[Path, ...]:
    """Return every file that git tracks or ``git add`` would, relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in output.split("\0") if name}
    return tuple(sorted(Path(name) for name in names if (ROOT / name).is_file()))


def is_ignored(path: str) -> bool:
    command = ["git", "check-ignore", "-q", path]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def pages() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a page that are marked with ``language``."""
    return [body for mark, body in FENCE.findall(text) if mark == language]


def section(text: str, heading: str) -> str:
    """Return the text below ``heading`` until the next heading of any level."""
    pattern = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)"
    match = re.search(pattern, FENCE.sub("", text), re.MULTILINE | re.DOTALL)
    assert match, f"no heading {heading!r}"
    return match[1]


def table(text: str, heading: str) -> list[list[str]]:
    """Return the body rows of the tables below ``heading``, as lists of cells."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines]
    rules = [
        index for index, row in enumerate(rows) if all(set(cell) <= set("-: |") for cell in row)
    ]
    assert rules, f"no table below {heading!r}"
    headers = [index - 1 for index in rules]
    return [row for index, row in enumerate(rows) if index not in rules + headers]
