"""Commands in messages: they are spelled as the person called this one, and can be pasted."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import NAMESPACE, TASKS, arguments_of
from tests.support.repository import ROOT
from tooling import invocation
from tooling.invocation import FLAGS_OF_TASKS, PROGRAM_VARIABLE, TARGET_FLAGS, spell_program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def called_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, "./inv")


def test_command_repeats_the_flags_that_chose_the_account() -> None:
    flags = {"profile": "my profile", "account": "111122223333", "region": None, "config": "a.toml"}
    with invocation.start_run(flags):
        command = invocation.spell("deploy", "--set Name=Value")
    expected = "./inv deploy -p 'my profile' -a 111122223333 --config a.toml --set Name=Value"
    assert command == expected
    assert invocation.spell("deploy") == "./inv deploy"  # the run has ended


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_spelled_with_the_flags_that_it_takes(task: str) -> None:
    names = {argument.name for argument in arguments_of(task)}
    assert set(FLAGS_OF_TASKS.get(task, TARGET_FLAGS)) == names.intersection(TARGET_FLAGS)


def test_tasks_with_fewer_flags_exist() -> None:
    assert set(FLAGS_OF_TASKS) <= set(TASKS)
    assert NAMESPACE.default is None


@pytest.mark.parametrize(
    ("environment", "argument", "program"),
    [
        ({PROGRAM_VARIABLE: "./inv"}, "x/invoke/__main__.py", "./inv"),
        ({PROGRAM_VARIABLE: "../a b/inv"}, "x/invoke/__main__.py", "'../a b/inv'"),
        ({PROGRAM_VARIABLE: "{bin}/inv"}, "x/invoke/__main__.py", "{bin}/inv"),
        ({PROGRAM_VARIABLE: "{bin}/inv", "PATH": "{bin}"}, "x/__main__.py", "inv"),
        ({"PATH": "{bin}"}, "{bin}/invoke", "invoke"),
        ({}, "{bin}/invoke", "{bin}/invoke"),
        ({}, "x/pytest", "./inv"),
    ],
)
def test_program_is_named_as_it_was_called(
    tmp_path: Path, environment: dict[str, str], argument: str, program: str
) -> None:
    for name in ("inv", "invoke"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    filled = {name: value.format(bin=tmp_path) for name, value in environment.items()}
    called = spell_program(filled, [argument.format(bin=tmp_path)])
    assert called == program.format(bin=tmp_path)


@pytest.mark.joint
def test_remedy_of_the_script_can_be_pasted(tmp_path: Path) -> None:
    """The script is called by its path, from another folder; its remedy names the same path."""
    process = subprocess.run(
        [str(ROOT / "inv"), "explain", "nowhere.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    assert f"{shlex.quote(str(ROOT / 'inv'))} --help explain" in process.stderr
