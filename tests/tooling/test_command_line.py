"""Tasks on this machine, as a person types them: flags, help, and exit codes."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import (
    NAMESPACE,
    TASKS,
    WRITING_TASKS,
    Aws,
    Run,
    arguments_of,
    expect,
    on_account,
)
from tests.support.repository import ROOT
from tooling import environment, provider_mirror, terraform
from tooling.checks import mutations, scan, test_run
from tooling.environment import BrokenEnvironmentError
from tooling.terminal.target import TARGET_HELP
from tooling.terraform import MIRROR_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint

# A terraform that knows its platform, and whose init cannot download anything.
FAILING_INIT = """\
[ "$1" = version ] && echo '{"platform": "linux_amd64"}' && exit
echo "Error: Failed to query available provider packages"
echo "no such host"
exit 1"""


class TestMachine:
    @pytest.mark.parametrize(
        "command_line",
        [
            on_account("bootstrap"),
            on_account("destroy", "--everything"),
            ("demo",),
            ("test",),
            ("test", "--unit", "--terraform"),
        ],
        ids=" ".join,
    )
    def test_missing_terraform_is_refused(
        self,
        aws: Aws,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        command_line: tuple[str, ...],
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
        expect(
            run(*command_line),
            2,
            command_line[0],
            "terraform: was not found on PATH",
            "install Terraform",
        )
        assert aws.actions == []

    @pytest.mark.parametrize(
        "command_line",
        [on_account("bootstrap"), on_account("destroy", "--everything"), ("demo",)],
        ids=" ".join,
    )
    def test_terraform_that_is_too_old_is_refused_before_any_write(
        self, aws: Aws, run: Run, tmp_path: Path, command_line: tuple[str, ...]
    ) -> None:
        answer = '{"terraform_version": "1.5.7", "platform": "linux_amd64"}'
        (tmp_path / "bin" / "terraform").write_text(f"#!/bin/sh\necho '{answer}'\n")
        end = run(*command_line)
        expect(end, 2, command_line[0], "is version 1.5.7, and 1.9 or newer is needed")
        assert set(aws.actions) <= {"GetCallerIdentity"}

    def test_variables_file_that_cannot_be_read_stops_a_bootstrap_alone(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(folder: Path) -> None:
            raise terraform.UnreadableFileError(str(folder / "variables.tf"), "is odd", "fix it")

        monkeypatch.setattr(terraform, "load_defaults", fail)
        (tmp_path / "empty.toml").write_text("[bootstrap]\nold_version_days = 30\n")
        expect(run(*on_account("bootstrap")), 2, "bootstrap", "variables.tf: is odd")
        assert aws.actions == []
        expect(run(*on_account("deploy")), 2, "deploy", "has no bootstrap")

    def test_busy_port_is_refused(self, run: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            expect(
                run("demo", "--port", str(port)),
                2,
                "demo",
                f"--port {port}: cannot be used",
                "in use",
            )

    def test_only_the_locked_release_of_the_list_can_be_checked(self, run: Run) -> None:
        end = run("networks.refresh", "--check", "--release=1.0")
        expect(end, 2, "networks.refresh", "--release: only the locked release can be checked")

    @pytest.mark.parametrize("port", ["http", "70000", "-1"])
    def test_invalid_port_is_refused(self, run: Run, port: str) -> None:
        expect(run("demo", f"--port={port}"), 2, "demo", f"--port {port}: cannot be used")

    @pytest.mark.parametrize("task", WRITING_TASKS)
    def test_writing_task_refuses_a_dry_run(self, run: Run, task: str) -> None:
        expect(
            run("--dry", task),
            2,
            task,
            f"--dry: would not keep {task} from writing",
            "nothing was done",
        )

    def test_broken_environment_is_refused(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: Any) -> None:
            raise BrokenEnvironmentError(".venv-local: no\nTry: again")

        monkeypatch.setattr(test_run, "prepare_provider", lambda *_: tmp_path)
        monkeypatch.setattr(test_run, "ensure", fail)
        expect(run("test"), 2, "test", ".venv-local: no")

    @pytest.mark.parametrize("task", ["demo", "test"])
    @pytest.mark.parametrize(
        ("script", "text"),
        [
            ("echo 'no memory' >&2; exit 1", "terraform version: failed: no memory"),
            (FAILING_INIT, "cannot be downloaded: no such host"),
        ],
        ids=["start", "init"],
    )
    def test_failing_terraform_is_refused_before_anything_is_started(
        self,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        script: str,
        text: str,
        task: str,
    ) -> None:
        (tmp_path / "bin" / "terraform").write_text(f"#!/bin/sh\n{script}\n")
        monkeypatch.setattr(provider_mirror, "DOWNLOADED_MIRROR", tmp_path / "none")
        monkeypatch.setattr(provider_mirror, "find_mirror", lambda *_, **__: None)
        monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
        expect(run(task), 2, task, text)

    @pytest.mark.parametrize("task", ["demo", "test"])
    def test_mirror_without_the_provider_is_refused(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str
    ) -> None:
        (tmp_path / "bin" / "terraform").write_text(f"#!/bin/sh\n{FAILING_INIT}\n")
        monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
        text = f"SIGNWATCH_PROVIDER_MIRROR: names {tmp_path}, which does not have hashicorp/aws"
        expect(run(task), 2, task, text)


class TestCodes:
    @pytest.fixture
    def parts(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """Stand-ins for the scan and the tests, with results to set; ``ran`` records the calls."""
        parts = SimpleNamespace(scan=True, test=0, ran=[])

        def run_scan(*_: Any, **__: Any) -> Any:
            parts.ran.append("scan")
            return SimpleNamespace(
                passed=parts.scan,
                format_findings=lambda: ["a finding"],
                format_rows=lambda: [("mypy", "0", "1", "0", "strict")],
            )

        def run_tests(*_: Any, parts: set[str], **__: Any) -> int:
            ran.append(sorted(parts))
            return int(codes.test)

        codes, ran = parts, parts.ran
        monkeypatch.setattr(scan, "run", run_scan)
        monkeypatch.setattr(test_run, "run", run_tests)
        return parts

    def test_scan_with_a_finding_shows_its_rows_and_ends_in_1(
        self, run: Run, parts: SimpleNamespace
    ) -> None:
        parts.scan = False
        code, out, err = run("scan")
        finding, columns, row = out.splitlines()
        assert (code, finding, err) == (1, "a finding", "")
        assert columns.split() == list(scan.COLUMNS)
        assert row.split() == ["mypy", "0", "1", "0", "strict"]

    def test_unknown_tool_is_refused_with_the_names_of_all_tools(self, run: Run) -> None:
        expect(
            run("scan", "--only", "checkow"),
            2,
            "scan",
            "--only checkow: is not a tool of the scan",
            "shellcheck",
        )

    @pytest.mark.parametrize("caught", [True, False])
    def test_mutations_flag_runs_no_tests_and_shows_the_report(
        self, run: Run, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caught: bool
    ) -> None:
        report = SimpleNamespace(
            passed=caught, format_lines=lambda: ["missed", "mutations caught 1/2"]
        )
        monkeypatch.setattr(mutations, "run", lambda *_: report)
        monkeypatch.setattr(environment, "ensure", lambda *_: ROOT)
        monkeypatch.setattr(provider_mirror, "ensure", lambda *_, **__: ROOT)
        monkeypatch.setenv(terraform.MIRROR_VARIABLE, "")  # the task sets it
        assert run("test", "--mutations") == (int(not caught), "missed\nmutations caught 1/2\n", "")
        assert parts.ran == []

    def test_fuzz_flag_runs_no_tests_and_ends_with_its_exit_code(
        self, run: Run, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts: list[int] = []

        def fuzz(_root: Path, count: int) -> int:
            counts.append(count)
            return 1

        monkeypatch.setattr(test_run, "fuzz", fuzz)
        assert run("test", "--fuzz", "300").code == 1
        assert (counts, parts.ran) == ([300], [])
        expect(run("test", "--fuzz", "many"), 2, "test", "--fuzz many: is not a number of records")

    def test_clean_scan_ends_in_0(self, run: Run, parts: SimpleNamespace) -> None:
        assert run("scan").code == 0
        assert parts.ran == ["scan"]

    @pytest.mark.parametrize("code", [0, 1])
    def test_test_ends_with_the_exit_code_of_pytest(
        self, run: Run, parts: SimpleNamespace, code: int
    ) -> None:
        parts.test = code
        assert run("test").code == code

    @pytest.mark.parametrize(
        ("flags", "parts_run"),
        [
            ((), []),
            (("--unit",), ["unit"]),
            (("--end-to-end",), ["end_to_end"]),
            (("--terraform", "--unit"), ["terraform", "unit"]),
        ],
    )
    def test_flags_choose_the_parts_of_the_tests(
        self, run: Run, parts: SimpleNamespace, flags: tuple[str, ...], parts_run: list[str]
    ) -> None:
        run("test", *flags)
        assert parts.ran == [parts_run]

    def test_check_runs_the_scan_and_then_all_tests(self, run: Run, parts: SimpleNamespace) -> None:
        assert run("check").code == 0
        assert parts.ran == ["scan", []]

    def test_check_ends_in_1_for_a_finding(self, run: Run, parts: SimpleNamespace) -> None:
        parts.scan = False
        assert run("check").code == 1


class TestCommandLine:
    @pytest.mark.parametrize("task", TASKS)
    def test_every_task_has_a_description_of_one_line(self, task: str) -> None:
        description = (NAMESPACE[task].__doc__ or "").splitlines()[0]
        assert description.endswith(".")

    @pytest.mark.parametrize("task", TASKS)
    def test_every_flag_has_a_help_text_with_its_default(self, task: str) -> None:
        for argument in arguments_of(task):
            assert "default: " in (argument.help or ""), f"{task} {argument.name}"

    @pytest.mark.parametrize("task", TASKS)
    def test_help_shows_each_flag_with_its_default(self, run: Run, task: str) -> None:
        end = run("--help", task)
        arguments = arguments_of(task)
        assert end.code == 0
        assert " ".join(end.out.split()).count("default: ") == len(arguments)

    def test_help_names_the_terraform_defaults_of_region_and_prefix(self) -> None:
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        for name in ("region", "prefix"):
            assert TARGET_HELP[name].endswith(f"else {defaults[name]}")

    def test_only_explain_takes_words(self) -> None:
        takers = {task: NAMESPACE[task].word_flag for task in TASKS if NAMESPACE[task].word_flag}
        assert takers == {"explain": "path"}

    @pytest.mark.parametrize("task", TASKS)
    def test_h_is_short_for_no_flag_but_help(self, task: str) -> None:
        assert all("h" not in argument.nicknames for argument in arguments_of(task))

    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_help_after_a_task_with_a_positional_is_shown(self, run: Run, flag: str) -> None:
        end = run("explain", flag)
        assert (end.code, end.err) == (0, "")
        assert " ".join(end.out.split()).count("default: ") == len(arguments_of("explain"))

    @pytest.mark.parametrize(
        "command_line", [("here.json",), ("--path", "here.json"), ("--json", "here.json")]
    )
    def test_explain_takes_its_path_with_and_without_the_flag(
        self, run: Run, tmp_path: Path, command_line: tuple[str, ...]
    ) -> None:
        (tmp_path / "here.json").write_text(json.dumps({"eventName": "x", "eventID": "x"}))
        end = run("explain", *command_line, "--config", "empty.toml")
        assert (end.code, end.err) == (0, "")
        assert "unreadable" in end.out

    def test_these_tasks_do_not_write(self) -> None:
        assert set(TASKS) - set(WRITING_TASKS) == {
            *(
                "outputs",
                "drift",
                "signin-test",
                "networks",
                "networks.check",
                "signin-test",
                "scan",
                "test",
                "check",
                "explain",
                "coverage",
            )
        }
