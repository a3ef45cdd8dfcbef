"""The test runner: which marks, which environments, and no way into a real account."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener import Listener
from tests.support.repository import ROOT
from tooling.checks import test_run
from tooling.errors import RefusedError
from tooling.provider_mirror import Provider

OTHER_MARK = re.compile(r"^pytestmark = .*mark\.(joint|local|end_to_end)\b", re.MULTILINE)


class Recorder:
    """Stands for the environments and for pytest, and records how they are used."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.environments: list[str] = []
        self.command: list[str] = []
        self.options: dict[str, Any] = {}
        self.folder_existed = False
        self.announce = Listener().announce

    def prepare_provider(self, *_: Any) -> Path:
        self.environments.append("provider")
        return Path("provider")

    def ensure(self, name: str, root: Path) -> Path:
        assert root == ROOT
        self.environments.append(name)
        return root

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.command, self.options = command, options
        self.folder_existed = Path(options["env"]["AWS_CONFIG_FILE"]).parent.is_dir()
        return subprocess.CompletedProcess(command, self.exit_code)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(test_run, "ensure", recorder.ensure)
    monkeypatch.setattr(test_run, "prepare_provider", recorder.prepare_provider)
    monkeypatch.setattr(subprocess, "run", recorder.run)
    return recorder


def mark_option(command: list[str]) -> str | None:
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
def test_parts_become_one_mark_expression(parts: set[str], expression: str) -> None:
    assert test_run.to_mark_expression(parts) == expression


def test_unit_tests_need_one_process_and_no_other_environment(
    recorder: Recorder, tmp_path: Path
) -> None:
    test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce, parts={"unit"})
    assert recorder.environments == []
    assert "-n" not in recorder.command
    for path in test_run.UNIT_TEST_PATHS:
        assert (ROOT / path).exists()
        assert path in recorder.command
    assert mark_option(recorder.command) == test_run.to_mark_expression({"unit"})


def test_all_tests_need_all_environments_and_two_processes(
    recorder: Recorder, tmp_path: Path
) -> None:
    test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce)
    assert recorder.environments == ["provider", "local", "runtime", "scan"]
    assert recorder.options["env"]["SIGNWATCH_PROVIDER_MIRROR"] == "provider"
    assert mark_option(recorder.command) is None
    assert recorder.command[recorder.command.index("-n") + 1] == "2"


def test_coverage_is_measured_only_for_all_tests(recorder: Recorder, tmp_path: Path) -> None:
    test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce)
    assert "--cov" in recorder.command
    for parts in ({"unit"}, {"terraform"}):
        test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce, parts=parts)
        assert "--cov" not in recorder.command


def test_unit_tests_with_another_part_need_environments(recorder: Recorder, tmp_path: Path) -> None:
    test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce, parts=["unit", "end_to_end"])
    assert recorder.environments


@pytest.mark.terraform
def test_terraform_init_runs_once_before_the_tests(tmp_path: Path) -> None:
    """The tests then use what it unpacked; without a mirror variable, the look-up finds one."""
    listener = Listener()
    mirror = test_run.prepare_provider(ROOT, tmp_path, dict(os.environ), listener.announce)
    assert mirror.is_relative_to(tmp_path)
    assert Provider.read(ROOT, os.environ).is_in(mirror)
    assert listener.lines[-1] == "terraform init ..."


@pytest.mark.parametrize("code", [0, 1, 5])
def test_exit_code_is_that_of_pytest(recorder: Recorder, tmp_path: Path, code: int) -> None:
    recorder.exit_code = code
    assert test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce, parts={"unit"}) == code


def test_further_arguments_reach_pytest(recorder: Recorder, tmp_path: Path) -> None:
    test_run.run(
        ROOT,
        tmp_path / "dist",
        announce=recorder.announce,
        parts={"unit"},
        extra=["-x", "tests/cfn"],
    )
    assert recorder.command[-2:] == ["-x", "tests/cfn"]
    assert recorder.options["cwd"] == ROOT
    assert (tmp_path / "dist").is_dir()


def test_tests_do_not_see_the_users_aws_configuration(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("AWS_CA_BUNDLE", "bundle.pem")
    monkeypatch.setenv("SIGNWATCH_PROVIDER_MIRROR", "mirror")
    test_run.run(ROOT, tmp_path / "dist", announce=recorder.announce, parts={"unit"})
    environment = recorder.options["env"]
    assert "mine" not in environment.values()
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert environment["AWS_CA_BUNDLE"] == "bundle.pem"
    assert environment["SIGNWATCH_PROVIDER_MIRROR"] == "mirror"
    assert recorder.folder_existed
    assert not Path(environment["AWS_CONFIG_FILE"]).parent.exists()


def test_files_outside_the_unit_test_paths_have_no_unit_tests() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    folders = tuple(f"{path}/" for path in test_run.UNIT_TEST_PATHS)
    outside = {
        path
        for path in files
        if not path.startswith(folders) and path not in test_run.UNIT_TEST_PATHS
    }
    assert files.issuperset(test_run.PATHS_WITHOUT_UNIT_TESTS)
    for path in outside.union(test_run.PATHS_WITHOUT_UNIT_TESTS):
        assert OTHER_MARK.search((ROOT / path).read_text()), path


@pytest.mark.parametrize("text", ["", "0", "-1", "1e5", "many", "\u0661", "1_000"])
def test_invalid_count_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="is not a number of records"):
        test_run.parse_count(text)


def test_without_a_count_nothing_is_fuzzed() -> None:
    assert test_run.parse_count(None) == 0
    assert test_run.parse_count("100000") == 100_000


def test_fuzzer_gets_all_source_roots_and_its_count(recorder: Recorder) -> None:
    recorder.exit_code = 1
    assert test_run.fuzz(ROOT, 20) == 1
    assert recorder.command[1:] == ["-m", "tests.support.fuzzing", "20"]
    source_roots = recorder.options["env"]["PYTHONPATH"].split(":")
    assert source_roots == [str(ROOT), str(ROOT / "lambda")]


def test_every_mark_is_excluded_from_the_unit_tests() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    for line in options["markers"]:
        assert line.partition(":")[0] in test_run.MARKS["unit"]
