"""Runs checkov and checks that it really looked at everything.

checkov exits with 0 on files that it cannot read, on policies that it cannot load and on empty
folders. Here each of these is a finding: a sentence about a thing to fix. A check is one rule,
applied to one resource; a policy is a rule of our own. A skip is a comment, or a resource's
metadata, that turns off a check for that resource; a person reviews each and lists it in
REVIEWED_SKIPS.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling import templates
from tooling.checks import suppressions
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FRAMEWORKS = ("cloudformation", "terraform", "github_actions", "secrets")
SKIPPED_PATHS = (r"\.venv.*", r"\.git/", r"\.terraform/")  # and dist/, see _dist_pattern
REPORT_FORMATS = ("json", "sarif", "junitxml")
SETTING_PREFIXES = ("CKV_", "CHECKOV_", "BC_", "LOG_LEVEL")  # of checkov's environment variables
REVIEWED_SKIPS = Path("tooling/checks/reviewed_skips.toml")
POLICIES = Path("cfn/policies")
POLICY_PREFIX = "CKV_SIGNWATCH_"
REASON_MIN_CHARS = 20
SKIP_COMMENT = re.compile(r"checkov:skip=(\w+)")
NOT_CHECKED = (
    "nothing else was checked, as the templates depend on each other; fix them, then scan again"
)


@dataclass(frozen=True)
class Result:
    """What checkov found; ``findings`` has a sentence for each thing to fix."""

    passed: int
    skipped: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Expectation:
    """What the results of a complete scan must show.

    files: those that must appear in the results, as paths relative to the repository's root.
    resources: the least number of resources for each framework, as ``("terraform", 12)``.
    policies: the ids of those that must have run.
    skips: the file and check id of each skip, which must take effect.
    reviewed: the check id and resource of each skip that passed a review.
    not_scanned: the files that checkov is known to ignore.
    unreadable: a sentence for each template that cannot be read.
    repository_files: the only files that may appear; None if any may.
    """

    files: frozenset[str] = frozenset()
    resources: tuple[tuple[str, int], ...] = ()
    policies: frozenset[str] = frozenset()
    skips: frozenset[tuple[str, str]] = frozenset()
    reviewed: frozenset[tuple[str, str]] = frozenset()
    not_scanned: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()
    repository_files: frozenset[str] | None = None


def run(root: Path, python: Path, folder: Path) -> Result:
    """Run checkov on the repository at ``root``; its reports stay in ``folder``."""
    reports = {name: folder / f"checkov.{name}" for name in REPORT_FORMATS}
    for path in reports.values():
        path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="signwatch-checkov-") as temporary_home:
        process = subprocess.run(
            _command(root, python, reports),
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(temporary_home),
        )
    try:
        output = json.loads(reports["json"].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        problem = f"(exit code {process.returncode}): {process.stderr[-2000:]}"
        return Result(passed=0, skipped=0, findings=(f"checkov wrote no JSON {problem}",))
    if not isinstance(output, list):  # checkov writes a bare report if only one framework ran
        output = [output]
    settings_text = (root / suppressions.CHECKOV_SETTINGS).read_text(encoding="utf-8")
    return evaluate(output, read_expectation(root), settings_text, process.stderr)


def _command(root: Path, python: Path, reports: Mapping[str, Path]) -> list[str]:
    """Return the command that runs checkov and writes a report in each format.

    ``reports`` maps a format to the report's path; ``python`` is the interpreter beside checkov.
    """
    command = [str(python.parent / "checkov"), "-d", ".", "--framework", *FRAMEWORKS]
    command += ["--config-file", suppressions.CHECKOV_SETTINGS, "--skip-download"]
    command += ["--enable-secret-scan-all-files", "--external-checks-dir", str(POLICIES)]
    for pattern in (*SKIPPED_PATHS, _dist_pattern(root)):
        command += ["--skip-path", pattern]
    for name in reports:
        command += ["-o", name]
    return [*command, "--output-file-path", ",".join(map(str, reports.values()))]


def _dist_pattern(root: Path) -> str:
    """Return a pattern for --skip-path that matches dist/ at the root.

    checkov compares it with full paths for Terraform, and with paths like ``./dist`` otherwise.
    """
    return rf"^(\./|{re.escape(str(root.resolve()))}/)dist(/|$)"


def _environment(home: str) -> dict[str, str]:
    """Return this process's environment without checkov's settings, and with ``home`` as home."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(SETTING_PREFIXES)
    }
    return {**environment, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}


