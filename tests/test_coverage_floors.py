"""Coverage floors: branches count, and too little coverage of a folder fails the run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.coverage_floors import FLOORS, FolderCoverage, read_coverage
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint

TEST = "from half.signs import sign\n\ndef test_it():\n    assert sign(1)\n"
HOOK = """
from pathlib import Path
from tests.support.coverage_floors import CoverageFloors

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CoverageFloors(Path("data"), {{"half": {floor}}}))
"""
HALF = "def sign(number):\n    if number < 0:\n        return -1\n    return 1\n"
CONFIGURATION = '[tool.coverage.run]\nbranch = true\ndata_file = "data"\n'
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2")
COVERAGE_OPTIONS = ("--cov", "half", "--cov-report", "", "--cov-config", "coverage.toml")


@pytest.fixture
def data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The coverage of a run that took one of two branches of a file in folder ``half``."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "signs.py").write_text(HALF)
    (tmp_path / "run.py").write_text("from half.signs import sign\nsign(1)\n")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "coverage", "run", "--branch", "--data-file", "data", "run.py"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path / "data"


def test_branch_that_was_not_taken_counts_as_uncovered(data_file: Path) -> None:
    (half,) = read_coverage(data_file, {"half": 85.0})
    assert half.percent == pytest.approx(100 * 4 / 6)  # three of four lines, one of two branches
    assert str(half) == "coverage half: 66.7 % with branches, 85 % at least  TOO LITTLE"


def test_folder_that_no_test_used_has_zero_per_cent(data_file: Path) -> None:
    assert [folder.percent for folder in read_coverage(data_file, {"absent": 1.0})] == [0.0]


def test_enough_coverage_is_shown_without_a_complaint() -> None:
    line = str(FolderCoverage("lambda", 99.96, 95.0))
    assert line == "coverage lambda: 100.0 % with branches, 95 % at least"


def test_floors_are_95_for_the_function_and_85_for_the_tooling() -> None:
    assert FLOORS == {"lambda": 95.0, "tooling": 85.0}


@pytest.mark.parametrize(("floor", "code"), [("0", 0), ("100", 1)])
def test_too_little_coverage_fails_a_run_whose_tests_pass(
    tmp_path: Path, floor: str, code: int
) -> None:
    for name in ("half", "checks"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "signs.py").write_text(HALF)
    (tmp_path / "checks" / "test_it.py").write_text(TEST)
    (tmp_path / "checks" / "conftest.py").write_text(HOOK.format(floor=floor))
    (tmp_path / "coverage.toml").write_text(CONFIGURATION)
    imports = ("--import-mode=importlib", "-o", f"pythonpath=. {ROOT}")
    command = [*PYTEST, *imports, *COVERAGE_OPTIONS, "checks"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    *_, coverage_line, closing_line = run.stdout.strip().splitlines()
    assert coverage_line.startswith("coverage half: 66.7 % with branches")
    assert closing_line.startswith("1 passed")
