"""checkov's results, judged one by one.

It exits 0 on files that it cannot read, on policies that it cannot load and on folders that are empty.
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
    from collections.abc import Iterable, Iterator, Sequence

SHORTEST_REASON = 20
FRAMEWORKS = ("cloudformation", "terraform", "github_actions", "secrets")
ELSEWHERE = (
    r"\.venv.*",
    r"\.git/",
    r"\.terraform/",
)  # what is not in the repository, beside what is made in dist/
REVIEWED = Path("tooling/checks/reviewed_skips.toml")
POLICIES = Path("cfn/policies")
OWN = "CKV_SIGNWATCH_"
KINDS = ("passed_checks", "failed_checks", "skipped_checks")
SKIP_COMMENT = re.compile(r"checkov:skip=(\w+)")
NOT_JUDGED = "the rest was not judged, as it hangs together with what cannot be read: mend that, then: invoke scan"


@dataclass(frozen=True)
class Judgement:
    """What checkov found; ``findings`` holds a sentence for each thing to mend."""

    passed: int
    skipped: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """What a scan that looked at everything must show.

    ``files`` appear in its results; ``resources`` is the least number that a framework counts; each of ``policies``
    answered; each of ``skips`` (file, check) took effect; ``reviewed`` are the skips (check, resource) that were agreed
    to, ``unread`` the files that checkov is known to pass over; ``faults`` are sentences on files that cannot be read.
    ``ours`` are the repository's own files, None where any may appear.
    """

    files: frozenset[str] = frozenset()
    resources: tuple[tuple[str, int], ...] = ()
    policies: frozenset[str] = frozenset()
    skips: frozenset[tuple[str, str]] = frozenset()
    reviewed: frozenset[tuple[str, str]] = frozenset()
    unread: frozenset[str] = frozenset()
    faults: tuple[str, ...] = ()
    ours: frozenset[str] | None = None


def run(root: Path, python: Path, out: Path) -> Judgement:
    """Run checkov once over the repository at ``root`` and judge what it says; its reports stay in ``out``."""
    forms = ("json", "sarif", "junitxml")
    reports = [out / f"checkov.{form}" for form in forms]
    for report in reports:
        report.unlink(missing_ok=True)
    command = [
        str(python.parent / "checkov"),
        "-d",
        ".",
        "--framework",
        *FRAMEWORKS,
        "--config-file",
        suppressions.CHECKOV,
    ]
    command += [
        "--skip-download",
        "--enable-secret-scan-all-files",
        "--external-checks-dir",
        str(POLICIES),
    ]
    command += [
        argument for path in (*ELSEWHERE, _made(root)) for argument in ("--skip-path", path)
    ]
    command += [argument for form in forms for argument in ("-o", form)]
    command += ["--output-file-path", ",".join(map(str, reports))]
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryDirectory(prefix="signwatch-checkov-") as home:
        environment = _environment(home)
        done = subprocess.run(
            command,
            cwd=root,
            stdin=quiet,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    try:
        told = json.loads(reports[0].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Judgement(
            0, 0, (f"checkov gave no JSON (exit code {done.returncode}): {done.stderr[-2000:]}",)
        )
    settings = (root / suppressions.CHECKOV).read_text(encoding="utf-8")
    return judge(told if isinstance(told, list) else [told], expected(root), settings, done.stderr)


def _made(root: Path) -> str:
    """The pattern of dist/ at ``root``: Terraform's framework knows a path in full, the others from ``./`` on."""
    return rf"^(\./|{re.escape(str(root.resolve()))}/)dist(/|$)"


