"""The scan: each tool is a row, one finding fails it, and a scan without tools fails."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.support.repository import ROOT
from tooling.checks import scan
from tooling.checks.linters import TOOLS, Outcome, Tool, ToolResult, Workspace
from tooling.checks.scan import Report
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = ToolResult("ruff", "Python", 1, 0, 0.1)
BAD = ToolResult("mypy", "strict", 0, 0, 0.1, ("x.py:1: error: <wrong>", "y.py:2: error"))


def ignore(_line: str) -> None:
    """Stand for the terminal."""


class TestReport:
    def test_report_passes_when_tools_ran_without_findings(self) -> None:
        assert Report((GOOD, GOOD)).passed
        assert not Report((GOOD, BAD)).passed
        assert not Report(()).passed

    def test_the_report_has_the_findings_and_a_row_for_each_tool(self) -> None:
        report = Report((GOOD, BAD))
        assert report.format_findings() == ["--- mypy\nx.py:1: error: <wrong>\ny.py:2: error"]
        assert report.format_rows() == [
            ("ruff", "1", "0", "0", "Python"),
            ("mypy", "0", "2", "0", "strict"),
        ]
        assert len(scan.COLUMNS) == len(report.format_rows()[0])

    def test_junit_has_a_case_for_each_tool(self) -> None:
        suite = ElementTree.fromstring(Report((GOOD, BAD)).to_junit())  # noqa: S314 - our own XML
        assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
        good, bad = suite
        assert (good.get("name"), list(good)) == ("ruff", [])
        assert bad[0].text == "x.py:1: error: <wrong>\ny.py:2: error"


class TestChooseTools:
    def test_all_tools_are_the_default(self) -> None:
        assert scan.choose_tools(None, fast=False) == TOOLS

    def test_fast_excludes_the_slow_ones(self) -> None:
        names = {tool.name for tool in scan.choose_tools(None, fast=True)}
        assert "ruff check" in names
        assert not names & {"checkov", "mypy", "cfn-lint", "terraform validate"}

    def test_only_chooses_a_tool_by_name_even_a_slow_one(self) -> None:
        assert [tool.name for tool in scan.choose_tools("checkov", fast=True)] == ["checkov"]

    def test_unknown_name_is_refused_with_all_names(self) -> None:
        with pytest.raises(RefusedError, match="--only checkow: is not a tool") as error:
            scan.choose_tools("checkow", fast=False)
        assert all(tool.name in error.value.remedy for tool in TOOLS)


class TestRun:
    def test_each_tool_is_a_row_and_the_report_is_kept(self, tmp_path: Path) -> None:
        lines: list[str] = []
        tools = [
            Tool("a", "x", lambda _: Outcome(2), fast=True),
            Tool("b", "y", lambda _: Outcome(1, skipped=3), fast=True),
        ]
        report = scan.run(ROOT, tmp_path, announce=lines.append, tools=tools)
        assert [(row.tool, row.passed, row.findings, row.skipped) for row in report.results] == [
            ("a", 2, (), 0),
            ("b", 1, (), 3),
        ]
        assert report.passed
        assert lines[0] == "scanning, two tools at a time: a, b"
        assert {"  " + line.split()[0] for line in lines if line.endswith(" s  passed")} == {
            "  a",
            "  b",
        }
        assert b'name="a"' in (tmp_path / "scan" / "junit.xml").read_bytes()

    def test_each_tool_has_a_line_as_it_ends_while_the_others_run(self, tmp_path: Path) -> None:
        lines: list[str] = []
        has_shown_fast = threading.Event()

        def announce(line: str) -> None:
            lines.append(line)
            if line.startswith("  fast"):
                has_shown_fast.set()

        def run_slow(_: Workspace) -> Outcome:
            return Outcome(int(has_shown_fast.wait(10)), findings=("bad",))

        tools = [
            Tool("slow", "x", run_slow, fast=True),
            Tool("fast", "y", lambda _: Outcome(1), fast=True),
        ]
        report = scan.run(ROOT, tmp_path, announce=announce, tools=tools)
        assert report.results[0].passed == 1, "it ended before the line of the fast one"
        ended = [line for line in lines if line.startswith("  ")]
        assert [re.sub(r" +[\d.]+ s", "", line) for line in ended] == [
            "  fast  passed",
            "  slow  1 failed",
        ]
        after_fast = lines[lines.index(ended[0]) + 1]
        assert after_fast == "running slow: 1 of 2 tools have ended ..."

    def test_one_failed_tool_fails_the_scan(self, tmp_path: Path) -> None:
        tools = [
            Tool("a", "x", lambda _: Outcome(1), fast=True),
            Tool("b", "y", lambda _: Outcome(0, ("bad",)), fast=True),
        ]
        assert not scan.run(ROOT, tmp_path, announce=ignore, tools=tools).passed

    def test_tool_that_cannot_be_started_is_a_finding(self, tmp_path: Path) -> None:
        def fail(workspace: Workspace) -> Outcome:
            raise FileNotFoundError(2, "No such file", workspace.program("none"))

        tools = [Tool("a", "x", fail, fast=True)]
        report = scan.run(ROOT, tmp_path, announce=ignore, tools=tools)
        assert not report.passed
        assert report.results[0].findings[0].startswith("a could not be run: ")

    def test_environments_are_made_before_slow_tools_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environments: list[str] = []
        monkeypatch.setattr(scan, "ensure", lambda name, _root: environments.append(name))
        tools = [Tool("a", "x", lambda _: Outcome(len(environments)))]
        report = scan.run(ROOT, tmp_path, announce=ignore, tools=tools)
        assert report.results[0].passed == 2
        assert set(environments) == {"scan", "local"}
