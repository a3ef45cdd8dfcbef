"""The decorator of every task. It turns errors into a message and an exit code.

Invoke reads a task's flags from the signature of its function: one flag for each parameter. A task
that works on an account has one parameter ``target`` in place of the flags that choose the account;
they are inserted here.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import invoke

from tooling import aws_errors, invocation
from tooling.environment import BrokenEnvironmentError
from tooling.errors import (
    DEBUG_VARIABLE,
    FailedError,
    PlanShownError,
    RefusedError,
    ToolError,
    UnknownStateError,
)
from tooling.terminal.live_line import end_live_line
from tooling.terminal.target import STACK_HELP, SWITCHES
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

INTERRUPTED_EXIT_CODE = 130
SHORT_FLAGS = {"profile": "p", "account": "a"}  # a task has no other short flags
HALF_DONE_ADVICE = "what was begun may be half done: run the same task again"


def task(
    *,
    writes: bool,
    help: Mapping[str, str],  # noqa: A002 - Invoke's own name
    name: str | None = None,
    iterable: tuple[str, ...] = (),
    word_flag: str | None = None,
) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that makes an Invoke task of a function.

    Errors become a message and an exit code (``map_errors``). A task that ``writes`` refuses
    --dry. ``name`` is what a person types if it is not the function's name ("networks.allow").
    ``help`` has a text for each flag. The flags in ``iterable`` can be repeated. ``word_flag`` is
    the one of them whose name may be left out: it takes every word that is no flag.

    If the function has a parameter ``target``, the task has in its place the flags that choose an
    account, such as --profile and --region. Of these flags (the keys of STACK_HELP), a task has
    those that ``help`` has a text for. The function gets their values as one dictionary.
    """

    def decorate(function: Callable[..., None]) -> Any:
        """Return the Invoke task that calls the function."""
        task_name = name or function.__name__
        signature = inspect.signature(function)
        target_flags: dict[str, object] = {}
        if "target" in signature.parameters:
            target_flags = _choose_target_flags(help)
            signature = expand_target(signature, target_flags)

        def call_function(context: invoke.Context, flags: dict[str, Any]) -> None:
            """Call the function with the values of the flags, by their names."""
            if writes:
                refuse_dry_run(task_name, is_dry=bool(context.config.run.dry))
            refuse_empty_values(flags)
            if target_flags:
                flags["target"] = {flag: flags.pop(flag) for flag in target_flags}
            function(context, **flags)

        @functools.wraps(function)
        def run(context: invoke.Context, **flags: Any) -> None:
            """Call the function; turn its errors into a message and an exit code."""
            given = {flag: flags.get(flag) for flag in invocation.TARGET_FLAGS}
            with map_errors(task_name, given), end_live_line():
                call_function(context, flags)

        run.__signature__ = signature  # type: ignore[attr-defined] # Invoke reads the flags from it
        _, _, name_in_collection = task_name.rpartition(".")  # "allow" of "networks.allow"
        invoke_task = Task(
            run,
            name=name_in_collection,
            positional=(),
            iterable=iterable,
            help=dict(help),
            auto_shortflags=False,
        )
        invoke_task.word_flag = word_flag
        return invoke_task

    return decorate


class Task(invoke.Task[Any]):
    """Invoke's task, with short flags of our own choice.

    ``word_flag`` is the name of the flag that takes the words which are no flags, or None.
    """

    word_flag: str | None = None

    def get_arguments(
        self,
        ignore_unknown_help: bool | None = None,  # noqa: FBT001 - Invoke's own signature
    ) -> list[invoke.Argument]:
        """Return the flags with SHORT_FLAGS; keep their help texts, which Invoke removes."""
        help_texts = dict(self.help)
        arguments: list[invoke.Argument] = super().get_arguments(ignore_unknown_help)
        self.help = help_texts
        for argument in arguments:
            if argument.name in SHORT_FLAGS:
                argument.names = (argument.name, SHORT_FLAGS[argument.name])
        return arguments


def _choose_target_flags(help: Mapping[str, str]) -> dict[str, object]:  # noqa: A002 - as in task
    """Return the flags that choose an account and that ``help`` explains, with their defaults."""
    flags = [flag for flag in STACK_HELP if flag in help]
    return {flag: False if flag in SWITCHES else None for flag in flags}


