"""Everything static: the tools of linters.py, run two at a time and told in one table, in JUnit and in SARIF."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tooling.checks.linters import TOOLS, Place, Row, Tool
from tooling.environment import ensure
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Report:
    """All rows of a scan."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Something was looked at, and nothing failed."""
        return bool(self.rows) and not any(row.failed for row in self.rows)

    def lines(self) -> list[str]:
        """Return what the failures said, then a table."""
        said = [f"--- {row.tool}\n" + "\n".join(row.findings) for row in self.rows if row.failed]
        head = f"{'tool':<20} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>8}  what"
        table = [
            f"{r.tool:<20} {r.passed:>6} {r.failed:>6} {r.skipped:>7} {r.seconds:>8.1f}  {r.what}"
            for r in self.rows
        ]
        return [*said, head, *table]

    def junit(self) -> bytes:
        """Return the report as JUnit's XML: a test case a tool, a failure with all of its findings."""
        failed = str(sum(bool(row.failed) for row in self.rows))
        suite = ElementTree.Element(
            "testsuite", name="scan", tests=str(len(self.rows)), failures=failed
        )
        for row in self.rows:
            case = ElementTree.SubElement(
                suite, "testcase", name=row.tool, classname="scan", time=f"{row.seconds:.3f}"
            )
            if row.failed:
                failure = ElementTree.SubElement(case, "failure", message=f"{row.failed} failed")
                failure.text = "\n".join(row.findings)
        return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def choose_tools(only: str | None, *, fast: bool) -> tuple[Tool, ...]:
    """Return the tools of a scan: all, the fast ones, or one by its name; RefusedError for a name that no tool has."""
    if only is None:
        return tuple(tool for tool in TOOLS if tool.fast or not fast)
    found = tuple(tool for tool in TOOLS if tool.name == only)
    if not found:
        names = ", ".join(tool.name for tool in TOOLS)
        raise RefusedError(f"--only {only}", "is no tool of the scan", f"choose one of: {names}")
    return found


def run(
    root: Path, dist: Path, *, announce: Callable[[str], None], tools: Sequence[Tool] = TOOLS
) -> Report:
    """Run the tools on the repository at ``root``, two at a time; their reports lie in dist/scan afterwards."""
    place = Place(root, dist / "scan")
    place.out.mkdir(parents=True, exist_ok=True)
    if any(
        not tool.fast for tool in tools
    ):  # made one after another, with a line each, before anything is timed
        for name in ("scan", "local"):
            ensure(name, root)
    announce(f"scanning: {', '.join(tool.name for tool in tools)} ...")
    with ThreadPoolExecutor(2) as pool:
        report = Report(tuple(pool.map(lambda tool: tool.run(place), tools)))
    (place.out / "junit.xml").write_bytes(report.junit())
    return report
