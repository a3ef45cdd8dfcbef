"""Runs our policies on many sets of templates in one process, as checkov takes seconds to start.

Started by path with the Python that has checkov. Standard input is JSON, a list of cases: sets of
templates with a fault that a policy must report. A case has ``files`` (file name to text) and
``without`` (the policy's id, or an empty string). Standard output is JSON: for each case the ids of
the policies that ``passed`` and that ``failed``, those that failed in a second run without that
policy (``failed_without``), and the files ``unreadable`` to checkov.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from checkov.cloudformation.cfn_utils import build_definitions_context, get_files_definitions
from checkov.cloudformation.runner import Runner
from checkov.runner_filter import RunnerFilter
from installation import load_installation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from checkov.common.output.record import Record
    from checkov.common.output.report import Report

POLICY_IDS = "CKV_SIGNWATCH_*"


class ParsedFile(NamedTuple):
    """One file as checkov parses it: the path maps to the template, and to the numbered lines.

    Both mappings are empty if the file is unreadable.
    """

    definitions: dict[str, dict[str, Any]]
    lines: dict[str, list[tuple[int, str]]]


def run(cases: Sequence[dict[str, Any]]) -> list[dict[str, list[str]]]:
    """Return the policies' results for each case, in the form of standard output."""
    for path in Path(__file__).parent.glob("*_policies.py"):
        importlib.import_module(path.stem)  # the import registers its policies
    parsed: dict[tuple[str, str], ParsedFile] = {}
    with tempfile.TemporaryDirectory(prefix="signwatch-policies-") as folder:
        return [_run_case(Path(folder), case, parsed) for case in cases]


def _run_case(
    folder: Path, case: dict[str, Any], parsed: dict[tuple[str, str], ParsedFile]
) -> dict[str, list[str]]:
    """Scan the case's files twice and return the ids that passed and failed in each scan.

    The second scan leaves out the policy ``case["without"]``, to show that no other policy reports
    the case's fault. Files that checkov could not parse are returned as unreadable. ``parsed``
    caches parsed files by name and text.
    """
    for path in folder.iterdir():
        path.unlink()
    for name, text in case["files"].items():
        (folder / name).write_text(text, encoding="utf-8")
    load_installation.cache_clear()
    for name, text in case["files"].items():
        if (name, text) not in parsed:
            parsed[name, text] = ParsedFile(*get_files_definitions([str(folder / name)], {}))
    files = {name: parsed[name, text] for name, text in case["files"].items()}
    report = _scan(folder, files.values())
    second_report = _scan(folder, files.values(), left_out=case["without"])
    return {
        "passed": _ids(report.passed_checks),
        "failed": _ids(report.failed_checks),
        "failed_without": _ids(second_report.failed_checks),
        "unreadable": [name for name, file in files.items() if not file.definitions],
    }


def _scan(folder: Path, files: Iterable[ParsedFile], *, left_out: str = "") -> Report:
    """Run checkov's own runner with every policy except the one with the id ``left_out``.

    It needs no graph, as our policies read the files themselves.
    """
    definitions = {path: body for file in files for path, body in file.definitions.items()}
    lines = {path: numbered for file in files for path, numbered in file.lines.items()}
    runner = Runner()
    context = build_definitions_context(definitions, lines)
    runner.set_external_data(definitions, context, {})
    runner.definitions_raw = lines
    skipped = [left_out] if left_out else []
    chosen = RunnerFilter(framework=["cloudformation"], checks=[POLICY_IDS], skip_checks=skipped)
    reports = runner.run(str(folder), runner_filter=chosen)
    return reports[0] if isinstance(reports, list) else reports


def _ids(records: Sequence[Record]) -> list[str]:
    """Return the id of each policy that appears in checkov's records."""
    return sorted({record.check_id for record in records})


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
