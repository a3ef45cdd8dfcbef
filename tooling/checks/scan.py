"""Runs the static checks, two at a time; the report is a table and JUnit's XML.

The checks themselves are the tools in ``linters.TOOLS``: to add a tool, add it there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tooling.checks.linters import TOOLS, Tool, ToolResult, Workspace
from tooling.environment import ensure
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Report:
    """The results of all tools of a scan."""

    results: tuple[ToolResult, ...]

    @property
    def passed(self) -> bool:
        """Whether at least one tool ran and none has a finding."""
        return bool(self.results) and not any(result.findings for result in self.results)

    def format_lines(self) -> list[str]:
        """Return the findings of each failed tool, then a table of all tools."""
        lines = [
            "\n".join((f"--- {result.tool}", *result.findings))
            for result in self.results
            if result.findings
        ]
        lines.append(
            f"{'tool':<20} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>8}  what"
        )
        for result in self.results:
            counts = f"{result.passed:>6} {len(result.findings):>6} {result.skipped:>7}"
            lines.append(f"{result.tool:<20} {counts} {result.seconds:>8.1f}  {result.scope}")
        return lines

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

    ``announce`` shows a line to the user.
    """
    workspace = Workspace(root, dist / "scan", announce)
    workspace.reports.mkdir(parents=True, exist_ok=True)
    if any(not tool.fast for tool in tools):
        for name in ("scan", "local"):  # environments, created before the tools are timed
            ensure(name, root)
    announce(f"scanning: {', '.join(tool.name for tool in tools)} ...")
    with ThreadPoolExecutor(2) as pool:
        report = Report(tuple(pool.map(lambda tool: tool.run(workspace), tools)))
    (workspace.reports / "junit.xml").write_bytes(report.to_junit())
    return report
