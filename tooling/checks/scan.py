"""Runs the static checks, two at a time; the report is a table and JUnit's XML.

The checks themselves are the tools in ``linters.TOOLS``: to add a tool, add it there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tooling.checks.linters import TOOLS, Tool, ToolResult, Workspace
from tooling.environment import ensure
from tooling.errors import RefusedError
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


NAME_WIDTH = max(len(tool.name) for tool in TOOLS)
COLUMNS = ("tool", "passed", "failed", "skipped", "what")


@dataclass(frozen=True)
class Report:
    """The results of all tools of a scan."""

    results: tuple[ToolResult, ...]

    @property
    def passed(self) -> bool:
        """Whether at least one tool ran and none has a finding."""
        return bool(self.results) and not any(result.findings for result in self.results)

    def format_findings(self) -> list[str]:
        """Return the findings of each failed tool."""
        return [
            "\n".join((f"--- {result.tool}", *result.findings))
            for result in self.results
            if result.findings
        ]

    def format_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, with a cell for each of COLUMNS."""
        return [
            (
                result.tool,
                *map(str, (result.passed, len(result.findings), result.skipped)),
                result.scope,
            )
            for result in self.results
        ]

    def to_junit(self) -> bytes:
        """Return the report as JUnit's XML: a test case for each tool, in which it may have failed.

        The failure has all findings of the tool.
        """
        failed = sum(bool(result.findings) for result in self.results)
        counts = {"tests": str(len(self.results)), "failures": str(failed)}
        suite = ElementTree.Element("testsuite", counts, name="scan")
        for result in self.results:
            attributes = {"name": result.tool, "classname": "scan", "time": f"{result.seconds:.3f}"}
            case = ElementTree.SubElement(suite, "testcase", attributes)
            if result.findings:
                message = f"{len(result.findings)} failed"
                failure = ElementTree.SubElement(case, "failure", message=message)
                failure.text = "\n".join(result.findings)
        return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


@dataclass
class _Progress:
    """Shows a line for each tool that has ended, and the tools that run; for several threads."""

    announce: Callable[[str], None]
    tool_count: int
    running: list[str] = field(default_factory=list)
    ended_count: int = 0
    lock: Lock = field(default_factory=Lock)

    def begin(self, tool: Tool) -> None:
        """Show that a tool runs now."""
        with self.lock:
            self.running.append(tool.name)
            self._show_running()

    def finish(self, result: ToolResult) -> None:
        """Show how a tool ended, and what still runs."""
        outcome = f"{len(result.findings)} failed" if result.findings else "passed"
        with self.lock:
            self.running.remove(result.tool)
            self.ended_count += 1
            self.announce(f"  {result.tool:<{NAME_WIDTH}}  {result.seconds:>5.1f} s  {outcome}")
            if self.running:
                self._show_running()

    def _show_running(self) -> None:
        """Show how many tools have ended, and which run."""
        detail = f"{self.ended_count} of {self.tool_count} tools have ended"
        self.announce(Ongoing(f"running {', '.join(self.running)}", detail, is_kept=False))


def choose_tools(only: str | None, *, fast: bool) -> tuple[Tool, ...]:
    """Return all tools, the fast ones, or the one named ``only``.

    Raises RefusedError if no tool has that name.
    """
    if only is None:
        return tuple(tool for tool in TOOLS if tool.fast or not fast)
    tools = tuple(tool for tool in TOOLS if tool.name == only)
    if not tools:
        names = ", ".join(tool.name for tool in TOOLS)
        raise RefusedError(f"--only {only}", "is not a tool of the scan", f"choose one of: {names}")
    return tools


def run(
    root: Path, dist: Path, *, announce: Callable[[str], None], tools: Sequence[Tool] = TOOLS
) -> Report:
    """Run the tools on the repository at ``root``; write their reports to ``dist``/scan.

    ``announce`` shows a line to the user: one as each tool ends, and which ones still run.
    """
    workspace = Workspace(root, dist / "scan", announce)
    workspace.reports.mkdir(parents=True, exist_ok=True)
    if any(not tool.fast for tool in tools):
        for name in ("scan", "local"):  # environments, created before the tools are timed
            ensure(name, root)
    progress = _Progress(announce, len(tools))
    announce(f"scanning, two tools at a time: {', '.join(tool.name for tool in tools)}")

    def run_tool(tool: Tool) -> ToolResult:
        """Run one tool and show its begin and its end."""
        progress.begin(tool)
        result = tool.run(workspace)
        progress.finish(result)
        return result

    with ThreadPoolExecutor(2) as pool:
        report = Report(tuple(pool.map(run_tool, tools)))
    (workspace.reports / "junit.xml").write_bytes(report.to_junit())
    return report
