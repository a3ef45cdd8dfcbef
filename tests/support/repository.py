"""The repository as its own tests see it: the files that git knows or would take, and the pages among them."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked or would be by ``git add``, relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return tuple(sorted(Path(name) for name in set(listed) if name and (ROOT / name).is_file()))


def is_ignored(path: str) -> bool:
    return (
        subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
    )


def pages() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page that are marked with ``language``."""
    return [body for marked, body in FENCE.findall(text) if marked == language]


def section(text: str, heading: str) -> str:
    """What stands below ``heading`` until the next heading of any level."""
    found = re.search(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)",
        FENCE.sub("", text),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"no heading {heading!r}"
    return found[1]


def table(text: str, heading: str) -> list[list[str]]:
    """The body rows of the tables below ``heading``, as lists of cells."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines]
    rules = [
        number for number, row in enumerate(rows) if all(set(cell) <= set("-: |") for cell in row)
    ]
    assert rules, f"no table below {heading!r}"
    return [
        row for number, row in enumerate(rows) if number not in rules and number + 1 not in rules
    ]
