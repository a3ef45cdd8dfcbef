"""The decorator of the tasks: an expected error is a sentence and an exit code."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions
from invoke import Context, Exit

from tests.support.aws import client_error
from tests.support.refusals import refusal_of
from tooling import invocation
from tooling.deploy import stack
from tooling.environment import BrokenEnvironmentError
from tooling.errors import FailedError, RefusedError, UnknownStateError
from tooling.progress import Ongoing
from tooling.terminal import task
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = ("here", "is wrong", "fix it")


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNWATCH_DEBUG", raising=False)


@contextlib.contextmanager
def end_with(error: BaseException) -> Iterator[pytest.ExceptionInfo[Exit]]:
    """Run a task that raises ``error``; the value is its exit."""
    with pytest.raises(Exit) as exit_info, task.map_errors("deploy"):
        raise error
    yield exit_info


def test_a_line_of_progress_has_ended_when_an_error_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_context: Context) -> None:
        """Fail while something goes on."""
        Screen().announce(Ongoing("work"))
        raise FailedError(*TEXTS)

    with pytest.raises(Exit):
        task.task(writes=False, help={})(fail)(Context())
    assert capsys.readouterr() == ("work ...\n", "invoke fail: here: is wrong\nTry: fix it\n")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (FailedError(*TEXTS), 1, "invoke deploy: here: is wrong\nTry: fix it\n"),
        (RefusedError(*TEXTS), 2, "invoke deploy: here: is wrong\nTry: fix it\n"),
        (UnknownStateError(*TEXTS), 3, "invoke deploy: here: is wrong\nTry: fix it\n"),
        (stack.InterruptedWatchError(*TEXTS), 130, "invoke deploy: here: is wrong\nTry: fix it\n"),
        (
            BrokenEnvironmentError(".venv-local: no wheel"),
            2,
            "invoke deploy: .venv-local: no wheel\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_our_error_is_printed_once_with_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    with end_with(error) as exit_info:
        assert exit_info.value.code == code
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            client_error("AccessDenied", "not yours", "PutObject"),
            1,
            "AWS PutObject: An error occurred (AccessDenied)",
        ),
        (client_error("ExpiredToken"), 2, "credentials of profile 'default': have expired"),
        (client_error("ExpiredTokenException"), 2, "credentials of profile 'default': have"),
        (client_error("RequestExpired"), 2, "AWS credentials: were refused by AWS"),
        (
            exceptions.EndpointConnectionError(endpoint_url="https://s3"),
            2,
            "AWS: could not be reached",
        ),
        (exceptions.ReadTimeoutError(endpoint_url="https://s3"), 2, "AWS: could not be reached"),
        (exceptions.NoRegionError(), 2, "Region: cannot be used (You must specify a region.)"),
        (PermissionError(13, "Permission denied", "dist/x"), 2, "dist/x: Permission denied"),
        (OSError("the disk went away"), 2, "this machine: the disk went away"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_of_aws_or_of_the_system_is_one_sentence_with_a_remedy(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    with end_with(error) as exit_info:
        assert exit_info.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(f"invoke deploy: {text}")
    assert shown.count("\nTry: ") == 1
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "error",
    [
        client_error("ExpiredToken"),
        exceptions.ReadTimeoutError(endpoint_url="https://s3"),
        OSError("the disk went away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_same_error_after_a_write_leaves_the_state_unknown(error: Exception) -> None:
    def write_and_fail() -> None:
        invocation.mark_written()
        raise error

    with pytest.raises(Exit) as exit_info, task.map_errors("deploy"):
        write_and_fail()
    assert exit_info.value.code == 3


def test_text_of_aws_cannot_change_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with end_with(RefusedError("here", "says \x1b[2J", "fix it")):
        assert capsys.readouterr().err == "invoke deploy: here: says \\x1b[2J\nTry: fix it\n"


@pytest.mark.parametrize("value", ["", "  ", ["a", ""]], ids=str)
def test_flag_with_an_empty_value_is_refused_by_name(value: object) -> None:
    flags = {"region": "eu-west-1", "allow_replace": False, "for_": value}
    assert refusal_of(lambda: task.refuse_empty_values(flags)).startswith("--for: has an empty")


@pytest.mark.parametrize("value", [None, False, [], "Name=", ["Name="]], ids=str)
def test_flag_that_is_left_out_or_has_a_value_is_accepted(value: object) -> None:
    assert refusal_of(lambda: task.refuse_empty_values({"set": value})) == ""


def test_cause_of_an_exit_is_not_shown_as_a_traceback() -> None:
    with end_with(RefusedError(*TEXTS)) as exit_info:
        assert exit_info.value.__suppress_context__
        assert exit_info.value.__cause__ is None


def test_ctrl_c_is_one_sentence_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    with end_with(KeyboardInterrupt()) as exit_info:
        assert exit_info.value.code == 130
    assert (
        capsys.readouterr()
        .err.strip()
        .startswith("invoke deploy: interrupted; what was begun may be half done")
    )


def test_ctrl_c_with_a_sentence_of_its_own_prints_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with end_with(KeyboardInterrupt("nothing is left")) as exit_info:
        assert exit_info.value.code == 130
    assert capsys.readouterr().err == "\ninvoke deploy: interrupted; nothing is left\n"


def test_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), task.map_errors("deploy"):
        raise ZeroDivisionError


def test_debugging_keeps_the_traceback_of_an_error_of_aws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNWATCH_DEBUG", "1")
    with pytest.raises(exceptions.NoRegionError), task.map_errors("deploy"):
        raise exceptions.NoRegionError


def test_successful_task_prints_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    with task.map_errors("deploy"):
        pass
    assert capsys.readouterr() == ("", "")


def test_dry_run_is_refused() -> None:
    with pytest.raises(
        RefusedError, match=r"would not keep deploy from writing.*nothing was done"
    ) as refused:
        task.refuse_dry_run("deploy", is_dry=True)
    assert refused.value.where == "--dry"


def test_run_without_dry_goes_on() -> None:
    assert refusal_of(lambda: task.refuse_dry_run("deploy", is_dry=False)) == ""


def test_flags_take_the_place_of_the_target_parameter() -> None:
    def function(context: object, target: object, wide: bool = False) -> None:
        """A task."""

    flags = {"profile": None, "no_role": False}
    expanded = task.expand_target(inspect.signature(function), flags).parameters
    assert list(expanded) == ["context", "profile", "no_role", "wide"]
    assert {name: expanded[name].default for name in flags} == flags


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_result_is_shown_and_a_finding_ends_in_1(
    capsys: pytest.CaptureFixture[str], passed: bool, code: int
) -> None:
    expectation = contextlib.nullcontext() if passed else pytest.raises(Exit)
    with expectation as exit_info:
        task.show_result(["first", "second"], passed=passed)
    assert capsys.readouterr().out == "first\nsecond\n"
    assert code == (exit_info.value.code if exit_info else 0)
