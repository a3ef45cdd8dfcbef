"""The program of ./inv: groups of tasks, flags, completion, and mistakes on the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import (
    ACCOUNT_TASKS,
    NAMESPACE,
    TASKS,
    Run,
    arguments_of,
    make_program,
)
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINE_MAX_CHARS = 100
BASH = """
eval "$("$1/inv" --print-completion-script bash)"
read -ra COMP_WORDS <<<"$2"
[[ $2 != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "${COMP_WORDS[0]##*/}" | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
echo "${COMPREPLY[*]}"
"""


def inv(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run ./inv as a process."""
    environment = {**os.environ, **options}
    return subprocess.run(
        ["./inv", *arguments], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


class TestList:
    @pytest.mark.parametrize("command_line", [(), ("--help",), ("-h",), ("--list",), ("-l",)])
    def test_tasks_are_listed_in_groups_with_one_line_each(
        self, run: Run, command_line: tuple[str, ...]
    ) -> None:
        end = run(*command_line)
        assert (end.code, end.err) == (0, "")
        lines = [line for line in end.out.splitlines() if line.startswith("  ")]
        assert sorted(line.split()[0] for line in lines) == sorted(TASKS)
        headings = [line for line in end.out.splitlines() if line.endswith(":")]
        assert headings == ["Set up:", "Operate:", "Look, without an account:", "Develop:"]
        assert max(map(len, end.out.splitlines())) <= LINE_MAX_CHARS

    def test_tasks_of_one_collection_are_listed(self, run: Run) -> None:
        out = run("--list", "networks").out
        assert ".revoke" in out
        assert "deploy" not in out

    def test_unknown_collection_is_refused(self, run: Run) -> None:
        end = run("--list", "nosuch")
        assert (end.code, end.out) == (2, "")
        assert end.err.startswith("inv: command line: Sub-collection 'nosuch' not found!\nTry: ")

    @pytest.mark.parametrize("flag", ["--version", "-V"])
    def test_version_is_that_of_the_project(self, run: Run, flag: str) -> None:
        assert run(flag) == (0, f"signwatch {PROJECT['version']}\n", "")

    def test_version_is_the_newest_of_the_changelog(self) -> None:
        versions = re.findall(r"^## \[(\d.*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert versions[0] == PROJECT["version"]


class TestFlags:
    @pytest.mark.parametrize("task", TASKS)
    def test_the_short_flags_of_tasks_are_p_for_profile_and_a_for_account(self, task: str) -> None:
        arguments = arguments_of(task)
        short = {
            (name, argument.name)
            for argument in arguments
            for name in argument.names
            if len(name) == 1
        }
        is_for_an_account = "account" in {argument.name for argument in arguments}
        assert short == ({("p", "profile"), ("a", "account")} if is_for_an_account else set())
        assert is_for_an_account or task not in ACCOUNT_TASKS

    def test_no_flag_of_a_task_is_a_flag_of_the_program(self) -> None:
        own = {name for argument in make_program().core_args() for name in argument.names}
        flags = {name for task in TASKS for entry in arguments_of(task) for name in entry.names}
        assert {"help", "h", "list", "version", "dry"} <= own
        assert own & flags == set()

    def test_help_text_is_there_each_time(self) -> None:
        first, second = arguments_of("deploy"), arguments_of("deploy")
        assert [flag.help for flag in first] == [flag.help for flag in second]
        assert all(flag.help for flag in first)

    @pytest.mark.parametrize("is_off", [False, True])
    def test_byte_code_is_written_as_before(
        self, monkeypatch: pytest.MonkeyPatch, is_off: bool
    ) -> None:
        monkeypatch.setattr(sys, "dont_write_bytecode", is_off)
        make_program().parse_core(["./inv", "check"])
        assert sys.dont_write_bytecode == is_off

    def test_help_after_the_flags_of_a_task_is_shown(self, run: Run) -> None:
        assert run("networks", "-a", "1", "--help").out.startswith("Usage: ./inv ")


class TestMistakes:
    @pytest.mark.parametrize(
        ("command_line", "message", "remedy"),
        [
            ("depoy -a 1", "depoy: is not a task", "./inv deploy"),
            ("Network", "Network: is not a task", "./inv networks"),
            ("networks allow", "allow: is not a task", "./inv networks.allow"),
            ("network.alow", "network.alow: is not a task", "./inv networks.allow"),
            ("--help demoo", "demoo: is not a task", "./inv demo"),
            ("xyzzy", "xyzzy: is not a task", "./inv lists the tasks"),
            ("\x1b[2J", "\\x1b[2J: is not a task", "./inv lists the tasks"),
            (
                "deploy --acount 1",
                "--acount: is not a flag of deploy",
                "--account; ./inv --help deploy explains its flags",
            ),
            ("scan -f", "-f: is not a flag of scan", "./inv --help scan explains its flags"),
            ("deploy -a", "--account: needs a value", "./inv --help deploy explains the flag"),
            (
                "deploy --account --region x",
                "--account: needs a value",
                "./inv --help deploy explains the flag",
            ),
            (
                "-p me deploy",
                "-p: comes before the name of a task",
                "write the flags of a task after its name: ./inv TASK -p",
            ),
            (
                "--config x.toml deploy",
                "--config: comes before the name of a task",
                "write the flags of a task after its name: ./inv TASK --config",
            ),
            ("--hepl", "--hepl: is not a flag of ./inv", "--help; ./inv --help"),
            ("--list-depth x scan", "command line: invalid literal for int()", "./inv --help"),
            (
                "--print-completion-script csh",
                'command line: Completion for shell "csh" not supported',
                "./inv --help",
            ),
        ],
    )
    def test_a_mistake_is_refused_with_a_remedy(
        self, run: Run, command_line: str, message: str, remedy: str
    ) -> None:
        end = run(*command_line.split())
        assert (end.code, end.out) == (2, "")
        first, *_, last = end.err.splitlines()
        assert first.startswith(f"inv: {message}")
        assert last == f"Try: {remedy}"

    @pytest.mark.joint
    @pytest.mark.parametrize("name", ["depoy", "networks.alow"])
    def test_a_misspelt_task_is_refused_as_a_process(self, name: str) -> None:
        end = inv(name)
        assert (end.returncode, end.stdout) == (2, "")
        assert end.stderr.count("\n") == 2
        assert (
            f"Try: ./inv {name.replace('depoy', 'deploy').replace('alow', 'allow')}\n" in end.stderr
        )

    def test_error_within_the_program_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(NAMESPACE["check"], "body", fail)
        with pytest.raises(ZeroDivisionError):
            make_program().run(["./inv", "check"])


@pytest.mark.joint
class TestCompletion:
    @pytest.fixture
    def complete(self, tmp_path: Path) -> Run:
        """Complete a command line in a real bash, in a folder with links to inv."""
        for name in ("inv", "bin/inv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).symlink_to(ROOT / "inv")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "inv").write_text("#!/bin/sh\necho other\n")
        (tmp_path / "other" / "inv").chmod(0o755)

        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

        def complete(line: str) -> set[str]:
            end = subprocess.run(
                ["bash", "--norc", "-c", BASH, "bash", ROOT, line],
                cwd=tmp_path, env=environment,
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert (end.returncode, end.stderr) == (0, "")
            return set(end.stdout.split())

        return complete

    @pytest.mark.parametrize("program", ["./inv", "inv", "bin/inv"])
    @pytest.mark.parametrize(
        ("words", "candidates"),
        [
            ("de", {"deploy", "destroy", "demo"}),
            ("deploy --allow", {"--allow-replace", "--allow-hidden-changes"}),
        ],
    )
    def test_bash_completes_tasks_and_flags(
        self, complete: Run, program: str, words: str, candidates: set[str]
    ) -> None:
        assert complete(f"{program} {words}") == candidates

    @pytest.mark.parametrize(
        ("line", "candidates"),
        [
            (
                "./inv networks.",
                {f"networks.{name}" for name in ("allow", "check", "list", "refresh", "revoke")},
            ),
            ("./inv --ver", {"--version"}),
            # Nothing, so that bash offers files:
            ("./inv explain de", set()),
            ("./inv explain --path de", set()),
            ("./inv deploy --config de", set()),
            ("./inv explain 'de", set()),
            ("other/inv de", set()),  # of another project
            ("nowhere/inv de", set()),
        ],
    )
    def test_bash_is_offered(self, complete: Run, line: str, candidates: set[str]) -> None:
        assert complete(line) == candidates

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_script_asks_this_checkout_and_is_valid(self, tmp_path: Path, shell: str) -> None:
        end = inv("--print-completion-script", shell)
        assert (end.returncode, end.stderr) == (0, "")
        assert re.findall(r"(\S+) (?:\S+ )?--complete", end.stdout)[-1].endswith(f"{ROOT}/inv")
        (tmp_path / "script").write_text(end.stdout)
        program = shutil.which(shell)
        if program:  # zsh and fish are on few machines; -n reads the script and runs nothing
            subprocess.run([program, "-n", tmp_path / "script"], check=True)
