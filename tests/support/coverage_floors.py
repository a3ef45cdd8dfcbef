"""A pytest plugin that fails a run when a folder's coverage is below its floor."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import coverage
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Per cent of lines and branches together.
FLOORS: Mapping[str, float] = {"lambda": 95.0, "tooling": 85.0}


class FolderCoverage(NamedTuple):
    """The coverage of one folder, and its floor."""

    folder: str
    percent: float
    floor: float

    @property
    def is_enough(self) -> bool:
        return self.percent >= self.floor

    def __str__(self) -> str:
        figures = f"{self.percent:.1f} % with branches, {self.floor:.0f} % at least"
        return f"coverage {self.folder}: {figures}{'' if self.is_enough else '  TOO LITTLE'}"


class CoverageFloors:
    """The plugin. It shows each folder before the closing line."""

    def __init__(self, data_file: Path, floors: Mapping[str, float] = FLOORS) -> None:
        self.data_file, self.floors = data_file, floors
        self.folders: list[FolderCoverage] = []

    @pytest.hookimpl(trylast=True)  # after pytest-cov has joined the figures of all workers
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.folders = read_coverage(self.data_file, self.floors)
        is_enough = all(folder.is_enough for folder in self.folders)
        if session.exitstatus == pytest.ExitCode.OK and not is_enough:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for folder in self.folders:
            terminalreporter.write_line(str(folder))


def read_coverage(data_file: Path, floors: Mapping[str, float]) -> list[FolderCoverage]:
    """Read coverage's data file; a folder that no test used has 0 per cent."""
    data = coverage.Coverage(data_file=data_file)
    data.load()
    return [FolderCoverage(name, _percent(data, name), floor) for name, floor in floors.items()]


def _percent(data: coverage.Coverage, folder: str) -> float:
    try:
        return data.report(include=[f"{folder}/*"], file=io.StringIO())
    except coverage.exceptions.NoDataError:
        return 0.0
