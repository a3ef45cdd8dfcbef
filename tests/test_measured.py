"""Coverage: measured by branches, and too little of a folder fails the run, told before the closing line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.measured import FLOORS, Measured, measured
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint

TEST = "from half.signs import sign\n\ndef test_it():\n    assert sign(1)\n"
HOOK = """
from pathlib import Path
from tests.support.measured import Floors

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Floors(Path("found"), {{"half": {floor}}}))
"""
HALF = "def sign(number):\n    if number < 0:\n        return -1\n    return 1\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The coverage of a run that went through one of two branches of a file in folder ``half``."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "signs.py").write_text(HALF)
    (tmp_path / "run.py").write_text("from half.signs import sign\nsign(1)\n")
    monkeypatch.chdir(tmp_path)
    command = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--data-file",
        "found",
        "run.py",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path / "found"


def test_a_branch_that_was_not_taken_counts_as_not_covered(data: Path) -> None:
    (found,) = measured(data, {"half": 85.0})
    assert found.percent == pytest.approx(100 * 4 / 6)  # three of four lines, one of two branches
    assert str(found) == "coverage half: 66.7 % with branches, 85 % at least  TOO LITTLE"


def test_a_folder_of_which_nothing_was_run_has_none(data: Path) -> None:
    assert [one.percent for one in measured(data, {"absent": 1.0})] == [0.0]


def test_enough_is_said_without_a_word_of_blame() -> None:
    assert (
        str(Measured("lambda", 99.96, 95.0))
        == "coverage lambda: 100.0 % with branches, 95 % at least"
    )


def test_the_floors_are_those_that_were_agreed() -> None:
    assert FLOORS == {"lambda": 95.0, "tooling": 85.0}


@pytest.mark.parametrize(("floor", "code"), [("0", 0), ("100", 1)])
def test_too_little_fails_a_run_whose_tests_all_pass(tmp_path: Path, floor: str, code: int) -> None:
    for name in ("half", "checks"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "signs.py").write_text(HALF)
    (tmp_path / "checks" / "test_it.py").write_text(TEST)
    (tmp_path / "checks" / "conftest.py").write_text(HOOK.format(floor=floor))
    (tmp_path / "coverage.toml").write_text(
        '[tool.coverage.run]\nbranch = true\ndata_file = "found"\n'
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "--import-mode=importlib",
    ]
    command += [
        "-o",
        f"pythonpath=. {ROOT}",
        "--cov",
        "half",
        "--cov-report",
        "",
        "--cov-config",
        "coverage.toml",
    ]
    done = subprocess.run(
        [*command, "checks"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    *_, told, closing = done.stdout.strip().splitlines()
    assert told.startswith("coverage half: 66.7 % with branches")
    assert closing.startswith("1 passed")
