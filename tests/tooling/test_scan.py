"""The scan: each tool is a row, one failure fails it, and a tool that is not there is a failure too."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tooling import scan
from tooling.environment import ensure
from tooling.scan import Report, Row

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = Row("ruff", "Python", 1, 0, 0, 0.1, "quiet")
BAD = Row("mypy", "strict", 0, 2, 0, 0.1, "x.py:1: error")


class TestReport:
    def test_it_passes_when_nothing_failed(self) -> None:
        assert Report((GOOD, GOOD)).passed
        assert not Report((GOOD, BAD)).passed

    def test_failures_are_told_before_the_table_and_successes_only_in_it(self) -> None:
        said, *table = Report((GOOD, BAD)).lines()
        assert said == "--- mypy\nx.py:1: error"
        assert [line.split()[:4] for line in table] == [
            ["tool", "passed", "failed", "skipped"],
            ["ruff", "1", "0", "0"],
            ["mypy", "0", "2", "0"],
        ]


class TestCommand:
    def test_a_tool_that_succeeds_is_a_pass(self, tmp_path: Path) -> None:
        row = scan._command(tmp_path, "tool", "what", [sys.executable, "-c", "pass"])
        assert (row.passed, row.failed) == (1, 0)

    def test_a_tool_that_fails_says_what_it_printed(self, tmp_path: Path) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        row = scan._command(tmp_path, "tool", "what", [sys.executable, "-c", code])
        assert (row.passed, row.failed, row.said) == (0, 1, "out\nerr\n")

    def test_a_tool_that_is_not_there_is_a_failure_with_a_sentence(self, tmp_path: Path) -> None:
        row = scan._command(tmp_path, "tool", "what", [str(tmp_path / "none")])
        assert (row.passed, row.failed) == (0, 1)
        assert "could not be started" in row.said


class TestRun:
    @pytest.fixture
    def tools(self, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """Every tool succeeds without being started; the set holds those that ran."""
        ran: set[str] = set()

        def command(_root: Path, tool: str, what: str, _command: list[str]) -> Row:
            ran.add(tool)
            return Row(tool, what, 1, 0, 0, 0.0)

        def row(tool: str) -> Callable[..., Row]:
            return lambda *_: command(ROOT, tool, "what", [])

        monkeypatch.setattr(scan, "ensure", lambda *_: Path(sys.executable))
        monkeypatch.setattr(scan, "_command", command)
        monkeypatch.setattr(scan, "_checkov", row("checkov"))
        monkeypatch.setattr(scan, "_terraform", row("terraform"))
        return ran

    def test_every_tool_runs_and_the_report_is_kept(self, tools: set[str], tmp_path: Path) -> None:
        said: list[str] = []
        report = scan.run(ROOT, tmp_path, announce=said.append)
        expected = {
            "checkov",
            "cfn-lint",
            "mypy",
            "mypy (adapter)",
            "terraform",
            "ruff check",
            "ruff format",
            "shellcheck",
        }
        assert report.passed
        assert tools == expected
        assert len(said) == 1
        kept = json.loads((tmp_path / "scan" / "report.json").read_text())
        assert {row["tool"] for row in kept} == expected

    @pytest.mark.usefixtures("tools")
    def test_one_failed_tool_fails_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scan, "_terraform", lambda _: BAD)
        assert not scan.run(ROOT, tmp_path, announce=lambda _: None).passed


class TestTerraform:
    def test_without_the_program_it_is_a_failure_with_a_sentence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        row = scan._terraform(ROOT)
        assert (row.passed, row.failed) == (0, 1)
        assert "was not found on PATH" in row.said

    @pytest.mark.terraform
    def test_a_file_that_is_unformatted_and_invalid_fails_both_and_the_folder_stays_clean(self, tmp_path: Path) -> None:
        (tmp_path / "terraform-bootstrap").mkdir()
        text = 'output "a" {\n    value = local.none\n}\n'
        (tmp_path / "terraform-bootstrap" / "main.tf").write_text(text)
        row = scan._terraform(tmp_path)
        assert (row.passed, row.failed) == (1, 2)
        assert "undeclared local value" in row.said
        assert [path.name for path in (tmp_path / "terraform-bootstrap").iterdir()] == ["main.tf"]


@pytest.mark.scan
def test_a_template_that_fails_a_check_fails_the_row_of_checkov(tmp_path: Path) -> None:
    for folder in ("cfn", "terraform-bootstrap"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".checkov.yaml", tmp_path)
    shutil.copy(ROOT / "terraform-bootstrap" / "outputs.tf", tmp_path / "terraform-bootstrap")
    (tmp_path / "cfn" / "topic.yaml").write_text("Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n")
    row = scan._checkov(tmp_path, ensure("scan"))
    assert row.failed > 0
    assert "topic.yaml: AWS::SNS::Topic.Topic: CKV_AWS_26" in row.said
