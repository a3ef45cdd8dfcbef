"""Run the own policies over many small sets of templates in one process, as checkov takes seconds to start.

Started by path with the Python that has checkov. Standard input: JSON, a list of cases with ``files`` (file name to
text) and ``without`` (the id of a policy, or an empty text). Standard output: JSON, for each case the ids that
``passed``, the ids that ``failed``, those that failed in a second run that leaves the policy ``without`` out, and the
files ``unread``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from checkov.cloudformation.cfn_utils import build_definitions_context, get_files_definitions
from checkov.cloudformation.checks.resource.registry import cfn_registry
from checkov.cloudformation.runner import Runner
from checkov.runner_filter import RunnerFilter
from monitor_site import around

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from checkov.common.output.record import Record
    from checkov.common.output.report import Report

OWN = "CKV_SIGNWATCH_"


class Parsed(NamedTuple):
    """checkov's reading of one file: by its path, the template and its numbered lines. Both empty when it is broken."""

    definitions: dict[str, dict[str, Any]]
    lines: dict[str, list[tuple[int, str]]]


def run(cases: Sequence[dict[str, Any]]) -> list[dict[str, list[str]]]:
    """Return what the policies beside this file say of each case."""
    cfn_registry.load_external_checks(str(Path(__file__).resolve().parent))
    known: dict[tuple[str, str], Parsed] = {}
    with tempfile.TemporaryDirectory(prefix="signwatch-policies-") as folder:
        return [_judge(Path(folder), case, known) for case in cases]


def _judge(
    folder: Path, case: dict[str, Any], known: dict[tuple[str, str], Parsed]
) -> dict[str, list[str]]:
    """Judge one case; ``known`` spares a file that did not change since an earlier case."""
    for old in folder.iterdir():
        old.unlink()
    for name, text in case["files"].items():
        (folder / name).write_text(text, encoding="utf-8")
    around.cache_clear()
    parsed = {
        item: known.get(item) or known.setdefault(item, _parse(folder / item[0]))
        for item in case["files"].items()
    }
    first = _scan(folder, parsed.values())
    second = _scan(folder, parsed.values(), without=case["without"])
    return {
        "passed": _ids(first.passed_checks),
        "failed": _ids(first.failed_checks),
        "without": _ids(second.failed_checks),
        "unread": [name for (name, _), read in parsed.items() if not read.definitions],
    }


def _parse(path: Path) -> Parsed:
    return Parsed(*get_files_definitions([str(path)], {}))


def _scan(folder: Path, parsed: Iterable[Parsed], *, without: str = "") -> Report:
    """Run checkov's own runner; it builds no graph, as the own policies read the files themselves."""
    definitions = {path: body for read in parsed for path, body in read.definitions.items()}
    lines = {path: raw for read in parsed for path, raw in read.lines.items()}
    runner = Runner()
    runner.set_external_data(definitions, build_definitions_context(definitions, lines), {})
    runner.definitions_raw = lines
    chosen = RunnerFilter(
        framework=["cloudformation"], checks=[f"{OWN}*"], skip_checks=[without] if without else []
    )
    reports = runner.run(str(folder), runner_filter=chosen)
    return reports[0] if isinstance(reports, list) else reports


def _ids(records: Sequence[Record]) -> list[str]:
    return sorted({record.check_id for record in records})


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
