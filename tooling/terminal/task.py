"""The decorator of every task, and what it does: errors become a sentence and an exit code."""

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
HALF_DONE = "what was begun may be half done: run the same task again"
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

    Errors end in a sentence and an exit code (``map_errors``). A task that ``writes`` refuses
    --dry. ``name`` is what a person types if it is not the function's name ("networks.allow").

    A function with a parameter ``target`` gets in it those flags of STACK_HELP that ``help`` has.
    Invoke takes --help for the value of a positional that is missing; the help is still shown.
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
    return {flag: False if flag in SWITCHES else None for flag in STACK_HELP if flag in help}


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
    """Turn an error of the body into a sentence on standard error and an exit code.

    A KeyboardInterrupt may carry a sentence of its own. An unexpected error keeps its traceback;
    with SIGNWATCH_DEBUG set to any text, errors of AWS and of the operating system do too.
    """
    try:
        yield
    except ToolError as error:
        raise _exit(task_name, error, error.exit_code) from None
    except BrokenEnvironmentError as error:
        raise _exit(task_name, error, RefusedError.exit_code) from None
    except KeyboardInterrupt as error:
        print(f"\ninvoke {task_name}: interrupted; {str(error) or HALF_DONE}", file=sys.stderr)
        raise invoke.Exit(code=INTERRUPTED_EXIT_CODE) from None
    except Exception as error:
        known = translate(error)
        if known is None or os.environ.get("SIGNWATCH_DEBUG"):
            raise
        raise _exit(task_name, known, known.exit_code) from None


def _exit(task_name: str, error: Exception, code: int) -> invoke.Exit:
    print(f"invoke {task_name}: {error}", file=sys.stderr)
    return invoke.Exit(code=code)


def refuse_dry_run(task_name: str, *, dry: bool) -> None:
    """Refuse ``invoke --dry``, which stops shell commands alone: a task writes in other ways."""
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


def translate(error: Exception) -> ToolError | None:
    """Return the sentence for an error of boto3 or of the operating system; None for any other."""
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
        return FailedError(where, error.strerror or str(error), "check the path and its rights")
    return None
