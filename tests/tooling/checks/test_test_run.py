"""pytest as the words ask for it: which marks, which environments, and no way into a real account."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import test_run
from tooling.errors import RefusedError


class Runs:
    """Stands for the environments and for pytest, which ends with ``code``."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.ensured, self.command, self.options = (
            code,
            list[str](),
            list[str](),
            dict[str, Any](),
        )
        self.folder_existed = False

    def ensure(self, name: str, root: Path) -> Path:
        assert root == ROOT
        self.ensured.append(name)
        return root

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.command, self.options = command, options
        self.folder_existed = Path(options["env"]["AWS_CONFIG_FILE"]).parent.is_dir()
        return subprocess.CompletedProcess(command, self.code)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(test_run, "ensure", runs.ensure)
    monkeypatch.setattr(subprocess, "run", runs.run)
    return runs


def marks(command: list[str]) -> str | None:
    return command[command.index("-m", 3) + 1] if "-m" in command[3:] else None


@pytest.mark.parametrize(
    ("parts", "expression"),
    [
        (set(), ""),
        ({"unit"}, "(not (joint or terraform or local or end_to_end or scan))"),
        ({"terraform"}, "(terraform)"),
        ({"end_to_end"}, "(local or end_to_end)"),
        (
            {"unit", "terraform"},
            "(terraform) or (not (joint or terraform or local or end_to_end or scan))",
        ),
    ],
)
def test_the_parts_become_one_mark_expression(parts: set[str], expression: str) -> None:
    assert test_run.mark_expression(parts) == expression


def test_unit_tests_need_no_other_environment_and_one_process(runs: Runs, tmp_path: Path) -> None:
    test_run.run(ROOT, tmp_path / "dist", parts={"unit"})
    assert runs.ensured == []
    assert "-n" not in runs.command
    assert all((ROOT / folder).exists() and folder in runs.command for folder in test_run.UNIT)
    assert marks(runs.command) == test_run.mark_expression({"unit"})


def test_everything_needs_all_environments_and_deselects_nothing(
    runs: Runs, tmp_path: Path
) -> None:
    test_run.run(ROOT, tmp_path / "dist")
    assert set(runs.ensured) == {"local", "runtime", "scan"}
    assert marks(runs.command) is None
    assert runs.command[runs.command.index("-n") + 1] == "2"


def test_coverage_is_measured_of_everything_and_of_no_part(runs: Runs, tmp_path: Path) -> None:
    test_run.run(ROOT, tmp_path / "dist")
    assert "--cov" in runs.command
    for parts in ({"unit"}, {"terraform"}):
        test_run.run(ROOT, tmp_path / "dist", parts=parts)
        assert "--cov" not in runs.command


def test_unit_tests_together_with_another_part_are_not_taken_for_unit_tests_alone(
    runs: Runs, tmp_path: Path
) -> None:
    test_run.run(ROOT, tmp_path / "dist", parts=["unit", "end_to_end"])
    assert runs.ensured


@pytest.mark.parametrize("code", [0, 1, 5])
def test_the_exit_code_is_that_of_pytest(runs: Runs, tmp_path: Path, code: int) -> None:
    runs.code = code
    assert test_run.run(ROOT, tmp_path / "dist", parts={"unit"}) == code


def test_more_arguments_are_handed_on_and_it_runs_in_the_checkout(
    runs: Runs, tmp_path: Path
) -> None:
    test_run.run(ROOT, tmp_path / "dist", parts={"unit"}, extra=["-x", "tests/cfn"])
    assert runs.command[-2:] == ["-x", "tests/cfn"]
    assert runs.options["cwd"] == ROOT
    assert (tmp_path / "dist").is_dir()


def test_the_tests_see_no_aws_configuration_of_whoever_runs_them(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("AWS_CA_BUNDLE", "bundle.pem")
    monkeypatch.setenv("SIGNWATCH_PROVIDER_MIRROR", "mirror")
    test_run.run(ROOT, tmp_path / "dist", parts={"unit"})
    environment = runs.options["env"]
    assert "mine" not in environment.values()
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert (environment["AWS_CA_BUNDLE"], environment["SIGNWATCH_PROVIDER_MIRROR"]) == (
        "bundle.pem",
        "mirror",
    )
    assert runs.folder_existed
    assert not Path(environment["AWS_CONFIG_FILE"]).parent.exists()


def test_a_file_that_is_not_collected_for_the_unit_tests_holds_none() -> None:
    everywhere = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    elsewhere = {
        path
        for path in everywhere
        if not path.startswith(tuple(f"{folder}/" for folder in test_run.UNIT))
        and path not in test_run.UNIT
    }
    assert everywhere.issuperset(test_run.NO_UNIT)
    for path in elsewhere.union(test_run.NO_UNIT):
        marked = re.search(
            r"^pytestmark = .*mark\.(joint|local|end_to_end)\b",
            (ROOT / path).read_text(),
            re.MULTILINE,
        )
        assert marked, path


@pytest.mark.parametrize("text", ["", "0", "-1", "1e5", "many", "\u0661", "1_000"])
def test_a_count_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="is not a number of records"):
        test_run.parse_count(text)


def test_without_a_count_nothing_is_fuzzed() -> None:
    assert (test_run.parse_count(None), test_run.parse_count("100000")) == (0, 100_000)


def test_the_fuzzer_gets_both_source_roots_and_its_count(runs: Runs) -> None:
    runs.code = 1
    assert test_run.fuzz(ROOT, 20) == 1
    assert runs.command[1:] == ["-m", "tests.support.fuzzing", "20"]
    assert runs.options["env"]["PYTHONPATH"].split(":") == [str(ROOT), str(ROOT / "lambda")]


def test_every_mark_of_the_project_belongs_to_a_part() -> None:
    import tomllib

    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    for mark in (line.partition(":")[0] for line in options["markers"]):
        assert mark in test_run.MARKS["unit"]
