"""What could hide a finding of the scan is a finding itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tooling.checks import suppressions
from tooling.checks.linters import TOOLS, Place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", suppressions.SETTINGS)
def test_a_second_file_of_settings_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list(suppressions.places(tmp_path)) == [f"{name}: could hide findings: take it out"]


@pytest.mark.parametrize(
    "setting",
    [
        "skip-check: [CKV_AWS_27]",
        "soft-fail: true",
        "skip-path: [cfn]",
        "compact: true\nsoft-fail: true",
        "a: [",
    ],
)
def test_a_setting_of_checkov_that_could_hide_findings_is_found(
    tmp_path: Path, setting: str
) -> None:
    (tmp_path / suppressions.CHECKOV).write_text(f"{setting}\n")
    (sentence,) = suppressions.places(tmp_path)
    assert sentence.startswith(".checkov.yaml: ")
    (tmp_path / suppressions.CHECKOV).write_text("compact: true\nquiet: false\n")
    assert list(suppressions.places(tmp_path)) == []


def test_only_the_repositorys_own_dist_is_passed_over(tmp_path: Path) -> None:
    for folder in ("dist", "cfn/dist", ".venv-scan", "lambda/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.py").touch()
    assert list(suppressions.sources(tmp_path)) == [tmp_path / "cfn" / "dist" / "x.py"]


def test_settings_for_cfn_lint_in_a_template_are_found(tmp_path: Path) -> None:
    (tmp_path / "cfn").mkdir()
    hidden = "Metadata:\n  cfn-lint: {config: {ignore_checks: [E]}}\n"
    (tmp_path / "cfn" / "x.yaml").write_text(f"{hidden}Resources: {{}}\n")
    (fault,) = suppressions.places(tmp_path)
    assert fault.startswith("cfn/x.yaml: has settings for cfn-lint")


def test_a_mark_that_keeps_secrets_from_being_found_is_found_but_not_in_what_is_made(
    tmp_path: Path,
) -> None:
    for folder in ("docs", "dist", ".venv-x"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text(f"key  # {suppressions.PRAGMA} secret\n")
    assert list(suppressions.places(tmp_path)) == [
        "docs/x.md: a mark keeps secrets from being found in it"
    ]


def test_a_template_that_cannot_be_read_is_left_to_the_tools_that_read_it(tmp_path: Path) -> None:
    (tmp_path / "cfn").mkdir()
    (tmp_path / "cfn" / "x.yaml").write_text("Resources: [\n")
    assert list(suppressions.places(tmp_path)) == []


def test_the_scan_asks_for_it_quickly(tmp_path: Path) -> None:
    (tool,) = (tool for tool in TOOLS if tool.name == "hiding")
    assert tool.fast
    assert tool.run(Place(ROOT, tmp_path)).failed == 0
    (tmp_path / ".shellcheckrc").touch()
    assert tool.run(Place(tmp_path, tmp_path)).failed == 1
