"""The client's side of Lambda's Runtime API, for machines that have no wheel of AWS's own client (awslambdaric).

The sandbox starts this file by path, in the task root, with the handler as its argument: import the handler, then
fetch an event, run it, post what came of it, and again. Standard library alone, and nothing of this repository.
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[Any, "Context"], Any]

PREFIX = "/2018-06-01/runtime"  # Lambda docs, "Using the Lambda runtime API for custom runtimes"
FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(request_id)s\t%(message)s"


class UnusableHandlerError(Exception):
    """The handler cannot be had; ``kind`` is Lambda's name for the reason."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Context:
    """What a handler is told about its invocation (Lambda docs, "Python context object")."""

    def __init__(self, headers: http.client.HTTPMessage) -> None:
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = None
        self._deadline = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function times out."""
        return max(self._deadline - int(time.time() * 1000), 0)


class LogHandler(logging.Handler):
    """Writes one record a line to standard output; line breaks inside a record become carriage returns."""

    request_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record`` with the id of the invocation that runs."""
        record.request_id = self.request_id
        say(self.format(record))


def say(text: str) -> None:
    """Write one log record."""
    sys.stdout.write(text.replace("\n", "\r") + "\n")
    sys.stdout.flush()


def load(name: str) -> Handler:
    """Return the handler of that name (``module.function``); raises UnusableHandlerError."""
    module, _, function = name.rpartition(".")
    if not module:
        raise UnusableHandlerError(
            "Runtime.MalformedHandlerName", f"Bad handler '{name}': no module in it"
        )
    try:
        found = getattr(importlib.import_module(module.replace("/", ".")), function)
    except ImportError as error:
        kind, why = "Runtime.ImportModuleError", f"Unable to import module '{module}': {error}"
    except SyntaxError as error:
        kind, why = "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module}': {error}"
    except AttributeError:
        kind, why = "Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module}'"
    else:
        handler: Handler = found
        return handler
    raise UnusableHandlerError(kind, why)


def describe(error: Exception, request_id: str = "") -> dict[str, Any]:
    """Return ``error`` as Lambda answers it, and log it."""
    kind = error.kind if isinstance(error, UnusableHandlerError) else type(error).__name__
    trace = (
        []
        if isinstance(error, UnusableHandlerError)
        else traceback.format_tb(error.__traceback__)[1:]
    )
    say(
        "\n".join(
            [
                f"[ERROR] {kind}: {error}",
                "Traceback (most recent call last):",
                *"".join(trace).splitlines(),
            ]
        )
    )
    return {
        "errorMessage": str(error),
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": trace,
    }


def ask(
    api: http.client.HTTPConnection, method: str, path: str, value: object = None
) -> tuple[http.client.HTTPMessage, bytes]:
    """Call the Runtime API and return the answer's headers and body."""
    api.request(method, PREFIX + path, None if method == "GET" else json.dumps(value))
    answer = api.getresponse()
    return answer.headers, answer.read()


def attend(api: http.client.HTTPConnection, handler: Handler, log: LogHandler) -> None:
    """Fetch one event, run the handler on it and post its result or its error."""
    headers, event = ask(api, "GET", "/invocation/next")
    context = Context(headers)
    log.request_id = context.aws_request_id
    try:
        kind, value = "response", handler(json.loads(event), context)
        json.dumps(value)
    except Exception as error:  # noqa: BLE001 - whatever the function raises is the answer
        kind, value = "error", describe(error, context.aws_request_id)
    ask(api, "POST", f"/invocation/{context.aws_request_id}/{kind}", value)


def main(name: str) -> None:
    """Serve events until the API goes away; exit with 1 when the handler cannot be had."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the task root; pathlib would be imported for this alone
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    log = LogHandler()
    log.setFormatter(logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S"))
    logging.getLogger().addHandler(log)
    try:
        handler = load(name)
    except Exception as error:  # noqa: BLE001 - whatever importing the function raises is the answer
        ask(api, "POST", "/init/error", describe(error))
        sys.exit(1)
    while True:
        attend(api, handler, log)


if __name__ == "__main__":
    main(sys.argv[1])
