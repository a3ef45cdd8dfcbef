"""The manners of a task: every foreseen error is one sentence on standard error and the agreed exit code."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions

from tests.support.aws import client_error
from tests.support.refusals import refusal_of
from tooling.deploy import stack
from tooling.environment import BrokenEnvironmentError
from tooling.errors import FailedError, RefusedError, UnknownStateError
from tooling.terminal import task

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = ("here", "is wrong", "mend it")


class LeftError(BaseException):
    """Stands for Invoke's Exit."""

    def __init__(self, code: int) -> None:
        self.code = code


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNWATCH_DEBUG", raising=False)


@contextlib.contextmanager
def leaving(error: BaseException) -> Iterator[pytest.ExceptionInfo[LeftError]]:
    """Run a word that raises ``error`` and hand out how it was left."""
    with pytest.raises(LeftError) as left, task.map_errors("deploy", LeftError):
        raise error
    yield left


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FailedError(*SAID), 1, "invoke deploy: here: is wrong\nTry: mend it\n"),
        (RefusedError(*SAID), 2, "invoke deploy: here: is wrong\nTry: mend it\n"),
        (UnknownStateError(*SAID), 3, "invoke deploy: here: is wrong\nTry: mend it\n"),
        (stack.InterruptedWatchError(*SAID), 130, "invoke deploy: here: is wrong\nTry: mend it\n"),
        (
            BrokenEnvironmentError(".venv-local: no wheel"),
            2,
            "invoke deploy: .venv-local: no wheel\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_ours_is_said_once_and_has_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    with leaving(error) as left:
        assert left.value.code == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            client_error("AccessDenied", "not yours", "PutObject"),
            1,
            "AWS PutObject: An error occurred (AccessDenied)",
        ),
        (client_error("ExpiredToken"), 3, "AWS credentials: expired on the way"),
        (client_error("ExpiredTokenException"), 3, "AWS credentials: expired on the way"),
        (client_error("RequestExpired"), 3, "AWS credentials: expired on the way"),
        (
            exceptions.EndpointConnectionError(endpoint_url="https://s3"),
            3,
            "AWS: could not be reached",
        ),
        (exceptions.ReadTimeoutError(endpoint_url="https://s3"), 3, "AWS: could not be reached"),
        (exceptions.NoRegionError(), 1, "AWS: You must specify a region."),
        (PermissionError(13, "Permission denied", "dist/x"), 1, "dist/x: Permission denied"),
        (OSError("the disk went away"), 1, "this machine: the disk went away"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_aws_or_of_the_system_is_one_sentence_with_a_remedy(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    with leaving(error) as left:
        assert left.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(f"invoke deploy: {said}")
    assert shown.count("\nTry: ") == 1
    assert "Traceback" not in shown


def test_the_error_behind_a_sentence_is_not_shown_as_a_traceback() -> None:
    with leaving(RefusedError(*SAID)) as left:
        assert left.value.__suppress_context__
        assert left.value.__cause__ is None


def test_ctrl_c_is_one_sentence_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    with leaving(KeyboardInterrupt()) as left:
        assert left.value.code == 130
    assert (
        capsys.readouterr()
        .err.strip()
        .startswith("invoke deploy: interrupted; what was begun may be half done")
    )


def test_ctrl_c_in_a_word_that_cleans_up_says_what_is_true_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with leaving(KeyboardInterrupt("nothing is left")) as left:
        assert left.value.code == 130
    assert capsys.readouterr().err == "\ninvoke deploy: interrupted; nothing is left\n"


def test_what_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), task.map_errors("deploy", LeftError):
        raise ZeroDivisionError


def test_debugging_keeps_the_traceback_of_a_foreseen_error_of_aws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNWATCH_DEBUG", "1")
    with pytest.raises(exceptions.NoRegionError), task.map_errors("deploy", LeftError):
        raise exceptions.NoRegionError


def test_a_word_that_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with task.map_errors("deploy", LeftError):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_dry_run_is_refused_before_anything_is_done() -> None:
    with pytest.raises(
        RefusedError, match=r"would not keep deploy from writing.*nothing was done"
    ) as refused:
        task.refuse_dry_run("deploy", dry=True)
    assert refused.value.where == "--dry"


def test_a_run_without_dry_goes_on() -> None:
    assert refusal_of(lambda: task.refuse_dry_run("deploy", dry=False)) == ""


def test_flags_stand_in_the_place_of_the_one_parameter_that_takes_them_all() -> None:
    def body(context: object, target: object, wide: bool = False) -> None:
        """A word."""

    told = inspect.signature(body)
    found = task.expand_target(told, "target", {"profile": None, "no_role": False}).parameters
    assert {name: one.default for name, one in found.items() if name in ("profile", "no_role")} == {
        "profile": None,
        "no_role": False,
    }
    assert list(found) == ["context", "profile", "no_role", "wide"]
