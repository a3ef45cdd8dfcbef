"""checkov's results, judged from its JSON: it exits 0 on files that it cannot read and on folders that are empty."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling import templates
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_REASON = 20
UNCHECKED = {"AWS::CloudFormation::Stack", "AWS::CloudWatch::Alarm"}  # checkov has no check for these in a template
FORBIDDEN = ("skip-check", "soft-fail", "skip_check", "soft_fail")


@dataclass(frozen=True)
class Judgement:
    """What checkov found; ``findings`` holds a sentence for each thing to mend."""

    passed: int
    skipped: int
    findings: tuple[str, ...]


def run(root: Path, python: Path, folders: Sequence[str]) -> Judgement:
    """Run checkov once over ``folders`` and judge what it says."""
    where = [argument for folder in folders for argument in ("-d", folder)]
    kinds = [
        "--framework",
        "cloudformation",
        "terraform",
        "--skip-download",
        "--config-file",
        ".checkov.yaml",
        "-o",
        "json",
    ]
    command = [str(python.parent / "checkov"), *where, *kinds]
    quiet = subprocess.DEVNULL
    done = subprocess.run(command, cwd=root, stdin=quiet, capture_output=True, text=True, check=False)
    try:
        told = documents(done.stdout)
    except ValueError:
        return Judgement(0, 0, (f"checkov gave no JSON (exit code {done.returncode}): {done.stderr[-2000:]}",))
    settings = (root / ".checkov.yaml").read_text(encoding="utf-8")
    return judge(told, _expected(root, folders), settings)


def documents(stdout: str) -> list[Any]:
    """Return the reports that checkov printed: a JSON document a folder, each of them one report or a list of them.

    Raises ValueError for anything that is not JSON, and for nothing at all.
    """
    found: list[Any] = []
    rest, decoder = stdout.strip(), json.JSONDecoder()
    while rest or not found:
        document, end = decoder.raw_decode(rest)
        found += document if isinstance(document, list) else [document]
        rest = rest[end:].strip()
    return found


def judge(told: Sequence[Any], expected: Sequence[str], settings: str) -> Judgement:
    """Judge checkov's reports; ``expected`` are the files that must appear in them."""
    reports = [report for report in told if "results" in report]
    findings = [f".checkov.yaml: {word} would hide findings" for word in FORBIDDEN if word in settings]
    seen: set[str] = set()
    passed = skipped = 0
    for report in reports:
        results = report["results"]
        findings += [f"{path}: could not be parsed" for path in results.get("parsing_errors", [])]
        findings += [_failure(check) for check in results.get("failed_checks", [])]
        findings += [_bare(check) for check in results.get("skipped_checks", []) if _is_bare(check)]
        passed += len(results.get("passed_checks", []))
        skipped += len(results.get("skipped_checks", []))
        kinds = ("passed_checks", "failed_checks", "skipped_checks")
        seen |= {_path(check) for kind in kinds for check in results.get(kind, [])}
    findings += [f"{path}: does not appear in the results" for path in expected if path not in seen]
    if not passed:
        findings.append("checkov passed no check at all: it looked at nothing")
    return Judgement(passed, skipped, tuple(findings))


def _expected(root: Path, folders: Sequence[str]) -> list[str]:
    """Each template with a resource that checkov knows a check for, and each Terraform file that holds a resource."""
    files = sorted(file for folder in folders for file in (root / folder).glob("*"))
    return [file.name for file in files if _is_expected(file)]


def _is_expected(path: Path) -> bool:
    if path.suffix == ".yaml":
        return bool(_kinds(path) - UNCHECKED)
    return path.suffix == ".tf" and "\nresource " in "\n" + path.read_text(encoding="utf-8")


def _kinds(path: Path) -> set[str]:
    """The types of the template's resources; a name for the unknown when it cannot be read, so that it is expected."""
    try:
        return {str(body.get("Type")) for body in templates.load(path).get("Resources", {}).values()}
    except RefusedError:
        return {"unreadable"}


def _path(check: dict[str, Any]) -> str:
    return Path(str(check.get("file_path", ""))).name


def _failure(check: dict[str, Any]) -> str:
    return f"{_path(check)}: {check['resource']}: {check['check_id']} {check.get('check_name', '')}"


def _is_bare(check: dict[str, Any]) -> bool:
    reason = str(check.get("check_result", {}).get("suppress_comment") or "").strip()
    return len(reason) < SHORTEST_REASON or reason == "No comment provided"


def _bare(check: dict[str, Any]) -> str:
    where = f"{_path(check)}: {check['resource']}: {check['check_id']}"
    return f"{where} is skipped without a reason of {SHORTEST_REASON} characters"
