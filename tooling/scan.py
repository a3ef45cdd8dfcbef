"""Everything static, each tool judged by what it found and never by its exit code alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tooling import checkov
from tooling.environment import ensure
from tooling.errors import RefusedError
from tooling.terraform import MIRROR, find

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDERS = ("cfn", "terraform-bootstrap")
PYTHON = ("tasks.py", "tooling", "lambda", "tests")


@dataclass(frozen=True)
class Row:
    """One tool's result. ``said`` holds what a person needs to mend a failure."""

    tool: str
    what: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    said: str = ""


@dataclass(frozen=True)
class Report:
    """All rows of a scan."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Nothing failed."""
        return not any(row.failed for row in self.rows)

    def lines(self) -> list[str]:
        """Return what the failures said, then a table."""
        said = [f"--- {row.tool}\n{row.said}" for row in self.rows if row.failed]
        head = f"{'tool':<20} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>8}  what"
        table = [
            f"{r.tool:<20} {r.passed:>6} {r.failed:>6} {r.skipped:>7} {r.seconds:>8.1f}  {r.what}" for r in self.rows
        ]
        return [*said, head, *table]


def run(root: Path, dist: Path, *, announce: Callable[[str], None]) -> Report:
    """Run every tool, two at a time; write dist/scan/report.json."""
    (dist / "scan").mkdir(parents=True, exist_ok=True)
    checkov_python, local_python = ensure("scan", root), ensure("local", root)
    announce("scanning: checkov, cfn-lint, mypy, ruff, shellcheck, terraform ...")
    here = Path(sys.executable).parent
    templates = sorted(str(path.relative_to(root)) for path in (root / "cfn").glob("*.yaml"))
    adapter = "tooling/local/adapter"
    mypy = [str(here / "mypy")]
    jobs: list[Callable[[], Row]] = [
        lambda: _checkov(root, checkov_python),
        lambda: _command(root, "cfn-lint", f"{len(templates)} templates", [str(here / "cfn-lint"), *templates]),
        lambda: _command(root, "mypy", "strict", [*mypy, "--exclude", adapter, *PYTHON]),
        lambda: _adapter(
            root, [*mypy, "--python-executable", str(local_python), "--cache-dir", "dist/mypy-local", adapter]
        ),
        lambda: _terraform(root),
        lambda: _command(root, "ruff check", "Python", [str(here / "ruff"), "check", "."]),
        lambda: _command(root, "ruff format", "Python", [str(here / "ruff"), "format", "--check", "."]),
        lambda: _command(root, "shellcheck", "inv, .ci/run", [str(here / "shellcheck"), "inv", ".ci/run"]),
    ]
    with ThreadPoolExecutor(2) as pool:
        report = Report(tuple(pool.map(lambda job: job(), jobs)))
    (dist / "scan" / "report.json").write_text(json.dumps([asdict(row) for row in report.rows], indent=2))
    return report


def _command(root: Path, tool: str, what: str, command: list[str]) -> Row:
    start = time.monotonic()
    environment = {**os.environ, "MYPYPATH": str(root / "lambda"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)
        failed, said = int(done.returncode != 0), done.stdout + done.stderr
    except OSError as error:
        failed, said = 1, f"{command[0]} could not be started: {error}"
    return Row(tool, what, 1 - failed, failed, 0, time.monotonic() - start, said)


def _adapter(root: Path, command: list[str]) -> Row:
    """The emulator's adapter is typed against the emulator, which lives in an environment of its own."""
    return _command(root, "mypy (adapter)", "strict", command)


def _checkov(root: Path, python: Path) -> Row:
    start = time.monotonic()
    found = checkov.run(root, python, FOLDERS)
    return Row(
        "checkov",
        ", ".join(FOLDERS),
        found.passed,
        len(found.findings),
        found.skipped,
        time.monotonic() - start,
        "\n".join(found.findings),
    )


def _terraform(root: Path) -> Row:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="signwatch-scan-") as folder:
        copy = Path(folder) / "configuration"
        source = root / "terraform-bootstrap"
        for file in (*source.glob("*.tf"), *source.glob("tests/*.tftest.hcl")):
            (copy / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(source)).write_bytes(file.read_bytes())
        mirror = os.environ.get(MIRROR)
        plugins = [f"-plugin-dir={Path(mirror).resolve()}"] if mirror else []
        try:
            program = find()
        except RefusedError as error:  # a missing tool is a finding of the scan
            return Row("terraform", "fmt, validate", 0, 1, 0, 0.0, str(error))
        commands = [
            [program, "fmt", "-check", "-recursive", "-diff", str(root / "terraform-bootstrap")],
            [program, f"-chdir={copy}", "init", "-backend=false", "-input=false", "-no-color", *plugins],
            [program, f"-chdir={copy}", "validate", "-no-color"],
        ]
        environment = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull}
        ran = [subprocess.run(c, capture_output=True, text=True, check=False, env=environment) for c in commands]
    bad = [done.stdout + done.stderr for done in ran if done.returncode]
    return Row("terraform", "fmt, validate", len(ran) - len(bad), len(bad), 0, time.monotonic() - start, "\n".join(bad))
