"""One decorator's worth of manners: every error becomes a sentence and the exit code agreed for it."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from inspect import Parameter
from typing import TYPE_CHECKING

from tooling.environment import BrokenEnvironmentError
from tooling.errors import FailedError, RefusedError, ToolError, UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from inspect import Signature

INTERRUPTED = 130
HALF_DONE = "what was begun may be half done: run the same word again"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


@contextmanager
def map_errors(name: str, leave: Callable[[int], BaseException]) -> Iterator[None]:
    """Turn what the body raises into one clear sentence on standard error and ``raise leave(code)``.

    A KeyboardInterrupt may carry what is true of its word after an interruption, in place of what is true of most.
    Set SIGNWATCH_DEBUG to any text to see the traceback of an unexpected error as well.
    """
    try:
        yield
    except ToolError as error:
        raise _say(name, error, leave, error.exit_code) from None
    except BrokenEnvironmentError as error:
        raise _say(name, error, leave, RefusedError.exit_code) from None
    except KeyboardInterrupt as error:
        print(f"\ninvoke {name}: interrupted; {str(error) or HALF_DONE}", file=sys.stderr)
        raise leave(INTERRUPTED) from None
    except Exception as error:
        known = translated(error)
        if known is None or os.environ.get("SIGNWATCH_DEBUG"):
            raise
        raise _say(name, known, leave, known.exit_code) from None


def refuse_dry_run(name: str, *, dry: bool) -> None:
    """Refuse ``invoke --dry``: it only keeps shell commands from running, and this word writes by other ways."""
    if dry:
        what = f"would not keep {name} from writing, for it stops shell commands alone; nothing was done"
        raise RefusedError(
            "--dry",
            what,
            "leave --dry out: bootstrap and deploy show what they change before they do",
        )


def expand_target(signature: Signature, name: str, flags: Mapping[str, object]) -> Signature:
    """Return a signature in which flags with their defaults stand in the place of the one parameter ``name``."""
    parameters = list(signature.parameters.values())
    at = [one.name for one in parameters].index(name)
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters[at : at + 1] = [
        Parameter(flag, kind, default=default) for flag, default in flags.items()
    ]
    return signature.replace(parameters=parameters)


def translated(error: Exception) -> ToolError | None:
    """Return the sentence for an error of boto3 or of the operating system; None for what nobody foresaw."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = error.response["Error"]["Code"]
        if code in EXPIRED:
            return UnknownStateError(
                "AWS credentials", "expired on the way", "sign in again and run the same word again"
            )
        return FailedError(
            f"AWS {error.operation_name}",
            str(error),
            "mend what AWS names, then run the same word again",
        )
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return UnknownStateError(
            "AWS",
            f"could not be reached: {error}",
            "check the network, then run the same word again",
        )
    if isinstance(error, exceptions.BotoCoreError):
        return FailedError("AWS", str(error), "check --profile and --region")
    if isinstance(error, OSError):
        return FailedError(
            str(error.filename or "this machine"),
            error.strerror or str(error),
            "check the path and its rights",
        )
    return None


def _say(
    name: str, error: Exception, leave: Callable[[int], BaseException], code: int
) -> BaseException:
    print(f"invoke {name}: {error}", file=sys.stderr)
    return leave(code)