def evaluate(
    output: Sequence[Any], expectation: Expectation, settings_text: str, log: str
) -> Result:
    """Compare checkov's JSON reports, one for each framework, with the expectation.

    settings_text: the content of checkov's settings file; log: what checkov logged.
    """
    reports = [report for report in output if "results" in report]
    findings = suppressions.check_settings(settings_text)
    not_parsed = [
        f"{path}: could not be parsed"
        for report in reports
        for path in report["results"].get("parsing_errors", [])
    ]
    # If some templates cannot be read, policies that compare several files would report false
    # failures in the readable ones.
    if expectation.unreadable:
        findings += [*expectation.unreadable, *not_parsed, NOT_CHECKED]
        return Result(passed=0, skipped=0, findings=tuple(findings))
    passed = _collect_checks(reports, "passed_checks")
    failed = _collect_checks(reports, "failed_checks")
    skipped = _collect_checks(reports, "skipped_checks")
    checks = [*passed, *failed, *skipped]
    findings += not_parsed
    findings += [_describe_failure(check) for check in failed]
    findings += _skip_findings(skipped, expectation)
    findings += _file_findings({_file_name(check) for check in checks}, expectation)
    findings += _policy_findings({check["check_id"] for check in checks}, expectation, log)
    findings += _resource_findings(reports, expectation)
    if not passed:
        findings.append("checkov passed no check: it looked at nothing")
    return Result(len(passed), len(skipped), tuple(findings))


def _collect_checks(reports: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the checks of one kind, such as "failed_checks", of all reports."""
    return [check for report in reports for check in report["results"].get(kind, [])]


def _skip_findings(skipped: Sequence[dict[str, Any]], expectation: Expectation) -> Iterator[str]:
    """Yield a sentence for each skip without reason, review or effect, and each unused review.

    ``skipped`` are the checks that checkov reports as skipped.
    """
    for check in skipped:
        check_id = check["check_id"]
        place = f"{_file_name(check)}: {check['resource']}: {check_id}"
        if len(_skip_reason(check)) < REASON_MIN_CHARS:
            yield f"{place} is skipped without a reason of at least {REASON_MIN_CHARS} characters"
        if check_id.startswith(POLICY_PREFIX):
            yield f"{place} keeps the monitor alive and must not be skipped"
        elif (check_id, _resource_address(check)) not in expectation.reviewed:
            yield f"{place} is skipped but not listed in {REVIEWED_SKIPS}"
    effective = {(_file_name(check), check["check_id"]) for check in skipped}
    for file, check_id in sorted(expectation.skips - effective):
        yield f"{file}: the skip of {check_id} has no effect: no such check runs on that resource"
    used = {(check["check_id"], _resource_address(check)) for check in skipped}
    for check_id, resource in sorted(expectation.reviewed - used):
        yield f"{REVIEWED_SKIPS}: {check_id} of {resource} is not skipped anywhere; delete it"


def _file_findings(scanned: set[str], expectation: Expectation) -> Iterator[str]:
    """Yield a sentence for each file that is missing in the results, or must not appear there.

    ``scanned`` are the files that appear in the results.
    """
    if expectation.repository_files is not None:
        for file in sorted(scanned - expectation.repository_files):
            yield f"{file}: was scanned but is not a file of the repository; delete it"
    for file in sorted(expectation.files - expectation.not_scanned - scanned):
        yield f"{file}: does not appear in the results"
    for file in sorted(expectation.not_scanned & scanned):
        yield f"{REVIEWED_SKIPS}: {file} is scanned now; delete it from [not_scanned]"


def _policy_findings(
    ids_of_run_policies: set[str], expectation: Expectation, log: str
) -> Iterator[str]:
    """Yield a sentence for each policy that did not run, or only one if checkov logged a cause."""
    missing = sorted(expectation.policies - ids_of_run_policies)
    cause = _load_error(log)
    if cause:
        count = f"{len(missing)} of {len(expectation.policies)}"
        yield f"{cause}: a policy could not be loaded, and {count} did not run"
        return
    for policy in missing:
        yield f"{policy}: did not run; {POLICIES} could not be loaded, or it has nothing to check"


def _load_error(log: str) -> str:
    """Return place and message of the first error in loading a policy; "" if there is none.

    ``log`` is what checkov logged. Later errors are left out, since they may follow from the first.
    """
    _, separator, rest = log.partition("Cannot load external check")
    if not separator:
        return ""
    # The traceback ends at the next log line, which begins with a date.
    traceback = re.split(r"^\d{4}-\d\d-\d\d ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    error = traceback.splitlines()[-1]
    places = re.findall(rf'({POLICIES.as_posix()}/[^"]+)", line (\d+)', traceback)
    place = ":".join(places[-1]) if places else POLICIES
    return f"{place}: {error}"


def _resource_findings(
    reports: Sequence[dict[str, Any]], expectation: Expectation
) -> Iterator[str]:
    """Yield a sentence for each framework that checked fewer resources than the files have."""
    counts = {
        report.get("check_type"): report.get("summary", {}).get("resource_count", 0)
        for report in reports
    }
    for framework, minimum in expectation.resources:
        count = counts.get(framework, 0)
        if count < minimum:
            yield f"{framework}: {count} resources were checked, but the files have {minimum}"


def read_expectation(root: Path) -> Expectation:
    """Return what the results must show, read from the repository's own files."""
    loaded, unreadable = _load_templates(root)
    terraform = {
        path: path.read_text(encoding="utf-8")
        for path in sorted((root / "terraform-bootstrap").glob("*.tf"))
    }
    terraform_counts = {
        path: len(re.findall(r"^resource ", text, re.MULTILINE)) for path, text in terraform.items()
    }
    template_count = sum(len(template.get("Resources", {})) for template in loaded.values())
    # A Terraform file without a resource does not appear in the results.
    terraform_files = [path for path, count in terraform_counts.items() if count]
    workflows = (root / ".github" / "workflows").glob("*.y*ml")
    files = [*(root / "cfn").glob("*.yaml"), *workflows, *terraform_files]
    skips = {path: SKIP_COMMENT.findall(text) for path, text in terraform.items()}
    skips |= {path: _template_skips(template) for path, template in loaded.items()}
    reviewed = _load_reviewed_skips(root / REVIEWED_SKIPS)
    examples = (root / POLICIES / "examples").glob(f"{POLICY_PREFIX}*.toml")
    return Expectation(
        files=_relative_paths(root, files),
        resources=(
            ("cloudformation", template_count),
            ("terraform", sum(terraform_counts.values())),
        ),
        policies=frozenset(path.stem for path in examples),
        skips=frozenset(
            (_relative_path(root, path), check_id)
            for path, check_ids in skips.items()
            for check_id in check_ids
        ),
        reviewed=frozenset(
            (check_id, resource)
            for check_id, resources in reviewed["skips"].items()
            for resource in resources
        ),
        not_scanned=frozenset(reviewed["not_scanned"]),
        unreadable=tuple(unreadable),
        repository_files=_relative_paths(root, suppressions.source_files(root)),
    )


def _load_templates(root: Path) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """Return the templates by path, and a sentence for each that cannot be read."""
    loaded, unreadable = {}, []
    for path in sorted((root / "cfn").glob("*.yaml")):
        try:
            loaded[path] = templates.load(path)
        except RefusedError as error:
            unreadable.append(f"{_relative_path(root, path)}: {error.what}")
    return loaded, unreadable


def _template_skips(template: dict[str, Any]) -> list[str]:
    """Return the id of each check that a template's resources skip."""
    resources = template.get("Resources", {}).values()
    return [
        str(skip.get("id"))
        for resource in resources
        if isinstance(resource, dict)
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]


def _load_reviewed_skips(path: Path) -> dict[str, dict[str, Any]]:
    """Return the file's tables: "skips" (resources by check id), "not_scanned" (reasons by file).

    A missing table is empty.
    """
    reviewed = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"skips": {}, "not_scanned": {}, **reviewed}