def show_result(lines: Iterable[str], *, passed: bool = True) -> None:
    """Print the lines; end the task with exit code 1 if it did not pass."""
    from tooling.terminal.screen import Screen

    screen = Screen()
    for line in lines:
        screen.announce(line)
    if not passed:
        raise invoke.Exit(code=FailedError.exit_code)


@contextmanager
def map_errors(task_name: str, flags: Mapping[str, str | None] | None = None) -> Iterator[None]:
    """Turn an error in the ``with`` block into a message on standard error and an exit code.

    ``flags`` are those that chose the account; commands in messages repeat them.

    An error that is not expected (see ``to_tool_error``) ends the task with its traceback. If
    DEBUG_VARIABLE is set, so do errors of AWS and of the operating system.
    """
    with invocation.start_run(flags or {}):
        try:
            yield
        except PlanShownError:
            print("Nothing was changed.")
        except ToolError as error:
            _print_error(task_name, error)
            raise invoke.Exit(code=error.exit_code) from None
        except BrokenEnvironmentError as error:
            _print_error(task_name, error)
            raise invoke.Exit(code=RefusedError.exit_code) from None
        except KeyboardInterrupt as error:  # it may have a message of its own
            advice = str(error) or HALF_DONE_ADVICE
            print_error(f"\ninvoke {task_name}: interrupted; {advice}")
            raise invoke.Exit(code=INTERRUPTED_EXIT_CODE) from None
        except Exception as error:
            tool_error = to_tool_error(error)
            if tool_error is None or os.environ.get(DEBUG_VARIABLE):
                raise
            _print_error(task_name, tool_error)
            raise invoke.Exit(code=tool_error.exit_code) from None


def _print_error(task_name: str, error: Exception) -> None:
    """Print an error; what AWS or a program wrote into it cannot change the terminal."""
    lines = f"invoke {task_name}: {error}".expandtabs().split("\n")
    print_error("\n".join(escape_unprintable(line, len(line)) for line in lines))


def print_error(text: str) -> None:
    """Print to standard error. If that cannot be written, the exit code alone has to tell."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def refuse_dry_run(task_name: str, *, is_dry: bool) -> None:
    """Raise RefusedError if Invoke runs with --dry.

    The flag only keeps Invoke from running shell commands, and a task writes in other ways.
    """
    if is_dry:
        what = f"would not keep {task_name} from writing: it stops shell commands alone"
        remedy = "use --plan in place of --dry: it shows what a task would change, and stops"
        raise RefusedError("--dry", f"{what}; nothing was done", remedy)


def refuse_empty_values(flags: Mapping[str, Any]) -> None:
    """Raise RefusedError if a flag was given without a value: --region "" would mean the default.

    A parameter may be emptied (--set Name=), since that is a value of --set.
    """
    for flag, value in flags.items():
        values = value if isinstance(value, list) else [value]
        if any(isinstance(item, str) and not item.strip() for item in values):
            name = f"--{flag.strip('_').replace('_', '-')}"
            raise RefusedError(name, "has an empty value", "give it a value, or leave it out")


def expand_target(signature: inspect.Signature, flags: Mapping[str, object]) -> inspect.Signature:
    """Return the signature with the flags and their defaults in place of ``target``."""
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "target":
            parameters += [
                parameter.replace(name=flag, default=default) for flag, default in flags.items()
            ]
        else:
            parameters.append(parameter)
    return signature.replace(parameters=parameters)


def to_tool_error(error: Exception) -> ToolError | None:
    """Return an error of boto3 or of the operating system as a ToolError, with what to try.

    Its exit code says whether anything was written before. Return None for any other error.
    """
    from botocore import exceptions

    from tooling.aws_profile import read_profile

    run = invocation.present_run()
    if isinstance(error, exceptions.ClientError) and not aws_errors.is_outdated(error):
        remedy = "fix what AWS names, then run the same task again"
        return FailedError(f"AWS {error.operation_name}", str(error), remedy)
    error_type = UnknownStateError if run.has_written else RefusedError
    is_of_aws = isinstance(error, (exceptions.BotoCoreError, exceptions.ClientError))
    if is_of_aws or aws_errors.is_of_library(error):
        return error_type(*aws_errors.explain(error, read_profile(run.profile)))
    if isinstance(error, OSError):
        where = str(error.filename or "this machine")
        return error_type(where, error.strerror or str(error), "check the path and its permissions")
    return None