def _environment(home: str) -> dict[str, str]:
    """This process's environment without what checkov would take settings from: variables, and files at home."""
    settings = ("CKV_", "CHECKOV_", "BC_", "LOG_LEVEL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return {**kept, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}


def judge(told: Sequence[Any], wanted: Expected, settings: str, log: str = "") -> Judgement:
    """Judge checkov's reports against what was ``wanted``; ``settings`` configured it, ``log`` is what it logged."""
    reports = [report for report in told if "results" in report]
    checks = {
        kind: [check for report in reports for check in report["results"].get(kind, [])]
        for kind in KINDS
    }
    unread = [
        f"{path}: could not be parsed"
        for one in reports
        for path in one["results"].get("parsing_errors", [])
    ]
    if wanted.faults:  # the policies that look across files would accuse the sound ones
        return Judgement(
            0, 0, (*suppressions.checkov_settings(settings), *wanted.faults, *unread, NOT_JUDGED)
        )
    findings = [
        *suppressions.checkov_settings(settings),
        *unread,
        *[_failure(check) for check in checks["failed_checks"]],
        *_skip_findings(checks["skipped_checks"], wanted),
        *_missing([check for kind in KINDS for check in checks[kind]], wanted),
        *_not_run({check["check_id"] for kind in KINDS for check in checks[kind]}, wanted, log),
        *_too_few(reports, wanted),
    ]
    if not checks["passed_checks"]:
        findings.append("checkov passed no check at all: it looked at nothing")
    return Judgement(len(checks["passed_checks"]), len(checks["skipped_checks"]), tuple(findings))


def _skip_findings(skipped: Sequence[dict[str, Any]], wanted: Expected) -> Iterator[str]:
    took = {(_path(check), check["check_id"]) for check in skipped}
    used = {(check["check_id"], _resource(check)) for check in skipped}
    for check in skipped:
        where = f"{_path(check)}: {check['resource']}: {check['check_id']}"
        if len(_reason(check)) < SHORTEST_REASON:
            yield f"{where} is skipped without a reason of {SHORTEST_REASON} characters"
        if check["check_id"].startswith(OWN):
            yield f"{where} keeps the monitor alive and is never skipped"
        elif (check["check_id"], _resource(check)) not in wanted.reviewed:
            yield f"{where} is skipped and not among the reviewed skips of {REVIEWED}"
    for file, check_id in sorted(wanted.skips - took):
        yield f"{file}: the skip of {check_id} skips nothing: there is no such check, or not for this"
    for check_id, resource in sorted(wanted.reviewed - used):
        yield f"{REVIEWED}: {check_id} of {resource} is skipped nowhere: take it out"


def _missing(checks: Sequence[dict[str, Any]], wanted: Expected) -> Iterator[str]:
    """The files that answered nothing and should have, or should not have and did."""
    appeared = {_path(check) for check in checks}
    for file in sorted(appeared - wanted.ours if wanted.ours is not None else ()):
        yield f"{file}: is none of the repository's files and was looked at; what it holds counts for nothing"
    for file in sorted(wanted.files - wanted.unread - appeared):
        yield f"{file}: does not appear in the results"
    for file in sorted(wanted.unread & appeared):
        yield f"{REVIEWED}: {file} is read by now: take it out"


def _not_run(ran: set[str], wanted: Expected, log: str) -> Iterator[str]:
    """The policies that answered nothing: one sentence with the cause where checkov logged one, else one for each."""
    silent, cause = sorted(wanted.policies - ran), _cause(log)
    if cause:
        yield f"{cause}: a policy could not be loaded, and {len(silent)} of {len(wanted.policies)} were not run"
        return
    for policy in silent:
        yield f"{policy}: was not run; {POLICIES} could not be loaded, or nothing is left for it to check"


def _cause(log: str) -> str:
    """What kept the first policy from being loaded, with its place; later ones may fail for nothing but that."""
    _, found, rest = log.partition("Cannot load external check")
    if not found:
        return ""
    told = re.split(r"^\d{4}-\d\d-\d\d ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    places = re.findall(rf'({POLICIES.as_posix()}/[^"]+)", line (\d+)', told)
    return f"{':'.join(places[-1]) if places else POLICIES}: {told.splitlines()[-1]}"


def _too_few(reports: Sequence[dict[str, Any]], wanted: Expected) -> Iterator[str]:
    counts = {
        report.get("check_type"): report.get("summary", {}).get("resource_count", 0)
        for report in reports
    }
    for framework, least in wanted.resources:
        if counts.get(framework, 0) < least:
            yield f"{framework}: {counts.get(framework, 0)} resources were looked at, the files hold {least}"


def expected(root: Path) -> Expected:
    """Read from the repository's own files what the results must show."""
    stacks = sorted((root / "cfn").glob("*.yaml"))
    configuration = sorted((root / "terraform-bootstrap").glob("*.tf"))
    blocks = {
        path: len(re.findall(r"^resource ", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in configuration
    }
    workflows = sorted((root / ".github" / "workflows").glob("*.y*ml"))
    looked_at = [*stacks, *[path for path, number in blocks.items() if number], *workflows]
    read, faults = _templates(root, stacks)
    reviewed = _reviewed(root / REVIEWED)
    comments = {
        (_name(root, path), skip)
        for path in configuration
        for skip in SKIP_COMMENT.findall(path.read_text())
    }
    metadata = {
        (_name(root, path), skip) for path, template in read.items() for skip in _skips_of(template)
    }
    return Expected(
        files=frozenset(_name(root, path) for path in looked_at),
        resources=(
            (
                "cloudformation",
                sum(len(template.get("Resources", {})) for template in read.values()),
            ),
            ("terraform", sum(blocks.values())),
        ),
        policies=frozenset(
            path.stem for path in (root / POLICIES / "examples").glob(f"{OWN}*.toml")
        ),
        skips=frozenset(comments | metadata),
        reviewed=frozenset(
            (check, resource)
            for check, resources in reviewed["skips"].items()
            for resource in resources
        ),
        unread=frozenset(reviewed["unread"]),
        faults=tuple(faults),
        ours=frozenset(_name(root, path) for path in suppressions.sources(root)),
    )


def _templates(root: Path, paths: Iterable[Path]) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """Read the templates; a sentence for each that cannot be read, such as one with a key that stands twice."""
    read, faults = {}, []
    for path in paths:
        try:
            read[path] = templates.load(path)
        except RefusedError as error:
            faults.append(f"{_name(root, path)}: {error.what}")
    return read, faults


def _skips_of(template: dict[str, Any]) -> list[str]:
    bodies = [body for body in template.get("Resources", {}).values() if isinstance(body, dict)]
    return [
        str(skip.get("id"))
        for body in bodies
        for skip in body.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]


def _reviewed(path: Path) -> dict[str, dict[str, Any]]:
    found = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"skips": {}, "unread": {}, **found}


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _path(check: dict[str, Any]) -> str:
    return str(check.get("file_path", "")).lstrip("/")


def _resource(check: dict[str, Any]) -> str:
    """The resource's address without the key of an instance: one skip in the source stands for all of them."""
    return str(check["resource"]).partition("[")[0]


def _failure(check: dict[str, Any]) -> str:
    return f"{_path(check)}: {check['resource']}: {check['check_id']} {check.get('check_name', '')}"


def _reason(check: dict[str, Any]) -> str:
    reason = str(check.get("check_result", {}).get("suppress_comment") or "").strip()
    return "" if reason == "No comment provided" else reason