def _relative_paths(root: Path, paths: Iterable[Path]) -> frozenset[str]:
    """Return the paths relative to the repository's root, as in checkov's results."""
    return frozenset(_relative_path(root, path) for path in paths)


def _relative_path(root: Path, path: Path) -> str:
    """Return one path relative to the repository's root, with slashes."""
    return path.relative_to(root).as_posix()


def _file_name(check: dict[str, Any]) -> str:
    """Return the path of the file that was checked, relative to the repository's root."""
    return str(check.get("file_path", "")).lstrip("/")


def _resource_address(check: dict[str, Any]) -> str:
    """Return the resource's address without the key of an instance: ``a.b["c"]`` -> ``a.b``.

    A skip is for all instances of a Terraform resource.
    """
    return str(check["resource"]).partition("[")[0]


def _describe_failure(check: dict[str, Any]) -> str:
    """Return a sentence about a failed check: file, resource, check id and what it demands."""
    place = f"{_file_name(check)}: {check['resource']}"
    return f"{place}: {check['check_id']} {check.get('check_name', '')}"


def _skip_reason(check: dict[str, Any]) -> str:
    """Return the reason that a skip gives; empty if it gives none."""
    reason = str(check.get("check_result", {}).get("suppress_comment") or "").strip()
    return "" if reason == "No comment provided" else reason  # checkov's own text
