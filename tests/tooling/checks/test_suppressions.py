"""Anything that could hide a finding of the scan is a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tooling.checks import suppressions
from tooling.checks.linters import TOOLS, Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", suppressions.FORBIDDEN_FILES)
def test_other_settings_file_is_a_finding(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list(suppressions.find_suppressions(tmp_path)) == [
        f"{name}: could hide findings; delete it"
    ]


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
def test_setting_of_checkov_that_could_hide_findings_is_a_finding(
    tmp_path: Path, setting: str
) -> None:
    (tmp_path / suppressions.CHECKOV_SETTINGS).write_text(f"{setting}\n")
    (sentence,) = suppressions.find_suppressions(tmp_path)
    assert sentence.startswith(".checkov.yaml: ")
    (tmp_path / suppressions.CHECKOV_SETTINGS).write_text("compact: true\nquiet: false\n")
    assert list(suppressions.find_suppressions(tmp_path)) == []


def test_generated_folders_are_ignored(tmp_path: Path) -> None:
    for folder in ("dist", "cfn/dist", ".venv-scan", "lambda/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.py").touch()
    assert list(suppressions.source_files(tmp_path)) == [tmp_path / "cfn" / "dist" / "x.py"]


def test_settings_for_cfn_lint_in_a_template_are_a_finding(tmp_path: Path) -> None:
    (tmp_path / "cfn").mkdir()
    metadata = "Metadata:\n  cfn-lint: {config: {ignore_checks: [E]}}\n"
    (tmp_path / "cfn" / "x.yaml").write_text(f"{metadata}Resources: {{}}\n")
    (finding,) = suppressions.find_suppressions(tmp_path)
    assert finding.startswith("cfn/x.yaml: its Metadata has settings for cfn-lint")


def test_suppressed_secret_is_a_finding_except_in_generated_files(
    tmp_path: Path,
) -> None:
    for folder in ("docs", "dist", ".venv-x"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text(
            f"key  # {suppressions.SECRET_SUPPRESSION} secret\n"
        )
    assert list(suppressions.find_suppressions(tmp_path)) == [
        "docs/x.md: a comment suppresses the search for secrets in it"
    ]


def test_unreadable_template_is_left_to_other_tools(tmp_path: Path) -> None:
    (tmp_path / "cfn").mkdir()
    (tmp_path / "cfn" / "x.yaml").write_text("Resources: [\n")
    assert list(suppressions.find_suppressions(tmp_path)) == []


def test_scan_has_a_fast_tool_for_suppressions(tmp_path: Path) -> None:
    (tool,) = (tool for tool in TOOLS if tool.name == "suppressions")
    assert tool.fast
    assert tool.run(Workspace(ROOT, tmp_path)).findings == ()
    (tmp_path / ".shellcheckrc").touch()
    assert tool.run(Workspace(tmp_path, tmp_path)).findings
