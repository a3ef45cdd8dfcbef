"""The decorator of every task. It turns errors into a message and an exit code."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import invoke

from tooling.environment import BrokenEnvironmentError
from tooling.errors import FailedError, RefusedError, ToolError, UnknownStateError
from tooling.terminal.target import STACK_HELP, SWITCHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

INTERRUPTED_EXIT_CODE = 130
HELP_FLAGS = ("--help", "-h")
HALF_DONE_ADVICE = "what was begun may be half done: run the same task again"
EXPIRED_CREDENTIALS_CODES = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


def task(
    *,
    writes: bool,
    help: Mapping[str, str],  # noqa: A002 - Invoke's own name
    name: str | None = None,
    iterable: tuple[str, ...] = (),
    positional: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that makes an Invoke task of a function.

    Errors become a message and an exit code (``map_errors``). A task that ``writes`` refuses
    --dry. ``name`` is what a person types if it is not the function's name ("networks.allow").

    If the function has a parameter ``target``, the task has in its place those flags of STACK_HELP
    that ``help`` explains; the function gets them as one dictionary.
    """

    def decorate(function: Callable[..., None]) -> Any:
        task_name = name or function.__name__
        signature = inspect.signature(function)
        target_flags: dict[str, object] = {}
        if "target" in signature.parameters:
            target_flags = _target_defaults(help)
            signature = expand_target(signature, target_flags)

        @functools.wraps(function)
        def run(context: invoke.Context, **flags: Any) -> None:
            # If a positional is missing, Invoke takes --help for its value.
            if any(flags[flag] in HELP_FLAGS for flag in positional):
                _show_help(invoke_task, help)
                return
            with map_errors(task_name):
                if writes:
                    refuse_dry_run(task_name, dry=bool(context.config.run.dry))
                if target_flags:
                    flags["target"] = {flag: flags.pop(flag) for flag in target_flags}
                function(context, **flags)

        run.__signature__ = signature  # type: ignore[attr-defined] # Invoke reads the flags from it
        invoke_task: Any = invoke.task(
            run,
            name=task_name.rpartition(".")[2],
            help=dict(help),
            iterable=list(iterable),
            positional=list(positional),
        )
        return invoke_task

    return decorate


def _target_defaults(help: Mapping[str, str]) -> dict[str, object]:  # noqa: A002 - as in task
    """Return the target flags that ``help`` explains, with their defaults."""
    flags = [flag for flag in STACK_HELP if flag in help]
    return {flag: False if flag in SWITCHES else None for flag in flags}


def _show_help(task: Any, help: Mapping[str, str]) -> None:  # noqa: A002 - as in task
    task.help = dict(help)  # Invoke empties it when it reads the flags
    program = invoke.Program(namespace=invoke.Collection(task))
    program.run(["invoke", "--help", task.name], exit=False)


def show_result(lines: Iterable[str], *, passed: bool = True) -> None:
    """Print the lines; end the task with exit code 1 if it did not pass."""
    from tooling.terminal.screen import Screen

    screen = Screen()
    for line in lines:
        screen.announce(line)
    if not passed:
        raise invoke.Exit(code=FailedError.exit_code)


@contextmanager
def map_errors(task_name: str) -> Iterator[None]:
    """Turn an error of the body into a message on standard error and an exit code.

    A KeyboardInterrupt may have a message of its own. An unexpected error keeps its traceback. If
    SIGNWATCH_DEBUG is set, errors of AWS and of the operating system keep theirs too.
    """
    try:
        yield
    except ToolError as error:
        _print_error(task_name, error)
        raise invoke.Exit(code=error.exit_code) from None
    except BrokenEnvironmentError as error:
        _print_error(task_name, error)
        raise invoke.Exit(code=RefusedError.exit_code) from None
    except KeyboardInterrupt as error:
        print(
            f"\ninvoke {task_name}: interrupted; {str(error) or HALF_DONE_ADVICE}", file=sys.stderr
        )
        raise invoke.Exit(code=INTERRUPTED_EXIT_CODE) from None
    except Exception as error:
        tool_error = to_tool_error(error)
        if tool_error is None or os.environ.get("SIGNWATCH_DEBUG"):
            raise
        _print_error(task_name, tool_error)
        raise invoke.Exit(code=tool_error.exit_code) from None


def _print_error(task_name: str, error: Exception) -> None:
    print(f"invoke {task_name}: {error}", file=sys.stderr)


def refuse_dry_run(task_name: str, *, dry: bool) -> None:
    """Refuse ``invoke --dry``: it stops only shell commands, and a task writes in other ways."""
    if dry:
        what = f"would not keep {task_name} from writing: it stops shell commands alone"
        remedy = "leave --dry out: bootstrap and deploy show what they change before they do it"
        raise RefusedError("--dry", f"{what}; nothing was done", remedy)


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
    """Return the ToolError that explains an error of boto3 or of the operating system.

    Return None for any other error.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        if error.response["Error"]["Code"] in EXPIRED_CREDENTIALS_CODES:
            remedy = "sign in again and run the same task again"
            return UnknownStateError("AWS credentials", "expired during the task", remedy)
        remedy = "fix what AWS names, then run the same task again"
        return FailedError(f"AWS {error.operation_name}", str(error), remedy)
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        remedy = "check the network, then run the same task again"
        return UnknownStateError("AWS", f"could not be reached: {error}", remedy)
    if isinstance(error, exceptions.BotoCoreError):
        return FailedError("AWS", str(error), "check --profile and --region")
    if isinstance(error, OSError):
        where = str(error.filename or "this machine")
        return FailedError(
            where, error.strerror or str(error), "check the path and its permissions"
        )
    return None
