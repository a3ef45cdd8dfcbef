"""pytest, run the way the words ask for: which parts, and with which environments."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tooling.environment import ensure
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

MARKS = {
    "unit": "not (joint or terraform or local or end_to_end or scan)",
    "end_to_end": "local or end_to_end",
    "terraform": "terraform",
}
# A file's tests stay in one process, which bootstraps once for all of them; the order of the files is kept, for the
# long ones come early.
PROCESSES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
COVERAGE = (
    "--cov",
    "--cov-config",
    "pyproject.toml",
    "--cov-report",
    "",
)  # of a run of everything alone
# Where unit tests lie, and what lies there and is none: to collect the others would take longer than to run these.
UNIT = (
    "tests/lambda",
    "tests/tooling",
    "tests/local/test_demo.py",
    "tests/local/test_rehearsal.py",
)
NO_UNIT = (
    "tests/lambda/test_fuzzing.py",
    "tests/tooling/test_command_line.py",
    "tests/tooling/deploy/test_package.py",
    "tests/tooling/test_tasks.py",
)


def mark_expression(parts: Iterable[str]) -> str:
    """Return pytest's mark expression for these parts; empty for all of them."""
    return " or ".join(f"({MARKS[part]})" for part in sorted(parts))


def run(root: Path, dist: Path, *, parts: Iterable[str] = (), extra: Iterable[str] = ()) -> int:
    """Run the chosen parts, or everything; return pytest's exit code. Its own closing line comes last."""
    chosen = set(parts)
    if chosen != {"unit"}:
        for name in ("local", "runtime", "scan"):
            ensure(name, root)
    dist.mkdir(exist_ok=True)
    marks = mark_expression(chosen)
    where = (*UNIT, *(f"--ignore={path}" for path in NO_UNIT)) if chosen == {"unit"} else PROCESSES
    where = where if chosen else (*where, *COVERAGE)
    command = [sys.executable, "-m", "pytest", *where, *(["-m", marks] if marks else []), *extra]
    with tempfile.TemporaryDirectory(prefix="signwatch-test-") as folder:
        return subprocess.run(command, cwd=root, env=_environment(folder), check=False).returncode


def parse_count(text: str | None) -> int:
    """Return how many records --fuzz asks for, 0 without it; RefusedError for what is no positive number."""
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or not int(text):
        raise RefusedError(
            f"--fuzz {text}", "is not a number of records", "write it like --fuzz 100000"
        )
    return int(text)


def fuzz(root: Path, count: int) -> int:
    """Run the fuzzer, which says its seed first and its sums last; return 1 when it found anything."""
    command = [sys.executable, "-m", "tests.support.fuzzing", str(count)]
    sources = os.pathsep.join((str(root), str(root / "lambda")))
    with tempfile.TemporaryDirectory(prefix="signwatch-fuzz-") as folder:
        environment = {**_environment(folder), "PYTHONPATH": sources}
        return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def _environment(folder: str) -> dict[str, str]:
    """This process's environment without any way into a real account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") or name == "AWS_CA_BUNDLE"
    }
    nowhere = {
        name: str(Path(folder) / "aws")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    }
    return {**kept, **nowhere, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1"}
