"""The scan: each tool is a row, one failure fails it, and a scan of nothing is no success."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.support.repository import ROOT
from tooling.checks import scan
from tooling.checks.linters import TOOLS, Found, Place, Row, Tool
from tooling.checks.scan import Report
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Row("ruff", "Python", 1, 0, 0, 0.1)
BAD = Row("mypy", "strict", 0, 2, 0, 0.1, ("x.py:1: error: <wrong>", "y.py:2: error"))


class TestReport:
    def test_it_passes_when_something_was_looked_at_and_nothing_failed(self) -> None:
        assert Report((GOOD, GOOD)).passed
        assert not Report((GOOD, BAD)).passed
        assert not Report(()).passed

    def test_failures_are_told_before_the_table_and_successes_only_in_it(self) -> None:
        said, *table = Report((GOOD, BAD)).lines()
        assert said == "--- mypy\nx.py:1: error: <wrong>\ny.py:2: error"
        assert [line.split()[:4] for line in table] == [
            ["tool", "passed", "failed", "skipped"],
            ["ruff", "1", "0", "0"],
            ["mypy", "0", "2", "0"],
        ]

    def test_junit_holds_a_case_a_tool_and_what_failed(self) -> None:
        suite = ElementTree.fromstring(Report((GOOD, BAD)).junit())  # noqa: S314 - written by this test's own process
        assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
        good, bad = suite
        assert (good.get("name"), list(good)) == ("ruff", [])
        assert bad[0].text == "x.py:1: error: <wrong>\ny.py:2: error"


class TestChosen:
    def test_all_tools_are_the_default(self) -> None:
        assert scan.choose_tools(None, fast=False) == TOOLS

    def test_fast_leaves_out_the_slow_ones(self) -> None:
        names = {tool.name for tool in scan.choose_tools(None, fast=True)}
        assert "ruff check" in names
        assert not names & {"checkov", "mypy", "cfn-lint", "terraform validate"}

    def test_one_is_chosen_by_its_name_even_a_slow_one(self) -> None:
        assert [tool.name for tool in scan.choose_tools("checkov", fast=True)] == ["checkov"]

    def test_a_name_that_no_tool_has_is_refused_with_all_names(self) -> None:
        with pytest.raises(RefusedError, match="--only checkow: is no tool of the scan") as refused:
            scan.choose_tools("checkow", fast=False)
        assert all(tool.name in refused.value.remedy for tool in TOOLS)


class TestRun:
    def test_each_tool_is_a_row_in_its_order_and_the_report_is_kept(self, tmp_path: Path) -> None:
        said: list[str] = []
        tools = [
            Tool("a", "x", lambda _: Found(2), fast=True),
            Tool("b", "y", lambda _: Found(1, skipped=3), fast=True),
        ]
        report = scan.run(ROOT, tmp_path, announce=said.append, tools=tools)
        assert [(row.tool, row.passed, row.failed, row.skipped) for row in report.rows] == [
            ("a", 2, 0, 0),
            ("b", 1, 0, 3),
        ]
        assert report.passed
        assert said == ["scanning: a, b ..."]
        assert b'name="a"' in (tmp_path / "scan" / "junit.xml").read_bytes()

    def test_one_failed_tool_fails_it(self, tmp_path: Path) -> None:
        tools = [
            Tool("a", "x", lambda _: Found(1), fast=True),
            Tool("b", "y", lambda _: Found(0, ("bad",)), fast=True),
        ]
        assert not scan.run(ROOT, tmp_path, announce=lambda _: None, tools=tools).passed

    def test_a_tool_that_cannot_be_started_is_a_finding(self, tmp_path: Path) -> None:
        def missing(place: Place) -> Found:
            raise FileNotFoundError(2, "No such file", place.program("none"))

        report = scan.run(
            ROOT, tmp_path, announce=lambda _: None, tools=[Tool("a", "x", missing, fast=True)]
        )
        assert not report.passed
        assert report.rows[0].findings[0].startswith("a could not be run: ")

    def test_the_environments_of_the_slow_tools_are_made_before_they_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[str] = []
        monkeypatch.setattr(scan, "ensure", lambda name, _root: made.append(name))
        tools = [Tool("a", "x", lambda _: Found(len(made)))]
        assert scan.run(ROOT, tmp_path, announce=lambda _: None, tools=tools).rows[0].passed == 2
        assert set(made) == {"scan", "local"}
