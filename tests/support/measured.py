"""Coverage by branches of what the whole suite runs in its own processes, held against a floor a folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import coverage
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FLOORS: Mapping[str, float] = {
    "lambda": 95.0,
    "tooling": 85.0,
}  # per cent of lines and branches together


class Measured(NamedTuple):
    """What was measured of a folder."""

    folder: str
    percent: float
    floor: float

    def __str__(self) -> str:
        verdict = "" if self.percent >= self.floor else "  TOO LITTLE"
        return f"coverage {self.folder}: {self.percent:.1f} % with branches, {self.floor:.0f} % at least{verdict}"


class Floors:
    """A plugin of pytest: fails a run that covers too little, and shows each folder before the closing line."""

    def __init__(self, data: Path, floors: Mapping[str, float] = FLOORS) -> None:
        self.data, self.floors, self.found = data, floors, list[Measured]()

    @pytest.hookimpl(trylast=True)  # once pytest-cov has put the workers' figures together
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.found = measured(self.data, self.floors)
        if session.exitstatus == pytest.ExitCode.OK and any(
            one.percent < one.floor for one in self.found
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for one in self.found:
            terminalreporter.write_line(str(one))


def measured(data: Path, floors: Mapping[str, float] = FLOORS) -> list[Measured]:
    """Read coverage's data file; a folder of which nothing was run has 0 per cent."""
    found = coverage.Coverage(data_file=data)
    found.load()
    return [Measured(folder, _percent(found, folder), floor) for folder, floor in floors.items()]


def _percent(found: coverage.Coverage, folder: str) -> float:
    try:
        return found.report(include=[f"{folder}/*"], file=io.StringIO())
    except coverage.exceptions.NoDataError:
        return 0.0
